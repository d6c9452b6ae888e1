"""One file as ``multipart/form-data``, with its length known before it is sent."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from fwsync.ports import Upload
from fwsync.remotes.body import Body

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_PLAIN = re.compile(r'[^"\\%\x00-\x1f\x7f]*')


def form(upload: Upload, name: str, boundary: str) -> Body:
    """The body of an upload: the metadata first, then the content.

    Args:
        upload: read once, from its first byte.
        name: of the file on the server.
        boundary: random; it is not looked for in the content.
    """
    head = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="metadata"\r\n\r\n'
        f"{json.dumps({'name': name})}\r\n"
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; {_filename(name)}\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()

    async def chunks() -> AsyncIterator[bytes]:
        yield head
        async with aclosing(cast("AsyncGenerator[bytes, None]", upload.read())) as content:
            async for chunk in content:
                yield chunk
        yield tail

    return Body(
        chunks(),
        len(head) + upload.size + len(tail),
        content_type=f"multipart/form-data; boundary={boundary}",
    )


def _filename(name: str) -> str:
    """The parameter that says the name, for servers of both schools.

    Quotation marks and line ends as browsers write them (WHATWG), which is what HTTP
    libraries send too; where that cannot be read back for certain, the exact form of
    RFC 5987 follows and wins.
    """
    quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    said = f'filename="{quoted}"'
    if _PLAIN.fullmatch(name):
        return said
    return f"{said}; filename*=utf-8''{quote(name, safe='')}"
