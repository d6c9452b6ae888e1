"""What a profile would change in the files of a plan, before any of them is sent.

The one rule: fields and actions are shown, and how many files they meet; never a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from fwsync.deid import Deid, Summary
from fwsync.errors import FileProblem
from fwsync.executor import Review
from fwsync.model import Decision, LocalEntry, Problem, Verb
from fwsync.plan import Plan
from fwsync.threads import workers

#: Files that are looked at: of a large plan, the first ones stand for the rest.
SAMPLE = 1000

#: Files that are looked at side by side.
_SIDE_BY_SIDE = 2


@dataclass(frozen=True, slots=True)
class Preview:
    """Runs the profile over the files of a plan, and says what it changes.

    Args:
        deid: the hook.
        root_fd: the root, open for as long as this is used.
        tell: is told a line for each field.
        before: what else looks at the plan.
    """

    deid: Deid
    root_fd: int
    tell: Callable[[str], None]
    before: Review

    async def __call__(self, plan: Plan) -> tuple[Plan, list[Problem]]:
        """The plan as it is; a file that would not be sent is a problem."""
        plan, problems = await self.before(plan)
        files = _files(plan)
        summary, refused = await self._look(islice(files, SAMPLE))
        for line in summary.lines():
            self.tell(line)
        if next(files, None) is not None:
            self.tell(f"de-identification: shown for the first {SAMPLE:,} files")
        return plan, [*problems, *refused]

    async def _look(
        self, files: Iterator[tuple[Decision, LocalEntry]]
    ) -> tuple[Summary, list[Problem]]:
        summary = Summary()
        refused: list[Problem] = []

        async def worker() -> None:
            for decision, entry in files:
                try:
                    made, _ = await self.deid.read(self.root_fd, entry, tell=True)
                except FileProblem as error:
                    refused.append(replace(Problem.of(entry.path, error), path=decision.path))
                else:
                    summary.add(made)

        async with workers() as crew:
            for _ in range(_SIDE_BY_SIDE):
                crew.create_task(worker())
        return summary, sorted(refused, key=lambda one: (one.path, one.message))


def _files(plan: Plan) -> Iterator[tuple[Decision, LocalEntry]]:
    """Every file that would be sent, those in packs one by one."""
    for decision in plan.carry_out:
        if decision.verb is not Verb.UPLOAD or decision.local is None:
            continue
        if decision.local.pack is None:
            yield decision, decision.local
            continue
        for member in decision.local.pack.members:
            yield decision, member.entry
