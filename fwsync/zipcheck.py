"""A zip from elsewhere, looked at in full before a byte of it is unpacked.

The one rule: nothing that a zip says of itself is believed. Names stay below the folder they
are meant for, no two members are one file on disk or share bytes in the zip, and what comes
out is in some proportion to what went in.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from fwsync.errors import FileProblem, IntegrityError
from fwsync.roots import RESERVED
from fwsync.zipstream import why_unsafe

#: More members than any series has; each costs about 1 KB of memory while it is unpacked.
MOST_MEMBERS: Final = 1_000_000

#: The directory of a zip with that many members of long names, in bytes: it is read at once.
MOST_DIRECTORY: Final = 256 << 20

#: Content may be so many times as large as the zip, where no limit is given; or have so many
#: bytes, whatever the zip has. Deflate makes 1000 out of 1 with zeros, and with little else;
#: as we compress (:func:`fwsync.zipstream.deflate`), 228 out of 1.
MOST_RATIO: Final = 256
ALWAYS_ALLOWED: Final = 256 << 20

#: The longest name of a file on the file systems that we know, in bytes.
_LONGEST_NAME: Final = 255

_LOCAL: Final = struct.Struct("<4s22x2H")
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000  # plainly, strongly, its names too
_UTF8: Final = 0x800


class _BeforeBeginning(OSError):
    """As a file refuses to go there; the library expects that of an empty zip."""


#: What the standard library raises on a zip that makes no sense to it.
_GARBLED = (
    _BeforeBeginning,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Inside:
    """A file in a zip that was checked."""

    name: str  #: relative, POSIX, NFC
    size: int  #: bytes, as the zip says; the reading fails if that is not so
    info: zipfile.ZipInfo


class CheckedZip:
    """A zip that may be unpacked.

    Args:
        zip_fd: of the zip, open for as long as this lives; its position is not used.
        path: what to call it in errors.
        most_bytes: of all its content; None: in proportion to the zip.
        folds: on disk, names that differ only in case are one name.

    Raises:
        FileProblem: it is no zip, or not one that may be unpacked; the message says why.
        OSError: it cannot be read.
    """

    def __init__(
        self, zip_fd: int, path: str, *, most_bytes: int | None = None, folds: bool = False
    ) -> None:
        self._path = path
        self._reader = _Reader(zip_fd)
        with self._understood():
            self._archive = zipfile.ZipFile(self._reader)
            self._reader.opening = False
            infos = self._archive.infolist()
            for info in infos:
                if problem := next(_reasons(info), ""):
                    raise self._refused(f"{_shown(info)}: {problem}")
            self._check_places(infos)
        #: Its files, in the order in which their bytes lie in the zip; folders are left out.
        self.members = tuple(
            Inside(_composed(info.filename), info.file_size, info)
            for info in sorted(infos, key=lambda info: info.header_offset)
            if not info.is_dir()
        )
        self._check_names(infos, folds)
        self._check_sizes(most_bytes)

    def read(self, member: Inside, block_size: int) -> Generator[bytes, None, None]:
        """The content of a file, checked against its checksum before the last block comes.

        Raises:
            IntegrityError: it is not what the zip says of it.
            OSError: it cannot be read.
        """
        left = member.size
        try:
            with self._archive.open(member.info) as content:
                while left:
                    block = content.read(min(block_size, left))
                    if not block:
                        raise zipfile.BadZipFile("it ends early")
                    left -= len(block)
                    yield block
                content.read(1)  # of an empty one the checksum is looked at only now
        except _GARBLED as error:
            raise IntegrityError(f"{self._path}: {member.name}, which is in it: {error}") from None

    def _refused(self, why: str) -> FileProblem:
        return FileProblem(
            f"{self._path}: cannot be unpacked: {why}",
            hint="it stays on the server as it is; fetch it as a file to look into it",
        )

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except _GARBLED as error:
            raise self._refused(f"it is no zip that can be read ({error})") from None

    def _check_places(self, infos: Iterable[zipfile.ZipInfo]) -> None:
        """No two members share bytes, and each has its name at its head as well."""
        before, end = "", 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise self._refused(f"{_shown(info)}: overlaps with {before}")
            name = self._name_at_head(info)
            end = info.header_offset + name + info.compress_size
            before = _shown(info)
            if end > self._archive.start_dir:
                raise self._refused(f"{_shown(info)}: overlaps with the directory")

    def _name_at_head(self, info: zipfile.ZipInfo) -> int:
        """The length of the local header, which has to bear the name of the directory."""
        head = self._reader.at(info.header_offset, _LOCAL.size)
        mark, name_size, extra_size = _LOCAL.unpack(head)
        size: int = _LOCAL.size + name_size + extra_size
        if mark != b"PK\3\4":
            raise self._refused(f"{_shown(info)}: is not where the directory says")
        name = self._reader.at(info.header_offset + _LOCAL.size, name_size)
        if name.decode("utf-8" if info.flag_bits & _UTF8 else "cp437") != info.orig_filename:
            raise self._refused(f"{_shown(info)}: has another name at its head")
        return size

    def _check_names(self, infos: Iterable[zipfile.ZipInfo], folds: bool) -> None:
        """No two members are one on disk, and no file is another's folder."""

        def key(name: str) -> str:
            return _composed(_composed(name).casefold()) if folds else _composed(name)

        files: dict[str, str] = {}
        folders: dict[str, str] = {}
        for info in infos:
            name = key(info.filename.removesuffix("/"))
            if not info.is_dir():
                if name in files:
                    raise self._refused(f"{_shown(info)}: the same file as {files[name]}")
                files[name] = _shown(info)
                name = name.rpartition("/")[0]
            while name and name not in folders:
                folders[name] = _shown(info)
                name = name.rpartition("/")[0]
        for name in files.keys() & folders.keys():
            raise self._refused(f"{files[name]}: a file, and a folder of {folders[name]}")

    def _check_sizes(self, most_bytes: int | None) -> None:
        total = sum(member.size for member in self.members)
        most = most_bytes
        if most is None:
            most = max(ALWAYS_ALLOWED, MOST_RATIO * self._reader.size)
        if total > most:
            raise self._refused(
                f"it would become {total} bytes out of {self._reader.size}; {most} are allowed"
            )


