"""Write the reference pages from the program itself: commands, settings, exit codes, JSON lines.

    .venv/bin/python docs/reference/generate.py

What a thing is called, and which there are, comes from the code. What it means to a user
stands here, and a name without a meaning is an error, so that nothing is added unexplained.
``tests/house/test_docs.py`` fails while the committed pages differ from these.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer.main

from fwsync import cli, show
from fwsync.config import DeleteCap, Settings
from fwsync.errors import Exit
from fwsync.model import Decision, Outcome, Problem, RelPath, Report, Verb
from fwsync.plan import Plan
from fwsync.progress import JSON_VERSION, JsonLines, JsonProgress, duration_text
from fwsync.runs import Planned, Status

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # the checklist of the sandbox is beside its tests

from tests.conformance import checklist  # noqa: E402

NOTE = "<!-- Written by docs/reference/generate.py from the program itself; do not edit. -->"

#: What stands for a value where the program names it by its type alone.
_KINDS = {int: "N", float: "N", str: "TEXT", Path: "PATH"}

SETTINGS = {
    "api_key_file": "Where the API key is, before any other place is looked at.",
    "project": "The project, where the command names none.",
    "layout": "Which folders stand for which levels, see [names](../concepts/names.md).",
    "settle_s": "`watch` sends a folder after it has been quiet for so long.",
    "patience_s": "A command gives up after so long without any progress at all: 60 s if it is "
    "not set. `watch` then says so and tries again, for ever.",
    "transfers": "How many transfers are under way at once: 8 if it is not set.",
    "conflict": "What becomes of a file that changed on both sides.",
    "create_project": "Make the project if it is not there; a group is never made.",
    "delete_up": "Let a file deleted here be deleted on the server.",
    "delete_down": "Let a file deleted on the server go to the trash here.",
    "delete_reason": "Told to the server with each deletion, for sites that ask why.",
    "max_delete": "How many deletions a run may make on one side before it holds them all; "
    "the percentage counts from 20 files up.",
    "include": "Only files that match one of these take part.",
    "exclude": "What matches takes no part; the last pattern that matches decides, and `!` "
    "brings back.",
    "filter_from": "A file of patterns in gitignore syntax, one a line, added to `exclude`.",
    "state": "Where the state file is, see [state](../concepts/state.md).",
    "max_age_s": "`watch` sends a folder that never gets quiet after so long; without it, such a "
    "folder waits.",
    "rescan_s": "`watch` looks at the whole folder at least so often, whatever events say.",
    "poll_s": "`watch --mode down` and `both` list the server so often; folders on a network "
    "file system are scanned as often.",
    "profiles": "Folders and their projects, by a name: see below.",
}

EXIT_CODES = {
    Exit.IN_STEP: (
        "in step",
        "There is nothing left to do; or `watch` was stopped by SIGTERM, or `sandbox` by any "
        "of Ctrl-C, SIGTERM and SIGHUP.",
    ),
    Exit.DIFFERENCES: (
        "differences",
        "The run went through, and there are problems with single files, conflicts, or files "
        "that were left alone on purpose; `verify` found a difference.",
    ),
    Exit.USAGE: (
        "usage",
        "The call or the settings are wrong, or there is no such folder, project or group.",
    ),
    Exit.AUTH: ("key or permission", "There is no API key, it was refused, or it may not do this."),
    Exit.HALTED: (
        "held by a guard",
        "Deletions and overwrites wait for a person; additions have been made.",
    ),
    Exit.UNAVAILABLE: (
        "server unavailable",
        "The server could not be reached, or what it answers cannot be read.",
    ),
    Exit.LOCAL: (
        "this machine",
        "The state file is damaged, of a newer fwsync or in use, or there is no space left.",
    ),
    Exit.INTERRUPTED: ("interrupted", "Ctrl-C."),
    Exit.TERMINATED: (
        "terminated",
        "What a shell reports when SIGTERM ended a one-shot command.",
    ),
}

SUMMARY = {
    "command": "`push`, `pull`, `sync`, `watch` or `verify`",
    "root": "the folder",
    "remote": "the project",
    "uploaded": "files sent",
    "downloaded": "files fetched",
    "deleted": "files deleted, on either side",
    "renamed": "files moved without their bytes; always 0 so far",
    "adopted": "files found the same on both sides, and noted",
    "held": "deletions seen in this run and not passed on",
    "skipped": "files left alone on purpose; each has a `left-alone` line",
    "conflicts": "files that changed on both sides; each has a `conflict` line",
    "problems": "files that failed; each has a `problem` line",
    "deferred": "folders that were not quiet yet",
    "bytes": "bytes of content that were moved",
    "requests": "HTTP requests, repeated ones included",
    "files": "files that the scan of the folder saw",
    "seconds": "how long it took",
    "peak_memory": "bytes, the most that this process used",
    "halted": "why a guard holds the plan; empty if none does",
    "plan_id": "what `--accept-deletes` takes",
    "exit_code": "as in [exit codes](exit-codes.md)",
}

PLAN_SUMMARY = {
    "command": "`plan`",
    "bytes": "bytes of content to move",
    "problems": "files that cannot take part; each has a `problem` line",
    "waiting": "decisions that a guard holds",
    "plan_id": "what `--accept-deletes` takes",
}

STATUS = {
    "root": "the folder",
    "remote": "the project; empty if none is known",
    "state_file": "where the state is",
    "files": "files in step",
    "bytes": "their bytes",
    "held": "deletions remembered and not passed on",
    "last_command": "the last run",
    "last_started_ns": "when it began, in nanoseconds since 1970",
    "last_exit_code": "how it ended; null while it runs, or if it was killed",
    "problems": "a list of `path` and `message`",
    "conflicts": "a list of paths",
    "holder": "the process that works on the folder now; empty if none does",
    "halted": "true if a guard held the last run",
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
    Verb.DELETE_LOCAL: "moved to the trash here",
    Verb.DELETE_REMOTE: "deleted on the server",
    Verb.HOLD: "gone on one side, remembered, not passed on",
    Verb.FORGET: "gone on both sides",
    Verb.CONFLICT: "changed on both sides",
    Verb.REPORT: "left alone on purpose",
}


def pages() -> dict[str, str]:
    """The text of every page, by the name of its file."""
    return {
        "commands.md": "\n".join(_commands()) + "\n",
        "settings.md": "\n".join(_settings()) + "\n",
        "exit-codes.md": "\n".join(_exit_codes()) + "\n",
        "json-lines.md": "\n".join(_json_lines()) + "\n",
        "sandbox-routes.md": "\n".join(_sandbox_routes()) + "\n",
    }


# ------------------------------------------------------------------------------- commands


def tree() -> dict[str, Any]:
    """Every command that does something, by its full name."""
    return dict(_below(typer.main.get_command(cli.app), "fwsync"))


def options(command: Any) -> Iterator[str]:
    """All spellings of a command's options."""
    yield from ("-h", "--help")
    for one in command.params:
        yield from one.opts
        yield from one.secondary_opts


