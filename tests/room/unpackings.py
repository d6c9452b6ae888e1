"""A pack that is unpacked over an older one: what was here, what comes, and how it is asked for."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fwsync.digest import TagHasher
from fwsync.model import LocalEntry, RelPath
from fwsync.unpacking.finish import Unpacked
from fwsync.unpacking.packs import Unpacking, unpack
from fwsync.zipstream import Span, ZipLayout, ZipMember
from tests.room.rooms import local

PARTS, TRASH = ".fwsync/parts", ".fwsync/trash/now"
PATH = RelPath("s/e/a/t1.dicom.zip")
FOLDER = "raw/t1"

OLD = {"1.dcm": b"one", "2.dcm": b"two", "gone.dcm": b"gone", "sub/3.dcm": b"three"}
NEW = {"1.dcm": b"one", "2.dcm": b"TWO", "sub/3.dcm": b"3", "late/4.dcm": b"four", "5": b""}
MINE = {"raw/other.dcm": b"mine"}


def here(tree: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{FOLDER}/{name}": content for name, content in tree.items()} | MINE


def zipped(tree: Mapping[str, bytes]) -> bytes:
    layout = ZipLayout(ZipMember(name, len(body), zlib.crc32(body)) for name, body in tree.items())
    contents = [tree[member.name] for member in layout.members]
    return b"".join(
        contents[one.member] if isinstance(one, Span) else one for one in layout.pieces()
    )


def seen(root: Path, tree: Mapping[str, bytes]) -> dict[str, LocalEntry]:
    return {name: local(root, f"{FOLDER}/{name}") for name in tree}


def job(root: Path, tree: Mapping[str, bytes] | None = None, **fields: Any) -> Unpacking:
    existing = seen(root, tree or {})
    return Unpacking(PATH, FOLDER, existing, parts=PARTS, trash=TRASH, **fields)


@contextmanager
def zip_fd(root: Path, content: bytes) -> Iterator[int]:
    """The zip, among the parts."""
    part = root / PARTS / "zip.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    with part.open("rb") as file:
        try:
            yield file.fileno()
        finally:
            part.unlink()


def unpacked(
    root: Path, root_fd: int, tree: Mapping[str, bytes], task: Unpacking | None = None
) -> Unpacked:
    with zip_fd(root, zipped(tree)) as fd:
        return unpack(root_fd, fd, task or job(root))


def tag(content: bytes) -> str:
    hasher = TagHasher()
    hasher.update(content)
    return hasher.local_tag
