"""What on the server a root is kept in step with: one project, or those that its files name.

The one rule: a project is named by the call, by the state or by the layout, to the letter, and
never guessed. What could not be asked about is not gone.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fwsync import roots, whereabouts
from fwsync.config import Settings
from fwsync.errors import Forbidden, RemoteError, UsageError
from fwsync.filters import Filters
from fwsync.layout import PROJECT_FOLDERS, Layout, label_of
from fwsync.model import Mode, RelPath, Unknown
from fwsync.remotes.connect import Connection, Door, SiteRemote
from fwsync.remotes.naming import Project
from fwsync.state import State, StateThread

#: Settings that a state keeps for its root.
PROJECT_ID, PROJECT_NAME = "project", "project_name"

#: Group and project, by their labels.
_Labels = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Scope:
    """What on the server a root is kept in step with."""

    id: str  #: the project's, or a sign for all projects that the root's files name
    name: str  #: for people
    projects: tuple[Project, ...] = ()  #: empty: found from the files, see NamedProjects
    group: str | None = None
    label: str | None = None

    @property
    def is_whole_site(self) -> bool:
        """True if files may go to any project of the site."""
        return self.id == whereabouts.WHOLE_SITE


async def named_scope(
    door: Door, settings: Settings, target: str | None, *, pretend: bool, may_create: bool
) -> Scope | None:
    """The scope that the call names; None: the root has to know.

    Args:
        door: to the site.
        settings: say if a project may be made, and may have a layout that names projects.
        target: the project as the call names it.
        pretend: make nothing.
        may_create: whoever asks could have asked for a project to be made; for the hint.

    Raises:
        UsageError, Forbidden: there is no such project, or not for us.
    """
    if target is not None and target.strip() == whereabouts.SITE:
        return whole_site(door)
    if target is not None:
        site = await door.open()
        project = await site.resolve_project(
            target,
            create_project=settings.create_project,
            pretend=pretend,
            may_create=may_create,
        )
        if not project.id:  # it would be made: nothing is in it
            return Scope("", str(project), (), project.group, project.label)
        return Scope(project.id, str(project), (project,), project.group, project.label)
    if settings.layout and settings.layout.startswith(PROJECT_FOLDERS):
        return whole_site(door)
    return None


async def check_not_relabelled(door: Door, remotes: Path, target: str) -> None:
    """No second project is made of one that a root knows, and that was relabelled on the server.

    Args:
        door: to the site.
        remotes: of the root: see :func:`whereabouts.known_remotes`.
        target: the project as the call names it, which may be made.

    Raises:
        UsageError: it would be made, and all files sent once more.
    """
    name = target.strip().removeprefix("fw://").strip("/")
    for one in whereabouts.known_remotes(remotes):
        at, _, id_ = one.key.rpartition(" ")
        is_meant = not one.gone and name in (one.name, *one.former)
        if not is_meant or at != str(door.api.url.origin()):
            continue
        site = await door.open()
        with contextlib.suppress(Forbidden):  # not ours to see: nothing is known
            project = await site.project_by_id(id_)
            if project is None or str(project) == name:
                continue
            now = await site.resolve_project(name, create_project=True, pretend=True)
            if not now.id:
                raise UsageError(
                    f"{name}: is called {project} on the server now; a new project of its old "
                    "name would get all files once more",
                    hint=f"name it {project}; or use another folder for a new {name}",
                )


def made(scope: Scope) -> str:
    """That a project was made, or would be; empty: it was there."""
    if not scope.id:
        return f"{scope.name}: the project would be made"
    return next((f"made the project {one}" for one in scope.projects if one.is_new), "")


def whole_site(door: Door) -> Scope:
    """The projects that the files of a root name, whichever these are."""
    return Scope(whereabouts.WHOLE_SITE, f"all projects at {door.api.url.host}")


async def remembered_scope(
    door: Door, state: StateThread, root: Path, *, may_create: bool
) -> Scope:
    """The scope that a root belongs to since its first run.

    Raises:
        UsageError: it belongs to none, or its project is gone.
    """
    known = await state.call(State.setting, PROJECT_ID)
    if known is None:
        raise no_project_yet(root)
    if known == whereabouts.WHOLE_SITE:
        return whole_site(door)
    site = await door.open()
    project = await site.project_by_id(known)
    if project is None:
        name = await state.call(State.setting, PROJECT_NAME)
        raise UsageError(
            f"{root}: its project {name or ''} (<id:{known}>) is not at {door.api.url.origin()}",
            hint="name the project that is meant once more, as GROUP/PROJECT"
            + ("; --create-project makes it" if may_create else ""),
        )
    return Scope(project.id, str(project), (project,), project.group, project.label)


def no_project_yet(root: Path, why: str = "") -> UsageError:
    """Nothing says which project a root belongs to.

    Args:
        root: the folder.
        why: what the layout lacks for saying it; empty: there is none.
    """
    named = shlex.quote(str(root))
    return UsageError(
        f"{root}: belongs to no project yet" + (f", and {why}" if why else ""),
        hint=f"name it once: fwsync push {named} GROUP/PROJECT, fwsync pull GROUP/PROJECT {named}, "
        "…; or use a layout that names group and project, such as one that begins with "
        f"{PROJECT_FOLDERS.removesuffix('/')}, or --scan dicom with --routing",
    )


async def check_same_project(state: StateThread, place: roots.Place, scope: Scope) -> None:
    """What was agreed with one project says nothing about another: it would read as deletions.

    Raises:
        UsageError: the state is another project's: by ``--state``, or without ``remotes``.
    """
    known = await state.call(State.setting, PROJECT_ID)
    if known not in (None, scope.id):
        name = await state.call(State.setting, PROJECT_NAME)
        raise UsageError(
            f"{place.work_copy_of or place.state_file}: the state of {name} (<id:{known}>), "
            f"and not of {scope.name}",
            hint="name another file by --state, or move this one away",
        )


def check_not_mixed(place: roots.Place, scope: Scope, mode: Mode) -> None:
    """Files of a second project are not put among those of a first.

    A folder may be sent to as many projects as one likes, and a sync names the folder first: only
    a pull into the wrong one is a slip that mixes. It is the same project if it has the
    same name: a site may have got another address.

    Raises:
        UsageError: this root holds another project's files, and more would come down.
    """
    known = [one.name for one in whereabouts.known_remotes(place.remotes) if not one.gone]
    if mode is not Mode.DOWN or not known or scope.name in known:
        return
    whose = " and ".join(known)
    raise UsageError(
        f"{place.root}: is in step with {whose}; the files of {scope.name} would be mixed with "
        "its own",
        hint=f"name another folder for {scope.name}",
    )


def second_project(place: roots.Place, scope: Scope) -> str:
    """What to say where a kept folder gets one more project, which may be a slip; or nothing."""
    if (place.work_copy_of or place.state_file).exists():
        return ""
    known = [one.name for one in whereabouts.known_remotes(place.remotes) if not one.gone]
    if not known or scope.name in known:
        return ""
    return (
        f"{place.root}: is in step with {' and '.join(known)} already; {scope.name} is a second "
        "project, which gets its files too from now on"
    )


def key_of(door: Door, scope: Scope) -> str:
    """What never changes for a scope."""
    return f"{door.api.url.origin()} {scope.id}"


async def remember(state: StateThread, place: roots.Place, door: Door, scope: Scope) -> None:
    """Write down, in the state and beside it, what a root is kept in step with."""
    key = key_of(door, scope)
    whereabouts.register(place, key, scope.name, gone=await _replaced(door, place, key, scope))
    await state.call(State.set_setting, PROJECT_ID, scope.id)
    await state.call(State.set_setting, PROJECT_NAME, scope.name)


async def _replaced(door: Door, place: roots.Place, key: str, scope: Scope) -> list[str]:
    """The keys of projects that bore this name at this site, and are there no more."""
    origin = f"{door.api.url.origin()} "
    found = []
    for one in whereabouts.known_remotes(place.remotes):
        if one.gone or one.key == key or one.name != scope.name or not one.key.startswith(origin):
            continue
        with contextlib.suppress(RemoteError):  # not ours to see, or not now: it may be there
            site = await door.open()
            if await site.project_by_id(one.key.removeprefix(origin)) is None:
                found.append(one.key)
    return found


# ------------------------------------------------------------- the projects that files name


@dataclass(slots=True)
class NamedProjects:
    """Finds the projects that the files of a root name, and has them listed.

    A project that is not there is said so, with the files that name it; these are left alone,
    and are sent when it is there.
    """

    root: Path
    site: Connection
    remote: SiteRemote
    layout: Layout
    state: StateThread
    tell: Callable[[str], None]
    #: What is left out, where the first two folders of every path are group and project; None:
    #: they are not.
    by_folders: Filters | None
    create: bool  #: make those that are not there, in groups that are
    pretend: bool  #: make nothing, and have no listing of what would be made
    _told: set[str] = field(default_factory=set)

    async def __call__(self) -> None:
        """Look at what is placed and what was agreed on; ask for the projects not known yet."""
        known = {(one.group, one.label): one for one in self.remote.projects}
        unseen: list[Unknown] = []
        here, agreed = await self.state.call(self._named)
        for labels in sorted((here | agreed) - known.keys()):
            # What is only known from before is not made anew: its files are gone here.
            found = await self._find(labels, is_here=labels in here)
            if isinstance(found, Unknown):
                unseen.append(found)
            elif found.id:
                known[labels] = found
                if found.is_new:
                    self._say(f"made the project {found}")
            else:
                self._say(f"{found}: the project would be made")
        self.remote.projects = tuple(known.values())
        self.remote.unseen = tuple(unseen)

    async def _find(self, labels: _Labels, *, is_here: bool) -> Project | Unknown:
        """The project, or why nothing is known of it: not asked is not gone."""
        target = "/".join(labels)
        try:
            project = await self.site.resolve_project(
                target, create_project=self.create and is_here, pretend=self.pretend
            )
        except (UsageError, Forbidden) as error:
            why = error.message.removeprefix(f"project {target}: ").removeprefix(f"{target}: ")
            why += f" ({error.hint})" if error.hint else ""
            return await self._unseen(labels, why, is_here=is_here)
        if (project.group, project.label) != labels:
            why = f"leads to the project {project}, which is called otherwise"
            return await self._unseen(labels, why, is_here=is_here)
        return project

    async def _unseen(self, labels: _Labels, why: str, *, is_here: bool) -> Unknown:
        folder = self.layout.container_path(labels)
        number, first = await self.state.call(lambda state: state.places.below(folder))
        if number:
            files = "1 file names it" if number == 1 else f"{number:,} files name it"
            why += f"; {files}: {first}" if number == 1 else f"; {files}, such as {first}"
        if not is_here:
            self._say(f"{folder}: {why}")
        return Unknown(folder, why, expected=not is_here)

    def _say(self, text: str) -> None:
        """Once: a watch finds the same again and again."""
        if text not in self._told:
            self._told.add(text)
            self.tell(text)

    def _named(self, state: State) -> tuple[set[_Labels], set[_Labels]]:
        """The projects that have a file here, and those that had one when both sides agreed."""
        places = state.places
        here, agreed = set(self._each(places.first_placed)), set(self._each(places.first_agreed))
        if self.by_folders is not None:  # in the thread that has just scanned with these filters
            here |= _named_by_folders(self.root, self.by_folders)
        return here, agreed

    def _each(self, first_from: Callable[[str], RelPath | None]) -> Iterator[_Labels]:
        """By one look for each project, however many files it has."""
        at = ""
        while (path := first_from(at)) is not None:
            labels = self.layout.project_of(path)
            if labels is not None:
                yield labels
            # '0' follows '/', and so all that is below the project's folder.
            at = f"{self.layout.container_path(labels)}0" if labels else f"{path}\0"


def _named_by_folders(root: Path, filters: Filters) -> set[_Labels]:
    """The folders two levels below the root: a group's, and in it a project's; empty ones too."""
    groups = _folders(root, "", filters)
    pairs = ((group, one) for group in groups for one in _folders(root, f"{group}/", filters))
    named = ((label_of(one), label_of(two)) for one, two in pairs)
    return {(group, project) for group, project in named if group and project}


def _folders(root: Path, above: str, filters: Filters) -> list[str]:
    """The names of the folders in one; of what cannot be seen the scan has told."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        found = [
            one.name
            for one in (root / above).iterdir()
            if not one.name.startswith(".")
            and not filters(above + one.name, is_folder=True)
            and not one.is_symlink()
            and one.is_dir()
        ]
    return found
