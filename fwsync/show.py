"""What a run says when it is over: a few lines for a person, or JSON lines for a script.

Results go to stdout, everything else to stderr. Names from disk or server are escaped
before a terminal sees them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from fwsync.errors import Exit
from fwsync.model import Decision, Problem, RelPath, Report, Verb
from fwsync.plan import Plan
from fwsync.progress import (
    JsonLines,
    JsonProgress,
    LogProgress,
    Progress,
    choose_progress,
    plural,
    printable,
    say,
    size_text,
)
from fwsync.runs import Planned

#: How many paths of one kind a person is shown; all are in the JSON lines.
SAMPLE = 10

#: How many of the paths that one and the same problem befell.
FEW = 3

_VERBS = {
    Verb.UPLOAD: "send",
    Verb.DOWNLOAD: "fetch",
    Verb.DELETE_LOCAL: "delete here",
    Verb.DELETE_REMOTE: "delete there",
    Verb.ADOPT: "same already",
    Verb.CONFLICT: "conflict",
    Verb.HOLD: "gone, held",
    Verb.FORGET: "gone on both sides",
    Verb.REPORT: "left alone",
}


def for_run(as_json: bool) -> Progress:
    """The progress display that fits where the output goes."""
    return choose_progress(json=as_json)


def for_watch(as_json: bool) -> Progress:
    """Lines and no bar: a watch is idle for most of its life, on a terminal too."""
    return JsonProgress(JsonLines(sys.stdout)) if as_json else LogProgress(sys.stderr)


def report(done: Report, *, as_json: bool, code: Exit | None = None) -> Exit:
    """Print what a run did; gives the exit code that says the same.

    Args:
        done: what it did.
        as_json: JSON lines, for a script.
        code: the exit code, where it does not follow from the report.
    """
    code = done.exit_code if code is None else code
    if as_json:
        lines = JsonLines(sys.stdout)
        for problem in done.problem_list:
            lines.write("problem", **_problem_fields(problem))
        for path in done.conflict_list:
            lines.write("conflict", path=path)
        for left in done.difference_list:
            lines.write("left-alone", path=left.path, reason=left.message)
        lines.write("summary", **summary(done, code))
    else:
        _tell(done)
    return code


def summary(done: Report, code: Exit) -> dict[str, object]:
    """The last line of a run: flat keys, always all present."""
    return {
        "command": done.command,
        "root": done.root,
        "remote": done.remote,
        "uploaded": done.uploaded,
        "downloaded": done.downloaded,
        "deleted": done.deleted,
        "renamed": done.renamed,
        "adopted": done.adopted,
        "held": done.held,
        "skipped": done.skipped,
        "conflicts": done.conflicts,
        "problems": done.problems,
        "deferred": done.deferred,
        "bytes": done.bytes,
        "requests": done.requests,
        "files": done.files,
        "seconds": round(done.seconds, 3),
        "peak_memory": done.peak_memory,
        "halted": done.halted,
        "plan_id": done.plan_id,
        "exit_code": int(code),
    }


def _tell(done: Report) -> None:
    _problems(done.problem_list)
    _list("conflict", [_conflict(path, done) for path in done.conflict_list])
    kind = "differs" if done.command == "verify" else "left alone"
    _list(kind, [f"{one.path}: {one.message}" for one in done.difference_list])
    if done.difference_list and done.command == "pull":
        say("hint: `fwsync push` sends a local edit; to drop it, delete the file and pull again")
    if done.held:
        say(
            "hint: what was deleted on one side stays on the other; --delete-up or --delete-down "
            "passes deletions on, `fwsync verify` lists them"
        )
    if done.halted:
        say(f"held: {done.halted}; nothing was deleted or overwritten")
        say(f"hint: to go ahead, run it again with --accept-deletes {done.plan_id}")
    say(_one_line(done))


def _one_line(done: Report) -> str:
    counts = [
        (done.uploaded, "sent"),
        (done.downloaded, "fetched"),
        (done.deleted, "deleted"),
        (done.renamed, "renamed"),
        (done.adopted, "there already"),
        (done.held, "gone and held"),
        (len(done.difference_list), "left alone" if done.command != "verify" else "different"),
        (done.conflicts, "in conflict"),
        (done.problems, "with problems"),
    ]
    did = ", ".join(f"{number:,} {what}" for number, what in counts if number)
    nothing = "nothing done" if done.halted else "nothing to do"
    what = did or ("in step" if done.command == "verify" else nothing)
    cost = f"{plural(done.requests, 'request')}, {done.seconds:.1f} s"
    cost += f", {size_text(done.peak_memory)} peak"
    moved = f", {size_text(done.bytes)}" if done.bytes else ""
    return f"{done.command}: {what}{moved}; {plural(done.files, 'file')} here ({cost})"


def _problems(problems: Sequence[Problem]) -> None:
    """Each cause once, with the first paths that it befell."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in problems:
        alike.setdefault((one.message, one.hint), []).append(one.path)
    _list("problem", [_told(paths, *cause) for cause, paths in alike.items()])
    if any(len(paths) > FEW for paths in alike.values()):
        say("hint: --json lists every path")


