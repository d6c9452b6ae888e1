"""The ways in: forms, signed URLs, placement by labels and uids, packfiles."""
