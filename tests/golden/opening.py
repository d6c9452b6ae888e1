"""Run the command, and write down the names of all that it opens."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path


def main() -> None:
    log, opened = Path(sys.argv.pop(1)), list[str]()

    def hear(event: str, args: tuple[object, ...]) -> None:
        if event == "open" and isinstance(args[0], str | bytes):
            opened.append(os.fsdecode(args[0]).rpartition("/")[2])

    sys.addaudithook(hear)
    try:
        runpy.run_module("fwsync", run_name="__main__", alter_sys=True)
    finally:
        log.write_text(json.dumps(opened))


if __name__ == "__main__":
    main()
