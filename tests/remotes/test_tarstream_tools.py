"""The tar reader against the archives of GNU tar and bsdtar, in every form that they write."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fwsync.remotes import tarstream
from fwsync.remotes.tarstream import Kind
from fwsync.threads import in_thread
from tests.remotes.archives import in_pieces

_SETPIPE_SZ = 1031  # fcntl(2); Linux

pytestmark = [pytest.mark.tools, pytest.mark.timeout(300)]

TREE = {
    "empty": b"",
    "one": b"1",
    "block": b"b" * 512,
    "more/than/one": b"m" * 513,
    "ünï/日本": b"not ASCII",
    "a b\tc;'\"\\": b"odd",
    "-rf": b"a leading dash",
    "large": bytes(range(256)) * 5000,
}
LONG = {
    "d" * 90 + "/" + "n" * 99: b"a prefix and a name",
    "d" * 90 + "/" + "e" * 63 + "/" + "n" * 100: b"nearly all that ustar can say",
}
LONGER = {
    "n" * 101: b"one byte too long for a header",
    "/".join(["d" * 200] * 5) + "/" + "é" * 120: b"a kilobyte of name",
}

GNU = {
    "gnu": TREE | LONG | LONGER,
    "oldgnu": TREE | LONG | LONGER,
    "posix": TREE | LONG | LONGER,
    "ustar": TREE | LONG,
    "v7": TREE,
}
BSD = {
    "gnutar": TREE | LONG | LONGER,
    "pax": TREE | LONG | LONGER,
    "paxr": TREE | LONG | LONGER,
    "ustar": TREE | LONG,
    "v7": TREE,
}
WRITERS = [("tar", form) for form in GNU] + [("bsdtar", form) for form in BSD]


def plant(folder: Path, tree: dict[str, bytes]) -> Path:
    for name, content in tree.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def command(tool: str, *args: str) -> list[str]:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not here: Debian has it in tar or libarchive-tools")
    return [found, *args]


def packed_by(tool: str, form: str, folder: Path, *options: str) -> bytes:
    """Everything below a folder, by one of the two."""
    args = command(tool, "-c", f"--format={form}", *options, "-f", "-", "-C", str(folder), "--")
    names = sorted(one.name for one in folder.iterdir())
    return subprocess.run(
        [*args, *names],
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
        timeout=120,
    ).stdout


@pytest.mark.parametrize(("tool", "form"), WRITERS)
async def test_what_a_tool_writes_is_read(tool: str, form: str, tmp_path: Path) -> None:
    tree = (GNU if tool == "tar" else BSD)[form]
    folder = plant(tmp_path / "tree", tree)
    archive = await in_thread(packed_by, tool, form, folder)

    read = {
        one.name: b"".join([chunk async for chunk in one.chunks])
        async for one in tarstream.members(in_pieces(archive, 10_000))
        if one.kind is Kind.FILE
    }

    assert tree == read


@pytest.mark.parametrize(("tool", "form"), [("tar", "gnu"), ("tar", "posix"), ("bsdtar", "pax")])
async def test_what_is_no_file_is_told_apart(tool: str, form: str, tmp_path: Path) -> None:
    folder = plant(tmp_path / "tree", {"a-file": b"content", "z-file": b"last"})
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "long").symlink_to("x" * 300)
    os.link(folder / "a-file", folder / "b-twin")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    with (folder / "holes").open("wb") as file:
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"between two holes")
    options = ["--sparse"] if tool == "tar" else []
    archive = await in_thread(packed_by, tool, form, folder, *options)

    kinds = {
        one.name.rpartition("/")[2]: one.kind
        async for one in tarstream.members(in_pieces(archive, 10_000))
        if one.kind is not Kind.FOLDER
    }

    assert {
        "a-file": Kind.FILE,
        "b-twin": Kind.HARD_LINK,
        "link": Kind.SYMBOLIC_LINK,
        "long": Kind.SYMBOLIC_LINK,
        "pipe": Kind.FIFO,
        "holes": Kind.SPARSE,
        "z-file": Kind.FILE,
    } == kinds


@contextmanager
def poured(args: list[str]) -> Iterator[AsyncIterator[bytes]]:
    """What a tool writes, while it writes."""
    with subprocess.Popen(args, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        output = process.stdout
        fcntl.fcntl(output, _SETPIPE_SZ, 1 << 20)

        async def chunks() -> AsyncIterator[bytes]:
            while chunk := await in_thread(output.read, 1 << 20):
                yield chunk

        yield chunks()
        output.close()
        assert 0 == process.wait(60)


@pytest.mark.parametrize("form", ["gnu", "posix"])
async def test_a_member_of_more_than_eight_gigabytes_is_read_to_its_end(
    form: str, tmp_path: Path
) -> None:
    """In base 256, and in a PAX record; one hole on disk, and every byte of it in the stream."""
    size = (8 << 30) + 1
    folder = tmp_path / "tree"
    folder.mkdir()
    with (folder / "large").open("wb") as file:
        file.truncate(size)
    plant(folder, {"then": b"what follows it"})
    args = command("tar", "-c", f"--format={form}", "-f", "-", "-C", str(folder), "large", "then")
    read: dict[str, int] = {}
    with poured(args) as chunks:
        async for one in tarstream.members(chunks):
            read[one.name] = 0
            assert one.kind is Kind.FILE
            async for chunk in one.chunks:
                read[one.name] += len(chunk)
            assert one.size == read[one.name]

    assert {"large": size, "then": 15} == read
