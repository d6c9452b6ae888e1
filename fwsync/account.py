"""Commands that only look: `login`, `ls` and `status`."""

from __future__ import annotations

import asyncio
import getpass
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fwsync import show
from fwsync.config import environment
from fwsync.errors import AuthError, Exit
from fwsync.keys import ApiKey, find_key, parse_key, store_key
from fwsync.progress import (
    JsonLines,
    LogProgress,
    duration_text,
    moment,
    plural,
    printable,
    say,
    size_text,
)
from fwsync.remotes.connect import connect
from fwsync.remotes.naming import Child
from fwsync.runs import Status, read_status
from fwsync.sessions import open_api, settings_of

_STOPPED = {
    int(Exit.INTERRUPTED): "stopped by Ctrl-C",
    int(Exit.TERMINATED): "stopped by SIGTERM",
}


def login(key_file: Path | None, *, as_json: bool) -> Exit:
    """Ask for a key, see that the site takes it, and keep it."""
    entered = ""
    if key_file is None:
        try:
            entered = _asked()
        except KeyboardInterrupt:
            return Exit.INTERRUPTED

    async def check(key: ApiKey) -> str:
        settings = settings_of({}, None)
        async with open_api(key, settings, tell=_note) as api:
            return (await (await connect(api)).check_login()).id

    try:
        if key_file is None:
            key = parse_key(entered, place="what was entered")
        else:
            key = find_key(key_file=key_file, env=environment()).key
        who = asyncio.run(check(key))
    except AuthError as error:
        hint = "copy the key from your profile page again, all of it"
        if key_file is not None:
            hint += f", into {key_file}, and run `chmod 600 {key_file}`"
        raise AuthError(error.message, hint=hint) from None
    place = store_key(key, env=environment(), keyring=True)
    if as_json:
        JsonLines(sys.stdout).write("login", user=who, host=key.host, stored_in=place)
    else:
        say(f"logged in to {key.site} as {printable(who)}; the key is in {place}")
    return Exit.IN_STEP


def _asked() -> str:
    """The key, also from a pasted line of shell: ``export FWSYNC_API_KEY=…``."""
    return _ask().strip().removeprefix("export ").removeprefix("FWSYNC_API_KEY=")


def _ask() -> str:
    if sys.stdin.isatty():
        text = _typed("API key (host:key, from your profile page): ")
    else:
        text = sys.stdin.readline()
    if not text.strip():
        raise AuthError(
            "no API key was given",
            hint="paste the key from your Flywheel profile page, or pipe it: fwsync login < FILE",
        )
    return text


def _typed(prompt: str) -> str:
    """What is typed, unseen; a line that is not finished ends here all the same."""
    try:
        return getpass.getpass(prompt)
    except EOFError:  # Ctrl-D
        sys.stderr.write("\n")
        return ""
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise


def _note(text: str) -> None:
    """A line beside the result, which has stdout for itself."""
    LogProgress(sys.stderr).note(text)


def list_path(
    path: str, flags: Mapping[str, object], config: Path | None, *, as_json: bool
) -> Exit:
    """Print what is at a Flywheel path."""

    async def ask() -> None:
        settings = settings_of(flags, config)
        found = find_key(key_file=settings.api_key_file, env=environment())
        if found.warning:
            _note(f"warning: {found.warning}")
        async with open_api(found.key, settings, tell=_note) as api:
            lines = JsonLines(sys.stdout)
            children = sorted(await (await connect(api)).ls(path), key=_by_kind)
            if not children and not path.strip("/") and not as_json:
                _note("no group that this key may see")
            for child in children:
                if as_json:
                    lines.write(
                        "entry", kind=child.kind, label=child.label, id=child.id, size=child.size
                    )
                    continue
                size = "" if child.size is None else size_text(child.size)
                slash = "" if child.kind == "file" else "/"
                say(f"{child.kind:<12} {size:>9}  {printable(child.label)}{slash}")

    asyncio.run(ask())
    return Exit.IN_STEP


def _by_kind(child: Child) -> tuple[bool, str, str]:
    """Containers first, and all by name: a site lists them in an order of its own."""
    return child.kind == "file", child.kind, child.label


