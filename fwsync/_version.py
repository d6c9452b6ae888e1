"""The version, and nothing else: `fwsync --version` reads no metadata to answer."""

__version__ = "0.1.0"
