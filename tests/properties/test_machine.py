"""P1, P3, P4: people work on both sides while runs go on, are killed and fail; nothing is lost.

Two hosts take part. On a server without versions nobody works there while a run goes on: it knows
no conditional upload, and what is replaced between the last look and the upload is lost there
(docs/decisions/0022-several-hosts.md).
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fwsync.model import ConflictPolicy, Mode
from tests.properties.people import Deed, deeds, do
from tests.properties.profiles import bounded
from tests.properties.test_convergence import in_step
from tests.properties.world import Act, How, Steps, World, die

HOSTS = 2

steps = st.integers(0, 160)
meanwhile = st.lists(st.tuples(steps, deeds(hosts=HOSTS)), max_size=4)
troubles = st.tuples(st.sampled_from(["", "", "dies", "fails"]), steps)


class Work(RuleBasedStateMachine):
    """One project, two hosts, and people."""

    world: World

    @initialize(versions=st.booleans(), digests=st.booleans())
    def begin(self, versions: bool, digests: bool) -> None:
        self.world = World(hosts=HOSTS, versions=versions, digests=digests)

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

    @rule(many=st.lists(deeds(hosts=HOSTS, clashes=True), min_size=1, max_size=4))
    def people_work(self, many: list[Deed]) -> None:
        for deed in many:
            do(self.world, deed)

    @rule(number=st.integers(0, HOSTS - 1), meanwhile=meanwhile, trouble=troubles)
    def a_host_runs(
        self, number: int, meanwhile: list[tuple[int, Deed]], trouble: tuple[str, int]
    ) -> None:
        acts: dict[int, Act] = {
            at: self._doing(deed)
            for at, deed in meanwhile
            if deed.where or self.world.cloud.has_versions
        }
        what, at = trouble
        if what == "dies":
            acts[at] = die
        self.world.hosts[number].run(Steps(acts, fails=at if what == "fails" else None))

    def _doing(self, deed: Deed) -> Callable[[], None]:
        return lambda: do(self.world, deed)

    @rule(number=st.integers(0, HOSTS - 1), deletes=st.booleans(), mode=st.sampled_from(Mode))
    def a_host_is_told_otherwise(self, number: int, deletes: bool, mode: Mode) -> None:
        self.world.hosts[number].how = How(mode, delete_up=deletes, delete_down=deletes)

    @rule(number=st.integers(0, HOSTS - 1), policy=st.sampled_from(ConflictPolicy))
    def a_host_has_a_policy(self, number: int, policy: ConflictPolicy) -> None:
        self.world.hosts[number].how.conflict = policy

    @rule(number=st.integers(0, HOSTS - 1), folder=st.sampled_from(["", "s", "s/e/a", "t"]))
    def a_host_runs_and_a_part_is_not_listed(self, number: int, folder: str) -> None:
        self.world.hidden = folder
        self.world.hosts[number].run()
        self.world.hidden = None

    @rule(number=st.integers(0, HOSTS - 1))
    def a_state_is_lost(self, number: int) -> None:
        self.world.hosts[number].lose_state()

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "world"):
            self.world.check()


TestWork = Work.TestCase
TestWork.settings = bounded(60, 12)