def _below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
    for child, one in getattr(command, "commands", {}).items():
        yield from _below(one, f"{name} {child}")


def _commands() -> Iterator[str]:
    yield from ("# Commands", "", NOTE, "")
    yield "Every command has `--help`; `fwsync --version` prints the version."
    yield "What the codes mean that they end with is in [exit codes](exit-codes.md)."
    for name, command in tree().items():
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        usage = " ".join([name, "[OPTIONS]", *map(_placeholder, arguments)])
        yield from ("", f"## {name}", "", f"    {usage}", "", str(command.help).strip())
        rows = [(f"`{_placeholder(one)}`", _meaning(one)) for one in arguments if one.help]
        yield from _table(("argument", "meaning"), rows)
        rows = [
            (f"`{_spelled(one)}`", _meaning(one))
            for one in command.params
            if one.param_type_name == "option" and not one.hidden and "--help" not in one.opts
        ]
        yield from _table(("option", "meaning"), rows)


def _placeholder(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper()).strip("[]")
    return name if argument.required else f"[{name}]"


def _spelled(option: Any) -> str:
    name = ", ".join(option.opts)
    if option.is_flag:
        return name
    kind = option.type_descriptor.annotation
    if option.metavar:
        return f"{name} {option.metavar}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"{name} {'|'.join(str(one.value) for one in kind)}"
    if get_origin(kind) is Literal:
        return f"{name} {'|'.join(map(str, get_args(kind)))}"
    return f"{name} {_KINDS[kind]}"


