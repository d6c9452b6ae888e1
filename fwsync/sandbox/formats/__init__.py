"""Formats, read and written as streams: forms, tars, zips, types by name."""