def _reasons(info: zipfile.ZipInfo) -> Iterator[str]:
    """Why a member may not be unpacked."""
    for name in (info.orig_filename, info.filename):  # the library alters some
        if problem := why_unsafe(name.removesuffix("/")):
            yield problem
    parts = info.filename.removesuffix("/").split("/")
    if any(part.casefold().startswith(RESERVED) for part in parts):
        yield f"{RESERVED} belongs to fwsync"
    if any(len(_composed(part).encode()) > _LONGEST_NAME for part in parts):
        yield f"a part of its name has more than {_LONGEST_NAME} bytes"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        yield "it is no regular file (a link, a device or the like)"
    if info.flag_bits & _ENCRYPTED:
        yield "it is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield f"it is compressed by method {info.compress_type}; expected stored or deflated"
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        yield "its two sizes differ although it is stored"
    if info.is_dir() and info.file_size:
        yield "it is a folder, and has content"


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _shown(info: zipfile.ZipInfo) -> str:
    return repr(info.orig_filename[:200])


class _Reader:
    """A zip by its descriptor, as the standard library wants a file to be."""

    def __init__(self, fd: int) -> None:
        self.size = os.fstat(fd).st_size
        self.opening = True  #: the next large thing to be read is the directory
        self._fd = fd
        self._position = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + (0, self._position, self.size)[whence]
        if position < 0:
            raise _BeforeBeginning("it refers to what lies before its beginning")
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self._position)
        size = left if size < 0 else min(size, left)
        if self.opening and size > MOST_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory has {size} bytes")
        block = self.at(self._position, size)
        self._position += size
        # Before the library makes an object of each:
        if self.opening and block.count(b"PK\1\2") > MOST_MEMBERS:
            raise zipfile.BadZipFile(f"it has more than {MOST_MEMBERS} members")
        return block

    def at(self, offset: int, size: int) -> bytes:
        """So many bytes from there.

        Raises:
            EOFError: there are fewer.
        """
        blocks = []
        while size:
            block = os.pread(self._fd, size, offset)
            if not block:
                raise EOFError("it ends early")
            blocks.append(block)
            offset += len(block)
            size -= len(block)
        return b"".join(blocks)
