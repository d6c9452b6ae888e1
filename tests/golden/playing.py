"""A golden scenario played by one of the runners, and the check that closes it."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fwsync import runs
from fwsync.sandbox.exchange import RequestLog
from tests.golden.language import Line, Scenario, Step, Told, Unreadable, same_word, spell, steps
from tests.golden.runners import RUNNERS, Ran, Runner, Where
from tests.golden.sides import Local, Server, Shown, Words, carry_out
from tests.house.house import Ground, check_state

_NUMBERS = count(1)

#: What an ``expect`` may count. What is not said is nothing; but for bytes, where files moved.
COUNTED = (
    "uploaded", "downloaded", "deleted", "renamed", "adopted", "held", "conflicts", "problems",
    "deferred", "left", "bytes",
)  # fmt: skip

#: What else it may say.
REST = (
    "says", "opened", "requests", "versions", "guard", "halted", "plan-id", "times-as-there",
    "verify", "run",
)  # fmt: skip

_IN_ACTIONS = ("status", "reset", "html", "when", "body", "delay_s", "cut_at")
_IN_HITS = ("nth", "every", "first", "from")


@dataclass(frozen=True, slots=True)
class Seen:
    """Both sides at one time."""

    local: Shown
    remote: Shown
    trash: Shown
    versions: dict[str, list[str]]

    def same(self, other: Seen) -> bool:
        return (self.local, self.remote, self.trash) == (other.local, other.remote, other.trash)


@dataclass(slots=True)
class Play:
    """One scenario on its way."""

    scenario: Scenario
    runner: Runner
    ground: Ground
    data: Path  #: of the ground's sandbox
    scratch: Path
    root: Path
    words: Words = field(default_factory=Words)
    project: str = ""
    as_user: bool = False
    last: Ran | None = None  #: the last run
    last_words: tuple[str, ...] = ()
    requests: Counter[str] = field(default_factory=Counter)
    before: Seen | None = None  #: the last run
    twins: list[tuple[str, str]] = field(default_factory=list)
    during: list[tuple[str, str, tuple[Line, ...]]] = field(default_factory=list)
    local: Local = field(init=False)
    server: Server = field(init=False)

    def __post_init__(self) -> None:
        self.project = f"{self.scenario.name}-{self.runner.name}-{next(_NUMBERS)}"
        self.ground.project(self.project)
        self.root.mkdir(parents=True, exist_ok=True)
        self.local = Local(self.root, self.words)
        self.server = Server(self.ground, self.data, self.project, self.words)

    # ------------------------------------------------------------------------ the blocks

    def play(self) -> None:
        """All blocks in their order, and what closes every scenario."""
        acts: dict[str, Callable[[Step], None]] = {
            "initial": self._agree, "local": self._edit, "remote": self._edit,
            "faults": self._fault, "during": self._wait_for, "run": self._run,
            "expect": self._check,
        }  # fmt: skip
        try:
            self._prepare()
            for step in self.scenario.steps:
                acts[step.kind](step)
            self._close()
        finally:
            self.ground.ask("PUT", "/sandbox/faults", [])
            if self.local.is_mounted:
                self.local.unmount()

    def _prepare(self) -> None:
        if "mount" in self.scenario.needs:
            try:
                self.local.mount()
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no file system can be mounted here: {error.stderr}")

    def _agree(self, step: Step) -> None:
        """Bring both sides to the same tree, by a run in this process; long ago, as it were."""
        for line in step.lines:
            self.local.write(*line.words)
        self.local.grow_old()
        options = step.words or tuple(self.scenario.settings)
        ran = RUNNERS["engine"](self._where(), ("sync", *options), watch_opened=False)

        assert 0 == ran.exit, f"the sides could not be brought in step: {ran.whole}"

    def _edit(self, step: Step) -> None:
        side = self.local if step.kind == "local" else self.server
        carry_out(side, step.lines)
        self.as_user = self.as_user or any(line.words[0] == "access" for line in step.lines)

    def _fault(self, step: Step) -> None:
        rules = [_rule(line, self.server) for line in step.lines]
        self.ground.ask("PUT", "/sandbox/faults", rules)

    def _wait_for(self, step: Step) -> None:
        method, path = step.words
        self.during.append((method, path, step.lines))

    def _where(self) -> Where:
        key = self.ground.user_key() if self.as_user else self.ground.key()
        as_user = "user" in self.scenario.needs
        return Where(self.root, f"lab/{self.project}", key, self.scratch, as_user)

    def _run(self, step: Step) -> None:
        words, times = step.words, 1
        if len(words) > 1 and words[1] == "times":
            times, words = int(words[0]), words[2:] or ("sync",)
        for _ in range(times):
            self._run_once(tuple(words))

    def _run_once(self, words: tuple[str, ...]) -> None:
        command, *options = words
        where = self._where()
        if "in" in options:
            at = options.index("in")
            where = replace(where, root=self.local.at(options[at + 1]))
            del options[at : at + 2]
        if command.startswith("keep-"):
            options = [str(self.local.at(one).relative_to(self.root)) for one in options]
        if command in ("sync", "push", "pull", "plan"):
            options = [*self.scenario.settings, *options]
        if "{plan}" in options and self.last is not None:
            options[options.index("{plan}")] = self.last.plan_id
        self.before, self.twins = self._seen(), self.server.twins()
        self.ground.forget_requests()
        with self._edits_meanwhile():
            self.last = self.runner(where, [command, *options], watch_opened=self._counts_opened())
        self.last_words = words
        self.requests = Counter(one["method"] for one in self.ground.requests())

    def _counts_opened(self) -> bool:
        return any(
            line.words[0] == "opened"
            for step in self.scenario.steps
            if step.told is not None
            for line in step.told.lines
        )

    @contextmanager
    def _edits_meanwhile(self) -> Iterator[None]:
        """What ``during`` says is done just before the first such request is answered."""
        site = self.ground.sandbox.site
        log = site.requests
        if not self.during:
            yield
            return
        listening = _Listening(log, self.during, lambda lines: carry_out(self.local, lines))
        site.requests = listening
        try:
            yield
        finally:
            site.requests = log
            log.recent.extend(listening.recent)

        assert [] == self.during, f"nobody asked for {self.during}"

    # ------------------------------------------------------------------------ what is checked

    def _seen(self) -> Seen:
        return Seen(
            self.local.shown(), self.server.shown(), self.local.in_trash(), self.server.versions()
        )

    def _check(self, step: Step) -> None:
        assert step.told is not None
        self._check_told(step.told)
        self._check_nothing_lost()

    def _check_told(self, told: Told) -> None:
        ran, before = self.last, self.before
        assert ran is not None
        assert before is not None
        expected = _Expected(told, self.local)

        assert expected.of_run() == _of_run(ran, expected), ran.whole
        expected.check_rest(ran, sum(self.requests.values()), self.server, self.local)
        now = self._seen()
        if expected.open or told is self.scenario.again:
            assert sorted(expected.open) == self._open_conflicts()
        for side in ("local", "remote", "trash"):
            if side in expected.any:
                continue
            wanted = expected.tree(side)
            was = getattr(before, side) if wanted is None else wanted

            assert was == getattr(now, side), f"{side}: {ran.whole}"

    def _open_conflicts(self) -> list[str]:
        """What ``fwsync status`` lists, in the order of the paths, each once."""
        return sorted(set(runs.read_status(self.root, {}, None).conflicts))

    def _check_nothing_lost(self) -> None:
        """Every content that a user has written is somewhere, unless the file lets it go."""
        seen = self._seen()
        kept = [_content_of(line) for line in (*seen.local, *seen.trash)]
        kept += [one for versions in seen.versions.values() for one in versions]
        inside = {part for one in kept if one.startswith("zip(") for part in _members(one)}
        may_go = {same_word(one) for one in self.scenario.may_go}

        assert set() == self.words.written - set(kept) - inside - may_go, seen

    def _close(self) -> None:
        """A second run has nothing to do, and nothing of ours lies about."""
        told = self.scenario.again or Told()
        if self.scenario.again is None or _wants(told, "run") != "none":
            words = self.last_words if self.last_words[0] in ("sync", "push", "pull") else ("sync",)
            self._run_once(tuple(one for one in words))
            self._check_told(told)
            self._check_nothing_lost()
            assert self.before is not None
            assert self.before.versions == self.server.versions()
            self._check_verify(told)
        assert self.twins == self.server.twins()
        assert [] == self.local.on_the_way()
        if not self.root.is_symlink() and [*(self.root / ".fwsync").glob("state.db")]:
            check_state(self.root)

    def _check_verify(self, told: Told) -> None:
        wanted = _wants(told, "verify")
        if wanted == "none":
            return
        ran = self.runner(self._where(), ["verify"], watch_opened=False)
        if "exit" in _any_of(told):
            return
        expected = wanted or ("1" if _wants(told, "exit") not in ("", "0") else "0")

        assert int(expected) == ran.exit, ran.whole


def _wants(told: Told, key: str) -> str:
    return next((line.words[1] for line in told.lines if line.words[0] == key), "")


def _any_of(told: Told) -> set[str]:
    return {word for line in told.lines if line.words[0] == "any" for word in line.words[1:]}


class _Expected:
    """What an ``expect`` says, in the form that a run is compared in."""

    def __init__(self, told: Told, local: Local) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self.lists: dict[str, list[str]] = {"problem": [], "conflict": [], "left-alone": []}
        self.exit = 0
        self.rest: list[Line] = []
        self.open: list[str] = []
        self.any: set[str] = set()  #: counts that may be what they are
        self.has_list: set[str] = set()
        self._told = told
        for line in told.lines:
            self._take(line)
        moved = self.counts["uploaded"] or self.counts["downloaded"]
        if moved and not any(line.words[0] == "bytes" for line in told.lines):
            self.any.add("bytes")

    def _take(self, line: Line) -> None:
        key, *rest = line.words
        if key == "exit":
            self.exit = int(rest[0])
        elif key in self.counts:
            self.counts[key] = int(rest[0])
        elif key in self.lists:
            self.lists[key].append(_root_path(rest[0]))
            if key != "left-alone":
                self.counts[f"{key}s"] = max(self.counts[f"{key}s"], len(self.lists[key]))
        elif key == "any":
            self.any.update(rest)
            if "counts" in rest:
                self.any.update(COUNTED)
        elif key == "open":
            self.open.append(_root_path(rest[0]))
        elif key in REST:
            self.rest.append(line)
        else:
            raise Unreadable(f"{line.number}: nothing is called {key!r}")

    def of_run(self) -> dict[str, object]:
        counts = self.counted(self.counts)
        lists = {name: sorted(paths) for name, paths in self.lists.items() if paths}
        return self.without_any({"exit": self.exit, **counts, **lists})

    def without_any(self, found: dict[str, object]) -> dict[str, object]:
        """What is compared of it."""
        return {name: what for name, what in found.items() if name not in self.any}

    def counted(self, counts: Mapping[str, int]) -> dict[str, int]:
        """The counts that are compared."""
        return {
            name: number
            for name, number in counts.items()
            if number and name in COUNTED and name not in self.any
        }

    def check_rest(self, ran: Ran, requests: int, server: Server, local: Local) -> None:
        halts = False
        for line in self.rest:
            key, *rest = line.words
            if key == "says":
                wanted = " ".join(rest)
                said = "\n".join([*ran.notes, ran.halted, ran.whole])

                assert wanted in said, ran.whole
            elif key == "opened":
                names = {one.split(" ")[0].rpartition("/")[2] for one in local.shown()}
                opened = [one for one in ran.opened if one in names]

                assert int(rest[0]) == len(opened), opened[:10]
            elif key == "requests":
                assert rest[0] == "<="
                assert requests <= int(rest[1]), requests
            elif key == "versions":
                versions = server.versions()[spell(steps(rest[0]))]

                assert [same_word(one) for one in rest[1:]] == versions
            elif key == "plan-id":
                assert ran.plan_id
            elif key == "times-as-there":
                there = {path: round(time, 3) for path, time in server.times().items()}

                assert there == {path: round(time, 3) for path, time in local.times().items()}
            elif key == "guard":
                halts = True

                assert rest[0] in ran.guards, ran.whole
            elif key == "halted":
                halts = True

        assert halts == bool(ran.halted), ran.whole

    def tree(self, side: str) -> Shown | None:
        """What a side should show; None: as before the run."""
        trees = self._told.trees
        lines = trees.get(side, trees.get("both") if side != "trash" else None)
        return None if lines is None else sorted(_shown(line) for line in lines)


def _of_run(ran: Ran, expected: _Expected) -> dict[str, object]:
    """What a run said, as far as an ``expect`` can say it."""
    counts = expected.counted(ran.counts)
    lists = {"problem": ran.problems, "conflict": ran.conflicts, "left-alone": ran.left}
    # A list is compared where the file names one of its paths; its length always is.
    told = {
        name: sorted(paths)
        for name, paths in lists.items()
        if paths and (expected.lists[name] or name == "left-alone")
    }
    return expected.without_any({"exit": ran.exit, **counts, **told})


def _root_path(text: str) -> str:
    return "/".join(steps(text))


def _shown(line: Line) -> str:
    path, *rest = line.words
    if not rest:
        return f"{spell(steps(path.rstrip('/')))}/"
    if rest[0] == "->":
        return f"{spell(steps(path))} -> {rest[1]}"
    return f"{spell(steps(path))} {same_word(rest[0])}"


def _content_of(line: str) -> str:
    return line.partition(" ")[2]


def _members(zipped: str) -> list[str]:
    return [one.partition("=")[2] for one in zipped.removeprefix("zip(").rstrip(")").split(",")]


def _rule(line: Line, server: Server) -> dict[str, Any]:
    method, path, *rest = line.words
    match: dict[str, Any] = {"method": method, "path": _with_ids(path, server)}
    action: dict[str, Any] = {}
    for pair in rest:
        name, _, text = pair.partition("=")
        value: object = int(text) if text.isdigit() else True if text == "true" else text
        if name in _IN_ACTIONS:
            action[name] = [] if value == "[]" else value
        elif name in _IN_HITS:
            match.setdefault("hits", {})[name] = value
        elif name.startswith("query."):
            match.setdefault("query", {})[name.removeprefix("query.")] = _with_ids(text, server)
        elif name == "times":
            match[name] = value
        else:
            raise Unreadable(f"{line.number}: a fault has no {name!r}")
    return {"match": match, "action": action}


def _with_ids(text: str, server: Server) -> str:
    """``{}`` is the project's id, ``{s/e/a}`` that of a container below it."""
    while "{" in text:
        before, _, rest = text.partition("{")
        path, _, after = rest.partition("}")
        id_ = server.container(steps(path)) if path else server.project
        text = f"{before}{id_}{after}"
    return text


class _Listening(RequestLog):
    """A log of requests that lets something happen when the first of a kind comes."""

    def __init__(
        self,
        log: RequestLog,
        wanted: list[tuple[str, str, tuple[Line, ...]]],
        act: Callable[[Sequence[Line]], None],
    ) -> None:
        super().__init__()
        self.era = log.era
        self._wanted = wanted
        self._act = act

    def add(self, entry: dict[str, Any]) -> None:
        for one in [*self._wanted]:
            method, path, lines = one
            if (method, path) == (entry["method"], entry["route"].removeprefix("/api")):
                self._wanted.remove(one)
                thread = threading.Thread(target=self._act, args=(lines,))
                thread.start()
                thread.join()
        super().add(entry)
