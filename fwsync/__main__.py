"""The command's entry: answers ``--version`` at once, and lets the front door in for the rest."""

from __future__ import annotations

import sys


def main() -> None:
    """Run ``fwsync``.

    Reading the command line costs a library of its own; scripts that only ask for the
    version, as many do before they start, need not wait for it.
    """
    if sys.argv[1:] == ["--version"]:
        from fwsync._version import __version__

        sys.stdout.write(f"fwsync {__version__}\n")
        return
    from fwsync.cli import main as front_door

    front_door()


if __name__ == "__main__":
    main()
