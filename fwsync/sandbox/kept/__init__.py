"""What a sandbox keeps: records, blobs, and what is said of them. No HTTP is spoken here."""
