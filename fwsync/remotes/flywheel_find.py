"""Who we are, and which project is meant: the questions asked before a run."""

from __future__ import annotations

import difflib
import re
import shlex
from dataclasses import dataclass

from fwsync.errors import AuthError, Forbidden, NotFound, RemoteError, UsageError
from fwsync.model import Level
from fwsync.remotes.flywheel_wire import PLURAL, Json, item_of, label_of, page_of, text_of
from fwsync.remotes.http import Api

PAGE = 1000  #: items asked for at a time; a server may give fewer
FEATURES = "Safe-Redirect,pagination,subject-container,exclude-files"
_BY_ID = re.compile(r"<id:([^<>]+)>")


@dataclass(frozen=True, slots=True)
class Project:
    """A project on the server."""

    group: str
    label: str
    id: str

    def __str__(self) -> str:
        return f"{self.group}/{self.label}"


@dataclass(frozen=True, slots=True)
class Who:
    """Whose key it is."""

    id: str  #: a user's e-mail address, or a device's id
    name: str = ""
    is_admin: bool = False
    is_device: bool = False


@dataclass(frozen=True, slots=True)
class Child:
    """One line of ``fwsync ls``."""

    kind: str  #: group, project, subject, session, acquisition, analysis, file
    label: str
    id: str
    size: int | None = None  #: bytes, of a file


async def check_login(api: Api) -> Who:
    """Whose key this is.

    Raises:
        AuthError: it is not accepted.
        UsageError: the server is too old for us, or no Flywheel site.
        Unavailable: the site cannot be reached.
    """
    status = await _login_status(api)
    origin = status.get("origin")
    id_ = origin.get("id") if isinstance(origin, dict) else None
    if not isinstance(id_, str) or not id_:
        raise AuthError(
            "the API key belongs to nobody", hint="copy a new key from your Flywheel profile page"
        )
    admin = bool(status.get("user_is_admin"))
    if status.get("is_device"):
        return Who(id_, is_admin=admin, is_device=True)
    user = item_of(await api.json("GET", ("users", "self"), what="login"), "login")
    names = (user.get("firstname"), user.get("lastname"))
    name = " ".join(part for part in names if isinstance(part, str) and part)
    return Who(id_, name, admin)


async def _login_status(api: Api) -> Json:
    """What the server says of the key; one request where it is one that we can speak to."""
    try:
        return item_of(await api.json("GET", ("auth", "status"), what="login"), "login")
    except NotFound:
        pass
    site = api.url.origin()
    try:
        await api.json("GET", ("users", "self"), what="login")
    except NotFound:
        raise UsageError(
            f"{site}: no Flywheel site answers there (404 for /auth/status and /users/self)",
            hint="check the address in the API key",
        ) from None
    raise UsageError(
        f"{site}: speaks an API of 2018 or so (404 for /auth/status), "
        "too old for this version of fwsync",
        hint="check the address in the API key; or ask the site's admin when it will be updated",
    )


async def ls(api: Api, path: str) -> list[Child]:
    """What lies below a Flywheel path; the groups, for an empty one; a file, for its own.

    Raises:
        UsageError: there is nothing at this path.
    """
    segments = [part for part in path.removeprefix("fw://").split("/") if part]
    try:
        return await _children(api, segments, path or "the list of groups")
    except NotFound as error:
        missing = error
    if not segments:
        hint = "is this the address of a Flywheel site? the API key names it"
        raise UsageError(missing.message, hint=hint)
    above, beside = await _nearest_above(api, segments)
    # The server finds containers by such a path, and files only in the lists of those.
    found = [one for one in beside if one.kind == "file" and one.label == segments[-1]]
    if found and len(above) == len(segments) - 1:
        return found
    hint = f"`fwsync ls {shlex.quote('/'.join(above))}` shows what is there"
    if not above:
        hint = "`fwsync ls` without a path shows the groups"
    raise UsageError(missing.message, hint=hint)


async def _children(api: Api, segments: list[str], what: str) -> list[Child]:
    body = {"path": segments or [""]}
    answer = await api.json("POST", ("resolve",), body=body, repeatable=True, what=what)
    children = item_of(answer, what).get("children")
    return [_child(item, what) for item in page_of(children, what).items]


async def _nearest_above(api: Api, segments: list[str]) -> tuple[list[str], list[Child]]:
    """The longest part of a path that leads somewhere, and what is there; may be empty."""
    for length in range(len(segments) - 1, 0, -1):
        above = segments[:length]
        try:
            return above, await _children(api, above, "/".join(above))
        except (NotFound, Forbidden):
            continue
    return [], []


def _child(item: Json, what: str) -> Child:
    kind = str(item.get("container_type") or item.get("node_type") or "")
    size = item.get("size")
    id_ = str(item.get("file_id") or item.get("_id") or "")
    label = text_of(item, "name", what) if kind == "file" else label_of(item, what)
    if kind == Level.GROUP.value:
        label = id_
    return Child(kind, label, id_, size if kind == "file" and isinstance(size, int) else None)


