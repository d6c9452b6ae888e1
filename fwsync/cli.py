"""The front door: arguments in, exit codes out; everything else is behind it.

The one rule: no machinery is imported before a command needs it, so that
``fwsync --version`` and ``--help`` answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from fwsync._version import __version__
from fwsync.errors import Exit, FwsyncError
from fwsync.model import Mode
from fwsync.options import (
    Accept,
    Config,
    Conflict,
    CreateProject,
    DeleteBoth,
    DeleteDown,
    DeleteUp,
    DryRun,
    Exclude,
    FilterFrom,
    Include,
    Json,
    JsonLine,
    KeyFile,
    LayoutOption,
    MaxDelete,
    Patience,
    Project,
    StateFile,
    Transfers,
)

if TYPE_CHECKING:
    from fwsync.model import Report

app = typer.Typer(
    name="fwsync",
    help="Keep a directory tree and a Flywheel project in step.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 in step · 1 problems, conflicts or differences · 2 usage or settings · "
    "3 key or permission · 4 held by a guard · 5 remote unavailable · 6 state, lock or space.",
)
plan_app = typer.Typer(
    help="Print what a run would do; nothing is written anywhere.", no_args_is_help=True
)
app.add_typer(plan_app, name="plan")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fwsync {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Keep a directory tree and a Flywheel project in step."""


# --- commands -------------------------------------------------------------------------------


@app.command()
def login(key_file: KeyFile = None, json: JsonLine = False) -> None:
    """Check an API key and store it; it is asked for, or read on standard input."""
    from fwsync import account

    _finish(lambda: account.login(key_file, as_json=json))


@app.command("ls")
def list_path(
    path: Annotated[str, typer.Argument(metavar="PATH", help="group/project/subject/…")] = "",
    key_file: KeyFile = None,
    config: Config = None,
    patience: Patience = None,
    json: JsonLine = False,
) -> None:
    """List what is at a Flywheel path; without one, the groups."""
    from fwsync import account

    flags = _given(api_key_file=key_file, patience_s=patience)
    _finish(lambda: account.list_path(path, flags, config, as_json=json))


