"""What the dialects that imitate a cloud share: a root in the path, and objects by key."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from aiohttp import hdrs, web

from fwsync.sandbox.kept.blobs import Blobs
from fwsync.sandbox.stores.answers import Problem, header_text, send_object
from fwsync.sandbox.stores.objects import Objects, Piece, receive
from fwsync.sandbox.stores.sigv4 import Flavour, Key, judge, presign
from fwsync.sandbox.stores.store import DOWNLOAD_LIFE_S, UPLOAD_LIFE_S, Download

BLOBS: Final = "blobs/"  # keys of what is in its place already, by SHA-384
_HEX: Final = frozenset("0123456789abcdef")


class Bucket:
    """Keys below a root; the base of the dialects."""

    root: str  # the first segments of each path, such as ``/fw.s3.test/``
    elsewhere = True
    unmet = "PreconditionFailed"  # what a 412 is called
    default_type = "application/octet-stream"  # of an object whose URL says none
    #: The parameters of a URL that say the type and the disposition of an object.
    type_in, name_in = "response-content-type", "response-content-disposition"

    def __init__(self, blobs: Blobs) -> None:
        self.objects = Objects(blobs)

    def now(self) -> float:
        """The time, in seconds."""
        return self.objects.now()

    def holds(self, path: str) -> bool:
        """Whether a path is below the root."""
        return path.startswith(self.root)

    def key_of(self, request: web.Request) -> str:
        """The key that a request is for."""
        path = request.rel_url.raw_path
        return unquote(path[len(self.root) :], errors="surrogateescape")

    async def received(self, request: web.Request, wrong: Problem, *, part: bool = False) -> Piece:
        """The body of a request.

        Raises:
            Problem: ``wrong``; it has a Content-MD5, of other bytes.
        """
        piece = await receive(self.objects.blobs, request.content, part=part)
        wanted = request.headers.get("Content-MD5")
        if wanted is not None and decoded(wanted) != piece.md5:
            self.objects.discard([piece])
            raise wrong
        return piece

    async def send(
        self,
        request: web.Request,
        key: str,
        told: Mapping[str, str],
        headers: dict[str, str],
    ) -> web.StreamResponse | None:
        """Answer GET or HEAD with an object; ``None``: there is no such key.

        Args:
            told: the query, decoded.
            headers: of the answer, besides those that tell of the object.

        Raises:
            Beyond: 416.
            Problem: 412.
        """
        found = await self._readable(key)
        if found is None:
            return None
        path, size, etag = found
        headers = headers | {
            hdrs.ETAG: f'"{etag}"',
            hdrs.LAST_MODIFIED: self.http_date(),
            hdrs.CONTENT_TYPE: header_text(told.get(self.type_in)) or self.default_type,
        }
        if self.name_in in told:
            headers[hdrs.CONTENT_DISPOSITION] = header_text(told[self.name_in])
        try:
            return await send_object(request, path, size, headers, unmet=self.unmet)
        except FileNotFoundError:  # it was taken just now
            return None

    async def _readable(self, key: str) -> tuple[Path, int, str] | None:
        """Where the bytes of a key are, how many, and their ETag; ``None``: there is no such key.

        The ETag of what was taken long ago is opaque: its MD5 was not kept.
        """
        held = self.objects.get(key)
        if held is not None and held.piece is not None:
            return held.piece.path, held.piece.size, held.etag
        sha384 = key.removeprefix(BLOBS)
        if not key.startswith(BLOBS) or len(sha384) != 96 or not _HEX.issuperset(sha384):
            return None
        path = self.objects.blobs.path(sha384)
        size = await asyncio.to_thread(_size, path)
        return None if size is None else (path, size, f"{sha384[:32]}-1")

    def http_date(self) -> str:
        """Now, as a Last-Modified has it."""
        return format_datetime(datetime.fromtimestamp(int(self.now()), UTC), usegmt=True)


class KeyBucket(Bucket):
    """A bucket whose URLs are signed with a key, version 4: S3's, and Cloud Storage's after it."""

    flavour: Flavour

    def __init__(self, blobs: Blobs, key_id: str) -> None:
        super().__init__(blobs)
        self.key = Key(key_id, secrets.token_hex(20))

    def sign(
        self,
        method: str,
        origin: str,
        key: str,
        *,
        life_s: int = UPLOAD_LIFE_S,
        headers: Mapping[str, str] | None = None,
        parameters: tuple[tuple[str, str], ...] = (),
    ) -> str:
        """A URL for one request."""
        return presign(
            self.flavour,
            self.key,
            method,
            origin + self.root + quote(key, safe="/-_.~"),
            parameters=parameters,
            headers=headers,
            at=self.now(),
            life_s=life_s,
        )

    def download(self, origin: str, what: Download) -> str:
        """A URL that names the file and its type."""
        return self.sign(
            "GET",
            origin,
            BLOBS + what.sha384,
            life_s=DOWNLOAD_LIFE_S,
            parameters=((self.name_in, what.disposition), (self.type_in, what.mimetype)),
        )

    def judge(self, request: web.Request, query: Sequence[tuple[str, str]]) -> None:
        """Check the signature of a request.

        Raises:
            Refusal: it is not allowed, or not any more.
        """
        path = request.rel_url.raw_path
        judge(self.flavour, self.key, request.method, path, query, request.headers, self.now())


def query_of(request: web.Request) -> list[tuple[str, str]]:
    """The query, decoded, in the order of its coming."""
    raw = request.rel_url.raw_query_string
    return parse_qsl(raw, keep_blank_values=True, errors="surrogateescape")


def decoded(text: str) -> bytes:
    """What base64 stands for; nothing, where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
