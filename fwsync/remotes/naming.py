"""How a user names a project, and what they are told where there is none: for every site."""

from __future__ import annotations

import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from fwsync.errors import Forbidden, NotFound, NothingThere, UsageError
from fwsync.spelling import did_you_mean, near

_BY_ID = re.compile(r"<id:([^<>]+)>")


@dataclass(frozen=True, slots=True)
class Granted:
    """What a user was given on a group or a project."""

    user: str
    access: str = ""  #: one word, such as ``rw``; empty where there are only roles
    roles: tuple[str, ...] = ()  #: ids


@dataclass(frozen=True, slots=True)
class Project:
    """A project on the server."""

    group: str
    label: str
    id: str
    #: As it was when the project was last seen; None: it was not shown.
    granted: tuple[Granted, ...] | None = field(default=None, compare=False, repr=False)
    is_new: bool = field(default=False, compare=False, repr=False)  #: this very run has made it

    def __str__(self) -> str:
        return f"{self.group}/{self.label}"


@dataclass(frozen=True, slots=True)
class Who:
    """Whose key it is."""

    id: str  #: a user's e-mail address, or a device's id
    name: str = ""
    is_admin: bool = False
    is_device: bool = False


#: What a path of labels leads to and never through.
_CLOSED: Final = {"analysis": "an analysis", "file": "a file"}


@dataclass(frozen=True, slots=True)
class Child:
    """One line of ``fwsync ls``."""

    kind: str  #: group, project, subject, session, acquisition, analysis, file
    label: str
    id: str
    size: int | None = None  #: bytes, of a file


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user means by a project: its id; or its label, and perhaps its group."""

    text: str  #: without ``fw://``
    group: str = ""
    label: str = ""
    id: str = ""


def wanted(text: str) -> Wanted:
    """Read ``group/project``, ``fw://group/project``, a label alone, or ``<id:…>``.

    Raises:
        UsageError: it is none of these.
    """
    meant = text.strip().removeprefix("fw://").strip("/")
    if not meant:
        raise UsageError("no project is named", hint="give it as GROUP/PROJECT")
    group, slash, label = meant.partition("/")
    if not slash:
        group, label = "", meant
    if by_id := _BY_ID.fullmatch(meant):
        return Wanted(meant, id=by_id[1])
    if "/" in label:
        raise UsageError(
            f"{text}: a project is named by two parts, GROUP/PROJECT",
            hint="what is synced is a whole project",
        )
    if by_id := _BY_ID.fullmatch(label):
        return Wanted(meant, id=by_id[1])
    return Wanted(meant, group, label)


def segments_of(path: str) -> list[str]:
    """The labels of a path, and the name at its end: ``fw://lab/aging/`` is two."""
    return [part for part in path.strip().removeprefix("fw://").split("/") if part]


def split_path(text: str) -> tuple[str, tuple[str, ...]]:
    """A project as :func:`wanted` reads it, and what is named below it.

    ``fw://lab/aging/sub-01/`` is ``lab/aging`` and ``("sub-01",)``; below ``<id:…>`` alone, which
    is a project, comes the rest.
    """
    parts = segments_of(text)
    own = 1 if parts and _BY_ID.fullmatch(parts[0]) else 2
    if len(parts) <= own:
        return text, ()
    return "/".join(parts[:own]), tuple(parts[own:])


def no_such_id(text: str) -> UsageError:
    """There is no project with the id that was given."""
    return NothingThere(
        f"{text}: there is no project with this id", hint="`fwsync ls` shows what is there"
    )


def no_such_group(group: str, what: str) -> UsageError:
    """A project cannot be made where its group is not."""
    return UsageError(
        f"{what}: there is no group {group!r}, or the key may not see it",
        hint="ask a site admin to make the group; fwsync makes projects only",
    )


