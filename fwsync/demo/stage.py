"""The stage: a folder of its own, and the processes that play on it.

The one rule: whatever happens, when the stage is left nothing runs any more and nothing
lies about. Signals wait while a process starts and while the stage is cleared.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

from fwsync.errors import FwsyncError, UsageError

#: How long a process may take to end after it was told to, in seconds; then it is killed.
END_WITHIN_S = 5.0

#: How much of its stderr is shown of a process that failed, in lines.
TAIL = 15

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Variables that begin so say something about the user's own account, site or service.
_NOT_OURS = ("FWSYNC_", "FW_", "FLYWHEEL_", "XDG_", "CREDENTIALS_", "NOTIFY_")
_FOLDERS = ("export", "home", "log", "server", "temporary")


class ActorFailed(FwsyncError):
    """A process ended as it should not have, or did not end.

    Args:
        tail: the last lines of its stderr.
    """

    def __init__(self, message: str, tail: str) -> None:
        super().__init__(message)
        self.tail = tail


@dataclass(frozen=True, slots=True)
class Actor:
    """One running fwsync, its output kept in files: no pipe can fill up and stop it."""

    name: str  #: as it is told to people: "fwsync watch"
    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def output(self) -> str:
        """What it has written to stdout so far."""
        return self.out.read_text("utf-8", "replace")

    def must_play(self) -> None:
        """Raise ActorFailed if it has ended."""
        code = self.process.poll()
        if code is not None:
            self.fail(f"ended with exit code {code}; it should still be running")

    def must_end(self, within_s: float, *codes: int) -> int:
        """Wait until it ends, with one of these exit codes; raise ActorFailed otherwise."""
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.fail(f"did not end within {within_s:.0f} s")
        if code not in codes:
            self.fail(f"ended with exit code {code}; expected {' or '.join(map(str, codes))}")
        return code

    def fail(self, what: str) -> NoReturn:
        """Raise ActorFailed with the end of its stderr."""
        lines = self.err.read_text("utf-8", "replace").splitlines()
        raise ActorFailed(f"{self.name}: {what}", "\n".join(lines[-TAIL:]))


class Stage:
    """A folder, and what runs in it; use it with ``with``.

    Args:
        keep: where the folder is, and stays; None: a temporary one, which goes.

    Raises:
        UsageError: ``keep`` is not a folder, or not an empty one.
    """

    def __init__(self, keep: Path | None) -> None:
        self._keep = keep
        self._actors: list[Actor] = []
        self._before: dict[signal.Signals, object] = {}
        self._started = 0
        self._waits = False  # signals do
        self._came: int | None = None

    def __enter__(self) -> Self:
        """Make the folder, and from now on let signals clear the stage."""
        if self._keep is not None:
            _must_be_empty(self._keep)
        self._waits = True
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
                self._before[number] = signal.signal(number, self._received)
        self.folder = (self._keep or Path(tempfile.mkdtemp(prefix="fwsync-demo-"))).resolve()
        for name in _FOLDERS:
            (self.folder / name).mkdir()
        # Found first, so that no settings of the user or the machine are looked for.
        (self.folder / "home/fwsync.toml").touch()
        self._waits = False  # one that came meanwhile takes effect in the first start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop what still runs, the last one first, and remove the folder."""
        self._waits = True
        try:
            for actor in reversed(self._actors):
                _end(actor.process)
            if self._keep is None:
                shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)  # type: ignore[arg-type]  # as signal() gave it
        if self._came is not None:
            _leave(self._came)

    def start(self, command: str, *arguments: str, key: str = "") -> Actor:
        """Start ``fwsync command arguments…``.

        Args:
            key: an API key; it goes into the environment of this process and nowhere else.
        """
        self._started += 1
        name = f"{self._started}-{command}"
        out, err = self.folder / f"log/{name}.out", self.folder / f"log/{name}.err"
        with self._signals_wait(), out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(  # noqa: S603  # fwsync itself, in this very Python
                [sys.executable, "-m", "fwsync", command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.folder / "home",
                env=self._environment(key),
                start_new_session=True,  # Ctrl-C is for us; we stop it in its turn
            )
            actor = Actor(f"fwsync {command}", process, out, err)
            self._actors.append(actor)
        return actor

    def until(self, met: Callable[[], bool], within_s: float) -> bool:
        """Wait for a condition, looking often; False if it did not come true in time.

        Raises:
            ActorFailed: a process ended that should not have.
        """
        end = time.monotonic() + within_s
        while not met():
            for actor in self._actors:
                actor.must_play()
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def dismiss(self, actor: Actor, within_s: float) -> None:
        """Tell a process to stop, as a service manager does; it must end with exit code 0."""
        actor.must_play()
        actor.process.terminate()
        self.finish(actor, within_s)

    def finish(self, actor: Actor, within_s: float, *, codes: Sequence[int] = (0,)) -> int:
        """Wait until a process has ended, with one of these exit codes; gives the one it was.

        Raises:
            ActorFailed: it did not end in time, or with another one.
        """
        code = actor.must_end(within_s, *codes)
        self._actors.remove(actor)
        return code

    def _environment(self, key: str) -> dict[str, str]:
        home = self.folder / "home"
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_NOT_OURS) and not name.lower().endswith("_proxy")
        }
        environment |= {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_STATE_HOME": str(home / ".local/state"),
            "XDG_DATA_HOME": str(home / ".local/share"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "TMPDIR": str(self.folder / "temporary"),
        }
        return environment | ({"FWSYNC_API_KEY": key} if key else {})

    @contextmanager
    def _signals_wait(self) -> Iterator[None]:
        """A signal that comes meanwhile takes effect at the end."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
        if self._came is not None:
            _leave(self._came)

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if not self._waits:
            _leave(number)
        self._came = number


def _leave(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate, then kill, then reap."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _must_be_empty(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{folder}: cannot hold the demo ({error.strerror})") from error
    if taken:
        raise UsageError(f"{folder}: is not empty", hint="name a new folder after --keep")
