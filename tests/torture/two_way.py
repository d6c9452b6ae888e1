"""The torture of ``sync``: edits on both sides, and whatever can go wrong meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fwsync import runs
from fwsync.config import Arguments
from fwsync.errors import FwsyncError
from fwsync.model import Mode, Report
from tests.house.house import ROOT, Done, check_state, finish, grown, until
from tests.house.site import Site
from tests.torture.both import COPY, FLAGS, Both, acquisitions, in_trash, own_home
from tests.torture.boundaries import Boundary, Files, Requests, Statements, nth_fails
from tests.torture.parts import World, may, note, same
from tests.torture.points import POINTS

HERE = Path(__file__).parent
BOUNDARIES: tuple[Boundary, ...] = (Files(), Requests(), Statements())
STRIDES = (60, 6, 30)  #: of as many operations one fails in a case; as many cases meet them all
#: Faults that end a run soon when they are for good; the others wait for better times.
SOON = ("401", "403", "404", "409")
LOSSES = ("data", "names", "both", "state")
POWER_STRIDE = 12


def case_nth(world: World, number: int) -> None:
    """The i-th file operation, request or statement fails; see ``boundaries.py``."""
    boundary, stride = BOUNDARIES[number % 3], STRIDES[number % 3]
    made = _maker(world)

    def fault(_: int) -> tuple[str, bool]:
        for_good = world.dice.random() < 0.3
        of_requests = for_good and isinstance(boundary, Requests)
        return world.dice.choice(SOON if of_requests else list(boundary.faults)), for_good

    first = 1 + (world.offset + number // 3) % stride
    with own_home(world.folder / "home"):
        nth_fails(boundary, lambda _: made(), first=first, step=stride, fault=fault)


def _maker(world: World) -> Callable[[], Both]:
    key = _key(world)
    numbers = iter(range(1 << 30))

    def made() -> Both:
        number = next(numbers)
        folder = world.folder / f"root-{number}"
        one = Both(world.ground, f"{world.label}-{number}", folder, key)
        one.part(one.agree())
        return one

    return made


def _key(world: World) -> Path:
    key = world.folder / "key"
    key.write_text(world.ground.key(port=world.relay.port))  # another port is another server
    key.chmod(0o600)
    return key


def case_power(world: World, number: int) -> None:
    """The power fails before every twelfth change of the disk; see ``power.py``."""
    made, at = _maker(world), 1 + (world.offset + number) % POWER_STRIDE
    log = world.folder / "log"
    with own_home(world.folder / "home"):
        while True:
            one = made()
            log.unlink(missing_ok=True)
            loses = world.dice.choice(LOSSES)
            spec = {"below": str(one.root), "log": str(log), "fail_at": at, "loses": loses}
            spec["side"] = f"{one.root}-side"
            program = (str(HERE / "power.py"), json.dumps(spec))
            done = world.desk.run("sync", one.root, f"lab/{one.label}", *FLAGS, program=program)
            why = f"{loses} lost before {log.read_text().splitlines()[-1]}"
            one.check_nothing_lost(why)
            one.check_closed(why)
            if done.code != -signal.SIGKILL:
                may(done)
                return
            at += POWER_STRIDE


# --------------------------------------------------------------------------- random worlds


@dataclass
class Loose:
    """A root and a project in which anything may be done to any file, by whoever."""

    world: World
    root: Path
    key: Path
    dice: random.Random
    site: Site
    written: set[bytes] = field(default_factory=set)  #: texts that must not be lost
    count: int = 0

    def token(self) -> bytes:
        self.count += 1
        text = b"<%d %d>" % (self.count, self.dice.randrange(1 << 60))
        made = text * self.dice.choice((1, 1, 40, 4000))
        self.written.add(made)
        return made

    def path(self) -> str:
        dice = self.dice
        return f"s{dice.randrange(3)}/e/a{dice.randrange(4)}/{dice.randrange(12)}.dat"

    def there(self) -> dict[str, str]:
        """What is alive on the server: path -> hash."""
        newest: dict[str, str] = {}
        for one in sorted(self.world.ground.stored(self.world.label), key=lambda one: one.version):
            if not one.deleted:
                newest[one.path] = one.sha384.rpartition("-")[2]
        return newest

    def let_go(self, file: Path) -> None:
        """Somebody takes a text away here that may be nowhere else: that is theirs to do."""
        content = file.read_bytes()
        ever = {one.sha384.rpartition("-")[2] for one in self.world.ground.stored(self.world.label)}
        if hashlib.sha384(content).hexdigest() not in ever:
            self.written.discard(content)

    # ------------------------------------------------------------------------ what is done

    def write_here(self) -> None:
        file = self.root / self.path()
        if file.exists():
            self.let_go(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.token())

    def delete_here(self) -> None:
        if files := self._files():
            file = self.dice.choice(files)
            self.let_go(file)
            file.unlink()

    def rename_here(self) -> None:
        if files := self._files():
            target = self.root / self.path()
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                self.dice.choice(files).rename(target)

    def rename_folder_here(self) -> None:
        folders = sorted({one.parent for one in self._files()})
        if folders:
            target = self.root / f"s{self.dice.randrange(3)}/e/b{self.count}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                self.dice.choice(folders).rename(target)

    def touch_here(self) -> None:
        if files := self._files():
            os.utime(self.dice.choice(files))

    def _files(self) -> list[Path]:
        return sorted(
            self.root / one
            for one in grown(self.root)
            if one.endswith(".dat") and not COPY.search(one)
        )

    def write_there(self) -> None:
        above, _, name = self.path().rpartition("/")
        found = acquisitions(self.world.ground, self.world.label)
        if found:
            where = found.get(above) or found[self.dice.choice(sorted(found))]
            token = self.token()
            try:
                self.site.put("acquisition", where, name, token)
            except AssertionError:
                self.written.discard(token)  # it was never there
                raise

    def delete_there(self) -> None:
        if paths := sorted(self.there()):
            self.site.drop([self.dice.choice(paths)])

    def relabel_there(self) -> None:
        if found := acquisitions(self.world.ground, self.world.label):
            path = self.dice.choice(sorted(found))
            self.count += 1
            body = {"label": f"c{self.count}"}
            self.world.ground.ask("PUT", f"/acquisitions/{found[path]}", body)

    def something(self) -> None:
        """Somebody does something, here or there; a run may have taken it away just now."""
        try:
            self._something()
        except FileNotFoundError:
            pass
        except AssertionError as error:
            if '"status_code":404' not in str(error):
                raise

    def _something(self) -> None:
        self.dice.choice(
            (
                self.write_here, self.write_here, self.delete_here, self.rename_here,
                self.rename_folder_here, self.touch_here,
                self.write_there, self.write_there, self.delete_there,
                self.relabel_there if self.dice.random() < 0.3 else self.write_there,
            )
        )()  # fmt: skip

    # ------------------------------------------------------------------------- what must be

    def sync(self) -> Report | FwsyncError:
        told: dict[str, object] = {
            "api_key_file": self.key, "delete_up": True, "delete_down": True, "patience_s": 20,
        }  # fmt: skip
        try:
            return runs.run(Mode.BOTH, self.root, f"lab/{self.world.label}", Arguments(told))
        except FwsyncError as error:
            return error

    def check_nothing_lost(self) -> None:
        ever = {one.sha384.rpartition("-")[2] for one in self.world.ground.stored(self.world.label)}
        safe = set(grown(self.root).values()) | in_trash(self.root)
        lost = [
            one[:40] for one in self.written - safe if hashlib.sha384(one).hexdigest() not in ever
        ]
        same([], lost, "lost")

    def _last_of(self, runs_: int) -> Report:
        """The report of the run that had nothing to do, of so many at most."""
        seen = []
        for _ in range(runs_):
            report = self.sync()
            assert isinstance(report, Report), f"a run without a fault: {report!r}"
            self.check_nothing_lost()
            same("", report.halted, "a guard")
            names = ("uploaded", "downloaded", "deleted", "renamed", "adopted", "problems")
            moved = {name: getattr(report, name) for name in names if getattr(report, name)}
            if not moved:
                return report
            seen.append(f"{moved} {report.problem_list}")
        raise AssertionError(f"no end: {seen}")

    def check_settled(self) -> None:
        """A few runs bring both sides in step."""
        report = self._last_of(4)
        here = {
            path: hashlib.sha384(content).hexdigest()
            for path, content in grown(self.root).items()
            if not COPY.search(path)
        }
        there = self.there()
        others = {
            path: (there.get(path, "")[:8], here.get(path, "")[:8])
            for path in {*there, *here}
            if there.get(path) != here.get(path)
        }
        # What moved on both sides, or was edited on one and moved on the other, may wait for a
        # person, and is told each time.
        if not (report.conflicts or report.difference_list):
            same({}, others, f"there and here, after {report}")
        same([], self.world.ground.twins(), "containers that are there twice")
        stored = self.world.ground.stored(self.world.label)
        twice = Counter((one.path, one.version) for one in stored if not one.deleted)
        same([], [one for one, count in twice.items() if count > 1], "files that are there twice")
        parts = self.root / ".fwsync/parts"
        same([], [one for one in parts.rglob("*") if one.is_file()], "leftovers")
        check_state(self.root)


def case_sync(world: World, number: int) -> None:
    """Rounds of edits on both sides, each with a run that is killed or meets a fault."""
    root = world.folder / "root"
    root.mkdir()
    site = Site(world.ground, world.label)
    one = Loose(world, root, _key(world), world.dice, site)
    with own_home(world.folder / "home"):
        for at in range(36):  # enough for a few deletions to be few
            file = root / f"s{at % 3}/e/a{at // 3 % 4}/{at // 12}.dat"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(one.token())
        one.check_settled()
        for round_ in range(6):
            for _ in range(world.dice.randint(1, 6)):
                one.something()
            spoil = (_killed, _killed_at_a_point, _struck, _edited)[(number + round_) % 4]
            with note(f"round {round_}: {spoil.__name__.strip('_')}"):
                spoil(one)
                one.check_nothing_lost()
                if world.dice.random() < 0.7:  # or the next round comes upon what is left
                    one.check_settled()
        one.check_settled()


def _args(one: Loose) -> tuple[str | Path, ...]:
    return ("sync", one.root, f"lab/{one.world.label}", "--delete", "--json")


def _killed(one: Loose) -> None:
    """F18: at any moment."""
    world = one.world
    up, down = one.dice.randrange(9000), one.dice.randrange(60_000)
    world.ground.run(world.relay.limit(up=up, down=down))
    process = world.desk.start(*_args(one))
    until(
        lambda: process.poll() is not None or world.relay.stalled.is_set(),
        what="it is time to kill",
    )
    process.kill()
    done = finish(process)
    world.ground.run(world.relay.limit())
    if done.code != -signal.SIGKILL:
        may(done)


def _killed_at_a_point(one: Loose) -> None:
    point = one.dice.choice(POINTS)
    spec = point.spec | {"nth": one.dice.randint(1, 3)}
    program = (str(HERE / "points.py"), json.dumps(spec))
    with note(f"killed at {point}, {spec['nth']}"):
        done: Done = one.world.desk.run(*_args(one), *point.flags, program=program)
        if done.code != -signal.SIGKILL:
            may(done)


def _struck(one: Loose) -> None:
    boundary = one.dice.choice(BOUNDARIES)
    at = one.dice.randint(1, (400, 40, 200)[BOUNDARIES.index(boundary)])
    fault = one.dice.choice(list(boundary.faults))
    with (
        note(f"{boundary.name} {at} fails with {fault}"),
        boundary.failing(_as_both(one), at, fault, for_good=False),
    ):
        one.sync()


def _as_both(one: Loose) -> Both:
    made = Both.__new__(Both)  # a boundary asks for no more than these
    made.ground, made.label, made.root = one.world.ground, one.world.label, one.root
    return made


def _edited(one: Loose) -> None:
    """Both sides are edited while the run goes on."""
    process: subprocess.Popen[bytes] = one.world.desk.start(*_args(one), "--transfers", "1")
    while process.poll() is None:
        one.something()
    may(finish(process))


# ------------------------------------------------------------------------------ properties


def case_machines(world: World, number: int) -> None:
    """The properties of ``tests/properties``, with many examples."""
    files = sorted((ROOT / "tests/properties").glob("test_*.py"))
    files = [one for one in files if one.name != "test_cloud.py"]  # which draws nothing
    if not files:
        raise AssertionError("there are no machines in tests/properties")
    seed = world.dice.randrange(1 << 32)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command += [str(files[number % len(files)]), f"--hypothesis-seed={seed}", "--timeout=900"]
    # The first round is a short one; the second takes its time. Neither is the one of CI, which
    # is the same each time.
    profile = "torture" if number >= len(files) else "default"
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"HYPOTHESIS_PROFILE": profile}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode:
        raise AssertionError(f"exit {done.returncode}: {' '.join(command)}\n{done.stdout[-6000:]}")
