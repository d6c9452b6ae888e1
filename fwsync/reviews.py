"""What is asked of a plan before the first byte: may the key do it, and is any of it double?

The one rule: a refusal comes before anything is sent or made, and is one error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

from fwsync.config import Settings
from fwsync.doubles import Doubles
from fwsync.errors import Forbidden
from fwsync.executor import Review
from fwsync.layout import Layout
from fwsync.mapping.duplicates import codes_of
from fwsync.model import Decision, Duplicates, Level, Problem, Verb
from fwsync.placing import HeaderReader
from fwsync.plan import Plan, deleting_nothing_there, without
from fwsync.remotes.connect import Connection, SiteRemote
from fwsync.remotes.naming import Project
from fwsync.remotes.uids import Homes
from fwsync.state import StateThread

#: What can be done with a project that is only read (S112).
_COMING = frozenset({Verb.DOWNLOAD, Verb.CONFLICT, Verb.RENAME, Verb.DELETE_LOCAL})


@dataclass(slots=True)
class MayWrite:
    """Asks for each project that gets something, once, whether the key may write there.

    Where folders name many projects, one that refuses does not keep the others from theirs:
    its files are problems of the run. While files wait for a project, nothing is deleted on the
    server: one of them may be what is left of the file that would go.
    """

    site: Connection
    remote: SiteRemote
    layout: Layout
    _allowed: set[str] = field(default_factory=set)

    async def __call__(self, plan: Plan) -> tuple[Plan, list[Problem]]:
        """The plan without what goes to projects that refuse, and a problem for each such file.

        Raises:
            Forbidden: the key may write to none of the projects in scope, and nothing is to
                come from them.
        """
        refusals: dict[tuple[str, ...], Forbidden] = {}
        for project in self._getting_something(plan):
            if project.id in self._allowed:
                continue
            try:
                await self.site.check_rights(project)
            except Forbidden as error:
                refusals[project.group, project.label] = error
            else:
                self._allowed.add(project.id)
        if any(not one.expected for one in self.remote.unseen):
            plan = deleting_nothing_there(plan)
        if not refusals:
            return plan, []
        # Not of those that get something now: the others may be in step already.
        refused_by_all = len(refusals) == sum(bool(one.id) for one in self.remote.projects)
        if refused_by_all and not any(one.verb in _COMING for one in plan.carry_out):
            first = next(iter(refusals.values()))
            raise Forbidden(
                f"{first.message}; nothing was sent", status=first.status, hint=first.hint
            )
        sent = (one for one in plan.carry_out if one.verb is Verb.UPLOAD)
        named = ((one.path, refusals.get(self._project_of(one))) for one in sent)
        problems = [Problem.of(path, error) for path, error in named if error is not None]
        return without(plan, {one.path for one in problems}), problems

    def _getting_something(self, plan: Plan) -> list[Project]:
        named = {self._project_of(one) for one in plan.carry_out if one.verb is Verb.UPLOAD}
        return [one for one in self.remote.projects if one.id and (one.group, one.label) in named]

    def _project_of(self, decision: Decision) -> tuple[str, ...]:
        """Group and project of the file; empty: of none."""
        return self.layout.project_of(decision.path) or ()


@dataclass(frozen=True, slots=True)
class Asking:
    """What the questions are asked with."""

    site: Connection
    remote: SiteRemote
    layout: Layout
    state: StateThread
    reader: HeaderReader
    tell: Callable[[str], None]
    only_look: bool = False  #: a plan: each finding is shown as a problem


async def review_of(asks: Asking, settings: Settings) -> Review:
    """What looks at the plans of a session.

    Raises:
        UsageError: a project to look for uids in is not there.
    """
    may_write = MayWrite(asks.site, asks.remote, asks.layout)
    if not settings.detect_duplicates:
        return may_write
    others = [
        await asks.site.resolve_project(name, may_create=False)
        for name in settings.duplicate_projects
    ]

    async def find(level: Level, uids: Collection[str]) -> Homes:
        return await asks.site.uid_homes(asks.remote, level, uids, others=others)

    doubles = Doubles(
        state=asks.state,
        layout=asks.layout,
        reader=asks.reader,
        find=find,
        tell=asks.tell,
        codes=codes_of(settings.duplicate_codes),
        leave=settings.duplicates is Duplicates.SKIP,
        as_problems=asks.only_look,
    )
    return partial(_both, may_write, doubles)


async def _both(may_write: MayWrite, doubles: Doubles, plan: Plan) -> tuple[Plan, list[Problem]]:
    plan, refused = await may_write(plan)
    plan, double = await doubles(plan)
    return plan, [*refused, *double]
