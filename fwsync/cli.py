"""The front door: arguments in, exit codes out; everything else is behind it.

The one rule: no machinery is imported before a command needs it, so that
``fwsync --version`` and ``--help`` answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from fwsync import cli_paths
from fwsync._version import __version__
from fwsync.errors import Exit, FwsyncError, UsageError
from fwsync.flags import taking_flags
from fwsync.leaving import (
    GOES_ON,
    IS_CUT,
    complain,
    confess,
    finish,
    given,
    stopped_by_user,
    tell_script,
)
from fwsync.model import Mode
from fwsync.options.arguments import (
    Destination,
    DryRun,
    Fetched,
    Folder,
    Json,
    JsonLine,
    Member,
    Members,
    PlanFile,
    Project,
    SavedPlan,
    Source,
    ToStdout,
)
from fwsync.options.finding import Config, KeyFile, StateFile
from fwsync.options.helping import Program, set_help
from fwsync.options.running import Patience
from fwsync.options.words import one_of

if TYPE_CHECKING:
    from fwsync.model import Report

Flags = Mapping[str, Any]

app = typer.Typer(
    name="fwsync",
    cls=Program,
    help="Keep a directory tree and a Flywheel project in step.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 in step · 1 problems, conflicts or differences · 2 usage or settings · "
    "3 key or permission · 4 held by a guard · 5 remote unavailable · 6 state, lock or space · "
    "70 a defect of fwsync · 130 Ctrl-C · 143 SIGTERM.",
)
plan_app = typer.Typer(
    help="Print what a run would do, or save it for apply; no file is moved or deleted.",
    no_args_is_help=True,
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

    finish(lambda: account.login(key_file, as_json=json), json)


@app.command("ls")
def list_path(
    path: Annotated[str, typer.Argument(metavar="PATH", help="group/project/subject/…")] = "",
    key_file: KeyFile = None,
    config: Config = None,
    patience: Patience = None,
    members: Members = False,
    json: JsonLine = False,
) -> None:
    """List what is at a Flywheel path; without one, the groups."""
    from fwsync import account, one_file

    flags = given(api_key_file=key_file, patience=patience)
    listing = one_file.list_members if members else account.list_path
    finish(lambda: listing(path, flags, config, as_json=json), json)


@app.command()
@taking_flags("push")
def push(
    source: Source,
    project: Project = None,
    dry_run: DryRun = False,
    config: Config = None,
    json: Json = False,
    *,
    flags: Flags,
) -> None:
    """Send a folder's files to a project, once; what is there already is not sent again."""
    _run(Mode.UP, source, project, flags, config, json, dry_run)


@app.command()
@taking_flags("pull")
def pull(
    project: Fetched = None,
    destination: Destination = None,
    to_stdout: ToStdout = False,
    member: Member = None,
    dry_run: DryRun = False,
    config: Config = None,
    json: Json = False,
    *,
    flags: Flags,
) -> None:
    """Fetch a project's files into a folder, once; a local edit is never overwritten."""
    if to_stdout or member or _is_of_analysis(project):
        from fwsync import one_file

        def bring() -> Exit:
            folder = destination if to_stdout else destination or Path()
            one = one_file.Wanted((project or "").rstrip("/"), tuple(member or ()), folder)
            one.check(flags, to_stdout=to_stdout, as_json=json, dry_run=dry_run)
            return one_file.pull(one, flags, config, as_json=json)

        finish(bring, json, stopped=IS_CUT if to_stdout else GOES_ON)
    _run(Mode.DOWN, destination, project, flags, config, json, dry_run)


@app.command()
@taking_flags("sync")
def sync(
    folder: Folder,
    project: Project = None,
    dry_run: DryRun = False,
    config: Config = None,
    json: Json = False,
    *,
    flags: Flags,
) -> None:
    """Bring a folder and a project in step, once, in both directions."""
    _run(Mode.BOTH, folder, project, flags, config, json, dry_run)


