"""P1, P3, P4: people work on both sides while runs go on, are killed and fail; nothing is lost.

Two hosts take part. On a server without versions nobody works there while a run goes on: it knows
no conditional upload, and what is replaced between the last look and the upload is lost there
(docs/decisions/0022-several-hosts.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fwsync.filters import Bounds
from fwsync.model import ConflictPolicy, Mode
from fwsync.plan import DeleteLimits
from tests.properties.hosts import How
from tests.properties.people import PATHS, Deed, deeds, do
from tests.properties.profiles import bounded
from tests.properties.steps import Act, Steps, die
from tests.properties.test_convergence import in_step
from tests.properties.test_filters import PATTERNS
from tests.properties.world import World

HOSTS = 2
FEW = ("s/e/a/x", "s/e/a/y")

numbers = st.integers(0, HOSTS - 1)
steps = st.integers(0, 160)
meanwhile = st.lists(st.tuples(steps, deeds(hosts=HOSTS, clashes=True, wide=True)), max_size=4)
troubles = st.tuples(st.sampled_from(["", "", "dies", "fails", "is down", "stops", "ends"]), steps)
patterns = st.lists(st.sampled_from(PATTERNS), max_size=2).map(tuple)
#: (patterns that are left out, patterns that are taken, the smallest size, the largest)
narrowings = st.tuples(
    patterns,
    st.one_of(st.just(()), patterns),
    st.one_of(st.none(), st.integers(0, 6)),
    st.one_of(st.none(), st.integers(4, 9)),
)
most = st.one_of(st.none(), st.integers(0, 3))


class Work(RuleBasedStateMachine):
    """One project, two hosts, and people."""

    world: World
    crowded: bool

    @initialize(
        versions=st.booleans(),
        digests=st.booleans(),
        crowded=st.booleans(),
        agreed=st.lists(st.sampled_from(PATHS), unique=True),
    )
    def begin(self, versions: bool, digests: bool, crowded: bool, agreed: list[str]) -> None:
        """Both sides agree on some files; or on two, and all is done to these."""
        self.world = World(hosts=HOSTS, versions=versions, digests=digests)
        self.crowded = crowded
        for path in FEW if crowded else agreed:
            self.world.put(path, self.world.token())
        for host in self.world.hosts:
            host.run()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            for host in self.world.hosts:
                host.how = How()
            self.world.settle_all()
            for host in self.world.hosts:
                in_step(host)
        finally:
            self.world.close()

    @rule(many=st.lists(deeds(hosts=HOSTS, clashes=True, wide=True), min_size=1, max_size=4))
    def people_work(self, many: list[Deed]) -> None:
        for deed in many:
            self._do(deed)

    @rule(
        number=numbers,
        meanwhile=meanwhile,
        beside=st.one_of(st.none(), st.none(), steps),
        trouble=troubles,
    )
    def a_host_runs(
        self,
        number: int,
        meanwhile: list[tuple[int, Deed]],
        beside: int | None,
        trouble: tuple[str, int],
    ) -> None:
        """People work meanwhile, and another host runs; on either side, where that can be."""
        may = self.world.cloud.has_versions
        acts: dict[int, Act] = {
            at: self._doing(deed) for at, deed in meanwhile if deed.where or may
        }
        if beside is not None and may:
            acts[beside] = self.world.hosts[1 - number].run_beside
        what, at = trouble
        if what == "dies":
            acts[at] = die
        self.world.hosts[number].run(
            Steps(
                acts,
                fails=at if what in ("fails", "is down") else None,
                for_good=what == "is down",
                stops=at if what == "stops" else None,
                cancels=at if what == "ends" else None,
            )
        )

    def _doing(self, deed: Deed) -> Callable[[], None]:
        return lambda: self._do(deed)

    def _do(self, deed: Deed) -> None:
        path = FEW[len(deed.path) % len(FEW)] if self.crowded else deed.path
        do(self.world, replace(deed, path=path))

    @rule(number=numbers, up=st.booleans(), down=st.booleans(), mode=st.sampled_from(Mode))
    def a_host_is_told_otherwise(self, number: int, up: bool, down: bool, mode: Mode) -> None:
        self.world.hosts[number].how = How(mode, delete_up=up, delete_down=down)

    @rule(number=numbers, narrow=narrowings)
    def a_host_takes_a_part(
        self,
        number: int,
        narrow: tuple[tuple[str, ...], tuple[str, ...], int | None, int | None],
    ) -> None:
        how = self.world.hosts[number].how
        how.exclude, how.include, low, high = narrow
        how.bounds = Bounds(min_size=low, max_size=high)

    @rule(number=numbers, most=most, transfers=st.integers(1, 4), read_only=st.booleans())
    def a_host_may_less(
        self, number: int, most: int | None, transfers: int, read_only: bool
    ) -> None:
        how = self.world.hosts[number].how
        how.limits, how.transfers, how.read_only = DeleteLimits(most, None), transfers, read_only

    @rule(number=numbers, policy=st.sampled_from(ConflictPolicy))
    def a_host_has_a_policy(self, number: int, policy: ConflictPolicy) -> None:
        self.world.hosts[number].how.conflict = policy

    @rule(number=numbers, folder=st.sampled_from(["", "s", "s/e/a", "t"]))
    def a_host_runs_and_a_part_is_not_listed(self, number: int, folder: str) -> None:
        self.world.hidden = folder
        self.world.hosts[number].run()
        self.world.hidden = None

    @rule(number=numbers)
    def a_state_is_lost(self, number: int) -> None:
        self.world.hosts[number].lose_state()

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "world"):
            self.world.check()


TestWork = Work.TestCase
TestWork.settings = bounded(60, 12)
