"""Filters change scope, never meaning: where nobody deletes, nothing goes (item 6)."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fwsync.filters import Bounds
from fwsync.model import Mode
from tests.properties.hosts import How
from tests.properties.people import PATHS
from tests.properties.profiles import bounded
from tests.properties.steps import Steps, die
from tests.properties.test_convergence import in_step
from tests.properties.world import World

PATTERNS = ("s/", "*.x", "x", "/t", "!x", "s/e/*", "a/", "r/e/", "x y", "!s/e/a/x")
patterns = st.lists(st.sampled_from(PATTERNS), max_size=3).map(tuple)
paths = st.sampled_from(PATHS)


class Filtering(RuleBasedStateMachine):
    """People write on both sides, and change what takes part; nobody deletes."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        [self.host] = self.world.hosts
        self.here: set[str] = set()
        self.there: set[str] = set()

    def teardown(self) -> None:
        try:
            self._run()
            for ignore in self.host.root.rglob(".fwsyncignore"):
                ignore.unlink()
            self.host.how = How()
            self.world.settle(self.host)
            in_step(self.host)
            assert self.here | self.there <= self.host.tree().keys()
            assert self.here | self.there <= self.world.cloud.tree().keys()
        finally:
            self.world.close()

    @rule(path=paths, size=st.integers(0, 12))
    def somebody_writes_here(self, path: str, size: int) -> None:
        if self.host.write(path, self.world.token(size)):
            self.here.add(path)

    @rule(path=paths, size=st.integers(0, 12))
    def somebody_writes_there(self, path: str, size: int) -> None:
        if self.world.put(path, self.world.token(size)):
            self.there.add(path)

    @rule(exclude=patterns, include=st.one_of(st.just(()), patterns))
    def other_patterns_are_given(self, exclude: tuple[str, ...], include: tuple[str, ...]) -> None:
        self.host.how.exclude, self.host.how.include = exclude, include

    @rule(folder=st.sampled_from(["", "s", "s/e", "s/e/a", "r"]), lines=patterns)
    def an_ignore_file_is_written(self, folder: str, lines: tuple[str, ...]) -> None:
        place = self.host.root / folder / ".fwsyncignore"
        if not place.parent.is_dir():
            return
        place.unlink(missing_ok=True)
        if lines:
            place.write_text("\n".join(lines))

    @rule(low=st.one_of(st.none(), st.integers(0, 6)), high=st.one_of(st.none(), st.integers(4, 9)))
    def other_sizes_take_part(self, low: int | None, high: int | None) -> None:
        self.host.how.bounds = Bounds(min_size=low, max_size=high)

    @rule(mode=st.sampled_from(Mode))
    def it_goes_another_way(self, mode: Mode) -> None:
        self.host.how.mode = mode

    @rule(at=st.one_of(st.none(), st.integers(0, 120)))
    def it_runs(self, at: int | None) -> None:
        self._run(None if at is None else Steps({at: die}))

    @rule(path=paths)
    def somebody_writes_during_a_run(self, path: str) -> None:
        self._run(Steps({70: self._writing(path)}))

    def _writing(self, path: str) -> Callable[[], None]:
        return lambda: self.somebody_writes_here(path, 5)

    def _run(self, steps: Steps | None = None) -> None:
        self.host.run(steps)
        self.world.check()

    @invariant()
    def nothing_goes(self) -> None:
        assert self.here <= self.host.tree().keys()
        assert self.there <= self.world.cloud.tree().keys()


TestFiltering = Filtering.TestCase
TestFiltering.settings = bounded(40, 15)
