"""The options that several commands share, each said once: how it is written, and what it says.

A room for each panel of ``--help``; which command has which is in :mod:`fwsync.flags`.
"""
