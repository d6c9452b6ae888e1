"""The sandbox: an embedded, Flywheel-compatible server.

For trying fwsync with no account, for its tests, and for sites that rehearse an import. It speaks
the wire protocol of the real thing, keeps its records in SQLite and its files in a folder, and
both survive a restart. It knows nothing of the client, nor the client of it.

``run_sandbox`` and what it is told are for the command line, ``running_sandbox`` for tests.
"""

from fwsync.sandbox.faults.reading import read_script
from fwsync.sandbox.server import DATA_HINT, Ready, Sandbox, run_sandbox, running_sandbox
from fwsync.sandbox.settings import SandboxSettings, TlsSettings
from fwsync.sandbox.stores import Dialect
from fwsync.sandbox.switches import read_switches

__all__ = [
    "DATA_HINT",
    "Dialect",
    "Ready",
    "Sandbox",
    "SandboxSettings",
    "TlsSettings",
    "read_script",
    "read_switches",
    "run_sandbox",
    "running_sandbox",
]