@app.command()
def push(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The folder to send.")],
    project: Project = None,
    create_project: CreateProject = False,
    layout: LayoutOption = None,
    include: Include = None,
    exclude: Exclude = None,
    filter_from: FilterFrom = None,
    conflict: Conflict = None,
    delete_up: DeleteUp = False,
    max_delete: MaxDelete = None,
    accept_deletes: Accept = None,
    dry_run: DryRun = False,
    transfers: Transfers = None,
    patience: Patience = None,
    state: StateFile = None,
    key_file: KeyFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Send a folder's files to a project, once; what is there already is not sent again."""
    flags = _given(
        create_project=create_project, layout=layout, include=include, exclude=exclude,
        filter_from=filter_from,
        conflict=conflict, delete_up=delete_up, max_delete=max_delete,
        accept_deletes=accept_deletes, transfers=transfers, patience_s=patience, state=state,
        api_key_file=key_file,
    )  # fmt: skip
    _run(Mode.UP, source, project, flags, config, json, dry_run)


@app.command()
def pull(
    project: Annotated[
        str | None, typer.Argument(metavar="GROUP/PROJECT", help="The project to fetch.")
    ] = None,
    destination: Annotated[
        Path | None,
        typer.Argument(metavar="DEST", help="The folder; ./PROJECT if it is not named."),
    ] = None,
    layout: LayoutOption = None,
    include: Include = None,
    exclude: Exclude = None,
    filter_from: FilterFrom = None,
    conflict: Conflict = None,
    delete_down: DeleteDown = False,
    max_delete: MaxDelete = None,
    accept_deletes: Accept = None,
    dry_run: DryRun = False,
    transfers: Transfers = None,
    patience: Patience = None,
    state: StateFile = None,
    key_file: KeyFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Fetch a project's files into a folder, once; a local edit is never overwritten."""
    flags = _given(
        layout=layout, include=include, exclude=exclude,
        filter_from=filter_from, conflict=conflict,
        delete_down=delete_down, max_delete=max_delete, accept_deletes=accept_deletes,
        transfers=transfers, patience_s=patience, state=state, api_key_file=key_file,
    )  # fmt: skip
    _run(Mode.DOWN, _destination(project, destination), project, flags, config, json, dry_run)


@app.command()
def sync(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder.")],
    project: Project = None,
    create_project: CreateProject = False,
    layout: LayoutOption = None,
    include: Include = None,
    exclude: Exclude = None,
    filter_from: FilterFrom = None,
    conflict: Conflict = None,
    delete: DeleteBoth = False,
    delete_up: DeleteUp = False,
    delete_down: DeleteDown = False,
    max_delete: MaxDelete = None,
    accept_deletes: Accept = None,
    dry_run: DryRun = False,
    transfers: Transfers = None,
    patience: Patience = None,
    state: StateFile = None,
    key_file: KeyFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Bring a folder and a project in step, once, in both directions."""
    flags = _given(
        create_project=create_project, layout=layout, include=include, exclude=exclude,
        filter_from=filter_from,
        conflict=conflict, delete_up=delete or delete_up, delete_down=delete or delete_down,
        max_delete=max_delete, accept_deletes=accept_deletes, transfers=transfers,
        patience_s=patience, state=state, api_key_file=key_file,
    )  # fmt: skip
    _run(Mode.BOTH, folder, project, flags, config, json, dry_run)


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder.")],
    project: Project = None,
    mode: Annotated[Mode | None, typer.Option("--mode", help="Direction; up by default.")] = None,
    settle: Annotated[
        str | None,
        typer.Option(
            "--settle",
            metavar="TIME",
            help="A folder is sent after it was quiet for so long, like 90s or 5m;"
            " 30 s by default.",
        ),
    ] = None,
    rescan: Annotated[
        str | None,
        typer.Option(
            "--rescan",
            metavar="TIME",
            help="Look at everything at least so often, like 90s or 5m; 600 s by default.",
        ),
    ] = None,
    create_project: CreateProject = False,
    layout: LayoutOption = None,
    include: Include = None,
    exclude: Exclude = None,
    filter_from: FilterFrom = None,
    conflict: Conflict = None,
    delete: DeleteBoth = False,
    delete_up: DeleteUp = False,
    delete_down: DeleteDown = False,
    max_delete: MaxDelete = None,
    transfers: Transfers = None,
    state: StateFile = None,
    key_file: KeyFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Watch a folder and send what settles, until it is stopped (Ctrl-C or SIGTERM)."""
    from fwsync import daemon

    flags = _given(
        mode=mode, settle_s=settle, rescan_s=rescan, create_project=create_project,
        layout=layout, include=include, exclude=exclude,
        filter_from=filter_from, conflict=conflict,
        delete_up=delete or delete_up, delete_down=delete or delete_down, max_delete=max_delete,
        transfers=transfers, state=state, api_key_file=key_file,
    )  # fmt: skip
    _finish(lambda: daemon.watch(folder, project, flags, config, as_json=json))


@plan_app.command("push")
def plan_push(
    source: Annotated[Path, typer.Argument(metavar="SRC")],
    project: Project = None,
    create_project: CreateProject = False,
    layout: LayoutOption = None,
    include: Include = None,
    exclude: Exclude = None,
    filter_from: FilterFrom = None,
    conflict: Conflict = None,
    delete_up: DeleteUp = False,
    max_delete: MaxDelete = None,
    patience: Patience = None,
    state: StateFile = None,
    key_file: KeyFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """What a push would do."""
    flags = _given(
        create_project=create_project, layout=layout, include=include, exclude=exclude,
        filter_from=filter_from, conflict=conflict, delete_up=delete_up,
        max_delete=max_delete, patience_s=patience, state=state, api_key_file=key_file,
    )  # fmt: skip
    _run(Mode.UP, source, project, flags, config, json, dry_run=True)


@plan_app.command("pull")
def plan_pull(
    project: Project = None,
    destination: Annotated[Path | None, typer.Argument(metavar="DEST")] = None,
    layout: LayoutOption = None,
    include: Include = None,
    exclude: Exclude = None,
    filter_from: FilterFrom = None,
    conflict: Conflict = None,
    delete_down: DeleteDown = False,
    max_delete: MaxDelete = None,
    patience: Patience = None,
    state: StateFile = None,
    key_file: KeyFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """What a pull would do."""
    flags = _given(
        layout=layout, include=include, exclude=exclude,
        filter_from=filter_from, conflict=conflict,
        delete_down=delete_down, max_delete=max_delete, patience_s=patience, state=state,
        api_key_file=key_file,
    )  # fmt: skip
    folder = _destination(project, destination)
    _run(Mode.DOWN, folder, project, flags, config, json, dry_run=True)


@plan_app.command("sync")
def plan_sync(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    project: Project = None,
    create_project: CreateProject = False,
    layout: LayoutOption = None,
    include: Include = None,
    exclude: Exclude = None,
    filter_from: FilterFrom = None,
    conflict: Conflict = None,
    delete: DeleteBoth = False,
    delete_up: DeleteUp = False,
    delete_down: DeleteDown = False,
    max_delete: MaxDelete = None,
    patience: Patience = None,
    state: StateFile = None,
    key_file: KeyFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """What a sync would do."""
    flags = _given(
        create_project=create_project, layout=layout, include=include, exclude=exclude,
        filter_from=filter_from, conflict=conflict,
        delete_up=delete or delete_up, delete_down=delete or delete_down, max_delete=max_delete,
        patience_s=patience, state=state, api_key_file=key_file,
    )  # fmt: skip
    _run(Mode.BOTH, folder, project, flags, config, json, dry_run=True)


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder.")] = Path(),
    project: Annotated[
        str | None,
        typer.Argument(metavar="GROUP/PROJECT", help="Which one, where the folder has several."),
    ] = None,
    state: StateFile = None,
    config: Config = None,
    json: JsonLine = False,
) -> None:
    """What is known about a folder: its project, the last run, what waits and why."""
    from fwsync import account

    _finish(lambda: account.status(folder, project, _given(state=state), config, as_json=json))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder.")] = Path(),
    project: Project = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every file again; trust no recorded hash.")
    ] = False,
    layout: LayoutOption = None,
    patience: Patience = None,
    state: StateFile = None,
    key_file: KeyFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Compare disk, state and server, and report each difference; changes nothing."""
    from fwsync import runs, show

    flags = _given(layout=layout, patience_s=patience, state=state, api_key_file=key_file)
    progress = show.for_run(json)
    _finish(
        lambda: show.report(
            runs.run_verify(folder, project, flags, config, progress=progress, deep=deep),
            as_json=json,
        )
    )


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")
    ] = "127.0.0.1",
    data: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Keep the data here; else it goes with the server."),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group", metavar="ID", help="Make this group at the start; may be repeated."
        ),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Serve HTTPS with a CA of its own.")] = False,
    store: Annotated[
        Literal["local", "s3", "azure", "gcs"],
        typer.Option(help="Where signed URLs lead: this server, or a strict store of a cloud."),
    ] = "local",
    switch: Annotated[
        list[str] | None,
        typer.Option(
            "--switch",
            metavar="NAME[=VALUE]",
            help="Such as audit_trail, signed_url=off, page_limit=100; may be repeated.",
        ),
    ] = None,
    compat: Annotated[
        Literal["core-2018"] | None,
        typer.Option(help="Behave as this older server."),
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A script of faults: rehearse a bad network."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON line when ready: url, api_key, …")
    ] = False,
) -> None:
    """Run a Flywheel-compatible server here, to try fwsync without an account."""
    from fwsync import rehearse

    switches = [*(switch or ()), *([f"compat={compat}"] if compat else ())]
    rehearsal = rehearse.Rehearsal(
        port=port,
        host=host,
        data=data,
        tls=tls,
        groups=tuple(group or ()),
        store=store,
        switches=tuple(switches),
        faults=faults,
    )
    _finish(lambda: rehearse.sandbox(rehearsal, as_json=json))


@app.command()
def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Leave everything here to look at.")
    ] = None,
) -> None:
    """Send real DICOM files to a sandbox, fetch them back, and compare every byte."""
    from fwsync import demo as story

    _finish(lambda: story.run(keep))


# --- plumbing -------------------------------------------------------------------------------


def _write_plainly() -> None:
    """Nothing is drawn for a script, whatever the environment says of colours."""
    for part in (app, plan_app):
        part.rich_markup_mode = None
        for command in part.registered_commands:
            # Said whole in the list of commands too; what is not given is cut to one line.
            command.short_help = (command.callback.__doc__ or "").partition("\n\n")[0]


def main() -> NoReturn:
    """Run the command line; every expected failure is two lines and an exit code."""
    if not (os.isatty(1) and os.isatty(2)):
        _write_plainly()
    try:
        app()
    except FwsyncError as error:
        _complain(error)
        sys.exit(int(error.exit_code))
    except KeyboardInterrupt:
        sys.exit(int(Exit.INTERRUPTED))
    except BrokenPipeError:
        # The reader of our output went away (``| head``): that is its right.
        sys.stderr.close()
        sys.exit(int(Exit.DIFFERENCES))
    sys.exit(0)


def _complain(error: FwsyncError) -> None:
    from fwsync.progress import printable

    typer.echo(f"error: {printable(error.message)}", err=True)
    if error.hint:
        typer.echo(f"hint: {printable(error.hint)}", err=True)


def _given(**flags: Any) -> dict[str, Any]:
    """The flags that were really given: only they override file and environment."""
    return {
        name: value
        for name, value in flags.items()
        if value is not None and value is not False and value != []
    }


def _destination(project: str | None, destination: Path | None) -> Path:
    """``fwsync pull lab/aging`` makes ./aging; ``fwsync pull`` alone is the folder we are in."""
    if destination is not None:
        return destination
    if project is None:
        return Path()
    return Path(project.rstrip("/").rpartition("/")[2])


def _run(
    mode: Mode,
    folder: Path,
    project: str | None,
    flags: Mapping[str, Any],
    config: Path | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    from fwsync import runs, show

    progress = show.for_run(as_json)
    if dry_run:
        _finish(
            lambda: show.plan(
                runs.run_plan(mode, folder, project, flags, config, progress=progress),
                as_json=as_json,
            )
        )

    def once() -> Exit:
        report: Report = runs.run(mode, folder, project, flags, config, progress=progress)
        return show.report(report, as_json=as_json)

    _finish(once)


def _finish(command: Callable[[], Exit]) -> NoReturn:
    """Run a command and leave with its exit code."""
    try:
        code = command()
    except KeyboardInterrupt:
        typer.echo(
            "stopped: what is done stays done; the same command goes on from there", err=True
        )
        code = Exit.INTERRUPTED
    except FwsyncError as error:
        _complain(error)
        code = error.exit_code
    raise typer.Exit(int(code))
