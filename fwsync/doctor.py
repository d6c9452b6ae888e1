"""`fwsync doctor`: what is known of a root is checked, and made anew where it is damaged."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fwsync import checkups, rebuilding, show
from fwsync.checkups import Checkup, Finding, Grade
from fwsync.errors import Exit
from fwsync.progress import JsonLines, plural, printable, problem_fields, say
from fwsync.rebuilding import Rebuilt

_SIGNS = {Grade.GOOD: "ok", Grade.DOUBTFUL: "look", Grade.BAD: "wrong"}

#: The sign of what is well, and waits for a person.
_NOTE = "note"

#: What the tables of a state hold, for people; the others are made anew by the next look.
PARTS_OF_A_STATE: Final = {
    "setting": "which project it is of, and what guards hold",
    "base": "what both sides agreed on, which was compared anew",
    "base_source": "which files packs were made of",
    "conflict": "open conflicts (their copies stay)",
    "standoff": "conflicts that were left as they are",
    "event": "the history of files",
    "run": "earlier runs",
    "problem": "problems of the last run",
    "upload": "uploads that were begun",
    "upload_part": "parts of uploads that were begun",
    "alias": "names that the server has altered",
    "given_name": "names that were given to namesakes",
    "uid_label": "labels that were given to series",
    "told_place": "places that the server has told",
    "extra": "what was written here beside your files",
}

#: How many paths that differ a person is shown.
_SAMPLE = 10


def check(
    folder: Path,
    project: str | None,
    flags: Mapping[str, Any],
    config: Path | None,
    *,
    as_json: bool,
) -> Exit:
    """Look at everything that a run needs, and print what was found; changes nothing."""
    progress = show.for_run(as_json)
    found = checkups.run(folder, project, flags, config, progress=progress)
    if as_json:
        check_lines(found)
    else:
        for one in found.findings:
            sign = _NOTE if _waits(one) else _SIGNS[one.grade]
            say(f"{sign:>5}  {one.what:<9} {printable(one.text)}")
            if one.hint:
                say(f"{'':>16} {printable(one.hint)}")
        say(f"doctor: {_in_short(found)}")
    return found.exit_code


def _waits(one: Finding) -> bool:
    """Is it no fault, and yet there is something to do?"""
    return one.grade is Grade.GOOD and bool(one.hint)


def _in_short(found: Checkup) -> str:
    wrong = sum(one.grade is not Grade.GOOD for one in found.findings)
    waiting = sum(map(_waits, found.findings))
    well = "nothing is wrong" if waiting else "all is well"
    told = plural(wrong, "finding") if wrong else well
    verb = "waits" if waiting == 1 else "wait"
    return f"{told}; {plural(waiting, 'thing')} {verb} for you" if waiting else told


def check_lines(found: Checkup) -> None:
    """A line for each finding, and a summary."""
    lines = JsonLines(sys.stdout)
    for one in found.findings:
        lines.write(
            "finding", what=one.what, grade=one.grade.value, message=one.text, hint=one.hint
        )
    counts = {grade.value: sum(one.grade is grade for one in found.findings) for grade in Grade}
    lines.write(
        "summary",
        command="doctor",
        root=str(found.root),
        **counts,
        exit_code=int(found.exit_code),
    )


def rebuild(
    folder: Path,
    project: str | None,
    flags: Mapping[str, Any],
    config: Path | None,
    *,
    as_json: bool,
) -> Exit:
    """Set the state aside and make it anew from both sides, and print what came of it."""
    progress = show.for_run(as_json)
    done = rebuilding.run(folder, project, flags, config, progress=progress)
    code = Exit.DIFFERENCES if done.differ or done.problems else Exit.IN_STEP
    if as_json:
        rebuild_lines(done, code)
    else:
        _tell(done)
    return code


def rebuild_lines(done: Rebuilt, code: Exit) -> None:
    """A line for each file that needs attention, and a summary."""
    lines = JsonLines(sys.stdout)
    for problem in done.problems:
        lines.write("problem", **problem_fields(problem))
    for path in done.differ:
        lines.write("differs", path=path)
    lines.write(
        "summary",
        command="doctor",
        root=str(done.root),
        remote=done.remote,
        kept="" if done.kept is None else str(done.kept),
        in_step=done.agreed,
        differ=len(done.differ),
        only_here=done.only_here,
        only_there=done.only_there,
        saved=done.saved.rows,
        lost=done.saved.lost,
        problems=len(done.problems),
        exit_code=int(code),
    )


def _tell(done: Rebuilt) -> None:
    for problem in done.problems[:_SAMPLE]:
        say(f"problem: {printable(show.problem_line(problem.path, problem.message))}")
    for path in done.differ[:_SAMPLE]:
        say(f"differs: {printable(path)}: the next sync settles it as a conflict")
    more = len(done.differ) - _SAMPLE
    if more > 0:
        say(f"  … and {more:,} more; --json lists them all")
    if done.kept is not None:
        say(f"kept: the old state is {done.kept}; remove it when all is well")
    if done.saved.lost:
        lost = "; ".join(PARTS_OF_A_STATE.get(one, one) for one in done.saved.lost)
        say(f"note: not all could be read of it: {lost}")
    counts = [
        (done.agreed, "in step"),
        (len(done.differ), "different"),
        (done.only_here, "only here"),
        (done.only_there, "only on the server"),
        (len(done.problems), "with problems"),
    ]
    did = ", ".join(f"{number:,} {what}" for number, what in counts if number)
    say(f"doctor: the state is new: {did or 'no files'}; nothing was moved or deleted")