@app.command()
@taking_flags("watch")
def watch(
    folder: Folder,
    project: Project = None,
    mode: Annotated[
        Mode | None, typer.Option("--mode", help="Direction; up by default.", **one_of(Mode))
    ] = None,
    config: Config = None,
    json: Json = False,
    *,
    flags: Flags,
) -> None:
    """Watch a folder and send what settles, until it is stopped (Ctrl-C or SIGTERM)."""
    from fwsync import daemon

    told = {**flags, "mode": mode} if mode is not None else flags
    finish(lambda: daemon.watch(folder, project, told, config, as_json=json), json)


@plan_app.command("push")
@taking_flags("plan push")
def plan_push(
    source: Source,
    project: Project = None,
    out: PlanFile = None,
    config: Config = None,
    json: Json = False,
    *,
    flags: Flags,
) -> None:
    """What a push would do."""
    _run(Mode.UP, source, project, flags, config, json, dry_run=True, out=out)


@plan_app.command("pull")
@taking_flags("plan pull")
def plan_pull(
    project: Fetched = None,
    destination: Destination = None,
    out: PlanFile = None,
    config: Config = None,
    json: Json = False,
    *,
    flags: Flags,
) -> None:
    """What a pull would do."""
    _run(Mode.DOWN, destination, project, flags, config, json, dry_run=True, out=out)


@plan_app.command("sync")
@taking_flags("plan sync")
def plan_sync(
    folder: Folder,
    project: Project = None,
    out: PlanFile = None,
    config: Config = None,
    json: Json = False,
    *,
    flags: Flags,
) -> None:
    """What a sync would do."""
    _run(Mode.BOTH, folder, project, flags, config, json, dry_run=True, out=out)


@app.command("apply")
@taking_flags("apply")
def apply_plan(
    file: SavedPlan,
    config: Config = None,
    json: Json = False,
    *,
    flags: Flags,
) -> None:
    """Carry out a saved plan; what does not hold any more is left, and nothing else is done."""
    from fwsync import applying, show

    progress = show.for_run(json)
    finish(
        lambda: show.report(applying.run(file, flags, config, progress=progress), as_json=json),
        json,
    )


@app.command()
def status(
    folder: Folder = Path(),
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

    told = given(state=state)
    finish(lambda: account.status(folder, project, told, config, as_json=json), json)


@app.command()
@taking_flags("verify")
def verify(
    folder: Folder = Path(),
    project: Project = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every file again; trust no recorded hash.")
    ] = False,
    config: Config = None,
    json: Json = False,
    *,
    flags: Flags,
) -> None:
    """Compare disk, state and server, and report each difference; changes nothing."""
    from fwsync import runs, show

    progress = show.for_run(json)
    finish(
        lambda: show.report(
            runs.run_verify(folder, project, flags, config, progress=progress, deep=deep),
            as_json=json,
        ),
        json,
    )


@app.command("doctor")
@taking_flags("doctor")
def check_state(
    folder: Folder = Path(),
    project: Project = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Keep the old state under another name, and make a new one by comparing contents; "
            "no file is moved or deleted.",
        ),
    ] = False,
    config: Config = None,
    json: Json = False,
    *,
    flags: Flags,
) -> None:
    """Check what is known of a folder, the key and the server; changes nothing by itself."""
    from fwsync import doctor

    act = doctor.rebuild if rebuild else doctor.check
    finish(lambda: act(folder, project, flags, config, as_json=json), json)


@app.command()
@taking_flags("cleanup")
def cleanup(
    folder: Folder = Path(),
    project: Project = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List them; cancel and forget nothing.")
    ] = False,
    config: Config = None,
    json: Json = False,
    *,
    flags: Flags,
) -> None:
    """Give up uploads that were begun and never ended: list them, cancel them on the server."""
    from fwsync import cleanup as uploads
    from fwsync import show

    progress = show.for_run(json)
    finish(
        lambda: show.given_up(
            uploads.run(folder, project, flags, config, progress=progress, only_look=dry_run),
            as_json=json,
        ),
        json,
    )


