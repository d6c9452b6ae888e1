"""What goes wrong, as a tree; the first question is whose fault it is.

::

    FwsyncError
    ├── UsageError            the call, the settings, or a root or project that is not there
    │   └── NothingThere      what the call names is not on the server, or not ours to see
    ├── AuthError             the key, or what the key may do
    ├── Halted                a guard refused the plan; a person must consent
    ├── RemoteError           the remote answered, and not as it should have
    │   ├── NotFound          404 and nothing else
    │   ├── Forbidden         403: this one thing is not ours to see or change
    │   ├── Refused           another 4xx: the same request will be refused again
    │   ├── Garbled           the answer cannot be read (HTML, cut JSON, wrong types)
    │   └── Unavailable       no answer, or one that says "later"; retryable
    ├── LocalError            this machine: no space, a damaged, newer or locked state
    │   ├── NoSpace           nothing more can be written; passes when some is freed
    │   ├── StateDamaged
    │   ├── StateTooNew
    │   └── Locked
    └── FileProblem           one file; becomes a :class:`fwsync.model.Problem`, ends nothing
        ├── SourceChanged     it changed while it was read
        ├── Unreadable        it cannot be opened or read
        └── IntegrityError    the bytes are not the bytes that were promised

Only what ends a run is raised to the caller. Problems with one file are values in
the report. Texts are for people and are never matched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes, a contract with scripts and with the service unit."""

    IN_STEP = 0  #: nothing is left to do
    DIFFERENCES = 1  #: done, with problems, conflicts or differences
    USAGE = 2  #: usage, settings, no such root or project
    AUTH = 3  #: key or permission
    HALTED = 4  #: a guard holds the plan
    UNAVAILABLE = 5  #: the remote cannot be reached
    LOCAL = 6  #: state damaged, newer or locked; no space
    DEFECT = 70  #: a defect of fwsync itself (EX_SOFTWARE of sysexits.h)
    INTERRUPTED = 130  #: Ctrl-C
    TERMINATED = 143  #: SIGTERM


class FwsyncError(Exception):
    """Anything fwsync raises on purpose.

    Args:
        message: path, what happened, what was expected. One line, no secret in it.
        hint: what to do about it, or empty.
    """

    exit_code: Exit = Exit.DIFFERENCES
    retryable: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FwsyncError):
    """The call or the settings name something that is not there or not allowed."""

    exit_code = Exit.USAGE


class NothingThere(UsageError):
    """What the call names is not on the server, or the key may not see it."""


@contextmanager
def naming(setting: str) -> Iterator[None]:
    """Say of which setting a thing is wrong, where the error says only what is."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{setting}: {error.message}", hint=error.hint) from None


class AuthError(FwsyncError):
    """There is no key, the key is wrong, or it may not do what was asked."""

    exit_code = Exit.AUTH


class Halted(FwsyncError):
    """A guard holds the deletions and overwrites of a plan until a person consents."""

    exit_code = Exit.HALTED


class RemoteError(FwsyncError):
    """The remote answered, and not with what was asked for.

    Args:
        message: as everywhere.
        status: the HTTP status, or 0 where there was none.
        hint: what to do about it.
    """

    exit_code = Exit.DIFFERENCES

    def __init__(self, message: str, *, status: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class NotFound(RemoteError):
    """404."""


class Forbidden(RemoteError):
    """403: not ours to see or to change; the rest of the run goes on."""

    exit_code = Exit.AUTH


class Refused(RemoteError):
    """A 4xx that the same request will get again."""


class Garbled(RemoteError):
    """The answer is not what the protocol says; nothing may be concluded from it."""

    exit_code = Exit.UNAVAILABLE


class Unavailable(RemoteError):
    """No answer, or one that says to come back later.

    ``silent``: nothing came in time, so the server may still be at work on the request.
    """

    exit_code = Exit.UNAVAILABLE
    retryable = True
    silent = False

    def __init__(
        self, message: str, *, status: int = 0, hint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, status=status, hint=hint)
        self.retry_after_s = retry_after_s


class LocalError(FwsyncError):
    """This machine cannot go on: no space, or the state file is not usable."""

    exit_code = Exit.LOCAL


class NoSpace(LocalError):
    """The disk, or the quota on it, is full: what is here stays, and nothing more comes."""

    retryable = True


class StateDamaged(LocalError):
    """The state file is not a database, not ours, or fails its integrity check."""


class StateTooNew(LocalError):
    """The state file was written by a newer fwsync."""


class Locked(LocalError):
    """Another process works on this root or state."""


class FileProblem(FwsyncError):
    """One file cannot be dealt with; the run goes on without it."""


class SourceChanged(FileProblem):
    """The file changed while it was being read; it is left for the next cycle."""

    retryable = True


class Unreadable(FileProblem):
    """The file cannot be opened or read, or is not a regular file any more."""


class IntegrityError(FileProblem):
    """Size or digest is not what was promised; the bytes are not made visible."""

    retryable = True


def worst_of(errors: BaseExceptionGroup[FwsyncError]) -> FwsyncError:
    """The one error to show for several workers that failed at once."""
    found: list[FwsyncError] = []
    waiting: list[BaseException] = [errors]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        elif isinstance(error, FwsyncError):
            found.append(error)
    return max(found, key=lambda error: error.exit_code)
