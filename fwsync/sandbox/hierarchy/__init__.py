"""The routes of containers: made, found, listed, changed, described, deleted."""
