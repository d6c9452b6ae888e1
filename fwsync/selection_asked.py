"""What a run selects of the server's files: from settings, and from the path that a call names.

The one rule: what cannot be understood, or is not there, is refused before the first byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from fwsync.config import Settings
from fwsync.errors import NothingThere, UsageError, naming
from fwsync.model import BELOW_PROJECT, Level, Mode
from fwsync.remotes.connect import Connection
from fwsync.remotes.flywheel_wire import nanoseconds_of
from fwsync.remotes.naming import Project, split_path
from fwsync.remotes.where import parse_where
from fwsync.selection import NO_TYPE, Reach, Selection
from fwsync.selection_settings import DAY
from fwsync.zones import local_zone, zoned

#: The levels whose tags can be asked for, as `fw sync` has them.
_TAGGED = {level.value: level for level in BELOW_PROJECT}

#: The sets that a subject can be in. Source: flywheel-cli 18.5.1.
_MLSETS = ("Training", "Testing", "Validation", NO_TYPE)

#: Commands that look at no file.
_BLIND = frozenset({"cleanup", "doctor"})


def only_comes_down(mode: Mode, command: str) -> bool:
    """True for what may be told to look at a part of what the server has."""
    return mode is Mode.DOWN or command == "verify"


def check_selection(mode: Mode, settings: Settings, command: str) -> None:
    """See that settings which select something are understood, and go with the direction.

    Raises:
        UsageError: they are not, or do not.
    """
    if command in _BLIND:
        return
    names = settings.selecting
    if names and not only_comes_down(mode, command):
        raise UsageError(
            f"{settings.called(names[0])}: selects from what the server has, and is for what "
            "only comes down",
            hint="use `pull`, or `watch --mode down`; --include and --exclude go both ways",
        )
    selection_of(settings)


def project_and_rest(
    target: str | None, mode: Mode, command: str
) -> tuple[str | None, tuple[str, ...]]:
    """The project that a call names, and what it names below that.

    What may send something is for a whole project: its target comes back as it is, to be refused.
    """
    if target is None or not only_comes_down(mode, command):
        return target, ()
    return split_path(target)


async def choose(
    site: Connection, settings: Settings, project: Project | None, segments: tuple[str, ...]
) -> Selection:
    """What is selected, asked for where it lies on the server.

    Args:
        site: is asked.
        settings: all of them.
        project: in scope; None: several may be.
        segments: what the call names below it.

    Raises:
        UsageError: there is no such thing, or the site has no answer to what is asked.
    """
    selection = selection_of(settings)
    site.check_selection(selection)
    if segments:
        assert project is not None, "a path begins with a project"
        try:
            place = await site.place_in(project, segments)
        except NothingThere:
            await site.ls("/".join([str(project), *segments]))  # says what is near
            raise
        selection = replace(selection, place=place)
    return selection


def named(settings: Settings, reach: Callable[[], Reach]) -> Callable[[], Reach]:
    """What a listing says of the paths that it lacks, and of what nothing fits by its name here.

    Args:
        settings: that select something.
        reach: of the remote; what it gives raises :class:`UsageError` if a label was given that
            no container has: as a project that is not there, it is refused.
    """

    def ask() -> Reach:
        found = reach()
        missed = tuple(
            replace(one, setting=settings.called(one.setting)) if one.setting else one
            for one in found.missed
        )
        if names := [one for one in missed if one.is_name]:
            raise NothingThere(
                "; ".join(f"{one.setting}: {one.text}" for one in names),
                hint=" ".join(one.hint for one in names if one.hint),
            )
        return replace(found, missed=missed)

    return ask


def selection_of(settings: Settings) -> Selection:
    """The selection that settings stand for.

    Raises:
        UsageError: one of them cannot be understood, or no file can be selected.
    """
    with naming(settings.called("name_regex")):
        names = tuple(_pattern(one) for one in settings.name_regex)
    where = None
    if settings.where is not None:
        with naming(settings.called("where")):
            where = parse_where(settings.where)
            where.check()
    after, before = _moment(settings, "modified_after"), _moment(settings, "modified_before")
    for name in ("mlsets", "not_mlsets"):
        _check_mlsets(settings, name)
    if after is not None and before is not None and after >= before:
        raise UsageError(
            f"{settings.called('modified_after')}: is not before "
            f"{settings.called('modified_before')}; no file takes part"
        )
    return Selection(
        types=settings.only_types,
        not_types=settings.not_types,
        tags=settings.only_tags,
        not_tags=settings.not_tags,
        names=names,
        subjects=settings.only_subjects,
        sessions=settings.only_sessions,
        acquisitions=settings.only_acquisitions,
        after_ns=after,
        before_ns=before,
        where=where,
        container_tags=_by_level(settings, "container_tags"),
        not_container_tags=_by_level(settings, "not_container_tags"),
        mlsets=settings.mlsets,
        not_mlsets=settings.not_mlsets,
    )


def _by_level(settings: Settings, name: str) -> tuple[tuple[Level, str], ...]:
    """``session=baseline`` as a level and a tag."""
    found: list[tuple[Level, str]] = []
    for text in getattr(settings, name):
        level, _, tag = text.partition("=")
        if level.strip() not in _TAGGED or not tag:
            raise UsageError(
                f"{settings.called(name)}: is {text!r}; expected a level and a tag, such as "
                "session=baseline",
                hint=f"the levels are {', '.join(_TAGGED)}; --tag is for tags of files",
            )
        found.append((_TAGGED[level.strip()], tag))
    return tuple(found)


def _check_mlsets(settings: Settings, name: str) -> None:
    for text in getattr(settings, name):
        if text not in _MLSETS:
            raise UsageError(
                f"{settings.called(name)}: is {text!r}, which is no set",
                hint=f"the sets are {', '.join(_MLSETS)}; {NO_TYPE} stands for no set",
            )


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{text!r} is no regular expression ({error})") from None


def _moment(settings: Settings, name: str) -> int | None:
    """A day, which begins at midnight, or a time, in nanoseconds since 1970."""
    text = getattr(settings, name)
    if text is None:
        return None
    zone = settings.timezone or local_zone()
    with naming(settings.called(name)):
        try:
            if zone:
                return nanoseconds_of(zoned(text, zone))
            return nanoseconds_of(datetime.fromisoformat(text).astimezone().isoformat())
        except (ValueError, OverflowError):
            raise UsageError(f"is {text!r}; expected {DAY}") from None