def the_one_with_label(label: str, projects: Sequence[Project]) -> Project:
    """The one project of those that are visible that has a label.

    Raises:
        UsageError: there is none, or more than one.
    """
    found = [project for project in projects if project.label == label]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{label}: more than one project has this label: {', '.join(map(str, found))}",
            hint="give it as GROUP/PROJECT",
        )
    raise no_such_project(label, projects, by_label=True, may_create=False)


def no_such_project(
    wanted: str, projects: Sequence[Project], *, by_label: bool, may_create: bool
) -> UsageError:
    """There is no such project; the hint names those that are spelled alike.

    Args:
        projects: those that the key can see.
        by_label: it was named by its label alone.
        may_create: whoever asked could have asked for one to be made.
    """
    group, _, label = wanted.rpartition("/")
    if by_label and (beside := [str(one) for one in projects if one.group == wanted]):
        return NothingThere(
            f"{wanted}: is a group; expected one of its projects, as GROUP/PROJECT",
            hint=did_you_mean(wanted, beside),
        )
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
    close = [names[one] for one in near(label, names)]
    hint = f"did you mean {' or '.join(close)}?" if close else "`fwsync ls` shows what is there"
    if may_create:
        hint += f"{'' if close else ';'} --create-project makes {'it' if not close else wanted}"
    if by_label:
        missing = "no project has this label; a project is named by two parts, GROUP/PROJECT"
    else:
        missing = "there is no such project, or the key may not see it"
    return NothingThere(f"{wanted}: {missing}", hint=hint)


async def list_below(
    path: str, children: Callable[[list[str]], Awaitable[list[Child]]]
) -> list[Child]:
    """What lies below a Flywheel path; the groups, for an empty one; a file, for its own.

    Args:
        path: labels joined by ``/``.
        children: of a container, by its labels from the group down; :class:`NotFound` where
            there is none.

    Raises:
        UsageError: there is nothing at this path.
    """
    segments = segments_of(path)
    try:
        return await children(segments)
    except NotFound as error:
        missing = error
    if not segments:
        hint = "is this the address of a Flywheel site? the API key names it"
        raise UsageError(missing.message, hint=hint)
    above, beside = await _nearest_above(segments, children)
    # The server finds containers by such a path, and files only in the lists of those.
    found = [one for one in beside if one.kind == "file" and one.label == segments[-1]]
    if found and len(above) == len(segments) - 1:
        return found
    at = "/".join(above)
    hint = f"`fwsync ls {shlex.quote(at)}` shows what is there"
    if not above:
        hint = "`fwsync ls` without a path shows the groups"
    wrong = segments[len(above)]
    kinds = {str(one.kind) for one in beside if one.label == wrong}
    if what := kinds & _CLOSED.keys():
        raise _is_something_else(path, "/".join([*above, wrong]), min(what), hint)
    if asked := did_you_mean(wrong, sorted(one.label for one in beside)):
        hint = f"{asked}{'' if asked.endswith('?') else ';'} {hint}"
    why = f"{at} has no {wrong!r}" if above else f"there is no group {wrong!r}"
    raise NothingThere(f"{path}: is not there, or the key may not see it: {why}", hint=hint)


def _is_something_else(path: str, at: str, what: str, hint: str) -> NothingThere:
    """A path leads through something that is there, and that cannot be looked into."""
    if what == "analysis":
        above, _, label = at.rpartition("/")
        hint = f"an analysis is named by {shlex.quote(f'{above}/analyses/{label}')}"
    return NothingThere(f"{path}: is not there; {at} is {_CLOSED[what]}", hint=hint)


async def _nearest_above(
    segments: list[str], children: Callable[[list[str]], Awaitable[list[Child]]]
) -> tuple[list[str], list[Child]]:
    """The longest part of a path that leads somewhere, and what is there; the groups, at worst."""
    for length in range(len(segments) - 1, -1, -1):
        above = segments[:length]
        try:
            return above, await children(above)
        except (NotFound, Forbidden):
            continue
    return [], []