def _told(paths: Sequence[str], message: str, hint: str) -> str:
    named = ", ".join(paths[:FEW])
    if len(paths) > FEW:
        named += f" and {len(paths) - FEW:,} more"
    return f"{named}: {message}" + (f" ({hint})" if hint else "")


def _conflict(path: RelPath, done: Report) -> str:
    copy = done.copies.get(path)
    kept = f"; the server's is in place, yours is {copy}" if copy else "; nothing was touched"
    return f"{path}: both sides have other bytes{kept}"


def _list(kind: str, texts: list[str]) -> None:
    for text in texts[:SAMPLE]:
        say(f"{kind}: {printable(text)}")
    if len(texts) > SAMPLE:
        say(f"  … and {len(texts) - SAMPLE:,} more; --json lists them all")


def plan(planned: Planned, *, as_json: bool) -> Exit:
    """Print what a run would do."""
    decisions = [*planned.plan.carry_out, *planned.plan.waiting]
    if as_json:
        lines = JsonLines(sys.stdout)
        for decision in decisions:
            lines.write("decision", **_decision_fields(decision))
        for problem in planned.problems:
            lines.write("problem", **_problem_fields(problem))
        lines.write("summary", **_plan_summary(planned))
    else:
        for decision in decisions:
            what = _VERBS[decision.verb]
            say(f"{what:>18}  {printable(decision.path)}  ({decision.reason})")
        _problems(planned.problems)
        for guard in planned.plan.held:
            say(f"held: {guard.reason}")
        say(_plan_line(planned.plan))
    if planned.plan.waiting:
        return Exit.HALTED
    return Exit.DIFFERENCES if planned.problems or _conflicts(planned.plan) else Exit.IN_STEP


def _conflicts(of: Plan) -> int:
    return sum(one.verb is Verb.CONFLICT for one in of.carry_out)


def _plan_summary(planned: Planned) -> dict[str, object]:
    counts = {verb.value: 0 for verb in Verb if verb is not Verb.NOTHING}
    for decision in (*planned.plan.carry_out, *planned.plan.waiting):
        counts[decision.verb.value] += 1
    return {
        "command": "plan",
        **counts,
        "bytes": sum(one.size for one in planned.plan.carry_out),
        "problems": len(planned.problems),
        "waiting": len(planned.plan.waiting),
        "plan_id": planned.plan.plan_id,
    }


def _plan_line(of: Plan) -> str:
    size = size_text(sum(one.size for one in of.carry_out))
    text = f"plan: {plural(len(of.carry_out), 'step')}, {size} to move"
    if of.waiting:
        text += f"; {len(of.waiting):,} more wait for --accept-deletes {of.plan_id}"
    return text


def _decision_fields(decision: Decision) -> dict[str, object]:
    return {
        "verb": decision.verb.value,
        "path": decision.path,
        "size": decision.size,
        "reason": decision.reason,
    }


def _problem_fields(problem: Problem) -> dict[str, Any]:
    return {
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
        "retryable": problem.retryable,
    }
