"""What a run says when it is over: a few lines for a person, or JSON lines for a script.

Results go to stdout, everything else to stderr. Names from disk or server are escaped
before a terminal sees them.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from fwsync.cleanup import Fate, GivenUp
from fwsync.errors import Exit, FwsyncError
from fwsync.model import Decision, Problem, RelPath, Report, Verb
from fwsync.packing import shared_folder
from fwsync.plan import Plan
from fwsync.progress import (
    JsonLines,
    JsonProgress,
    LogProgress,
    Progress,
    choose_progress,
    moment,
    moment_utc,
    plural,
    printable,
    problem_fields,
    say,
    size_text,
)
from fwsync.restoring import Restored
from fwsync.runs import Planned
from fwsync.sources import Said
from fwsync.state import files_of
from fwsync.trash import Kept

#: How many paths of one kind a person is shown; all are in the JSON lines.
SAMPLE = 10

#: How many of the paths that one and the same problem befell.
FEW = 3

#: How the root or the whole project is written as a path.
_WHOLE = ("", ".")

_VERBS = {
    Verb.UPLOAD: "send",
    Verb.DOWNLOAD: "fetch",
    Verb.RENAME: "rename here",
    Verb.RENAME_REMOTE: "rename there",
    Verb.DELETE_LOCAL: "delete here",
    Verb.DELETE_REMOTE: "delete there",
    Verb.ADOPT: "same already",
    Verb.CONFLICT: "conflict",
    Verb.HOLD: "deletion held",
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
            lines.write("problem", **problem_fields(problem))
        for path in done.conflict_list:
            lines.write("conflict", path=path)
        for note in done.notes:
            lines.write("note", text=note)
        for left in done.difference_list:
            lines.write("left-alone", path=left.path, reason=left.message)
        for waiting in done.waiting:
            verb = waiting.verb.value
            lines.write("waiting", verb=verb, path=waiting.path, reason=waiting.reason)
        lines.write("summary", **summary(done, code))
    else:
        _tell(done)
    return code


def error(ended: FwsyncError) -> None:
    """Tell a script why there is no summary; a person reads it on stderr."""
    fields = {"message": ended.message, "hint": ended.hint, "retryable": ended.retryable}
    JsonLines(sys.stdout).write("error", **fields, exit_code=int(ended.exit_code))


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
        "sidecars": done.sidecars,
        "adopted": done.adopted,
        "held": done.held,
        "skipped": done.skipped,
        "conflicts": done.conflicts,
        "conflicts_open": done.conflicts_open,
        "problems": done.problems,
        "deferred": done.deferred,
        "left": done.left,
        "bytes": done.bytes,
        "requests": done.requests,
        "files": done.files,
        "seconds": round(done.seconds, 3),
        "peak_memory": done.peak_memory,
        "halted": done.halted,
        "guards": done.guards,
        "waiting": len(done.waiting),
        "plan_id": done.plan_id,
        "exit_code": int(code),
    }


def _tell(done: Report) -> None:
    _problems(done.problem_list)
    _list("note", done.notes)
    _list("conflict", [_conflict(path, done) for path in done.conflict_list])
    kind = "differs" if done.command == "verify" else "left alone"
    _list(kind, [_told([one.path], one.message, one.hint) for one in done.difference_list])
    if done.command == "pull" and not all(one.hint for one in done.difference_list):
        push = command_on("push", done.where)
        say(f"hint: `{push}` sends a local edit; to drop it, delete the file and pull again")
    if done.trashed:
        _tell_trashed(done)
    _tell_deleted_there(done)
    _tell_renamed(done)
    if done.held:
        passing = {"push": "--delete-up", "pull": "--delete"}
        option = passing.get(done.command, "--delete-up or --delete-down")
        say(
            f"hint: what was deleted on one side stays on the other; {option} "
            f"passes deletions on, `{command_on('verify', done.where)}` lists them"
        )
    if done.left:
        say(
            f"left for the next run: {plural(done.left, 'step')}, as {done.left_why} was reached; "
            "run it again to go on"
        )
    if done.halted:
        _list("waits", [f"{_VERBS[one.verb]} {one.path}" for one in done.waiting])
        say(f"held: {done.halted}; nothing was deleted or overwritten")
        say(
            "hint: if it is an accident, put it right; if it is meant, give the same command with "
            f"--accept-deletes {done.plan_id} (--json lists all of it)"
        )
    if done.conflicts_open:
        say(conflicts_wait(done.conflicts_open, done.where))
    say(_one_line(done))


def conflicts_wait(number: int, where: Sequence[str]) -> str:
    """That conflicts wait for a person, and what lists them.

    Args:
        number: of these.
        where: words that name the root, and its state if that lies elsewhere.
    """
    waits = "waits" if number == 1 else "wait"
    return f"{plural(number, 'conflict')} {waits} for you: see `{conflicts_command(where)}`"


def conflicts_command(where: Sequence[str]) -> str:
    """What lists the conflicts of a root."""
    return command_on("conflicts", where)


def command_on(name: str, where: Sequence[str]) -> str:
    """A command about a root, as a shell takes it; ``where`` as in :func:`conflicts_wait`."""
    return printable(shlex.join(["fwsync", name, *where]))


def _tell_deleted_there(done: Report) -> None:
    for path in done.deleted_there:
        say(f"deleted there: {printable(path)}")
    if more := done.deleted - done.trashed - len(done.deleted_there):
        say(f"  … and {more:,} more; --json lists them all")


def _tell_renamed(done: Report) -> None:
    """What has another path now, by the new one."""
    named = [("here", one) for one in done.renamed_here]
    named += [("there", one) for one in done.renamed_there]
    for where, (new, old) in named:
        say(f"renamed {where}: {printable(new)} (was {printable(old)})")
    if named and (more := done.renamed - len(named)):
        say(f"  … and {more:,} more; --json lists them all")


def _tell_trashed(done: Report) -> None:
    """What went to the trash, and how it comes back."""
    for path in done.trashed_first:
        say(f"deleted here: {printable(path)}")
    if more := done.trashed - len(done.trashed_first):
        say(f"  … and {more:,} more; --json lists them all")
    run = f"--run {done.trash_run}" if done.trash_run else "--list"
    what = "puts them back" if done.trash_run else "lists them"
    root = printable(shlex.quote(done.root))
    say(f"hint: they are in the trash; `fwsync restore {root} {run}` {what}")


def _one_line(done: Report) -> str:
    counts = [
        (done.uploaded, "sent"),
        (done.downloaded, "fetched"),
        (done.deleted, "deleted"),
        (done.renamed, "renamed"),
        (
            done.sidecars,
            "metadata file written" if done.sidecars == 1 else "metadata files written",
        ),
        (done.adopted, "there already"),
        (done.held, "held deletion" if done.held == 1 else "held deletions"),
        (len(done.difference_list), "left alone" if done.command != "verify" else "different"),
        (done.conflicts, "in conflict"),
        (done.problems, "with problems"),
    ]
    did = ", ".join(f"{number:,} {what}" for number, what in counts if number)
    nothing = "nothing else to do" if done.made else "nothing to do"
    nothing = "nothing done" if done.halted or done.left else nothing
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
    named = ", ".join("all of it" if path in _WHOLE else path for path in paths[:FEW])
    if len(paths) > FEW:
        named += f" and {len(paths) - FEW:,} more"
    said = message if len(paths) == 1 and paths[0] in _WHOLE else f"{named}: {message}"
    return said + (f" ({hint})" if hint else "")


def problem_line(path: str, message: str) -> str:
    """A problem in one line; one of all that is here has no path of its own."""
    return _told([path], message, "")


def _conflict(path: RelPath, done: Report) -> str:
    copy = done.copies.get(path)
    kept = f"; the server's is in place, yours is {copy}" if copy else "; nothing was touched"
    return f"{path}: both sides have other bytes{kept}"


def _list(kind: str, texts: list[str]) -> None:
    for text in texts[:SAMPLE]:
        say(f"{kind}: {printable(text)}")
    if len(texts) > SAMPLE:
        say(f"  … and {len(texts) - SAMPLE:,} more; --json lists them all")


def _origin(decision: Decision) -> str:
    """Where a file that a rule placed lies here, and why it goes where it goes."""
    local = decision.local
    if local is None:
        return decision.rule
    where = local.on_disk
    if local.pack is not None:
        files = plural(len(local.pack.members), "file")
        where = f"{files} in {shared_folder(local) or 'the folder itself'}"
    return f"from {where}: {decision.rule}"


def plan(planned: Planned, *, as_json: bool) -> Exit:
    """Print what a run would do."""
    decisions = [*planned.plan.carry_out, *planned.plan.waiting]
    if as_json:
        lines = JsonLines(sys.stdout)
        for number, decision in enumerate(decisions):
            said = planned.said.get(decision.path, Said())
            fields = _decision_fields(decision, said)
            lines.write("decision", **fields, waits=number >= len(planned.plan.carry_out))
        for problem in planned.problems:
            lines.write("problem", **problem_fields(problem))
        lines.write("summary", **_plan_summary(planned))
    else:
        for decision in decisions:
            what = _VERBS[decision.verb]
            say(f"{what:>18}  {printable(decision.path)}  ({_why(decision, planned)})")
            if decision.rule:
                say(f"{'':>18}  {printable(_origin(decision))}")
            if told := _told_of(planned.said.get(decision.path)):
                say(f"{'':>18}  with {printable(told)}")
        _problems(planned.problems)
        for guard in planned.plan.held:
            say(f"held: {guard.reason}")
        if planned.conflicts_open:
            say(conflicts_wait(planned.conflicts_open, planned.where))
        say(_plan_line(planned))
        if planned.saved_to is not None and any(one.verb is not Verb.REPORT for one in decisions):
            say(f"hint: {printable(_to_apply(planned))}")
    return _plan_code(planned)


def _to_apply(planned: Planned) -> str:
    """The command that carries out a saved plan, and the one that consents to it."""
    command = shlex.join(["fwsync", *planned.again])
    if not planned.plan.waiting:
        return f"`{command}` does it"
    consents = f"`{command} --accept-deletes {planned.plan.plan_id}`"
    return f"`{command}` does only what is new; {consents} does all of it"


def _why(decision: Decision, planned: Planned) -> str:
    """The reason for a step; of a conflict also what becomes of it."""
    if decision.verb is not Verb.CONFLICT or planned.plan.held:
        return decision.reason
    kept = decision.path in planned.kept_twice
    then = "the server's gets the name, yours stays beside it" if kept else "nothing is touched"
    return f"{decision.reason}; {then}"


def _plan_code(planned: Planned) -> Exit:
    """What the run would end with, if all of it gets through."""
    of = planned.plan
    if of.waiting:
        return Exit.HALTED
    left = any(one.verb in (Verb.CONFLICT, Verb.REPORT) for one in of.carry_out)
    return Exit.DIFFERENCES if planned.problems or left else Exit.IN_STEP


def _conflicts(of: Plan) -> int:
    return sum(one.verb is Verb.CONFLICT for one in of.carry_out)


def _plan_summary(planned: Planned) -> dict[str, object]:
    counts = {verb.value: 0 for verb in Verb if verb is not Verb.NOTHING}
    for decision in (*planned.plan.carry_out, *planned.plan.waiting):
        counts[decision.verb.value] += 1
    return {
        "command": "plan",
        **counts,
        "bytes": planned.bytes,
        "problems": len(planned.problems),
        "conflicts_open": planned.conflicts_open,
        "waiting": len(planned.plan.waiting),
        "plan_id": planned.plan.plan_id,
        "out": "" if planned.saved_to is None else str(planned.saved_to),
        "exit_code": int(_plan_code(planned)),
    }


def _plan_line(planned: Planned) -> str:
    of = planned.plan
    size = size_text(planned.bytes)
    text = f"plan: {plural(len(of.carry_out), 'step')}, {size} to move"
    if not of.carry_out and not of.waiting:
        text = f"plan: nothing {'else ' if planned.makes_project else ''}to do"
    if conflicts := _conflicts(of):
        text += f", {plural(conflicts, 'conflict')}"
    if planned.problems:
        text += f", {plural(len(planned.problems), 'problem')}"
    if of.waiting:
        text += f"; {len(of.waiting):,} more wait for --accept-deletes {of.plan_id}"
    return text


#: Characters of what the server would be told of one file.
_WIDE = 300


def _told_of(said: Said | None) -> str:
    """What the server would be told of a file and what is above it, for people, cut."""
    if said is None:
        return ""
    told = [f"{name} {_value(value)}" for name, value in {**said.metadata, **said.fields}.items()]
    text = ", ".join(told)
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return " + ".join(map(_value, value))
    return str(value)


def _decision_fields(decision: Decision, said: Said) -> dict[str, object]:
    return {
        "verb": decision.verb.value,
        "path": decision.path,
        "size": decision.size,
        "reason": decision.reason,
        "rule": decision.rule,
        "source": [one.on_disk for one in files_of(decision.local)] if decision.local else [],
        "metadata": dict(said.metadata),
        "fields": dict(said.fields),
    }


def in_trash(found: Sequence[Kept], *, as_json: bool) -> Exit:
    """Print what lies in the trash."""
    if as_json:
        lines = JsonLines(sys.stdout)
        for one in found:
            since = moment_utc(one.since_ns)
            lines.write("kept", path=one.path, run=one.run, time=since, size=one.size, at=one.at)
        size = sum(one.size for one in found)
        lines.write("summary", command="restore", kept=len(found), bytes=size, exit_code=0)
        return Exit.IN_STEP
    for one in found:
        since = moment(one.since_ns)
        say(f"{one.run}  {since}  {size_text(one.size):>10}  {printable(one.path)}")
    together = size_text(sum(one.size for one in found))
    say(f"restore: {plural(len(found), 'file')} in the trash, {together}")
    return Exit.IN_STEP


def put_back(done: Sequence[Restored], *, as_json: bool) -> Exit:
    """Print what came of putting files back."""
    failed = [one.problem for one in done if one.problem is not None]
    code = Exit.DIFFERENCES if failed else Exit.IN_STEP
    restored = len(done) - len(failed)
    if as_json:
        lines = JsonLines(sys.stdout)
        for one in done:
            if one.problem is None:
                lines.write("restored", path=one.kept.path, run=one.kept.run, size=one.kept.size)
        for problem in failed:
            lines.write("problem", **problem_fields(problem))
        counts = {"restored": restored, "problems": len(failed)}
        lines.write("summary", command="restore", **counts, exit_code=int(code))
        return code
    _list("restored", [one.kept.path for one in done if one.problem is None])
    _problems(failed)
    left = f", {len(failed):,} left in the trash" if failed else ""
    nothing = "" if done else "; the trash is empty"
    say(f"restore: {plural(restored, 'file')} put back{left}{nothing}")
    return code


_FATES = {
    Fate.BEGUN: "begun, and never ended",
    Fate.CANCELLED: "cancelled",
    Fate.EXPIRES: "forgotten here; the server drops it by its own rules",
    Fate.KEPT: "kept, as the server did not answer",
}


def given_up(uploads: Sequence[GivenUp], *, as_json: bool) -> Exit:
    """Print what became of uploads that were begun and never ended."""
    kept = sum(one.fate is Fate.KEPT for one in uploads)
    code = Exit.UNAVAILABLE if kept else Exit.IN_STEP
    if as_json:
        lines = JsonLines(sys.stdout)
        for one in uploads:
            lines.write("upload", **_upload_fields(one))
        counts = {fate.value: sum(one.fate is fate for one in uploads) for fate in Fate}
        lines.write("summary", command="cleanup", **counts, exit_code=int(code))
        return code
    for one in uploads:
        at = moment(one.begun_ns)
        arrived = f", {plural(one.parts, 'part')} there" if one.parts else ""
        why = f" ({one.reason})" if one.reason else ""
        say(f"{printable(one.path)}: {_FATES[one.fate]}{why}; by {one.route}, {at}{arrived}")
    say(f"cleanup: {plural(len(uploads), 'upload')} begun and never ended")
    return code


def _upload_fields(one: GivenUp) -> dict[str, Any]:
    return {
        "path": one.path,
        "route": one.route,
        "begun": moment_utc(one.begun_ns),
        "begun_ns": one.begun_ns,
        "parts": one.parts,
        "fate": one.fate.value,
        "reason": one.reason,
    }
