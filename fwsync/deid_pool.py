"""The processes that de-identify files, a few of them; each works on one file at a time.

The one rule: there are changed bytes, or there is a refusal. A process that dies, hangs or says
anything else than that is a refusal, too, and neither says what the file holds.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fwsync import deid_worker, headers
from fwsync.config import environment
from fwsync.elements import Source
from fwsync.errors import FileProblem, LocalError, UsageError
from fwsync.values import wanted

#: Files that are de-identified at once, each in a process. One of them in memory is enough.
WORKERS: Final = 2

#: The largest file that is de-identified: it is held in memory, as it was and as it becomes.
LARGEST: Final = 1 << 30

#: How long a process may take for one file, in seconds: the library has no end of its own.
PATIENCE_S: Final = 600.0

#: A process gives way to a new one after so many files: the library remembers each value it hashed.
FILES_EACH: Final = 2000

#: How often a file is given to a new process when one was killed at it.
_TRIES: Final = 2

#: A folder that nobody holds is left over when it is older, in seconds.
_NEW_S: Final = 60.0

_PREFIX: Final = f"fwsync-deid-{os.getuid()}-"
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of ours in it, which only we can enter

#: One of these is in every DICOM file.
_IDENTIFY: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")

_TOLD: Final = {
    "no rule": (
        "the profile says nothing about {kind} files",
        "leave it out, give the profile a section or file-filter for it, "
        "or send such files as they are by deid_other = send",
    ),
    "dicom without a rule": (
        "is DICOM by its content, and the profile has no rule for it",
        "give the profile's `dicom` section a file-filter that matches it",
    ),
    "not readable": (
        "cannot be read as what its name or content says, so that it cannot be de-identified",
        "leave it out, or look what it is",
    ),
    "warned": (
        "the profile could not be carried out as it says: the library warned of it",
        "such as a value of a wrong kind, or pixels that cannot be cleaned; "
        "see that the rules go with what such files hold",
    ),
    "no room": ("there is no room to de-identify it", "make /dev/shm larger, or leave it out"),
}


@dataclass(frozen=True, slots=True)
class Changed:
    """A file after the profile."""

    content: bytes
    fields: Sequence[tuple[str, str]] = ()  #: what was changed, and the action; if asked for


class _Gone(Exception):
    """The process ended, or was ended, before it answered."""


class Pool:
    """De-identifies files by one profile. All of it blocks, and may be called from any thread.

    Args:
        profile: as its file says it: nothing but what JSON can hold.
        called: the profile, for messages.
    """

    def __init__(self, profile: object, called: str) -> None:
        self._profile = json.dumps(profile).encode()
        self._called = called
        self._scratch: Path | None = None
        self._lock_fd = -1
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        self._numbers = iter(range(1 << 62))

    def open(self) -> None:
        """Start the first process, and see that the profile can be used.

        Raises:
            UsageError: it cannot, or the library is not installed.
            LocalError: processes end as soon as they are started.
        """
        self._scratch, self._lock_fd = _scratch()
        try:
            first = self._start()
        except _Gone:
            raise LocalError(
                "the process that de-identifies ends as soon as it is started",
                hint="see whether this machine has run out of memory",
            ) from None
        for _ in range(WORKERS - 1):
            self._idle.put(None)
        self._idle.put(first)

    def close(self) -> None:
        """End the processes, and leave nothing behind."""
        while not self._idle.empty():
            if (worker := self._idle.get()) is not None:
                worker.end()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            os.close(self._lock_fd)
            self._scratch = None

    def change(self, name: str, content: Sequence[bytes], *, tell: bool = False) -> Changed | None:
        """De-identify one file.

        Args:
            name: the last part of its path.
            content: in pieces.
            tell: find out which fields are changed.

        Returns:
            The outcome; None: the profile says nothing about such files, and it is not DICOM.

        Raises:
            FileProblem: it cannot be de-identified, and must not be sent. The message does not
                begin with the path.
        """
        size = sum(map(len, content))
        asked = {"name": name, "dicom": is_dicom(content), "tell": tell}
        for _ in range(_TRIES):
            try:
                with self._worker() as worker:
                    said, out = worker.ask(asked, content, size)
            except _Gone:
                continue
            return _outcome(said, out, name)
        raise FileProblem(
            "the process that de-identifies was ended twice at this file",
            hint="see whether this machine has run out of memory; look at the file",
        )

    @contextmanager
    def _worker(self) -> Iterator[_Worker]:
        """A process of one's own for a while; the next one finds a live one in its place."""
        worker = self._idle.get()
        try:
            if worker is None or worker.is_spent:
                if worker is not None:
                    worker.end()
                worker = None
                worker = self._start()
            yield worker
        finally:
            self._idle.put(worker)

    def _start(self) -> _Worker:
        assert self._scratch is not None, "the pool is not open"
        folder = self._scratch / str(next(self._numbers))
        folder.mkdir(mode=0o700)
        worker = _Worker(folder)
        try:
            said, _ = worker.exchange([(self._profile,)], [len(self._profile)])
        except _Gone:
            worker.end()
            raise
        if said.get("ready"):
            return worker
        worker.end()
        if "missing" in said:
            raise UsageError(
                f"deid_profile: wants flywheel-migration, and {said['missing']} is not installed",
                hint="install it: pip install 'fwsync[deid]'",
            )
        raise UsageError(
            f"{self._called}: is no profile that can be used: {said.get('bad', '')}",
            hint="see docs/guides/deidentify.md for what a profile may say",
        )


