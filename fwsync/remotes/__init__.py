"""The remotes: one room each, and the HTTP plumbing that they share."""
