"""Azurite, made once and kept beside the environments; what runs it is Node.

``python -m tests.sandbox.stores.azurite`` makes it and prints where it is.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.conformance.environments import cache

VERSION: Final = "3.37.0"


def azurite() -> Path:
    """The script of its blob service, for ``node``; npm needs its registry when it makes it.

    Raises:
        subprocess.CalledProcessError: npm failed; what it said is on stderr.
    """
    folder = cache() / f"azurite-{VERSION}"
    mark = folder / ".whole"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.is_file():
            if folder.exists():  # what an interrupted run left
                shutil.rmtree(folder)
            print("environment of Azurite", file=sys.stderr, flush=True)
            # In the folder, not with --prefix: that would also move where npm looks for the
            # machine's own settings, its certificates among them.
            folder.mkdir()
            (folder / "package.json").write_text('{"private": true}\n')
            npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(
                [*npm, "--ignore-scripts", f"azurite@{VERSION}"],
                cwd=folder,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
            )
            mark.touch()
    return folder / "node_modules/azurite/dist/src/blob/main.js"


if __name__ == "__main__":
    print(azurite())
