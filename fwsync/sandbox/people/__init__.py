"""Users and devices."""
