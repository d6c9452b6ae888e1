"""The form of an upload as core18 reads it.

============================================  ==============================================
a body sent chunked                           is empty
a body that ends before its closing boundary  ends the part it is in: stored as a whole file
a part without a file name, or an empty one   no file
``dir/sub/../evil.txt``                       ``evil.txt``
``a%22b.txt``, ``été.txt``, ``a b;c.txt``     as they are
a name that no file of a disk can have        500
============================================  ==============================================

Source: core18.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.core2018.wire import drain, is_chunked, parse
from fwsync.sandbox.formats.multipart import FormParser, Part, boundary_of
from fwsync.sandbox.kept.blobs import Incoming
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call
from fwsync.sandbox.uploads.forms import Parts

Json = dict[str, Any]

MAX_NAME: Final = 255  # bytes
_FILENAME: Final = re.compile(r';\s*filename\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^;]*))', re.IGNORECASE)


@dataclass
class Form:
    """What a form held: files, their bytes in place, and the text of the metadata."""

    files: list[Arrival] = field(default_factory=list)
    metadata: bytes | None = None

    def told(self) -> Any:
        """The metadata; ``None``: there were none.

        Raises:
            ApiError: 400, they are no JSON.
        """
        if self.metadata is None:
            return None
        try:
            return parse(self.metadata)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, 'wrong format for field "metadata"') from error


async def read_form(call: Call) -> Form:
    """Read the whole request.

    Raises:
        ApiError: 500 it is no form, or a name is impossible; 413. Nothing is left of a part that
            was not complete.
    """
    request = call.request
    if is_chunked(request):
        await drain(request)
        return Form()
    try:
        boundary = boundary_of(request.headers.get("Content-Type", ""))
    except ApiError as problem:
        raise ApiError(500, "Form must be multipart/form-data") from problem
    reading = _Reading(call)
    parser = FormParser(boundary)
    try:
        while data := await request.content.readany():
            for event in parser.feed(data):
                await reading.take(event)
        # Whatever part the body ended in ends here; after the last boundary this is ignored.
        for event in parser.feed(b"\r\n--" + boundary + b"--\r\n"):
            await reading.take(event)
    except web.RequestPayloadError as error:
        raise ApiError(400, "the body cannot be read to its end") from error
    finally:
        reading.abandon()
    return reading.form


class _Reading(Parts):
    """A form, as far as it was read."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.form = Form()

    def begin(self, part: Part) -> None:
        """A part without a file name, or with an empty one, is nothing."""
        name = _raw_name(part.disposition)
        if part.name == "metadata":
            self.expect_metadata()
        elif name:
            self.expect_file(_file_name(name))

    async def take_file(self, name: str, blob: Incoming) -> None:
        """In its place."""
        self.form.files.append(Arrival(name, await blob.seal(), {}))

    def take_metadata(self, text: bytes) -> None:
        """Read later, when something is asked of them."""
        self.form.metadata = text


def _raw_name(disposition: str) -> str:
    match = _FILENAME.search(disposition)
    if match is None:
        return ""
    quoted, bare = match[1], match[2]
    if quoted is None:
        return str(bare).strip()
    return quoted.replace("\\\\", "\\").replace('\\"', '"')


def _file_name(raw: str) -> str:
    name = raw.rpartition("/")[2]
    if name in ("", ".", ".."):
        raise ApiError(500, "[Errno 21] Is a directory")
    if "\0" in name:
        raise ApiError(500, "must be encoded string without NULL bytes, not str")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        raise ApiError(500, "[Errno 36] File name too long")
    return name


def renamed(file: Arrival, name: object) -> Arrival:
    """A file under the name that the metadata give it, if they give one."""
    return replace(file, name=_file_name(name)) if isinstance(name, str) and name else file