def _meaning(parameter: Any) -> str:
    text = str(parameter.help or "").strip()
    default = parameter.default
    if isinstance(default, int | str | Path) and not isinstance(default, bool) and str(default):
        text += f" Default: `{default}`."
    return text


# ------------------------------------------------------------------------------- settings


def _settings() -> Iterator[str]:
    _explained("settings", Settings.model_fields, SETTINGS)
    yield from ("# Settings", "", NOTE, "")
    yield "A setting is given in `fwsync.toml`, in the environment, or as an option."
    yield "The environment overrides the file, and an option overrides both."
    yield ""
    yield "The file is the one that `--config` or `FWSYNC_CONFIG` names."
    yield (
        "Without them it is the first of `./fwsync.toml`, `~/.config/fwsync/fwsync.toml` and "
        "`/etc/fwsync/fwsync.toml`; files are not merged."
    )
    yield "Relative paths in the file start at the folder the file is in."
    yield "A name may be written with `-` or `_`, and `settle_s` may be written `settle`."
    yield "A setting that is not known, or cannot be used, ends the command with exit code 2."
    rows = []
    for name, field in Settings.model_fields.items():
        variable = "" if name == "profiles" else f"`FWSYNC_{name.removesuffix('_s').upper()}`"
        rows.append(
            (
                f"`{name.removesuffix('_s')}`",
                variable,
                str(field.description).replace("|", "\\|"),
                _default(name, field.default),
                SETTINGS[name],
            )
        )
    yield from _table(("setting", "variable", "expected", "default", "meaning"), rows)
    yield from ("", "## Profiles", "")
    yield "A profile ties a folder to its project, so that no command needs to name it."
    yield from ("", "```toml", 'exclude = ["*.bak", "scratch/"]', "", "[profiles.aging]")
    yield from (
        'root = "/data/aging"',
        'project = "neuro/aging"',
        "```",
        "",
        "## Other variables",
        "",
    )
    yield from _table(
        ("variable", "meaning"),
        [
            ("`FWSYNC_API_KEY`", "The API key."),
            ("`FWSYNC_CONFIG`", "The settings file."),
            ("`FW_SSL_CERT_FILE`", "Certificates to trust besides the system's: a PEM file."),
            ("`HTTPS_PROXY`, `NO_PROXY`", "The proxy, and the hosts that need none."),
        ],
        lead=False,
    )


def _default(name: str, default: object) -> str:
    if default is None or default == () or name == "profiles":
        return ""
    if isinstance(default, DeleteCap):
        return f"`{default.count},{default.percent:.0f}%`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return duration_text(default)
    return f"`{default}`"


# ----------------------------------------------------------------------------- exit codes


def _exit_codes() -> Iterator[str]:
    _explained("exit codes", Exit, EXIT_CODES)
    yield from ("# Exit codes", "", NOTE, "")
    yield "They are a contract: scripts and service units may rely on them."
    rows = [(str(int(code)), *EXIT_CODES[code]) for code in Exit]
    yield from _table(("code", "name", "when"), rows)
    yield ""
    yield (
        "A run that ends with 2, 3 or 6 ends so again until somebody changes something: "
        "a service should not be restarted on these."
    )


# ------------------------------------------------------------------------------ JSON lines


