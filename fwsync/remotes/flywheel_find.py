"""Who we are, and which project is meant: the questions asked before a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Unpack

from fwsync.errors import AuthError, NotFound, UsageError
from fwsync.model import Level
from fwsync.remotes.finding import IfMissing, find_project
from fwsync.remotes.flywheel_wire import PLURAL, Json, item_of, label_of, page_of, text_of
from fwsync.remotes.http import Api
from fwsync.remotes.naming import (
    Child,
    Project,
    Wanted,
    Who,
    list_below,
    no_such_group,
)
from fwsync.remotes.rights import granted_in, refuse_others_projects, who_asks

__all__ = [
    "FEATURES",
    "PAGE",
    "Child",
    "Project",
    "Who",
    "check_login",
    "ls",
    "no_flywheel_site",
    "project_by_id",
    "project_of",
    "resolve_project",
    "who_of",
]

PAGE = 1000  #: items asked for at a time; a server may give fewer
FEATURES = "Safe-Redirect,pagination,subject-container,exclude-files"


async def check_login(api: Api) -> Who:
    """Whose key this is.

    Raises:
        AuthError: it is not accepted.
        UsageError: this is no Flywheel site, or one whose API is another.
        Unavailable: the site cannot be reached.
    """
    try:
        status = item_of(await api.json("GET", ("auth", "status"), what="login"), "login")
    except NotFound:
        raise no_flywheel_site(api, "/auth/status") from None
    origin = status.get("origin")
    id_ = origin.get("id") if isinstance(origin, dict) else None
    if not isinstance(id_, str) or not id_:
        raise AuthError(
            "the API key belongs to nobody", hint="copy a new key from your Flywheel profile page"
        )
    admin = bool(status.get("user_is_admin"))
    if status.get("is_device"):
        return Who(id_, is_admin=admin, is_device=True)
    return who_of(await api.json("GET", ("users", "self"), what="login"), id_, is_admin=admin)


def who_of(answer: object, id_: str, *, is_admin: bool) -> Who:
    """A user, from the answer to ``/users/self``."""
    user = item_of(answer, "login")
    names = (user.get("firstname"), user.get("lastname"))
    name = " ".join(part for part in names if isinstance(part, str) and part)
    return Who(id_, name, is_admin)


def no_flywheel_site(api: Api, path: str) -> UsageError:
    """404 for what every Flywheel site has."""
    return UsageError(
        f"{api.url.origin()}: no Flywheel site answers there (404 for {path})",
        hint="check the address in the API key",
    )


async def ls(api: Api, path: str) -> list[Child]:
    """What lies below a Flywheel path; the groups, for an empty one; a file, for its own.

    Raises:
        UsageError: there is nothing at this path.
    """
    return await list_below(path, partial(_children, api))


async def _children(api: Api, segments: list[str]) -> list[Child]:
    what = "/".join(segments) or "the list of groups"
    body = {"path": segments or [""]}
    answer = await api.json("POST", ("resolve",), body=body, repeatable=True, what=what)
    children = item_of(answer, what).get("children")
    return [_child(item, what) for item in page_of(children, what).items]


def _child(item: Json, what: str) -> Child:
    kind = str(item.get("container_type") or item.get("node_type") or "")
    size = item.get("size")
    id_ = str(item.get("file_id") or item.get("_id") or "")
    label = text_of(item, "name", what) if kind == "file" else label_of(item, what)
    if kind == Level.GROUP.value:
        label = id_
    return Child(kind, label, id_, size if kind == "file" and isinstance(size, int) else None)


async def resolve_project(api: Api, text: str, **missing: Unpack[IfMissing]) -> Project:
    """The one project that a user means: see :func:`fwsync.remotes.finding.find_project`."""
    return await find_project(_Finder(api), text, **missing)


@dataclass(frozen=True, slots=True)
class _Finder:
    """Implements :class:`fwsync.remotes.finding.Finder`."""

    api: Api

    async def project_by_id(self, id_: str) -> Project | None:
        return await project_by_id(self.api, id_)

    async def visible(self) -> list[Project]:
        return await _visible(self.api)

    async def named(self, meant: Wanted) -> Project | None:
        return await _looked_up(self.api, meant)

    async def make_project(self, meant: Wanted, *, pretend: bool) -> Project:
        return await _make_project(self.api, meant.group, meant.label, pretend=pretend)


async def _looked_up(api: Api, meant: Wanted) -> Project | None:
    body = {"path": [meant.group, meant.label]}
    what = f"project {meant.text}"
    try:
        answer = await api.json(
            "POST", ("lookup",), body=body, repeatable=True, features=FEATURES, what=what
        )
    except NotFound:
        return None
    return project_of(item_of(answer, meant.text), meant.text, group=meant.group)


def project_of(item: Json, what: str, *, group: str = "") -> Project:
    """A project as it came.

    Raises:
        UsageError: it is something else.
    """
    kind = item.get("container_type") or item.get("node_type") or "project"
    if kind != "project":
        raise UsageError(f"{what} is a {kind}, not a project", hint="give it as GROUP/PROJECT")
    owner = item.get("group")
    owner = owner if isinstance(owner, str) and owner else group
    return Project(owner, label_of(item, what), text_of(item, "_id", what), granted_in(item))


async def project_by_id(api: Api, id_: str) -> Project | None:
    """The project with this id; None: there is none (404).

    Raises:
        Forbidden, AuthError: it is not ours to see.
    """
    what = f"project <id:{id_}>"
    try:
        answer = await api.json("GET", ("projects", id_), features=FEATURES, what=what)
    except NotFound:
        return None
    return project_of(item_of(answer, what), what)


async def _visible(api: Api) -> list[Project]:
    """All projects that the key can see."""
    projects: list[Project] = []
    after: str | None = None
    while True:
        answer = await api.json(
            "GET",
            (PLURAL[Level.PROJECT],),
            params={"limit": PAGE, "after_id": after},
            features=FEATURES,
            what="the list of projects",
        )
        page = page_of(answer, "the list of projects")
        projects += [project_of(item, "the list of projects") for item in page.items]
        last = projects[-1].id if page.items else after
        if last == after or (page.total is not None and len(projects) >= page.total):
            return projects
        after = last


async def _make_project(api: Api, group: str, label: str, *, pretend: bool) -> Project:
    what = f"project {group}/{label}"
    try:
        found = item_of(await api.json("GET", (PLURAL[Level.GROUP], group), what=what), what)
    except NotFound:
        raise no_such_group(group, what) from None
    who = await who_asks(api)
    if who is not None:
        refuse_others_projects(what, who, granted_in(found))
    if pretend:
        return Project(group, label, "")
    answer = await api.json(
        "POST", ("projects",), body={"label": label, "group": group}, what=f"making {what}"
    )
    return Project(group, label, text_of(item_of(answer, what), "_id", what))
