"""What the dialects that imitate a cloud share: a root in the path, and objects by key."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from aiohttp import web

from fwsync.sandbox.kept.blobs import Blobs
from fwsync.sandbox.stores.objects import Objects
from fwsync.sandbox.stores.sigv4 import Flavour, Key, judge, presign
from fwsync.sandbox.stores.store import DOWNLOAD_LIFE_S, UPLOAD_LIFE_S, Download

BLOBS: Final = "blobs/"  # keys of what is in its place already, by SHA-384
_HEX: Final = frozenset("0123456789abcdef")


class Bucket:
    """Keys below a root; the base of the dialects.

    Args:
        root: the first segments of each path, such as ``/fw.s3.test/``.
        now: the time, in seconds.
    """

    elsewhere = True

    def __init__(self, blobs: Blobs, root: str, now: Callable[[], float] = time.time) -> None:
        self.root = root
        self.objects = Objects(blobs, now)

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

    async def readable(self, key: str) -> tuple[Path, int, str] | None:
        """Where the bytes of a key are, how many, and their ETag; ``None``: there is no such key.

        The ETag of what was taken long ago is opaque: its MD5 was not kept.
        """
        held = self.objects.whole(key)
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

    def __init__(self, blobs: Blobs, name: str, key: Key, now: Callable[[], float]) -> None:
        super().__init__(blobs, f"/{name}/", now)
        self.key = key

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
            parameters=(
                ("response-content-disposition", what.disposition),
                ("response-content-type", what.mimetype),
            ),
        )

    def judge(self, request: web.Request) -> None:
        """Check the signature of a request.

        Raises:
            Refusal: it is not allowed, or not any more.
        """
        path, query = request.rel_url.raw_path, query_of(request)
        judge(self.flavour, self.key, request.method, path, query, request.headers, self.now())


def query_of(request: web.Request) -> list[tuple[str, str]]:
    """The query, decoded, in the order of its coming."""
    raw = request.rel_url.raw_query_string
    return parse_qsl(raw, keep_blank_values=True, errors="surrogateescape")


def new_secret() -> str:
    """40 letters and digits."""
    return secrets.token_hex(20)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
