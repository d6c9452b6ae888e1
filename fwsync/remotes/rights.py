"""Whether a key may write, asked before anything is sent.

Its rule: only what the site says is a refusal. What it does not let us see is none: the run
goes on, and the site itself has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fwsync.errors import Forbidden, Garbled, NotFound, Refused
from fwsync.remotes.flywheel_wire import Json, item_of
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Granted, Project, Who

#: What a role must allow for uploads. Source: flywheel-cli 18.5.1, which asks for the same two.
NEEDED: Final = ("containers_create_hierarchy", "files_create_upload")

#: Who makes projects in a group. Source: the same.
_GROUP_ADMIN: Final = "admin"

#: Where permissions have no roles but one word: those that let a user write. Source: core18.
_WRITERS: Final = frozenset({"rw", "admin"})

#: An answer that says nothing about what we may.
_NOT_SAID = (Forbidden, NotFound, Refused, Garbled)


def granted_in(item: Json) -> tuple[Granted, ...] | None:
    """The permissions of a group or project, as it came; None: they are not shown."""
    told = item.get("permissions")
    if not isinstance(told, list):
        return None
    found = []
    for one in told:
        if isinstance(one, Mapping) and isinstance(one.get("_id"), str):
            roles = one.get("role_ids")
            roles = roles if isinstance(roles, list) else []
            found.append(
                Granted(
                    one["_id"],
                    str(one.get("access") or ""),
                    tuple(str(role) for role in roles),
                )
            )
    return tuple(found)


def of(user: str, granted: Sequence[Granted] | None) -> Granted | None:
    """What a user was given; None: nothing is shown, which is not nothing."""
    return next((one for one in granted or () if one.user == user), None)


def refuse_reader(project: Project, who: Who, granted: Sequence[Granted] | None) -> None:
    """For sites whose permissions have one word and no roles.

    Raises:
        Forbidden: the user may read there, and no more.
    """
    mine = None if who.is_admin or who.is_device else of(who.id, granted)
    if mine is not None and mine.access and mine.access not in _WRITERS:
        raise may_not_write(project, who.id, f"its access is {mine.access!r}")


def refuse_others_projects(what: str, who: Who, granted: Sequence[Granted] | None) -> None:
    """Only an admin of a group makes projects in it.

    Raises:
        Forbidden: the user was given less.
    """
    mine = None if who.is_admin or who.is_device else of(who.id, granted)
    if mine is not None and mine.access and mine.access != _GROUP_ADMIN:
        raise Forbidden(
            f"{what}: {who.id} may not make projects there (access {mine.access!r} to the group)",
            hint="ask an admin of the group to make the project, or for admin access",
        )


def may_not_write(project: Project, user: str, why: str) -> Forbidden:
    """A key that may not write to a project."""
    return Forbidden(
        f"{project}: {user} may not write there ({why})",
        hint="ask an admin of the project for a role that creates containers and uploads files",
    )


async def who_asks(api: Api) -> Who | None:
    """Whose key this is, by one request; None: the site does not say."""
    what = "asking what the key may do"
    try:
        status = item_of(await api.json("GET", ("auth", "status"), what=what), what)
    except _NOT_SAID:
        return None
    origin = status.get("origin")
    id_ = origin.get("id") if isinstance(origin, Mapping) else None
    if not isinstance(id_, str) or not id_:
        return None
    admin, device = bool(status.get("user_is_admin")), bool(status.get("is_device"))
    return Who(id_, is_admin=admin, is_device=device)


@dataclass(slots=True)
class Rights:
    """What a key may do at a site; everything is asked once, and again before a refusal."""

    api: Api
    _who: Who | None = None
    _actions: dict[str, frozenset[str] | None] = field(default_factory=dict)

    async def check(self, project: Project) -> None:
        """See that the key may write to a project: one request, and one for each role there.

        Devices and admins may.

        Raises:
            Forbidden: it may not.
            AuthError, Unavailable: as every request.
        """
        self._who = self._who or await who_asks(self.api)
        who = self._who
        if who is None or who.is_admin or who.is_device:
            return
        if await self._lacking(of(who.id, project.granted)) is None:
            return
        # What was seen may be from before somebody gave us a role.
        self._actions.clear()
        mine = of(who.id, await self._granted_now(project))
        lacking = await self._lacking(mine)
        if lacking is not None:
            raise may_not_write(project, who.id, lacking)

    async def _granted_now(self, project: Project) -> tuple[Granted, ...] | None:
        what = f"project {project}"
        try:
            return granted_in(
                item_of(await self.api.json("GET", ("projects", project.id), what=what), what)
            )
        except _NOT_SAID:
            return None

    async def _lacking(self, mine: Granted | None) -> str | None:
        """What a user lacks, in words; None: nothing, as far as is shown."""
        if mine is None:
            return None
        if not mine.roles:
            is_reader = bool(mine.access) and mine.access not in _WRITERS
            return f"its access is {mine.access!r}" if is_reader else None
        allowed: set[str] = set()
        for role in mine.roles:
            if role not in self._actions:
                self._actions[role] = await self._actions_of(role)
            actions = self._actions[role]
            if actions is None:
                return None
            allowed |= actions
        missing = [one for one in NEEDED if one not in allowed]
        return f"no role of it allows {' and '.join(missing)}" if missing else None

    async def _actions_of(self, role: str) -> frozenset[str] | None:
        what = f"role {role}"
        try:
            answer = item_of(await self.api.json("GET", ("roles", role), what=what), what)
        except _NOT_SAID:
            return None
        actions = answer.get("actions")
        return frozenset(map(str, actions)) if isinstance(actions, list) else None
