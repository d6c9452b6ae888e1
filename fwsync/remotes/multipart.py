"""Files as ``multipart/form-data``, with their length known before any of it is sent."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from fwsync.errors import SourceChanged
from fwsync.ports import Upload
from fwsync.remotes.body import Body

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_PLAIN = re.compile(r'[^"\\%\x00-\x1f\x7f]*')

#: Bytes that small parts are gathered to: one write to the socket, and not three a file.
_GATHERED = 64 * 1024


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file of a form."""

    upload: Upload  #: read once, from its first byte
    name: str  #: on the server


def form(
    parts: Sequence[FilePart],
    boundary: str,
    metadata: Mapping[str, object],
    *,
    field: str = "file",
    began: Callable[[Upload], None] = lambda _: None,
) -> Body:
    """The body of an upload: the metadata first, then the files, one after the other.

    Where a file fails, or is not as long as it was, the body ends there: its length is not
    reached and its last boundary never goes out, so that nothing of it is stored.

    Args:
        parts: at least one.
        boundary: random; it is not looked for in the contents.
        metadata: of the field ``metadata``.
        field: the name that all file parts have.
        began: is told of each file when its turn comes.
    """
    heads = [_head(part.name, boundary, field) for part in parts]
    start = _metadata(metadata, boundary)
    end = f"--{boundary}--\r\n".encode()

    async def pieces() -> AsyncIterator[bytes]:
        yield start
        for head, part in zip(heads, parts, strict=True):
            began(part.upload)
            yield head
            async with aclosing(_content(part.upload)) as content:
                async for piece in content:
                    yield piece
            yield b"\r\n"
        yield end

    size = len(start) + len(end)
    size += sum(len(head) + part.upload.size + 2 for head, part in zip(heads, parts, strict=True))
    gathered = _gathered(cast("AsyncGenerator[bytes, None]", pieces()))
    return Body(gathered, size, content_type=f"multipart/form-data; boundary={boundary}")


def is_plain(name: str) -> bool:
    """True for a name that servers of all schools read alike."""
    return _PLAIN.fullmatch(name) is not None


async def _content(upload: Upload) -> AsyncGenerator[bytes, None]:
    """A file's bytes, exactly as many as it announced.

    Raises:
        SourceChanged: there are more, or fewer: what follows would go into the wrong file.
    """
    left = upload.size
    async with aclosing(cast("AsyncGenerator[bytes, None]", upload.read())) as chunks:
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
    if left:
        raise SourceChanged(f"{upload.path}: is not as long as it was when it was looked at")


async def _gathered(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same bytes in fewer pieces: small ones wait for the next."""
    small = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            if len(small) + len(piece) < _GATHERED:
                small += piece
                continue
            if small:
                yield bytes(small)
                small.clear()
            if len(piece) < _GATHERED:
                small += piece
            else:
                yield piece
        if small:
            yield bytes(small)


def _metadata(told: Mapping[str, object], boundary: str) -> bytes:
    return (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="metadata"\r\n\r\n'
        f"{json.dumps(told)}\r\n"
    ).encode()


def _head(name: str, boundary: str, field: str) -> bytes:
    return (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{field}"; {_filename(name)}\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()


def _filename(name: str) -> str:
    """The parameter that says the name, for servers of both schools.

    Quotation marks and line ends as browsers write them (WHATWG), which is what HTTP
    libraries send too; where that cannot be read back for certain, the exact form of
    RFC 5987 follows and wins.
    """
    quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    said = f'filename="{quoted}"'
    if is_plain(name):
        return said
    return f"{said}; filename*=utf-8''{quote(name, safe='')}"
