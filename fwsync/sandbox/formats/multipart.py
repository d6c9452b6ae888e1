r"""``multipart/form-data``, read as it arrives.

Bytes go in, events come out; no I/O here. Its one rule: a part is never held in memory, only
enough of the stream to see whether a boundary begins in it.

File names come in three dialects, and all are read: raw UTF-8 between quotation marks with ``"``
as ``%22`` or ``\"`` (browsers, requests, httpx, curl); percent-encoded as a whole (aiohttp, which
also puts Content-Type before Content-Disposition: that is how a literal ``%20`` of the others
stays what it is); and ``filename*=utf-8''…`` (RFC 5987).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from fwsync.sandbox.problems import invalid

MAX_HEADERS = 16 << 10  # bytes of the headers of one part
MAX_PADDING = 128  # bytes of blanks after a boundary
MAX_NAME = 255  # bytes
_PARAM = re.compile(
    r';\s*(?P<key>[-\w]+\*?)\s*=\s*(?:"(?P<quoted>(?:\\"(?!\s*(?:;|$))|[^"])*)"|(?P<bare>[^;]*))'
)
_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_WHOLE: Final = re.compile(r"(?:[A-Za-z0-9_.~-]|%[0-9A-F]{2})+")


@dataclass(frozen=True, slots=True)
class Part:
    """The start of a part. ``filename`` is ``None`` for a plain field.

    ``disposition`` is the header both were read from, for who reads it otherwise.
    """

    name: str
    filename: str | None
    disposition: str = ""


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part that was begun is complete."""


Event = Part | PartEnd | bytes


def boundary_of(content_type: str) -> bytes:
    """The boundary a Content-Type names.

    Raises:
        ApiError: 400, it is no form, or has no boundary.
    """
    kind, _, parameters = content_type.partition(";")
    match = _BOUNDARY.search(";" + parameters)
    if kind.strip().lower() != "multipart/form-data" or match is None:
        raise invalid("the body must be multipart/form-data with a boundary")
    boundary = match[1] or match[2]
    try:
        return boundary.encode("ascii")
    except UnicodeEncodeError as error:
        raise invalid("the boundary must be ASCII") from error


class FormParser:
    """Turns the bytes of a form into events."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = b"\r\n"  # so that the first delimiter looks like the others
        self._in_part = False
        self._state = self._body  # the preamble is a body that nobody wants
        self._done = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes, yield what they complete.

        Raises:
            ApiError: 400, this is not a form.
        """
        self._buffer = self._buffer + data if self._buffer else data
        while not self._done:
            event, more = self._state()
            if event is not None:
                yield event
            if not more:
                return
        self._buffer = b""  # the epilogue

    def finish(self) -> None:
        """The body has ended.

        Raises:
            ApiError: 400, in the middle of the form.
        """
        if not self._done:
            raise invalid("the multipart body ends before its last boundary")

    def _body(self) -> tuple[Event | None, bool]:
        found = self._buffer.find(self._delimiter)
        if found < 0:
            keep = len(self._delimiter) - 1
            taken, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
            return (taken or None) if self._in_part else None, False
        taken = self._buffer[:found]
        self._buffer = self._buffer[found + len(self._delimiter) :]
        self._state = self._delimited
        return (taken or None) if self._in_part else None, True

    def _delimited(self) -> tuple[Event | None, bool]:
        """What follows a delimiter: ``--`` and nothing more, or a line end and headers."""
        if self._buffer.startswith(b"--"):
            self._done = True
            return self._end(), True
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found and len(line) < MAX_PADDING:
            return None, False
        if line.strip(b" \t"):
            raise invalid("a multipart boundary is followed by something else")
        self._buffer = b"\r\n" + rest
        self._state = self._headers
        return self._end(), True

    def _end(self) -> Event | None:
        was, self._in_part = self._in_part, False
        return PartEnd() if was else None

    def _headers(self) -> tuple[Event | None, bool]:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            if len(self._buffer) > MAX_HEADERS:
                raise invalid("the headers of a multipart part are too long")
            return None, False
        part = _part(head)
        self._in_part = True
        self._state = self._body
        self._buffer = rest
        return part, True


def _part(head: bytes) -> Part:
    try:
        lines = head.decode("utf-8").split("\r\n")
    except UnicodeDecodeError as error:
        raise invalid("the headers of a multipart part are not UTF-8") from error
    headers = [line.partition(":") for line in lines if line]
    names = [name.strip().lower() for name, _, _ in headers]
    if "content-disposition" not in names:
        raise invalid("a multipart part has no Content-Disposition")
    disposition = headers[names.index("content-disposition")][2]
    kind, _, _ = disposition.partition(";")
    if kind.strip().lower() != "form-data":
        raise invalid("a multipart part is not form-data")
    typed_first = "content-type" in names[: names.index("content-disposition")]
    return _read_disposition(disposition, typed_first=typed_first)


def _read_disposition(disposition: str, *, typed_first: bool) -> Part:
    found: dict[str, str] = {}
    for match in _PARAM.finditer(disposition):
        quoted, bare = match["quoted"], match["bare"]
        found[match["key"].lower()] = quoted if quoted is not None else bare.strip()
    filename: str | None = None
    if "filename*" in found:
        filename = _extended(found["filename*"])
    elif "filename" in found:
        filename = _plain(found["filename"], typed_first=typed_first)
    return Part(found.get("name", ""), filename, disposition)


def _extended(value: str) -> str:
    charset, _, rest = value.partition("'")
    _, found, encoded = rest.partition("'")
    if not found:
        raise invalid("filename* cannot be read")
    try:
        return unquote(encoded, charset or "utf-8", "strict")
    except (LookupError, UnicodeError) as error:  # some codecs raise no more than UnicodeError
        raise invalid("filename* cannot be decoded") from error


def _plain(value: str, *, typed_first: bool) -> str:
    if "%" in value and _WHOLE.fullmatch(value):
        decoded = unquote(value, errors="replace")
        canonical = quote(decoded, safe="") == value
        if canonical and (typed_first or not decoded.isascii()):
            return decoded
    value = value.replace('\\"', '"')
    for code, character in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        value = value.replace(code, character)
    return value


def file_name(filename: str) -> str:
    """The name a file is stored under: what follows the last ``/``.

    Raises:
        ApiError: 400, nothing is left, or it would name a folder.
    """
    name = filename.rpartition("/")[2]
    if name in ("", ".", ".."):
        raise invalid(f"{filename!r} cannot be the name of a file")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:  # `filename*` may name a charset that has such halves
        raise invalid("a file name is valid Unicode") from error
    if "\0" in name or size > MAX_NAME:
        raise invalid("a file name has no NUL and at most 255 bytes")
    return name
