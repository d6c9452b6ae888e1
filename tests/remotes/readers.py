"""One archive by two readers: ours, and Python's own.

Needs nothing but fwsync, as the fuzzer imports it in an environment of its own.
"""

from __future__ import annotations

import io
import tarfile

from fwsync.remotes import tarstream
from fwsync.remotes.tarstream import Cut, Damaged, Kind
from tests.remotes.archives import in_pieces

Seen = list[tuple[str, Kind, bytes | None]]

_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.SYMTYPE: Kind.SYMBOLIC_LINK,
    tarfile.LNKTYPE: Kind.HARD_LINK,
    tarfile.CHRTYPE: Kind.DEVICE,
    tarfile.BLKTYPE: Kind.DEVICE,
    tarfile.FIFOTYPE: Kind.FIFO,
    tarfile.DIRTYPE: Kind.FOLDER,
}


async def ours(data: bytes) -> tuple[Seen, Exception | None]:
    """Our reader's members; names of folders without the slash, contents of files only."""
    seen: Seen = []
    try:
        async for one in tarstream.members(in_pieces(data, 4000)):
            content = b"".join([chunk async for chunk in one.chunks])
            is_file = one.kind is Kind.FILE
            seen.append((one.name.rstrip("/"), one.kind, content if is_file else None))
    except (Cut, Damaged) as error:
        return seen, error
    return seen, None


def pythons(data: bytes) -> Seen:
    """What Python's reader sees, up to where it stops."""
    seen: Seen = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errorlevel=2) as archive:
            for one in archive:
                kind = _KINDS.get(one.type, Kind.OTHER)
                if one.sparse is not None:
                    kind = Kind.SPARSE
                opened = archive.extractfile(one) if kind is Kind.FILE else None
                content = None if opened is None else opened.read()
                seen.append((one.name.rstrip("/"), kind, content))
    except (tarfile.TarError, ValueError, OverflowError, EOFError):
        pass
    return seen


def is_read_alike(archive: bytes) -> bool:
    """Whether Python's reader goes by the same rules; it has two of its own.

    It takes the field behind the magic for a part of the name in every archive, but not for files
    with holes, where GNU's form holds times there and older ones hold nothing; and it knows some
    of GNU's records of holes only, where ours takes each for a hole (CPython 3.11, ``TarInfo``).
    """
    if b"GNU.sparse." in archive:
        return False
    for at in range(0, len(archive) - 511, 512):
        block = archive[at : at + 512]
        is_posix = block[257:263] == b"ustar\0" and block[156:157] != tarfile.GNUTYPE_SPARSE
        if block[345] and not is_posix and _is_header(block):
            return False
    return True


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
