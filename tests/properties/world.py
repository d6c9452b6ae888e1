"""Hosts that sync one project, people who work on either side, and who asks what was lost.

Every content that a person writes is a token. One that nobody has deleted or overwritten by hand
must be somewhere ever after: that is asked after each run (:meth:`World.lost`).
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from fwsync import localfs, renaming
from fwsync.engine import Engine
from fwsync.errors import FwsyncError, LocalError, Unavailable
from fwsync.executor import Policy, View
from fwsync.filters import Bounds, Filters
from fwsync.model import (
    ConflictPolicy,
    Decision,
    Mode,
    Outcome,
    RelPath,
    Report,
    Verb,
)
from fwsync.plan import DeleteLimits
from fwsync.progress import NoProgress
from fwsync.reconcile import Rules
from fwsync.state import State, StateThread, open_state
from tests.properties.cloud import Box, Cloud, CloudRemote
from tests.properties.loop import Inline, Order, run

P = ParamSpec("P")
T = TypeVar("T")

#: Where a file system in memory is, if there is one: nothing here is to last.
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None

#: What people write has times of long ago, one a second: no hash is too young to be trusted.
_LONG_AGO_NS = 1_500_000_000 * 10**9

#: Calls of the system at which somebody else may act, or a run may end.
_CALLS = frozenset({"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir"})

#: Verbs that nothing is done for.
_IDLE = frozenset({Verb.NOTHING, Verb.REPORT})


class Killed(BaseException):
    """The process is dead. Whatever it tries afterwards ends like this, too."""


# ------------------------------------------------------------------ what happens in a run

#: What is done at some step of a run: it may change the world, or raise.
Act = Callable[[], None]


class Steps:
    """The steps of one run, counted; at some of them something happens.

    Args:
        acts: what happens, by the number of the step.
        fails: from this step on the first that may fails, in passing, as such steps fail.
        order: in which order those go on that wait side by side.
    """

    def __init__(
        self,
        acts: Mapping[int, Act] | None = None,
        order: Order | None = None,
        fails: int | None = None,
    ) -> None:
        self.acts = dict(acts or {})
        self.order = order or Order()
        self.fails = fails
        self.names: list[str] = []
        self.dead = False
        self._busy = False

    def step(self, name: str, error: Callable[[], Exception] | None = None) -> None:
        """The run is about to do something, or just has.

        Args:
            name: of what it does.
            error: how that fails; None: it cannot.
        """
        if self._busy:
            return
        if self.dead:
            raise Killed
        number = len(self.names)
        self.names.append(name)
        act = self.acts.get(number)
        if act is not None:
            self._busy = True
            try:
                act()
            except Killed:
                self.dead = True
                raise
            finally:
                self._busy = False
        if self.fails is not None and number >= self.fails and error is not None:
            self.fails = None
            raise error()

    async def point(self, what: str, path: str) -> None:
        """The same on the server's side."""
        self.step(f"{what} {path}", no_network)
        await self.order.wait()


_steps: Steps | None = None
_hooked = False


def _hear(event: str, args: tuple[object, ...]) -> None:
    if _steps is None or event not in _CALLS:
        return
    path = os.fsdecode(args[0]) if isinstance(args[0], str | bytes) else ""
    if path and not path.startswith("/"):  # all of a root is reached from its descriptor
        _steps.step(f"{event} {path}", no_space)


@contextmanager
def _heard(steps: Steps) -> Iterator[None]:
    """What this process asks of the system counts as steps."""
    global _steps, _hooked  # noqa: PLW0603  # an audit hook stays for the life of the process
    if not _hooked:
        sys.addaudithook(_hear)
        _hooked = True
    real = renaming._RENAMEAT2
    assert real is not None

    def rename(*args: object) -> int:
        steps.step(f"renameat2 {args[1]!r} {args[3]!r}")
        code = int(real(*args))
        steps.step("renamed")
        return code

    _steps, renaming._RENAMEAT2 = steps, rename
    try:
        yield
    finally:
        _steps, renaming._RENAMEAT2 = None, real