class _Worker:
    """One process, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = 0
        self._is_over = False
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", deid_worker.__file__],
            cwd=folder,
            env=_environment_in(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    @property
    def is_spent(self) -> bool:
        """Is it over, or has it done its share?"""
        over = self._is_over or self._process.poll() is not None
        return over or self._files >= FILES_EACH

    def ask(
        self, asked: Mapping[str, object], content: Sequence[bytes], size: int
    ) -> tuple[Mapping[str, Any], bytes]:
        """Give it a file; what it says, and the changed bytes if there are any.

        Raises:
            _Gone: it did not answer.
        """
        self._files += 1
        head = json.dumps(asked).encode()
        return self.exchange([(head,), content], [len(head), size])

    def exchange(
        self, frames: Sequence[Sequence[bytes]], sizes: Sequence[int]
    ) -> tuple[Mapping[str, Any], bytes]:
        """Write frames, and read the answer.

        Raises:
            _Gone: it did not answer, or not in time.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None, "opened with a pipe"
        assert stdout is not None, "opened with a pipe"
        timer = threading.Timer(PATIENCE_S, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            for pieces, size in zip(frames, sizes, strict=True):
                deid_worker.write_frame(stdin, pieces, size)  # type: ignore[arg-type]
            answer = deid_worker.read_frame(stdout)  # type: ignore[arg-type]
            said: Mapping[str, Any] = json.loads(answer) if answer else {}
            out: bytes | None = b""
            if "changed" in said:
                out = deid_worker.read_frame(stdout)  # type: ignore[arg-type]
        except (OSError, ValueError):
            said, out = {}, None
        finally:
            timer.cancel()
        if not said or out is None:
            self._is_over = True
            raise _Gone
        return said, out

    def end(self) -> None:
        """End it, and remove its folder."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # what it never read
                pass
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def check_size(size: int) -> None:
    """See that a file is not too large; before it is read into memory.

    Raises:
        FileProblem: it is.
    """
    if size > LARGEST:
        raise FileProblem(
            f"has {size} bytes; files up to {LARGEST} bytes are de-identified",
            hint="de-identify it by other means, and push it from another folder",
        )


def is_dicom(content: Sequence[bytes]) -> bool:
    """Are these bytes DICOM, with or without a preamble, whole or broken?"""
    if not content:
        return False
    kind = headers.reading_of(Source.of(content[0]), wanted(_IDENTIFY)).kind
    return kind is not headers.Kind.OTHER


def _outcome(said: Mapping[str, Any], out: bytes, name: str) -> Changed | None:
    if "changed" in said:
        return Changed(out, tuple((str(one), str(action)) for one, action in said["changed"]))
    kind, field = str(said.get("refused")), str(said.get("field") or "")
    if kind == "no rule":
        return None
    if kind in _TOLD:
        message, hint = _TOLD[kind]
        raise FileProblem(message, hint=hint)
    at = f" at the field {field}" if field else ""
    raise FileProblem(
        f"the profile could not be carried out{at} ({kind})",
        hint="see that the rule goes with what such files hold; no value is shown here",
    )


def not_covered(name: str) -> FileProblem:
    """What a file is that the profile says nothing about."""
    ending = name[name.rfind(".") :] if "." in name.strip(".") else "such"
    message, hint = _TOLD["no rule"]
    return FileProblem(message.format(kind=ending), hint=hint)


def _environment_in(folder: Path) -> dict[str, str]:
    """What a process gets to know: nothing of ours, least of all a key."""
    kept = {k: v for k, v in environment().items() if not k.startswith("FWSYNC_")}
    return kept | {"TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def _scratch() -> tuple[Path, int]:
    """A folder that only we can enter, in memory if that can be; its lock says that it is used."""
    base = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    lock_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock_fd, fcntl.LOCK_EX)
    _sweep(base, but=folder)
    return folder, lock_fd


def _sweep(base: Path, *, but: Path) -> None:
    """Remove what a killed run left behind: folders of ours that nobody holds."""
    for folder in base.glob(f"{_PREFIX}*"):
        if folder == but:
            continue
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            seen = os.fstat(fd)
            # One that was made just now may not be locked yet.
            if seen.st_uid == os.getuid() and time.time() - seen.st_mtime > _NEW_S:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(fd)
