"""What a run may do, put together from its settings.

The one rule: settings that contradict each other are refused here, before anything is opened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import aiofiles

from fwsync.audit import is_json
from fwsync.config import Recorded, Settings, flag_of
from fwsync.errors import UsageError, naming
from fwsync.executor import Policy
from fwsync.filters import HIDDEN, Bounds, Filters, gitignore
from fwsync.metadata.sidecars import Sidecars
from fwsync.model import Links, Mode
from fwsync.plan import DeleteLimits
from fwsync.reconcile import Rules
from fwsync.selection_asked import check_selection

#: Commands that send and fetch nothing.
_ONLY_LOOK = frozenset({"verify", "doctor"})


def policy_of(mode: Mode, settings: Settings, flags: Mapping[str, Any], filters: Filters) -> Policy:
    """What a run may do.

    Args:
        mode: the direction.
        settings: all of them.
        flags: what was said about this one run, and is no setting.
        filters: as :func:`filters_of` makes them.
    """
    cap, each = settings.max_delete, settings.max_delete_container
    rules = Rules(
        mode=mode,
        conflict=settings.conflict,
        delete_up=settings.delete_up,
        delete_down=settings.delete_down,
    )
    return Policy(
        rules=rules,
        limits=DeleteLimits(
            files=cap.count,
            percent=_whole(cap.percent),
            # A share alone is meant for however few files; else nothing would be held of them.
            **({"percent_from": 1} if cap.count is None else {}),
            container_files=each.count if each is not None else None,
            container_percent=_whole(each.percent) if each is not None else None,
        ),
        accept=flags.get("accept_deletes"),
        delete_reason=settings.delete_reason,
        transfers=settings.transfers,
        fsync=settings.fsync,
        trash_days=settings.trash_days,
        ignore=filters,
        bounds=_bounds(settings),
        follow_links=settings.links is Links.FOLLOW,
        deflates=settings.pack_compress,
        most_bytes=settings.max_transfer,
        is_time_up=_clock_of(settings.max_duration_s),
    )


#: Flags that are said of one run, or that only a watch has.
_OF_ONE_RUN = frozenset({"accept_deletes", "new_root", "mode", "settle", "rescan"})

#: What of a saved plan's settings is an option of the run that the plan is of, by directions.
OF_A_PLAN: Mapping[str, tuple[Mode, ...]] = {
    **dict.fromkeys(
        (
            *("layout", "pack", "pack_folders", "pack_acquisitions", "unpack", "keep_zips"),
            *("no_subjects", "no_sessions", "root_dirs", "include", "exclude", "filter_from"),
            *("hidden", "empty", "min_size", "max_size", "min_age_s", "max_age_s", "conflict"),
            *("max_delete", "max_delete_container", "state"),
        ),
        (Mode.UP, Mode.DOWN, Mode.BOTH),
    ),
    **dict.fromkeys(
        ("create_project", "delete_up", "pack_compress", "route"), (Mode.UP, Mode.BOTH)
    ),
    **dict.fromkeys(("delete_down", "analyses", "metadata_files"), (Mode.DOWN, Mode.BOTH)),
    **dict.fromkeys(
        (
            *("regex", "scan", "subject", "session", "acquisition", "rules_file", "links"),
            *("ingest_template", "set_vars", "routing", "unrouted", "detect_duplicates"),
            *("duplicate_codes", "duplicate_projects", "duplicates", "deid_profile"),
        ),
        (Mode.UP,),
    ),
    **dict.fromkeys(
        (
            *("only_types", "not_types", "only_tags", "not_tags", "name_regex", "only_subjects"),
            *("only_sessions", "only_acquisitions", "container_tags", "not_container_tags"),
            *("mlsets", "not_mlsets", "modified_after", "modified_before", "where"),
        ),
        (Mode.DOWN,),
    ),
}

#: Settings whose option says yes or no; of the others, no is what holds without the option.
_YES_OR_NO = frozenset({"hidden", "fsync"})


def words_of(
    settings: Settings,
    flags: Mapping[str, Any],
    config: Path | None,
    mode: Mode = Mode.BOTH,
) -> tuple[str, ...]:
    """The options of a run as words of a command line, so that a person can give them again.

    Args:
        settings: made of the flags, among others.
        flags: as they were given; of a saved plan, its settings, of which those are told that
            are options of a run.
        config: the settings file, if one was named.
        mode: the direction of that run.
    """
    config = config or settings.file
    around = settings.in_environment
    own = {name: value for name, value in around.items() if mode in OF_A_PLAN.get(name, ())}
    told = {name: value for name, value in flags.items() if name not in _OF_ONE_RUN}
    told |= own
    if isinstance(flags, Recorded):
        told = {name: told[name] for name in told if mode in OF_A_PLAN.get(name, ())}
    words = [] if config is None else ["--config", str(Path.cwd() / config)]
    if told.get("delete_up") and told.get("delete_down"):
        words += ["--delete"]
        told = {name: told[name] for name in told.keys() - {"delete_up", "delete_down"}}
    for name, value in sorted(told.items()):
        if value is False and name not in _YES_OR_NO:
            continue
        # A path is absolute there; a word of a variable may stand for several.
        seen = value if name in own else settings.given.get(name, value)
        words += _words(flag_of(name), seen)
    return tuple(words)


def _words(option: str, value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [word for key, one in value.items() for word in (option, f"{key}={one}")]
    if isinstance(value, bool):
        return [option if value else f"--no-{option.removeprefix('--')}"]
    if isinstance(value, (list, tuple)):
        return [word for one in value for word in _words(option, one)]
    return [option, str(value.value if isinstance(value, Enum) else value)]


def _whole(percent: float | None) -> int | None:
    return None if percent is None else round(percent)


def _bounds(settings: Settings) -> Bounds:
    """Which sizes and ages take part."""
    return Bounds(
        min_size=settings.min_size,
        max_size=settings.max_size,
        min_age_s=settings.min_age_s,
        max_age_s=settings.max_age_s,
        empty=settings.empty,
    )


def _clock_of(most_s: float | None) -> Callable[[], bool]:
    """Says when a run that begins now has lasted as long as it may."""
    ends = math.inf if most_s is None else time.monotonic() + most_s
    return lambda: time.monotonic() >= ends


def check(mode: Mode, settings: Settings, command: str) -> None:
    """See that the settings go together, with each other and with the direction.

    Links are followed where nothing is written here: what stands for a file is no place for one.

    Raises:
        UsageError: they do not.
    """
    if settings.links is Links.FOLLOW and mode is not Mode.UP and command not in _ONLY_LOOK:
        raise UsageError(
            f"{settings.called('links')}: follow is for what only goes up: nothing is written "
            "through a link",
            hint="use `push`, `watch --mode up`, or --links skip",
        )
    if settings.deid_profile is not None and mode is not Mode.UP and command not in _ONLY_LOOK:
        raise UsageError(
            f"{settings.called('deid_profile')}: is for what only goes up: what is there differs "
            "from what is here",
            hint="use `push` or `watch --mode up`; to pull, use another folder and no profile",
        )
    if settings.audit_log is not None:
        is_json(settings.audit_log)
    check_selection(mode, settings, command)
    for name in ("{}_size", "{}_age_s"):
        low, high = name.format("min"), name.format("max")
        least, most = getattr(settings, low), getattr(settings, high)
        if least is not None and most is not None and least > most:
            raise UsageError(
                f"{settings.called(low)}: is more than {settings.called(high)}; no file takes part"
            )
    _check_effects(settings)


def _check_effects(settings: Settings) -> None:
    """What is said for this run is to do something; what stands in a file may wait.

    Raises:
        UsageError: a flag needs another one, which is not there.
    """
    needs = {
        "duplicate_codes": ("detect_duplicates", settings.detect_duplicates),
        "duplicate_projects": ("detect_duplicates", settings.detect_duplicates),
        "duplicates": ("detect_duplicates", settings.detect_duplicates),
        "set_vars": ("ingest_template", settings.ingest_template),
    }
    for name, (other, is_there) in needs.items():
        if settings.is_for_this_run(name) and not is_there:
            raise UsageError(
                f"{settings.called(name)}: does nothing without {settings.called(other)}",
                hint=f"add {settings.called(other)}, or leave it out",
            )


def for_command(command: str, settings: Settings, tell: Callable[[str], None]) -> Settings:
    """The settings as they hold for a command: `watch` has no end, and so none of a run's limits.

    Args:
        command: such as ``watch``.
        settings: as they were given.
        tell: is told what is left out.
    """
    if command != "watch" or (settings.max_transfer is None and settings.max_duration_s is None):
        return settings
    tell("max_transfer and max_duration are for one run; watch goes on without them")
    return settings.model_copy(update={"max_transfer": None, "max_duration_s": None})


async def filters_of(settings: Settings, partial_names: Sequence[str]) -> Filters:
    """What is left out by its path.

    The patterns of the file come before those of the settings, so that a flag has the last word.
    """
    for name in ("exclude", "include"):
        for pattern in getattr(settings, name):
            with naming(settings.called(name)):
                gitignore(pattern)
    return Filters(
        [
            *await _patterns_in(settings.filter_from),
            *settings.exclude,
            # What says something of other files is no file of its own.
            *(["*.flywheel.json"] if settings.sidecars is Sidecars.METADATA else []),
        ],
        settings.include,
        defaults=_left_out_by_default(settings, partial_names),
    )


def _left_out_by_default(settings: Settings, partial_names: Sequence[str]) -> list[str]:
    """What is left out unless a pattern brings it back: hidden files as they were asked for."""
    if settings.hidden is None:
        return [*partial_names]
    others = [name for name in partial_names if name != HIDDEN]
    return others if settings.hidden else [*others, HIDDEN]


async def _patterns_in(file: Path | None) -> list[str]:
    """The patterns in the file that is named, if one is."""
    if file is None:
        return []
    try:
        async with aiofiles.open(file, encoding="utf-8") as lines:
            patterns = (await lines.read()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise UsageError(
            f"{file}: the file of patterns cannot be read ({why})",
            hint="check --filter-from, or filter_from in the settings",
        ) from None
    for number, pattern in enumerate(patterns, start=1):
        with naming(f"{file}:{number}"):
            gitignore(pattern)
    return patterns
