"""What is said of single paths: their history, conflicts, and why they are where they are.

As in :mod:`fwsync.show`: results go to stdout, and names are escaped before a terminal sees them.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fwsync.errors import Exit
from fwsync.histories import Story
from fwsync.model import Verb
from fwsync.progress import (
    JsonLines,
    moment,
    moment_utc,
    plural,
    printable,
    problem_fields,
    say,
    size_text,
)
from fwsync.resolutions import LOCAL, Settled
from fwsync.resolving import POLICIES, Listed, Open, Side
from fwsync.state_history import MOVED, PROBLEM, RESOLVE, RESTORE, Event

#: Hex digits of a hash that a person is shown; all are in the JSON lines.
_HEX: Final = 12

_WHAT: Final[Mapping[str, str]] = {
    Verb.UPLOAD: "sent",
    Verb.DOWNLOAD: "fetched",
    Verb.ADOPT: "same on both sides",
    Verb.RENAME: "renamed",
    Verb.DELETE_LOCAL: "deleted here",
    Verb.DELETE_REMOTE: "deleted there",
    Verb.HOLD: "deletion held",
    Verb.FORGET: "gone on both sides",
    Verb.CONFLICT: "conflict",
    MOVED: "renamed",
    PROBLEM: "problem",
    RESTORE: "put back",
    RESOLVE: "conflict settled",
}


def short_hash(digest: str | None) -> str:
    """The beginning of a hash; empty where there is none."""
    return digest.partition(":")[2][:_HEX] if digest else ""


# ---------------------------------------------------------------------------------- history


def history(story: Story, *, as_json: bool) -> Exit:
    """Print what happened to a file, or below a folder."""
    if as_json:
        lines = JsonLines(sys.stdout)
        for one in story.events:
            lines.write("history", **_event_fields(one))
        lines.write("summary", **_story_fields(story), exit_code=0)
        return Exit.IN_STEP
    if story.earlier:
        every = story.earlier + len(story.events)
        say(f"  … {plural(story.earlier, 'earlier event')}; --last {every} shows them all")
    several = story.is_folder or len({one.path for one in story.events}) > 1
    for one in story.events:
        _tell_event(one, story.root, with_path=several)
    say(_story_line(story))
    return Exit.IN_STEP


def _tell_event(one: Event, root: Path, *, with_path: bool) -> None:
    size = "" if one.size is None else size_text(one.size)
    version = f"v{one.version}" if one.version is not None else ""
    what = _WHAT.get(one.what, one.what)
    line = (
        f"{moment(one.at_ns)}  {one.command or '-':<9} {what:<18} {size:>10} {version:>4}"
        f"  {short_hash(one.digest):<{_HEX}}"
    )
    path = f"  {printable(one.path)}" if with_path else ""
    say(f"{line}{path}".rstrip())
    if told := "; ".join(filter(None, (_other(one), one.reason, _kept(one, root)))):
        say(f"{'':>25}  {printable(told)}")


def _other(one: Event) -> str:
    if one.other is None:
        return ""
    if one.what == Verb.RENAME:
        return "" if (one.reason or "").endswith(f"from {one.other!r}") else f"from {one.other}"
    if one.what == MOVED:
        return f"to {one.other}"
    return f"copy: {one.other}"


def _kept(one: Event, root: Path) -> str:
    if one.kept is None:
        return ""
    where, _, which = one.kept.partition(" ")
    if one.what == RESTORE:
        return f"out of the trash of {which}"
    if where == "trash":
        command = shlex.join(["fwsync", "restore", str(root), "--run", which])
        return f"what was there is in the trash: `{command}`"
    return f"what was there is {one.kept} on the server"


def _story_line(story: Story) -> str:
    named = printable(story.path) or "the folder"
    if not story.events and story.standing is None:
        return f"history: nothing is known of {named}"
    told = f"history: {plural(_number(story), 'event')}"
    now = story.standing
    if now is None:
        return told if story.is_folder else f"{told}; {named} is not agreed on now"
    hashed = f", {short_hash(now.digest)}" if now.digest else ""
    held = {"local": "; deleted here, and kept there", "remote": "; deleted there, and kept here"}
    return (
        f"{told}; agreed on now: {size_text(now.size)}, version {now.version}{hashed}"
        f"{held.get(now.held, '')}"
    )


def _event_fields(one: Event) -> dict[str, Any]:
    return {
        "path": one.path,
        "time": moment_utc(one.at_ns),
        "what": one.what,
        "run": one.run,
        "command": one.command,
        "size": one.size,
        "digest": one.digest,
        "version": one.version,
        "other": one.other,
        "kept": one.kept,
        "reason": one.reason,
    }


def _number(story: Story) -> int:
    return story.earlier + len(story.events)


def _story_fields(story: Story) -> dict[str, Any]:
    now = story.standing
    return {
        "command": "history",
        "root": str(story.root),
        "path": story.path,
        "events": _number(story),
        "shown": len(story.events),
        "agreed": now is not None,
        "size": now.size if now else None,
        "digest": now.digest if now else None,
        "version": now.version if now else None,
        "held": now.held if now else "",
    }


# -------------------------------------------------------------------------------- conflicts


def conflicts(found: Listed, *, as_json: bool) -> Exit:
    """Print the open conflicts."""
    code = Exit.DIFFERENCES if found.conflicts else Exit.IN_STEP
    if as_json:
        lines = JsonLines(sys.stdout)
        for one in found.conflicts:
            lines.write("conflict", **_conflict_fields(one))
        counts = {"root": str(found.root), "conflicts": len(found.conflicts)}
        lines.write("summary", command="conflicts", **counts, exit_code=int(code))
        return code
    for one in found.conflicts:
        command = f" by {one.command}" if one.command else ""
        since = f"since {moment(one.at_ns)}{command}"
        say(f"{printable(to_paste(found.root, one.path))}  ({since})")
        say(f"  yours   {_side_text(one.mine)}{'  edited since' if one.is_edited else ''}")
        if one.copy:
            say(f"          {printable(to_paste(found.root, one.copy))}")
        say(f"  theirs  {_side_text(one.theirs)}{'' if one.copy else '  on the server, not here'}")
        if one.choice:
            say(f"  settled by the next run: {one.choice}")
    chosen = sum(bool(one.choice) for one in found.conflicts)
    then = f", {chosen:,} of them settled by the next run" if chosen else ""
    say(f"conflicts: {plural(len(found.conflicts), 'file')} in conflict{then}")
    if chosen < len(found.conflicts):
        say(f"hint: `{printable(settles('PATH', found.options))}` settles one")
    return code


def to_paste(root: Path, path: str) -> str:
    """A path of a root as a shell takes it, from where we are."""
    full, here = root / path, Path.cwd()
    near = str(full.relative_to(here)) if full.is_relative_to(here) else str(full)
    return shlex.quote(f"./{near}" if near.startswith("-") else near)


def settles(path: str, options: Sequence[str]) -> str:
    """The command that settles a conflict, in its three ways.

    Args:
        path: as a shell takes it.
        options: that it needs as well.
    """
    more = shlex.join(options)
    return f"fwsync conflicts {'|'.join(POLICIES)} {path}{' ' if more else ''}{more}"


def _side_text(side: Side) -> str:
    if side.size is None:
        return "gone"
    changed = moment(side.time_ns) if side.time_ns else "-"
    version = f"  v{side.version}" if side.version is not None else ""
    return f"{size_text(side.size):>10}  {changed:<25}  {short_hash(side.digest)}{version}".rstrip()


def _conflict_fields(one: Open) -> dict[str, Any]:
    return {
        "path": one.path,
        "time": moment_utc(one.at_ns),
        "run": one.run,
        "command": one.command,
        "mine": _side_fields(one.mine),
        "theirs": _side_fields(one.theirs),
        "copy": one.copy,
        "edited": one.is_edited,
        "choice": one.choice,
    }


def _side_fields(side: Side) -> dict[str, Any]:
    changed = moment_utc(side.time_ns) if side.time_ns else None
    return {
        "path": side.path,
        "size": side.size,
        "digest": side.digest,
        "modified": changed,
        "version": side.version,
    }


def settled(done: Sequence[Settled], *, as_json: bool) -> Exit:
    """Print what came of settling conflicts."""
    failed = [one for one in done if one.problem is not None]
    code = Exit.DIFFERENCES if failed else Exit.IN_STEP
    counts = {"settled": len(done) - len(failed), "problems": len(failed)}
    lines = JsonLines(sys.stdout)
    for one in dict.fromkeys(done):  # several copies may have come to the same end
        if as_json and one.problem is None:
            kept = f"trash {one.kept}" if one.kept else None
            lines.write("settled", path=one.path, how=one.how, what=one.what, kept=kept)
        elif as_json and one.problem is not None:
            lines.write("problem", **problem_fields(one.problem))
        else:
            _tell_settled(one)
    if as_json:
        lines.write("summary", command="conflicts", **counts, exit_code=int(code))
        return code
    left = f", {plural(len(failed), 'file')} left" if failed else ""
    none = "" if done else "; nothing there is in conflict"
    say(f"conflicts: {len(done) - len(failed):,} settled{left}{none}")
    return code


def _tell_settled(one: Settled) -> None:
    if one.problem is not None:
        hint = f" ({one.problem.hint})" if one.problem.hint else ""
        say(f"problem: {printable(f'{one.path}: {one.problem.message}{hint}')}")
        return
    kept = ""
    if one.kept:
        # The server's version, where yours takes its place; else it is yours, as is said already.
        other = "; what was there is in the trash" if one.how == LOCAL else ""
        kept = f"{other}: `{one.restores}`"
    say(f"{one.how}: {printable(f'{one.path}: {one.what}{kept}')}")