def status(
    folder: Path,
    project: str | None,
    flags: Mapping[str, object],
    config: Path | None,
    *,
    as_json: bool,
) -> Exit:
    """Print what is known about a folder, without asking the server."""
    known = read_status(folder, flags, config, target=project)
    code = Exit.DIFFERENCES if known.problems or known.conflicts_open else Exit.IN_STEP
    if known.halted:
        code = Exit.HALTED
    elif known.last is not None and _fell_short(known.last.exit_code, under_way=bool(known.holder)):
        code = Exit.DIFFERENCES
    if as_json:
        JsonLines(sys.stdout).write("status", **known.fields(), exit_code=int(code))
        return code
    say(f"folder      {printable(str(known.root))}")
    say(f"project     {printable(known.remote) or 'none yet'}")
    say(f"state       {known.state_file}")
    in_step = known.files - known.held
    say(f"in step     {plural(in_step, 'file')} when last compared, of {size_text(known.bytes)}")
    if known.last is not None:
        ago = duration_text(max(0.0, time.time() - known.last.started_ns / 1e9))
        at = moment(known.last.started_ns)
        ended = _ended(known.last.exit_code, under_way=bool(known.holder))
        say(f"last run    {known.last.command}, {ago} ago ({at}), {ended}")
        told = known.last.summary
        left = int(told.get("skipped", 0)) + int(told.get("conflicts", 0))
        if left and not known.conflicts:
            verify = show.command_on("verify", known.where)
            say(f"left alone  {plural(left, 'file')}; `{verify}` lists what differs")
    _tell_waiting(known)
    return code


def _ended(exit_code: int | None, *, under_way: bool) -> str:
    """How a run ended, for people; None: it has not ended."""
    if exit_code is None:
        return "under way" if under_way else "broken off"
    return _STOPPED.get(exit_code, f"exit {exit_code}")


def _fell_short(exit_code: int | None, *, under_way: bool) -> bool:
    """True for a run that did not end with all in step; None: it has not ended."""
    return not under_way if exit_code is None else exit_code != Exit.IN_STEP


def _tell_waiting(known: Status) -> None:
    """What is at work on a folder, and what is left for a run or a person."""
    _tell_hold(known)
    if known.holder:
        say(f"running     {known.holder}")
    for number, what, then in (
        (sum(_not_waiting(known).values()), "held deletion", ""),
        (
            known.conflicts_open,
            "open conflict",
            f"; `{show.conflicts_command(known.where)}` lists, and settles",
        ),
        (len(known.problems), "problem", ""),
        (known.uploads, "begun upload", ""),
    ):
        if number:
            say(f"waiting     {plural(number, what)}{then}")
    if known.uploads and not known.holder:
        cleanup = show.command_on("cleanup", known.where)
        say(f"            the next run goes on with them; `{cleanup}` gives them up")
    _sample("conflict", [f"{one['path']}; yours is {one['copy']}" for one in known.copies])
    _tell_held(known)
    _sample("problem", [show.problem_line(one.path, one.message) for one in known.problems])


def _tell_hold(known: Status) -> None:
    """What a guard holds, why, and how a person consents to it."""
    hold = known.hold
    if hold is None:
        return
    counts = (
        (hold.deletions_here, "here to delete"),
        (hold.deletions_there, "there to delete"),
        (hold.overwrites, "to replace"),
        (hold.others, "to rename or to note as gone"),
    )
    what = ", ".join(f"{number:,} {name}" for number, name in counts if number)
    for guard in hold.guards:
        say(f"held        {guard['reason']} ({guard['name']})")
        if guard["hint"]:
            say(f"            {guard['hint']}")
    say(f"waiting     {what}, since {moment(hold.since_ns)}")
    for path in hold.sample:
        say(f"  waits: {printable(path)}")
    if more := hold.waiting - len(hold.sample):
        lists = f"`{printable(known.lists)}` lists them all"
        say(f"  … and {more:,} more; {'all are in the saved plan' if hold.again else lists}")
    say(f"consent     {printable(known.consent)}")


def _tell_held(known: Status) -> None:
    """The deletions that are remembered and not passed on, and what would carry them out."""
    sides = _not_waiting(known)
    shown = [(path, side) for path, side in known.held_first if side in sides]
    if not sides:
        return
    gone = {"local": "deleted here", "remote": "deleted on the server"}
    for path, side in shown:
        say(f"  held deletion: {printable(path)} ({gone[side]})")
    if (more := sum(sides.values()) - len(shown)) > 0:
        verify = show.command_on("verify", known.where)
        say(f"  … and {more:,} more; `{verify}` lists them")
    options = (("--delete-up", "local"), ("--delete-down", "remote"))
    flags = [flag for flag, side in options if side in sides]
    say(f"            {' and '.join(flags)} would pass them on")


def _not_waiting(known: Status) -> dict[str, int]:
    """How many deletions are held for themselves, by side: a guard holds the others."""
    hold = known.hold
    waits = {
        "local": hold is not None and hold.deletions_there > 0,
        "remote": hold is not None and hold.deletions_here > 0,
    }
    return {side: number for side, number in known.held_sides.items() if not waits[side]}


def _sample(kind: str, texts: Sequence[str]) -> None:
    """The first of them, and how many more there are."""
    for text in texts[: show.SAMPLE]:
        say(f"  {kind}: {printable(text)}")
    if len(texts) > show.SAMPLE:
        say(f"  … and {len(texts) - show.SAMPLE:,} more; --json lists them all")
