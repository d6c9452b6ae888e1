"""The routes of files: entries, bytes, versions, a look into zips."""
