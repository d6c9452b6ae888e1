"""The sandbox: an embedded, Flywheel-compatible server.

For trying fwsync with no account, for its tests, and for sites that rehearse an import. It speaks
the wire protocol of the real thing, keeps its records in SQLite and its files in a folder, and
both survive a restart. It knows nothing of the client, nor the client of it.

``serve`` and ``run_sandbox`` are for the command line, ``running_sandbox`` for tests.
"""

from fwsync.sandbox.server import Ready, Sandbox, run_sandbox, running_sandbox, serve
from fwsync.sandbox.settings import SandboxSettings, TlsSettings

__all__ = [
    "Ready",
    "Sandbox",
    "SandboxSettings",
    "TlsSettings",
    "run_sandbox",
    "running_sandbox",
    "serve",
]
