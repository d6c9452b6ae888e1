"""The official command, ``fw``, in a process and a home of its own.

It is run as its makers ship it: nothing of it is imported, replaced or told that it is tested.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.house.house import Done, finish

#: Seconds for one run: a start takes two of a processor, an ingest waits for seconds on itself.
RUN_S = 110.0

#: What it says when something went wrong; it does not always show in the exit code.
_COMPLAINTS = re.compile(
    r"Traceback|ERROR|\bError\b|Errors summary|Request failed|[1-9]\d* failed|Failed|cancel \d"
)


def complaint(done: Done) -> str | None:
    """The first sign of trouble in what a run said."""
    found = _COMPLAINTS.search(done.out) or _COMPLAINTS.search(done.err)
    return found and found[0]


@dataclass(slots=True)
class Cli:
    """``fw`` of one user.

    Args:
        program: the command.
        home: made when missing; its credentials, caches and temporary files are there.
        key: written where ``fw login`` puts it; empty: nobody is logged in.
    """

    program: Path
    home: Path
    key: str = ""

    def __post_init__(self) -> None:
        # Two that start at once would both make the folder of its logs, and the later one fails.
        for folder in ("tmp", ".cache/flywheel/logs"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        if self.key:
            self.credentials.parent.mkdir(parents=True, mode=0o700)
            self.credentials.write_text(json.dumps({"key": self.key, "root": False}))

    @property
    def credentials(self) -> Path:
        """Where the key is kept. Source: SDK 23."""
        return self.home / ".config/flywheel/user.json"

    def run(self, *args: str | Path, env: dict[str, str] | None = None) -> Done:
        """Run it to its end, whatever that is."""
        kept = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "TZ": "UTC"}
        own = {
            "HOME": str(self.home),
            "FLYWHEEL_USER_HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            # stderr is for trouble alone: no bars, and no word on what its packages import
            "TQDM_DISABLE": "1",
            "PYTHONWARNINGS": "ignore",
        }
        process = subprocess.Popen(
            [self.program, *map(str, args)],
            cwd=self.home,
            env=kept | own | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return finish(process, RUN_S)

    def good(self, *args: str | Path, env: dict[str, str] | None = None) -> str:
        """Run it, and see that nothing went wrong; what it printed."""
        done = self.run(*args, env=env)

        assert 0 == done.code, done
        assert "" == done.err, done
        assert None is complaint(done), done
        return done.out

    def all_good(self, *commands: Sequence[str | Path]) -> list[str]:
        """Several at the same time: most of their lives they wait."""
        with ThreadPoolExecutor(len(commands)) as pool:
            return list(pool.map(lambda command: self.good(*command), commands))