@app.command()
def restore(
    folder: Folder,
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH", help="Files or folders below it; `.` for all."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="TIME", help="Only what this run replaced or deleted."),
    ] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="List what there is; put nothing back.")
    ] = False,
    json: Json = False,
) -> None:
    """Put back what runs have replaced or deleted here; nothing that is here is replaced."""
    from fwsync import restoring, show

    wanted = restoring.Wanted(tuple(paths or ()), run or "")
    if only_list or not (paths or run):
        finish(lambda: show.in_trash(restoring.listed(folder, wanted), as_json=json), json)
    finish(lambda: show.put_back(restoring.restore(folder, wanted), as_json=json), json)


cli_paths.register(app)


@app.command()
def sandbox(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 picks a free one.")
    ] = 8080,
    host: Annotated[
        str,
        typer.Option(metavar="HOST", help="Address to listen on; 0.0.0.0 opens it to the network."),
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
        typer.Option(
            help="Where signed URLs lead: this server, or a strict store of a cloud.",
            **one_of(("local", "s3", "azure", "gcs")),
        ),
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
        typer.Option(help="Behave as this older server.", **one_of(("core-2018",))),
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
    finish(lambda: rehearse.sandbox(rehearsal, as_json=json), json)


@app.command()
def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Leave everything here to look at.")
    ] = None,
) -> None:
    """Send real DICOM files to a sandbox, fetch them back, and compare every byte."""
    from fwsync import demo as story

    finish(lambda: story.run(keep))


# --- plumbing -------------------------------------------------------------------------------


def main() -> NoReturn:
    """Run the command line; every expected failure is two lines and an exit code."""
    set_help(app, plan_app, cli_paths.conflicts_app, plainly=not (os.isatty(1) and os.isatty(2)))
    try:
        app()
    except FwsyncError as error:
        complain(error)
        tell_script(error, sys.argv[1:])
        sys.exit(int(error.exit_code))
    except KeyboardInterrupt:
        sys.exit(int(stopped_by_user()))
    except SystemExit as ended:
        # Ctrl-C while a command is read or imported: typer ends with the code, and no word.
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            stopped_by_user()
        tell_script(ended.__context__, sys.argv[1:])
        raise
    except BrokenPipeError:
        # The reader of our output went away (``| head``): that is its right.
        sys.stderr.close()
        sys.exit(int(Exit.DIFFERENCES))
    except Exception as error:  # nobody foresaw it: there is no other place to say so
        confess(error)
        sys.exit(int(Exit.DEFECT))
    sys.exit(0)


def _is_of_analysis(project: str | None) -> bool:
    """One file of an analysis is in no project's tree of files: it comes by itself."""
    if "/analyses/" not in (project or ""):
        return False
    from fwsync import one_file

    return one_file.is_of_analysis(project or "")


def _destination(project: str | None) -> Path:
    """``fwsync pull lab/aging`` makes ./aging; ``fwsync pull`` alone is the folder we are in."""
    if project in (None, "fw://"):
        return Path()
    from fwsync.remotes.naming import split_path

    return Path(split_path(project)[0].rstrip("/").rpartition("/")[2])


def _run(
    mode: Mode,
    named: Path | None,
    project: str | None,
    flags: Mapping[str, Any],
    config: Path | None,
    as_json: bool,
    dry_run: bool,
    out: Path | None = None,
) -> None:
    from fwsync import call_order, runs, show

    progress = show.for_run(as_json)

    def once() -> Exit:
        call_order.check(mode, named, project)
        folder = _destination(project) if named is None else named
        if mode is Mode.DOWN and project and (slip := call_order.beside(folder, project)):
            progress.note(slip)
        try:
            if dry_run:
                planned = runs.run_plan(
                    mode, folder, project, flags, config, progress=progress, out=out
                )
                return show.plan(planned, as_json=as_json)
            report: Report = runs.run(mode, folder, project, flags, config, progress=progress)
        except UsageError as error:
            raise call_order.explained(error, folder, project) from None
        return show.report(report, as_json=as_json)

    finish(once, as_json)
