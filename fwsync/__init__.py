"""fwsync: keep a directory tree and a Flywheel project in step.

    import fwsync

    report = fwsync.pull("lab/aging", "aging")
    assert report.ok, report.problem_list

Each function blocks until the run is over and gives a :class:`Report`; problems with
single files are in the report, and what ends a run is raised as :class:`FwsyncError`.
Settings are keyword arguments, by the names in ``docs/reference/settings.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwsync._version import __version__

if TYPE_CHECKING:
    from fwsync.errors import (
        AuthError,
        FwsyncError,
        Halted,
        LocalError,
        RemoteError,
        Unavailable,
        UsageError,
    )
    from fwsync.library import pull, push, sync, verify
    from fwsync.model import ConflictPolicy, Problem, Report

__all__ = [
    "AuthError",
    "ConflictPolicy",
    "FwsyncError",
    "Halted",
    "LocalError",
    "Problem",
    "RemoteError",
    "Report",
    "Unavailable",
    "UsageError",
    "__version__",
    "pull",
    "push",
    "sync",
    "verify",
]

#: Where each public name lives. They are imported when they are first asked for, so that
#: `import fwsync`, and with it every start of the command, costs next to nothing.
_ROOMS = {
    "fwsync.errors": {
        "AuthError",
        "FwsyncError",
        "Halted",
        "LocalError",
        "RemoteError",
        "Unavailable",
        "UsageError",
    },
    "fwsync.library": {"pull", "push", "sync", "verify"},
    "fwsync.model": {"ConflictPolicy", "Problem", "Report"},
}


def __getattr__(name: str) -> Any:
    """Import a public name from its room (PEP 562)."""
    from importlib import import_module

    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(room), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