async def resolve_project(
    api: Api,
    text: str,
    *,
    create_project: bool = False,
    pretend: bool = False,
    may_create: bool = True,
) -> Project:
    """The one project that a user means.

    Args:
        text: ``group/project``, ``fw://group/project``, a project's label alone, or
            ``<id:…>``; a label may itself be given as ``<id:…>``.
        create_project: make it in its group, if it is not there. A group is never made.
        pretend: make nothing: one that would be made is given without an id.
        may_create: whoever asks could have asked for one to be made; only for the hint.

    Raises:
        UsageError: there is none, or more than one.
        Forbidden, AuthError: it is not ours to see.
    """
    wanted = text.strip().removeprefix("fw://").strip("/")
    if not wanted:
        raise UsageError("no project is named", hint="give it as GROUP/PROJECT")
    by_id = _BY_ID.fullmatch(wanted)
    if by_id:
        return await _the_one_with_id(api, by_id[1], text)
    group, slash, label = wanted.partition("/")
    if not slash:
        return await _project_by_label(api, wanted)
    if "/" in label:
        raise UsageError(
            f"{text}: a project is named by two parts, GROUP/PROJECT",
            hint="what is synced is a whole project",
        )
    by_id = _BY_ID.fullmatch(label)
    if by_id:
        return await _the_one_with_id(api, by_id[1], text)
    try:
        answer = await api.json(
            "POST",
            ("lookup",),
            body={"path": [group, label]},
            repeatable=True,
            features=FEATURES,
            what=f"project {wanted}",
        )
    except NotFound:
        answer = None
    if answer is not None:
        return _project(item_of(answer, wanted), wanted, group=group)
    if create_project:
        return await _make_project(api, group, label, pretend=pretend)
    raise await _no_such_project(api, wanted, may_create=may_create)


def _project(item: Json, what: str, *, group: str = "") -> Project:
    kind = item.get("container_type") or item.get("node_type") or "project"
    if kind != "project":
        raise UsageError(f"{what} is a {kind}, not a project", hint="give it as GROUP/PROJECT")
    owner = item.get("group")
    owner = owner if isinstance(owner, str) and owner else group
    return Project(owner, label_of(item, what), text_of(item, "_id", what))


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
    return _project(item_of(answer, what), what)


async def _the_one_with_id(api: Api, id_: str, text: str) -> Project:
    project = await project_by_id(api, id_)
    if project is None:
        raise UsageError(
            f"{text}: there is no project with this id", hint="`fwsync ls` shows what is there"
        )
    return project


async def _project_by_label(api: Api, label: str) -> Project:
    projects = await _visible(api)
    found = [project for project in projects if project.label == label]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{label}: more than one project has this label: {', '.join(map(str, found))}",
            hint="give it as GROUP/PROJECT",
        )
    raise _nearest(label, projects, by_label=True, may_create=False)


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
        projects += [_project(item, "the list of projects") for item in page.items]
        last = projects[-1].id if page.items else after
        if last == after or (page.total is not None and len(projects) >= page.total):
            return projects
        after = last


async def _no_such_project(api: Api, wanted: str, *, may_create: bool) -> UsageError:
    try:
        projects = await _visible(api)
    except RemoteError:
        projects = []
    return _nearest(wanted, projects, by_label=False, may_create=may_create)


def _nearest(
    wanted: str, projects: list[Project], *, by_label: bool, may_create: bool
) -> UsageError:
    group, _, label = wanted.rpartition("/")
    # A list may hold what cannot be looked up: nobody meant another by the very same name.
    projects = [project for project in projects if str(project) != wanted]
    # Labels are compared within the group: what two names share by their group is no likeness.
    names = {
        project.label.casefold(): str(project)
        for project in projects
        if by_label or project.group == group
    }
    if not names:
        names, label = {str(project).casefold(): str(project) for project in projects}, wanted
    close = [names[one] for one in difflib.get_close_matches(label.casefold(), names, n=3)]
    hints = [f"did you mean {', '.join(close)}?" if close else "`fwsync ls` shows what is there"]
    if may_create:
        hints.append("--create-project makes it")
    if by_label:
        missing = "no project has this label; a project is named by two parts, GROUP/PROJECT"
    else:
        missing = "there is no such project, or the key may not see it"
    return UsageError(f"{wanted}: {missing}", hint="; ".join(hints))


async def _make_project(api: Api, group: str, label: str, *, pretend: bool) -> Project:
    what = f"project {group}/{label}"
    try:
        await api.json("GET", (PLURAL[Level.GROUP], group), what=what)
    except NotFound:
        pass
    else:
        await _login_status(api)  # nothing is made where we could not go on
        if pretend:
            return Project(group, label, "")
        answer = await api.json(
            "POST", ("projects",), body={"label": label, "group": group}, what=f"making {what}"
        )
        return Project(group, label, text_of(item_of(answer, what), "_id", what))
    raise UsageError(
        f"{what}: there is no group {group!r}, or the key may not see it",
        hint="ask a site admin to make the group; fwsync makes projects only",
    )
