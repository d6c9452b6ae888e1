"""The command's entry: answers ``--version`` at once, and lets the front door in for the rest."""

from __future__ import annotations

import atexit
import gc
import sys

#: Objects made since the last look for cycles of garbage, and how many looks at the young ones
#: come before one at the older. Ours make few cycles and many objects: by Python's own numbers
#: (700, 10, 10) a seventh of a pull went into looking.
_GARBAGE = (20_000, 20, 50)


def main() -> None:
    """Run ``fwsync``.

    Reading the command line costs a library of its own; scripts that only ask for the
    version, as many do before they start, need not wait for it.
    """
    if sys.argv[1:] == ["--version"]:
        from fwsync._version import __version__

        sys.stdout.write(f"fwsync {__version__}\n")
        return
    try:
        _let_in()
    except KeyboardInterrupt:  # before there was a command, or after it: nothing is under way
        sys.stderr.write("stopped\n")
        sys.exit(130)


def _let_in() -> None:
    # What is imported stays: there is nothing to collect while it comes, and nothing in it
    # to look through again later.
    gc.disable()
    from fwsync.cli import main as front_door

    gc.freeze()
    gc.set_threshold(*_GARBAGE)
    gc.enable()
    # What is left at the end goes with the process: to look through all of it took a tenth of a
    # second of a run that had nothing to do.
    atexit.register(gc.freeze)
    front_door()


if __name__ == "__main__":
    main()