def _json_lines() -> Iterator[str]:
    yield from ("# JSON lines", "", NOTE, "")
    yield "With `--json`, results go to stdout as JSON, one object a line, in ASCII."
    yield (
        f'Each has `"v": {JSON_VERSION}`, which grows when a field changes its meaning, '
        "and `event`, which says what the line is."
    )
    yield "New fields and new events may come at any time: skip what you do not know."
    yield "The last line of a run is its `summary`."
    yield "An error that ends a run goes to stderr as text, and there is no summary then."
    yield from ("", "## While a run goes on", "")
    yield from _events()
    yield from ("", "Verbs:")
    yield from _table(
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
    yield from ("", "## `fwsync plan`", "")
    yield "A `decision` line for each step, also for those that a guard holds; then a summary."
    decision = Decision(Verb.HOLD, RelPath("README.txt"), reason="deleted here")
    lines = _captured(lambda: show.plan(Planned(Plan((decision,)), ()), as_json=True))
    yield from ("", "```json", lines[0], "```")
    verbs = {verb.value: f"how many steps: {text}" for verb, text in VERBS.items() if text}
    yield from _fields("plan summary", _bare(lines[-1]), PLAN_SUMMARY | verbs)
    yield from ("", "## `fwsync status`", "", "One line, its event `status`.")
    status = Status(Path("/data/aging"), "neuro/aging", Path("/data/aging/.fwsync/state.db"))
    yield from _fields("status", status.fields(), STATUS)
    yield from ("", "`exit_code` comes with it: 0, 1 for problems or conflicts, 4 for a halt.")
    yield from ("", "## `fwsync ls`, `fwsync login`, `fwsync sandbox`", "")
    yield "`ls` writes an `entry` line for each child: `kind`, `label`, `id`, `size` of a file."
    yield "`login` writes a `login` line: `user`, `host` and `stored_in`."
    yield (
        "`sandbox` writes one line when it is ready, without `v` and `event`: "
        "`url`, `api_key`, `user_api_key`, `user_id` and `device_secret`; "
        "with `--tls` also `ca_file`."
    )


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
    _explained("events", seen, EVENTS)
    for event, line in sorted(seen.items(), key=lambda item: list(EVENTS).index(item[0])):
        yield from (f"`{event}`: {EVENTS[event]}", "", "```json", line, "```", "")


def _without_summary(report: Report) -> list[str]:
    return _captured(lambda: show.report(report, as_json=True))[:-1]


def _captured(act: Any) -> list[str]:
    from contextlib import redirect_stdout

    stream = io.StringIO()
    with redirect_stdout(stream):
        act()
    return stream.getvalue().splitlines()


def _bare(line: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(line)
    return {name: value for name, value in fields.items() if name not in ("v", "event")}


def _fields(what: str, fields: Mapping[str, object], meanings: Mapping[str, str]) -> Iterator[str]:
    _explained(what, fields, meanings)
    yield from _table(("field", "meaning"), [(f"`{name}`", meanings[name]) for name in fields])


# -------------------------------------------------------------------------- sandbox routes


def _sandbox_routes() -> Iterator[str]:
    yield from ("# What the sandbox answers", "", NOTE, "")
    yield "Each row is a route, or one aspect of it, and the tests that assert what it answers."
    yield "All paths are below `/api`, but for those that begin with `/sandbox`."
    yield "`{cont}` stands for any kind of container."
    yield "The tests in `tests/conformance` are the official SDK and CLI at work."
    tests: dict[str, list[str]] = {}
    for claim in checklist.claims():
        title = claim.test.removeprefix("test_").replace("_", " ")
        for name in claim.rows:
            tests.setdefault(name, []).append(f"[{title}](../../{claim.where})")
    rows = checklist.rows()
    for section in dict.fromkeys(row.section for row in rows):
        yield from ("", f"## {section}")
        yield from _table(
            ("row", "routes", "what holds", "tests"),
            (
                (
                    f"`{row.name}`",
                    ", ".join(f"`{route}`" for route in row.routes) or "all",
                    row.says,
                    ", ".join(tests.get(row.name, ())),
                )
                for row in rows
                if row.section == section
            ),
        )


# ------------------------------------------------------------------------------ small hands


def _explained(what: str, names: Iterable[Any], meanings: Mapping[Any, Any]) -> None:
    missing = set(names) ^ set(meanings)
    if missing:
        raise SystemExit(f"{what}: {', '.join(map(str, missing))}: not explained, or not there")


def _table(
    heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, lead: bool = True
) -> Iterator[str]:
    rows = list(rows)
    if not rows:
        return
    if lead:
        yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    for row in rows:
        yield f"| {' | '.join(_cell(one) for one in row)} |"


def _cell(text: str) -> str:
    return " ".join(text.replace("\\|", "|").replace("|", "\\|").split())


if __name__ == "__main__":
    for page, content in pages().items():
        (HERE / page).write_text(content, encoding="utf-8")
