"""The page on JSON lines: which there are comes from the program, what they mean stands here."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from written import NOTE, explained, table

from fwsync import doctor, show, show_explained
from fwsync.checkups import Checkup, Finding, Grade
from fwsync.errors import Exit, UsageError
from fwsync.explaining import Explained
from fwsync.model import Decision, Mode, Outcome, Problem, RelPath, Report, Verb
from fwsync.plan import Plan
from fwsync.progress import JSON_VERSION, JsonLines, JsonProgress
from fwsync.rebuilding import Rebuilt
from fwsync.runs import Planned, Status

SUMMARY = {
    "command": "`push`, `pull`, `sync`, `watch`, `apply` or `verify`",
    "root": "the folder",
    "remote": "the project",
    "uploaded": "files sent",
    "downloaded": "files fetched",
    "deleted": "files deleted, on either side",
    "renamed": "files that got another path, here or there, without their bytes",
    "sidecars": "files of metadata written beside what they speak of, see `--metadata`",
    "adopted": "files found the same on both sides, and noted",
    "held": "deletions seen in this run and not passed on",
    "skipped": "files left alone on purpose, or that `verify` found to differ; each has a "
    "`left-alone` line",
    "conflicts": "files that changed on both sides; each has a `conflict` line",
    "conflicts_open": "conflicts that wait for a person, those of earlier runs included; "
    "`fwsync conflicts` lists them",
    "problems": "files that failed; each has a `problem` line",
    "deferred": "folders that were not quiet yet",
    "left": "steps left for the next run, as `--max-transfer` or `--max-duration` was reached",
    "bytes": "bytes of content that were moved",
    "requests": "HTTP requests, repeated ones included",
    "files": "files here: those that were seen and those that came, without those that went",
    "seconds": "how long it took",
    "peak_memory": "bytes, the most that this process used",
    "halted": "why a guard holds the plan; empty if none does",
    "guards": "the names of the guards that hold it: `too-many-deletions`, "
    "`too-many-deletions-in-a-container`, `root-emptied`, `remote-emptied`, `everything-changed`, "
    "`server-restored`",
    "waiting": "steps that a guard holds; each has a `waiting` line",
    "plan_id": "what `--accept-deletes` takes",
    "exit_code": "as in [exit codes](exit-codes.md)",
}

PLAN_SUMMARY = {
    "command": "`plan`",
    "bytes": "bytes of content to move",
    "problems": "files that cannot take part; each has a `problem` line",
    "conflicts_open": "conflicts of earlier runs that wait for a person",
    "waiting": "decisions that a guard holds",
    "plan_id": "what `--accept-deletes` takes, where a guard holds something",
    "out": "the file that has the plan, for `fwsync apply`; empty if none was named",
    "exit_code": "what the run would end with, as in [exit codes](exit-codes.md)",
}

DOCTOR = {
    "command": "`doctor`",
    "root": "the folder",
    "remote": "the project",
    "kept": "where the old state is; empty if there was none",
    "in_step": "files that both sides agree on",
    "differ": "files that are not the same here and there; each has a `differs` line",
    "only_here": "files that only the folder has",
    "only_there": "files that only the server has",
    "saved": "rows of the old state that were taken over, by table",
    "lost": "tables of the old state that could not be read to their end",
    "problems": "files that could not be compared; each has a `problem` line",
    "exit_code": "0, or 1 if something differs or is a problem",
}

STATUS = {
    "root": "the folder",
    "remote": "the project; empty if none is known",
    "state_file": "where the state is",
    "files": "files in step",
    "bytes": "their bytes",
    "held": "deletions remembered and not passed on",
    "last_command": "the last run",
    "last_started": "when it began",
    "last_started_ns": "the same, in nanoseconds since 1970",
    "last_exit_code": "how it ended; null while it runs, or if it was killed",
    "problems": "a list of `path` and `message`",
    "conflicts": "a list of paths, of which copies were made",
    "conflicts_open": "how many conflicts wait for a person, those without a copy included",
    "copies": "the same with `copy`, where the bytes of this folder are: a list of `path` and "
    "`copy`",
    "held_first": "the paths of the first held deletions",
    "uploads": "uploads that were begun and not ended; the next run goes on with them, and "
    "`fwsync cleanup` gives them up",
    "holder": "the process that works on the folder now; empty if none does",
    "halted": "true if a guard held the last run, or holds what nobody has consented to since",
    "hold": "what a guard holds: `plan_id`, `mode`, `since` and `since_ns`, `base_files`, "
    "`guards` (`name`, `reason` and `hint` of each), `deletions_here`, `deletions_there`, "
    "`overwrites`, `others`, all of these together as `waiting`, `sample`, `options` of the "
    "run that was held, and `again`, the whole command of a saved plan that was; null if none does",
    "consent": "the command that lets it through; empty if nothing is held",
}

EXPLAIN = {
    "root": "the folder",
    "path": "as it was named, below the folder",
    "kind": "`file`, `folder`, `copy` of a conflict, `extra` (a sidecar, or of an analysis), "
    "`ours` (fwsync's own) or `nowhere`",
    "remote": "the project",
    "mode": "the direction of the run that is spoken of",
    "asked": "false where the server was taken for what was agreed on",
    "not_asked": "why it was not asked; empty if nobody wanted to",
    "there": "the path by which it is compared",
    "sources": "the files here that it is made of",
    "here": "the file here: `size`, `modified`, `tag`, `digest`, and `members` of a pack; or null",
    "server": "the file there: `size`, `version`, `digest`, `container`, `file_id`; or null",
    "agreed": "what both agreed on: `size`, `version`, `digest`, `held`; or null",
    "delta_here": "what this side did since: `same`, `changed`, `created`, `deleted` or `absent`",
    "delta_there": "the same of the server",
    "labels": "of the containers that it belongs into, from the group down",
    "no_place": "why the layout has no place for it",
    "rule": "the rule that put it there, where one did",
    "left_out": "the pattern that leaves it out, and where it stands",
    "out_of_bounds": "true if its size or its age leaves it out",
    "unseen": "why one side could not be seen there",
    "verb": "what the next run does; null if it takes no part",
    "why": "the same as a sentence",
    "with_deletes": "the verb where deletions are passed on, if that is another one",
    "guards": "why a guard holds it",
    "policy": "what `--conflict` says for that run",
    "keeps_both": "true for a conflict that ends with both files here",
    "plan_id": "what `--accept-deletes` takes, if one does",
    "problem": "`message`, `hint` and `attempts`, or null",
    "conflict_copy": "where your bytes of a conflict are",
    "choice": "what was said of a conflict, for the next run: `keep-local`, `keep-remote` or "
    "`keep-both`; empty if nothing was",
    "moved_to": "of `nowhere`: the path that it was renamed to and has now; empty if there is none",
    "settling_s": "seconds that a `watch` waits at least",
    "counts": "of a folder: files `here`, `there`, `agreed`, `problems`, and by verbs",
    "waiting": "of a folder: how many of these a guard holds, by verbs",
    "exit_code": "0",
}

EVENTS = {
    "start": "A plan begins to be carried out: how many files and bytes will move.",
    "file": "One decision is done. `verb` is one of those below; `moved` is bytes over the wire; "
    "`problem` is there only where `ok` is false, `conflict_copy` only where one was made.",
    "progress": "Now and then while bytes move, at most every ten seconds.",
    "note": "A line for people.",
}

VERBS = {
    Verb.NOTHING: "",
    Verb.ADOPT: "both sides hold the same bytes: noted, nothing moved",
    Verb.UPLOAD: "sent",
    Verb.DOWNLOAD: "fetched",
    Verb.RENAME: "moved on the server, and renamed here; no bytes moved",
    Verb.RENAME_REMOTE: "moved here, and renamed on the server; no bytes moved",
    Verb.DELETE_LOCAL: "moved to the trash here",
    Verb.DELETE_REMOTE: "deleted on the server",
    Verb.HOLD: "gone on one side, remembered, not passed on",
    Verb.FORGET: "gone on both sides",
    Verb.CONFLICT: "changed on both sides",
    Verb.REPORT: "left alone on purpose",
}


def json_lines() -> Iterator[str]:  # noqa: PLR0915 - a page, from its top to its end
    """The page, line by line."""
    yield from ("# JSON lines", "", NOTE, "")
    yield "With `--json`, results go to stdout as JSON, one object a line, in ASCII."
    yield (
        f'Each has `"v": {JSON_VERSION}`, which grows when a field changes its meaning, '
        "and `event`, which says what the line is."
    )
    yield "New fields and new events may come at any time: skip what you do not know."
    yield "The last line of a run is its `summary`."
    yield (
        "Where an error ends a command, its last line is an `error` instead; the text goes to "
        "stderr, too."
    )
    yield from ("", "## While a run goes on", "")
    yield from _events()
    yield from ("", "Verbs:")
    yield from table(
        ("verb", "meaning"), [(f"`{verb}`", text) for verb, text in VERBS.items() if text]
    )
    yield from ("", "## When it is over", "")
    yield "One line for each path that needs attention, then the summary."
    example = Report(
        problem_list=[Problem("sub-01/t1.dcm", "cannot be read (Permission denied)")],
        conflict_list=[RelPath("sub-01/notes.txt")],
        difference_list=[Problem("README.txt", "changed here; a local edit is never overwritten")],
    )
    yield from ("", "```json", *_without_summary(example), "```")
    yield from ("", "### The summary", "", "All fields are always there.")
    yield from _fields("summary", show.summary(Report(), Exit.IN_STEP), SUMMARY)
    yield from ("", "### An error", "")
    yield "In place of the summary, where a command is refused or cannot go on:"
    error = UsageError(
        "lab/agin: there is no such project, or the key may not see it",
        hint="`fwsync ls` shows what is there",
    )
    yield from ("", "```json", *_captured(lambda: show.error(error)), "```", "")
    yield "A call that cannot be understood, such as one with an unknown option, has none."
    yield from ("", "## `fwsync plan`", "")
    yield "A `decision` line for each step, also for those that a guard holds (`waits`); then a "
    "summary."
    yield (
        "`metadata` is what the server would be told of the file, and `fields` what it would be "
        "told of the containers above it, by names such as `session.timestamp`."
    )
    decision = Decision(Verb.HOLD, RelPath("README.txt"), reason="deleted here")
    lines = _captured(lambda: show.plan(Planned(Plan((decision,)), ()), as_json=True))
    yield from ("", "```json", lines[0], "```")
    verbs = {verb.value: f"how many steps: {text}" for verb, text in VERBS.items() if text}
    yield from _fields("plan summary", _bare(lines[-1]), PLAN_SUMMARY | verbs)
    yield from ("", "## `fwsync status`", "", "One line, its event `status`.")
    status = Status(Path("/data/aging"), "neuro/aging", Path("/data/aging/.fwsync/state.db"))
    yield from _fields("status", status.fields(), STATUS)
    yield from ("", "`exit_code` comes with it: 0, 1 for problems or conflicts, 4 for a halt.")
    yield from ("", "## `fwsync doctor`", "")
    yield (
        "A `finding` line for each thing that was looked at; then a summary that counts the grades."
    )
    found = Finding("state", Grade.BAD, "…/state.db: the state file is damaged", "`fwsync …`")
    lines = _captured(lambda: doctor.check_lines(Checkup(Path("/data/aging"), (found,))))
    yield from ("", "```json", lines[0], "```", "")
    yield (
        f"`grade` is one of {', '.join(f'`{one}`' for one in Grade)}.\n"
        "A `good` one with a `hint` waits for a person: `held` by a guard, or `conflicts`.\n"
        "With `--rebuild`, a `differs` line for each file that is not the same here and there; "
        "then this summary:"
    )
    done = Rebuilt(Path("/data/aging"))
    lines = _captured(lambda: doctor.rebuild_lines(done, Exit.IN_STEP))
    yield from _fields("doctor summary", _bare(lines[-1]), DOCTOR)
    yield from ("", "## One file, and files of a zip", "")
    yield (
        "`fwsync pull` of one file of an analysis writes a `file` line, and with `--member` a "
        "`member` line for each: `path`, `size`, and `file`, where it is here. "
        "`verb` is `download`, or `adopt` where the same bytes were there."
    )
    yield from ("", "## One path", "")
    yield from _one_path()
    yield from (
        "",
        "## `fwsync ls`, `fwsync login`, `fwsync cleanup`, `fwsync restore`, `fwsync sandbox`",
        "",
    )
    yield "`ls` writes an `entry` line for each child: `kind`, `label`, `id`, `size` of a file."
    yield "`login` writes a `login` line: `user`, `host` and `stored_in`."
    yield (
        "`cleanup` writes an `upload` line for each upload that was begun and never ended: "
        "`path`, `route`, `begun` and `begun_ns`, `parts`, `fate` and `reason`; "
        "the `summary` line counts the fates."
    )
    yield (
        "`restore --list` writes a `kept` line for each file in the trash: `path`, `run`, which "
        "names the run that put it there, `time`, when that began, `size`, and `at`, where it is; "
        "`restore` writes a `restored` or a `problem` line for each."
    )
    yield (
        "`sandbox` writes one line when it is ready, without `v` and `event`: "
        "`url`, `api_key`, `user_api_key`, `user_id` and `device_secret`; "
        "with `--tls` also `ca_file`."
    )


def _one_path() -> Iterator[str]:
    yield (
        "`fwsync history` writes a `history` line for each event, in their order: `path`, `time` "
        "(UTC), `what`, `run` and `command`, and `size`, `digest` and `version` of the file."
    )
    yield (
        "`other` is another path that has to do with it: where it came from or went to, or a copy."
    )
    yield "`kept` says where bytes are that lost their name: `trash RUN` or `version N`."
    yield (
        "`what` is a verb as above, or `moved` (the file went to `other`, of which nothing else is "
        "told), `problem`, `restore` or `resolve`; its `summary` says in `agreed`, `size`, "
        "`digest`, `version` and `held` what is agreed on now."
    )
    yield (
        "`fwsync conflicts` writes a `conflict` line for each: `path`, `time`, `run`, `command`, "
        "`mine` and `theirs` (each with `path`, `size`, `digest`, `modified` and `version`), "
        "`copy`, which is empty where nothing was touched, `edited`, and `choice`, which the next "
        "run carries out."
    )
    yield (
        "`fwsync conflicts keep-…` writes a `settled` line (`path`, `how`, `what`, `kept`) or a "
        "`problem` line for each; the `summary` counts both."
    )
    yield "`fwsync explain` writes one `explain` line:"
    told = Explained(Path("/data/aging"), RelPath("sub-01/t1.dcm"), "neuro/aging", Mode.BOTH)
    (line,) = _captured(lambda: show_explained.explained(told, as_json=True))
    yield from _fields("explain", _bare(line), EXPLAIN)


def _events() -> Iterator[str]:
    stream = io.StringIO()
    ticks = iter(range(0, 1000, 100))
    told = JsonProgress(JsonLines(stream), clock=lambda: float(next(ticks)))
    path = RelPath("sub-01/ses-01/t1/t1.dcm")
    told.start(2, 300_000)
    told.advanced(path, 150_000)
    told.finished(Outcome(Decision(Verb.UPLOAD, path), moved=150_000))
    told.note("watching /scanner/export for neuro/aging (quiet time 30 s)")
    seen: dict[str, str] = {}
    for line in stream.getvalue().splitlines():
        seen.setdefault(json.loads(line)["event"], line)
    explained("events", seen, EVENTS)
    for event, line in sorted(seen.items(), key=lambda item: list(EVENTS).index(item[0])):
        yield from (f"`{event}`: {EVENTS[event]}", "", "```json", line, "```", "")


def _without_summary(report: Report) -> list[str]:
    return _captured(lambda: show.report(report, as_json=True))[:-1]


def _captured(act: Any) -> list[str]:
    stream = io.StringIO()
    with redirect_stdout(stream):
        act()
    return stream.getvalue().splitlines()


def _bare(line: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(line)
    return {name: value for name, value in fields.items() if name not in ("v", "event")}


def _fields(what: str, fields: Mapping[str, object], meanings: Mapping[str, str]) -> Iterator[str]:
    explained(what, fields, meanings)
    yield from table(("field", "meaning"), [(f"`{name}`", meanings[name]) for name in fields])
