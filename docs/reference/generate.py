"""Write the reference pages from the program itself: commands, settings, exit codes, JSON lines.

    .venv/bin/python docs/reference/generate.py

What a thing is called, and which there are, comes from the code. What it means to a user
stands here, and a name without a meaning is an error, so that nothing is added unexplained.
``tests/house/test_docs.py`` fails while the committed pages differ from these.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer.main

from fwsync import cli
from fwsync.config import Settings
from fwsync.errors import Exit
from fwsync.progress import duration_text
from fwsync.setting_values import DeleteCap

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]  # the checklist of the sandbox is beside its tests

from json_lines import json_lines  # noqa: E402
from written import NOTE, explained, table  # noqa: E402

from tests.conformance import checklist  # noqa: E402

#: What stands for a value where the program names it by its type alone.
_KINDS = {int: "N", float: "N", str: "TEXT", Path: "PATH"}

SETTINGS = {
    "api_key_file": "Where the API key is, before any other place is looked at.",
    "project": "The project, where the command names none.",
    "layout": "Which folders stand for which levels, see [names](../concepts/names.md).",
    "settle_s": "`watch` sends a folder after it has been quiet for so long.",
    "patience_s": "A command gives up after so long without any progress at all: 60 s if it is "
    "not set; with 0, nothing is tried again. `watch` then says so and tries again, for ever.",
    "transfers": "How many transfers are under way at once: as many as bring more if it is not "
    "set, see [filters and limits](../concepts/filters-and-limits.md).",
    "fsync": "Whether a file that comes down is on the disk before it is recorded. Without, a "
    "power failure may damage files unnoticed, see [integrity](../concepts/integrity.md).",
    "conflict": "What becomes of a file that changed on both sides.",
    "create_project": "Make the project if it is not there; a group is never made.",
    "delete_up": "Let a file deleted here be deleted on the server.",
    "delete_down": "Let a file deleted on the server go to the trash here.",
    "delete_reason": "Told to the server with each deletion, for sites that ask why.",
    "max_delete": "How many deletions a run may make on one side before it holds them all, so "
    "that 0 lets none through without consent; beside a number the percentage counts from 20 "
    "files up.",
    "max_delete_container": "The same for any one container, such as an acquisition: a run that "
    "would delete more of its files holds all deletions; the percentage is of its own files, "
    "however few.",
    "trash_days": "What was put in the trash so many days ago is let go by the next run; 0 keeps "
    "it for ever, see [the trash](../guides/trash.md).",
    "history_days": "What `fwsync history` tells of is let go after so many days; 0 keeps it for "
    "ever. The newest 400 events of a file are kept at most, and 4 million in all.",
    "include": "Only files that match one of these take part.",
    "exclude": "What matches takes no part; the last pattern that matches decides, and `!` "
    "brings back. It comes before `.fwsyncignore` files, see "
    "[filters and limits](../concepts/filters-and-limits.md).",
    "filter_from": "A file of patterns in gitignore syntax, one a line, added to `exclude`.",
    "audit_log": "A line for each file that a run did something about is added to it.",
    "hidden": "Whether names that begin with a dot take part: they do if it is not set, but for "
    "`watch`.",
    "links": "What becomes of symbolic links, see [filters and limits]"
    "(../concepts/filters-and-limits.md).",
    "empty": "What becomes of files of 0 bytes: `skip` leaves them out, `report` also says so.",
    "min_size": "Smaller files take no part.",
    "max_size": "Larger files take no part.",
    "min_age_s": "Files that changed within this time take no part.",
    "max_age_s": "Files that have not changed for this long take no part.",
    "only_types": "Only files of these types on the server take part; `null` is no type. This and "
    "what follows, down to `where`, is for what only comes down, see "
    "[filters and limits](../concepts/filters-and-limits.md#selections).",
    "not_types": "Files of these types take no part.",
    "only_tags": "Only files that have one of these tags take part.",
    "not_tags": "Files that have one of these tags take no part.",
    "name_regex": "Only files take part in whose name one of these is found.",
    "only_subjects": "Only subjects of these labels take part; `*`, `?` and `[…]` are as in a "
    "shell. `subject` is another setting.",
    "only_sessions": "Only sessions of these labels take part.",
    "only_acquisitions": "Only acquisitions of these labels take part.",
    "container_tags": "Only what lies in containers with one of these tags takes part, each as "
    "`session=baseline`; of each level that is named, one will do.",
    "not_container_tags": "What lies in containers with one of these tags takes no part.",
    "mlsets": "Only subjects of these sets take part: `Training`, `Testing`, `Validation`, or "
    "`null` for none.",
    "not_mlsets": "Subjects of these sets take no part.",
    "modified_after": "Only files take part that changed on the server on this day or later; "
    "in `timezone`, if no zone is named.",
    "modified_before": "Only files take part that changed on the server before this day.",
    "where": "Only files take part that pass this filter in Flywheel's language.",
    "regex": "Labels from the whole path, by groups such as `(?P<subject>…)`; see "
    "[layouts](../guides/layouts.md).",
    "bids": "The folder is a BIDS tree.",
    "bids_extra": "Folders of a BIDS tree that are packed to the project.",
    "scan": "Labels come from the headers of DICOM files, see [DICOM](../guides/dicom.md).",
    "subject": "The subject of all files.",
    "session": "The session of all files.",
    "acquisition": "The acquisition of all files.",
    "defaults": "Labels for the levels that a path does not name.",
    "no_subjects": "No folder names the subject: it has the session's label.",
    "no_sessions": "No folder names the session: it has the subject's label.",
    "root_dirs": "So many folders are skipped before the layout begins.",
    "pack": "Matching files of one container become one zip on the server, see [layouts]"
    "(../guides/layouts.md).",
    "pack_folders": "Folders of these names become one zip on the server.",
    "pack_acquisitions": "Each acquisition becomes one zip on the server, of this type.",
    "pack_name": "What a pack is called, see [layouts](../guides/layouts.md).",
    "pack_compress": "Whether packs are compressed zips; no pack that is there is sent again for "
    "it, see [layouts](../guides/layouts.md#compressed-packs).",
    "unpack": "A zip of DICOM files, `NAME.dicom.zip`, is a folder `NAME.dicom` here; see [layouts]"
    "(../guides/layouts.md#zips-of-dicom-files).",
    "keep_zips": "Zips stay as they are, whatever `unpack` says.",
    "zip_single": "Whether a pack of one file is a zip, too.",
    "rules": "Layouts for parts of the tree: the first that fits a file places it.",
    "dicom": "How labels and fields are read from headers, see [DICOM](../guides/dicom.md).",
    "timezone": "The zone of times that name none; this machine's if it is not set.",
    "rules_file": "Rules in the syntax of fw-meta, in place of a layout; see "
    "[layouts](../guides/layouts.md).",
    "ingest_template": "Folders as `fw ingest template` has them, in place of a layout.",
    "set_vars": "Values for what the folders of `ingest_template` do not say.",
    "routing": "The element of a header that names group/project; the same as `routing` in "
    "`[dicom]`.",
    "unrouted": "With `routing`: the project of files whose header names none; without it they "
    "are reported.",
    "detect_duplicates": "Look for what would be there twice before it is sent: names, images, "
    "uids, here and on the server; see [coming from fw](../coming-from-fw.md).",
    "duplicate_codes": "Look for these only; all if it is not set.",
    "duplicate_projects": "Projects in which uids are looked for, beside the one in step.",
    "duplicates": "What becomes of what is double: `report` sends it and says so, `skip` leaves "
    "it, and each is a problem.",
    "deid_profile": "Files are changed by this profile before they are sent, see "
    "[de-identification](../guides/deidentify.md). For `push` and `watch --mode up`.",
    "deid_other": "What becomes of files that the profile says nothing about: `refuse` leaves "
    "them, and each is a problem, `send` sends them as they are.",
    "route": "The way that files go up, see [the ways up](../concepts/ways-up.md).",
    "form": 'By what `route = "form"` names the container of a file.',
    "bwlimit": "How fast bodies go, all of them together, up and down; with `off` or 0 as fast "
    "as they can; times are those of this machine's zone.",
    "max_transfer": "A run begins no file once files of so many bytes were begun; what is left "
    "is for the next run. Not for `watch`.",
    "max_duration_s": "A run begins no file after so long; what is left is for the next run. "
    "Not for `watch`.",
    "names": "Whether names are sent as they are, or by the platform's rule beforehand, "
    "see [names](../concepts/names.md).",
    "tags": "Tags that every file gets.",
    "metadata": "What is said of files that match a pattern, "
    "see [metadata](../guides/metadata.md).",
    "sidecars": "What becomes of `*.flywheel.json`, see [metadata](../guides/metadata.md).",
    "analyses": "Analyses come down too, see [the guide](../guides/pull-extras.md).",
    "metadata_files": "Metadata come down too, see [the guide](../guides/pull-extras.md).",
    "bids_sidecars": "Read what stands beside images as in a BIDS tree, in any other tree too.",
    "state": "Where the state file is, see [state](../concepts/state.md).",
    "settle_max_s": "`watch` sends a folder that never gets quiet after so long; without it, "
    "such a folder waits.",
    "rescan_s": "`watch` looks at the whole folder at least so often, whatever events say.",
    "poll_s": "`watch --mode down` and `both` list the server so often; folders on a network "
    "file system are scanned as often.",
    "profiles": "Folders and their projects, by a name: see below.",
}

EXIT_CODES = {
    Exit.IN_STEP: (
        "in step",
        "There is nothing left to do, though conflicts that earlier runs have met may wait for a "
        "person; or `watch` was stopped by SIGTERM, or `sandbox` by any "
        "of Ctrl-C, SIGTERM and SIGHUP.",
    ),
    Exit.DIFFERENCES: (
        "differences",
        "The run went through, and there are problems with single files, conflicts, or files "
        "that were left alone on purpose; or it left something for the next run, as "
        "`--max-transfer` or `--max-duration` was reached; `verify` found a difference; "
        "`plan` says that its run would end so; `apply` left a step that does not hold any more; "
        "`doctor` found something wrong that a person should know (not what a guard holds and not "
        "conflicts: these are named by it, and are in the exit code of `status`); "
        "`status` speaks of a last run that was broken off, or did not end with 0, or of conflicts "
        "or problems that wait.",
    ),
    Exit.USAGE: (
        "usage",
        "The call or the settings are wrong, or there is no such folder, project or group.",
    ),
    Exit.AUTH: ("key or permission", "There is no API key, it was refused, or it may not do this."),
    Exit.HALTED: (
        "held by a guard",
        "Deletions and overwrites wait for a person; additions have been made. "
        "`status` ends so as long as they wait.",
    ),
    Exit.UNAVAILABLE: (
        "server unavailable",
        "The server could not be reached, or what it answers cannot be read.",
    ),
    Exit.LOCAL: (
        "this machine",
        "The state file is damaged, of a newer fwsync or in use, or there is no space left; "
        "`doctor` found the state or the folder not fit for use.",
    ),
    Exit.DEFECT: (
        "internal error",
        "A defect of fwsync itself: the last line names a file that says where, to be reported.",
    ),
    Exit.INTERRUPTED: ("interrupted", "Ctrl-C."),
    Exit.TERMINATED: (
        "terminated",
        "What a shell reports when SIGTERM ended a one-shot command.",
    ),
}


def pages() -> dict[str, str]:
    """The text of every page, by the name of its file."""
    return {
        "commands.md": "\n".join(_commands()) + "\n",
        "settings.md": "\n".join(_settings()) + "\n",
        "exit-codes.md": "\n".join(_exit_codes()) + "\n",
        "json-lines.md": "\n".join(json_lines()) + "\n",
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
    else:
        for child in command.list_commands(None):
            yield from _below(command.commands[child], f"{name} {child}")


def _commands() -> Iterator[str]:
    yield from ("# Commands", "", NOTE, "")
    yield "Every command has `--help`; `fwsync --version` prints the version."
    yield "What the codes mean that they end with is in [exit codes](exit-codes.md)."
    for name, command in tree().items():
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        usage = " ".join([name, "[OPTIONS]", *map(_placeholder, arguments)])
        yield from ("", f"## {name}", "", f"    {usage}", "", str(command.help).strip())
        rows = [(f"`{_placeholder(one)}`", _meaning(one)) for one in arguments if one.help]
        yield from table(("argument", "meaning"), rows)
        rows = [
            (f"`{_spelled(one)}`", _meaning(one))
            for one in command.params
            if one.param_type_name == "option" and not one.hidden and "--help" not in one.opts
        ]
        yield from table(("option", "meaning"), rows)


def _placeholder(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper()).strip("[]")
    return name if argument.required else f"[{name}]"


def _spelled(option: Any) -> str:
    name = ", ".join([*option.opts, *option.secondary_opts])
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
    explained("settings", Settings.model_fields, SETTINGS)
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
                _default(name, field.get_default(call_default_factory=True)),
                SETTINGS[name],
            )
        )
    yield from table(("setting", "variable", "expected", "default", "meaning"), rows)
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
    yield from table(
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
    if default is None or default in ((), {}, "") or name in ("profiles", "dicom"):
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
    explained("exit codes", Exit, EXIT_CODES)
    yield from ("# Exit codes", "", NOTE, "")
    yield "They are a contract: scripts and service units may rely on them."
    rows = [(str(int(code)), *EXIT_CODES[code]) for code in Exit]
    yield from table(("code", "name", "when"), rows)
    yield ""
    yield (
        "A run that ends with 2, 3 or 6 ends so again until somebody changes something: "
        "a service should not be restarted on these."
    )


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
        yield from table(
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


if __name__ == "__main__":
    for page, content in pages().items():
        (HERE / page).write_text(content, encoding="utf-8")
