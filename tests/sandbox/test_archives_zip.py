from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.sandbox import Sandbox
from fwsync.sandbox.formats.zipstream import ZipStream
from tests.sandbox.api import Api, Tree

PLACE = "scitran/grp/Proj/sub-01/ses-01"


async def zipped(api: Api, tree: Tree, **params: str) -> tuple[Any, zipfile.ZipFile]:
    """The ticket and the zip of a project."""
    body = {"optional": True, "nodes": [{"level": "project", "_id": tree.project}]}
    ticket = await api.post("/download", body, **params)
    answer = await api.ask("GET", "/download", params={"ticket": ticket["ticket"], "format": "zip"})
    assert answer.status == 200, answer
    assert answer.headers["Content-Disposition"].endswith('.zip"')
    assert "Content-Length" not in answer.headers
    return ticket, zipfile.ZipFile(io.BytesIO(answer.body))


@pytest.mark.row("download-zip")
async def test_a_zip_holds_what_the_tar_holds(api: Api, tree: Tree) -> None:
    await api.upload(f"sessions/{tree.session}", {"ü ☃.txt": b"session", "empty": b""})
    await api.upload(f"acquisitions/{tree.acquisition}", {"a.bin": bytes(range(256)) * 5000})
    ticket, archive = await zipped(api, tree)
    info = archive.getinfo(f"{PLACE}/ü ☃.txt")

    assert archive.testzip() is None
    assert {name: archive.read(name) for name in archive.namelist()} == await api.tar(
        ticket["ticket"]
    )
    assert len(archive.namelist()) == ticket["file_cnt"] == 3
    assert (info.compress_type, info.external_attr >> 16) == (
        zipfile.ZIP_STORED,
        stat.S_IFREG | 0o644,
    )
    assert info.date_time >= (2024, 1, 1, 0, 0, 0)


@pytest.mark.row("download-zip", "download-missing")
async def test_a_blob_that_is_gone_becomes_a_member_that_says_so(
    sandbox: Sandbox, api: Api, tree: Tree
) -> None:
    (entry,) = await api.upload(f"sessions/{tree.session}", {"s.txt": b"session"})
    await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b"a"})
    sandbox.site.blobs.path(entry["hash"].removeprefix("v0-sha384-")).unlink()
    _, archive = await zipped(api, tree)

    assert archive.testzip() is None
    assert {name: archive.read(name) for name in archive.namelist()} == {
        f"{PLACE}/s.txt.MISSING": b"",
        f"{PLACE}/acq-01/a.txt": b"a",
    }


@pytest.mark.row("download-zip", "download-full")
async def test_sidecars_come_in_a_zip_too(api: Api, tree: Tree) -> None:
    await api.upload(f"projects/{tree.project}", {"p.txt": b"p"})
    _, archive = await zipped(api, tree, type="full", metadata="true")

    assert archive.testzip() is None
    assert archive.namelist() == [
        "flywheel/Proj/Proj.flywheel.json",
        "flywheel/Proj/FILES/p.txt",
        "flywheel/Proj/FILES/p.txt.flywheel.json",
    ]


def written(files: list[tuple[str, bytes, int]]) -> bytes:
    with closing(ZipStream()) as archive:
        pieces: list[bytes] = []
        for name, content, mtime in files:
            pieces += archive.file(name, len(content), mtime, [content] if content else [])
        return b"".join([*pieces, *archive.end()])


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.lists(st.tuples(NAMES, st.binary(), st.integers(-(1 << 33), 1 << 33)), max_size=9))
def test_what_is_written_as_zip_reads_back(files: list[tuple[str, bytes, int]]) -> None:
    archive = zipfile.ZipFile(io.BytesIO(written(files)))

    assert archive.testzip() is None
    assert [(info.orig_filename, archive.read(info)) for info in archive.infolist()] == [
        (name, content) for name, content, _ in files
    ]


def test_more_files_than_a_plain_zip_can_count() -> None:
    files = [(f"{number}", b"", 0) for number in range(66_000)]
    archive = zipfile.ZipFile(io.BytesIO(written(files)))

    assert len(archive.namelist()) == 66_000
    assert archive.read("65999") == b""


def test_a_file_of_four_gibibytes_and_what_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The sums of this much would only take time: here they are those of what is not zero.
    monkeypatch.setattr("zlib.crc32", lambda data, so_far=0: so_far)
    piece, size = bytes(64 << 20), 4 << 30
    with closing(ZipStream()) as archive, (tmp_path / "large.zip").open("wb") as file:

        def save(pieces: Iterator[bytes]) -> None:
            for one in pieces:
                if one is piece:
                    file.seek(len(one), io.SEEK_CUR)  # a hole: no space, no time
                else:
                    file.write(one)

        save(archive.file("large", size, 0, (piece for _ in range(size // len(piece)))))
        save(archive.file("after", 0, 0, ()))
        save(archive.end())
    monkeypatch.undo()
    found = zipfile.ZipFile(tmp_path / "large.zip")
    large, after = found.infolist()

    assert (large.file_size, large.compress_size) == (size, size)
    assert after.header_offset > size
    assert found.read("after") == b""
    with found.open(large) as content:
        assert content.read(1 << 16) == bytes(1 << 16)


@pytest.mark.tools
def test_system_tools_read_it(tmp_path: Path) -> None:
    import subprocess

    path = tmp_path / "a.zip"
    path.write_bytes(written([("a/ü.txt", b"one", 1_700_000_000), ("b", b"", 0)]))

    assert subprocess.run(["unzip", "-t", path], check=False, capture_output=True).returncode == 0