class _StateOfSteps(StateThread):
    """A state whose calls are steps."""

    def __init__(self, executor: Inline, state: State, steps: Steps) -> None:
        super().__init__(executor, state)
        self._steps = steps

    async def call(
        self, fn: Callable[Concatenate[State, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As it says there; a step before and one after."""
        name = getattr(fn, "__name__", "?")
        self._steps.step(f"state {name}", no_state)
        found = await super().call(fn, *args, **kwargs)
        self._steps.step(f"stated {name}")
        return found


def die() -> None:
    """kill -9."""
    raise Killed


def no_network() -> Exception:
    return Unavailable("the connection broke")


def no_space() -> Exception:
    return OSError(errno.ENOSPC, "No space left on device")


def no_state() -> Exception:
    return LocalError("state.db: no space left on device")


# ------------------------------------------------------------------------------ the hosts


@dataclass(slots=True)
class How:
    """What a host is told to do."""

    mode: Mode = Mode.BOTH
    conflict: ConflictPolicy = ConflictPolicy.KEEP_BOTH
    delete_up: bool = True
    delete_down: bool = True
    transfers: int = 1
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    limits: DeleteLimits = field(default_factory=lambda: DeleteLimits(None, None))


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run."""

    report: Report | None  #: None: it was killed, or ended by an error
    error: FwsyncError | None
    steps: list[str]
    view: View | None = None
    outcomes: tuple[Outcome, ...] = ()


class _Told(NoProgress):
    """Remembers what has ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class Host:
    """A machine with a root of its own."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.root = world.folder / name / "root"
        self.db = world.folder / name / "state.db"
        (self.root / ".fwsync" / "parts").mkdir(parents=True)
        self.how = How()

    # -- what the user does

    def tree(self) -> dict[str, bytes]:
        """Every file but those of our own folder."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            folders[:] = [one for one in folders if one != ".fwsync"]
            for name in files:
                path = Path(folder, name)
                found[path.relative_to(self.root).as_posix()] = path.read_bytes()
        return dict(sorted(found.items()))

    def trash(self) -> list[bytes]:
        trash = self.root / ".fwsync" / "trash"
        return [one.read_bytes() for one in trash.rglob("*") if one.is_file()]

    def user_tree(self) -> dict[str, bytes]:
        """Without the copies that conflicts left."""
        return {p: c for p, c in self.tree().items() if "fwsync-conflict" not in p}

    def write(self, path: str, content: bytes) -> bool:
        """Save a file; what was there is lost by the user's own doing. False: it cannot be."""
        file = self.root / path
        if file.is_dir() or any(one.is_file() for one in file.parents if one != self.root):
            return False
        self._spend(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(".fwsync-editor")
        part.write_bytes(content)
        at = self.world.tick()
        os.utime(part, ns=(at, at))
        part.replace(file)
        self.world.write(content, self)
        return True

    def append(self, path: str, more: bytes) -> None:
        """Write into a file, in place."""
        file = self.root / path
        self._spend(path)
        content = file.read_bytes() + more
        with file.open("ab") as opened:
            opened.write(more)
        at = self.world.tick()
        os.utime(file, ns=(at, at))
        self.world.write(content, self)

    def touch(self, path: str) -> None:
        at = self.world.tick()
        os.utime(self.root / path, ns=(at, at))

    def delete(self, path: str) -> None:
        self._spend(path)
        (self.root / path).unlink()

    def delete_folder(self, folder: str) -> None:
        for path in self.tree():
            if path.startswith(f"{folder}/"):
                self._spend(path)
        shutil.rmtree(self.root / folder)

    def move(self, old: str, new: str) -> bool:
        """Rename a file or a folder, over nothing."""
        source, target = self.root / old, self.root / new
        above = [one for one in target.parents if one != self.root]
        if target.exists() or source in above or any(one.is_file() for one in above):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        return True

    def swap(self, one: str, other: str) -> None:
        """Two files change names."""
        aside = self.root / ".fwsync-swapped"
        (self.root / one).rename(aside)
        (self.root / other).rename(self.root / one)
        aside.rename(self.root / other)

    def lose_state(self) -> None:
        for file in self.db.parent.glob("state.db*"):
            file.unlink()

    def _spend(self, path: str) -> None:
        file = self.root / path
        if file.is_file():
            self.world.spend(file.read_bytes(), self)

    # -- runs

    def run(self, steps: Steps | None = None, *, accept: str | None = None) -> Ran:
        """One run, in a process of its own."""
        steps = steps or Steps()
        self.world.missing_here = {
            host: {*host.tree().values(), *host.trash()} for host in self.world.hosts
        }
        with _heard(steps):
            return run(self._run(steps, accept))

    def look(self) -> View:
        """What a run would do now."""
        found = run(self._run(Steps(), None, only_look=True)).view
        assert found is not None
        return found

    def todo(self) -> list[Decision]:
        """The steps that a run would take now."""
        return [one for one in self.look().plan.decisions if one.verb not in _IDLE]

    async def _run(self, steps: Steps, accept: str | None, *, only_look: bool = False) -> Ran:
        inline = Inline()
        state = open_state(self.db)
        root_fd = localfs.open_root(self.root)
        told = _Told()
        try:
            thread = _StateOfSteps(inline, state, steps)
            engine = self._engine(thread, root_fd, steps, accept, told)
            view = await engine.look() if only_look else None
            report = None if only_look else await engine.cycle(goes_on=False)
        except FwsyncError as error:
            return Ran(None, error, steps.names)
        except BaseException:
            if not steps.dead:
                raise
            return Ran(None, None, steps.names)
        else:
            return Ran(report, None, steps.names, view, tuple(told.outcomes))
        finally:
            state.close()
            os.close(root_fd)

    def _engine(
        self,
        state: StateThread,
        root_fd: int,
        steps: Steps,
        accept: str | None,
        progress: NoProgress,
    ) -> Engine:
        remote = CloudRemote(self.world.cloud, steps.point)
        remote.hidden = self.world.hidden
        how = self.how
        filters = None
        if how.exclude or how.include:
            filters = Filters(how.exclude, how.include)
        return Engine(
            root=self.root,
            root_fd=root_fd,
            state=state,
            reader=remote,
            writer=None if how.mode is Mode.DOWN else remote,
            layout=self.world.cloud.layout,
            policy=Policy(
                Rules(how.mode, how.conflict, how.delete_up, how.delete_down),
                limits=how.limits,
                accept=accept,
                transfers=how.transfers,
                ignore=filters or Filters(),
                bounds=how.bounds,
                fsync=False,
            ),
            progress=progress,
            host=self.name,
        )


# ------------------------------------------------------------------------------ the world


class World:
    """Hosts, the server, and what people have written."""

    def __init__(self, *, hosts: int = 1, versions: bool = True, digests: bool = True) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="fwsync-", dir=_FAST)
        self.folder = Path(self._temporary.name)
        self.cloud = Cloud(versions=versions, digests=digests)
        self.hosts = [Host(self, name) for name in ("desk", "scanner", "ward")[:hosts]]
        self.hidden: str | None = None  #: a folder, or a file, that a listing cannot see
        self.written: set[bytes] = set()
        self.spent: set[bytes] = set()  #: tokens that somebody deleted or overwrote by hand
        self.missing_here: dict[Host, set[bytes]] = {}  #: what must be on a host after its run
        self._now_ns = _LONG_AGO_NS
        self._tokens = 0

    def close(self) -> None:
        self._temporary.cleanup()

    def tick(self) -> int:
        """A time that nothing had before, in nanoseconds."""
        self._now_ns += 10**9
        return self._now_ns

    def token(self, size: int = 0) -> bytes:
        """A content that nothing had before."""
        self._tokens += 1
        return f"<{self._tokens}>".encode().ljust(size, b".")

    def write(self, content: bytes, host: Host | None = None) -> None:
        self.written.add(content)
        if host is not None:
            self.missing_here.setdefault(host, set()).add(content)

    def spend(self, content: bytes, host: Host | None = None) -> None:
        self.spent.add(content)
        if host is not None:
            self.missing_here.setdefault(host, set()).discard(content)

    # -- what people do on the server

    def put(self, path: str, content: bytes) -> bool:
        """Somebody sends a file, over whatever is there."""
        known = self.cloud.tree().get(RelPath(path))
        try:
            self.cloud.put(path, content)
        except FwsyncError:
            return False
        if known is not None and not self.cloud.has_versions:
            self.spend(known)
        self.write(content)
        return True

    def delete(self, path: str) -> None:
        for content in self.cloud.delete(path).versions:
            self.spend(content)

    def delete_box(self, box: Box) -> None:
        for _, file in box.everything():
            for content in file.versions:
                self.spend(content)
        self.cloud.delete_box(box)

    # -- what must hold

    def seen(self) -> object:
        """All that a run that only looks must leave as it is."""
        trees = [(host.tree(), host.trash()) for host in self.hosts]
        return trees, self.cloud.tree(), self.cloud.kept(), self.cloud.made

    def lost(self) -> set[bytes]:
        """Tokens that are nowhere, and that nobody has spent."""
        found = {*self.cloud.kept()}
        for host in self.hosts:
            found |= {*host.tree().values(), *host.trash()}
        return self.written - self.spent - found

    def taken_away(self, host: Host) -> set[bytes]:
        """What a run has taken from a host without putting it in the trash."""
        return self.missing_here.get(host, set()) - {*host.tree().values(), *host.trash()}

    def check(self) -> None:
        """After each run."""
        assert set() == self.lost()
        for host in self.hosts:
            assert set() == self.taken_away(host)
        assert [] == self.cloud.twins()

    def settle(self, host: Host, most: int = 3) -> list[Report]:
        """Run until nothing is left to do, with the consent that is asked for.

        Returns:
            What was done.
        """
        reports: list[Report] = []
        accept: str | None = None
        consents = 0
        while todo := host.todo():
            told = [f"{one.verb} {one.path}: {one.reason}" for one in todo]
            assert len(reports) < most + consents, ("does not end", told, reports[-1])
            ran = host.run(accept=accept)
            self.check()
            assert ran.report is not None, ran.error
            reports.append(ran.report)
            accept = ran.report.plan_id or None
            consents += accept is not None
        return reports

    def settle_all(self, most: int = 4) -> None:
        """All hosts run, one after the other, until none has anything to do."""
        idle = 0
        for turn in range(most * len(self.hosts)):
            did = self.settle(self.hosts[turn % len(self.hosts)])
            idle = 0 if did else idle + 1
            if idle >= len(self.hosts):
                return
        told = [[f"{one.verb} {one.path}: {one.reason}" for one in h.todo()] for h in self.hosts]
        raise AssertionError(("the hosts never agree", told))
