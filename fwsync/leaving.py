"""How a command ends: its exit code, and what is said of a failure.

Its rule: every expected failure is two lines on standard error and a code; a script that reads
JSON is told of it on standard output as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import typer

from fwsync.errors import Exit, FwsyncError, UsageError


def confess(error: Exception) -> None:
    """A defect of ours, in two lines; how it came to be is in a file."""
    from fwsync import defect
    from fwsync.progress import printable

    file = defect.write_down(error, sys.argv[1:])
    text = printable(f"{type(error).__name__}: {error}".partition("\n")[0])
    typer.echo(f"error: internal error, which is a defect of fwsync: {text}", err=True)
    where = f"with {file}, which says where" if file else "with what stands above"
    typer.echo(f"hint: what is done stays done; please report it {where}", err=True)


def complain(error: FwsyncError) -> None:
    """What went wrong and what to do, in two lines."""
    from fwsync.progress import printable

    typer.echo(f"error: {printable(error.message)}", err=True)
    if error.hint:
        typer.echo(f"hint: {printable(error.hint)}", err=True)


def tell_script(refused: Any, words: Sequence[str]) -> None:
    """Tell a script of a call that could not be read, as of any other error.

    Args:
        refused: what ended it, and is on stderr by now; of what is no such refusal nothing is said.
        words: of the call.
    """
    own = words[: words.index("--")] if "--" in words else words
    if "--json" not in own:
        return
    if isinstance(refused, _UNREADABLE):
        of = refused.ctx.command_path if refused.ctx is not None else "fwsync"
        refused = UsageError(refused.format_message(), hint=f"`{of} -h` lists what there is")
    if isinstance(refused, FwsyncError):
        from fwsync import show

        show.error(refused)


def given(**flags: Any) -> dict[str, Any]:
    """The flags that were really given: only they override file and environment."""
    return {
        name: value
        for name, value in flags.items()
        if value is not None and value is not False and value != []
    }


#: What typer raises for a call that it cannot read, of which a value that is wrong is one kind.
_UNREADABLE: Final[Any] = typer.BadParameter.__mro__[1]

#: What holds of a command that was stopped by Ctrl-C.
GOES_ON: Final = "what is done stays done; the same command goes on from there"
IS_CUT: Final = "what went to standard output is not the whole file"


def stopped_by_user(so: str = GOES_ON) -> Exit:
    """Say what holds after a Ctrl-C."""
    typer.echo(f"stopped: {so}", err=True)
    return Exit.INTERRUPTED


def finish(
    command: Callable[[], Exit], as_json: bool = False, *, stopped: str = GOES_ON
) -> NoReturn:
    """Run a command and leave with its exit code; a script is told of an error on stdout, too.

    Args:
        command: gives the code, or raises.
        as_json: a script reads our output.
        stopped: what to say after a Ctrl-C.
    """
    try:
        code = command()
    except KeyboardInterrupt:
        code = stopped_by_user(stopped)
    except FwsyncError as error:
        complain(error)
        code = error.exit_code
        if as_json:
            from fwsync import show

            show.error(error)
    raise typer.Exit(int(code))
