"""A file larger than one request to S3 may be, in parts, from a sparse file on disk.

The sandbox keeps its holes too, so that a small disk is enough. Run by ``make tools``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.remotes.routes import large_alone
from tests.remotes.routes.signing import MiB, long_ago

pytestmark = [pytest.mark.tools, pytest.mark.timeout(900)]

GiB = 1 << 30
SIZE = 6 * GiB + 12_345
#: Bytes of the process beside what it had: blocks, buffers of sockets, a page of code or two.
MOST = 48 * MiB


@contextmanager
def sandbox(folder: Path) -> Iterator[dict[str, Any]]:
    """As a process, so that its memory is not ours."""
    command = [sys.executable, "-m", "fwsync", "sandbox", "--port", "0", "--json"]
    command += ["--data", str(folder), "--store", "s3", "--switch", "signed_part_size=67108864"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready: dict[str, Any] = json.loads(process.stdout.readline())
            yield ready
        finally:
            process.terminate()


def test_6_gib_go_in_parts_and_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "root" / "large.bin"
    path.parent.mkdir()
    with path.open("wb") as file:
        for offset in (0, 64 * MiB - 2, 4 * GiB - 2, 5 * GiB, SIZE - 6):
            file.seek(offset)
            file.write(b"marked")
    long_ago(path)
    assert (path.stat().st_size, path.stat().st_blocks < 1000) == (SIZE, True)

    with sandbox(tmp_path / "data") as ready:
        program = [sys.executable, "-m", large_alone.__name__]
        run = [*program, str(path), ready["url"], ready["api_key"]]
        done = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout)

        taken = sum(path.stat().st_blocks for path in (tmp_path / "data").rglob("*")) * 512

    print(f"\n{done}, {taken / MiB:.0f} MiB of disk")
    assert SIZE == done["sent"][0]
    assert done["sent"] == done["there"]
    assert done["requests"] > 60
    assert done["more_memory"] < MOST
    assert taken < 3 * GiB
