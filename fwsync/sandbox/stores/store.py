"""What a store is: it signs URLs, judges what comes through them, and holds what came."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Final, Protocol

from aiohttp import web

from fwsync.sandbox.stores.objects import Objects

ALIGNMENT: Final = 256 << 10  # bytes; the SDK rounds parts up to the next multiple
UPLOAD_LIFE_S: Final = 3600  # seconds that a URL for an upload is good for
DOWNLOAD_LIFE_S: Final = 60  # seconds; source: core19


@dataclass(frozen=True, slots=True)
class SignedUpload:
    """How one object may be put.

    Args:
        key: of the object.
        urls: in the order of their parts; one is the whole object, unless ``upload_id`` is given.
        headers: that each request must carry.
        upload_id: of an S3 multipart upload.
        block_ids: of Azure blocks, one for each URL.
    """

    key: str
    urls: tuple[str, ...]
    headers: dict[str, str] = field(default_factory=dict)
    upload_id: str | None = None
    block_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Download:
    """What a URL for a download leads to, and how it is to be called there."""

    sha384: str
    mimetype: str
    disposition: str


class Store(Protocol):
    """One dialect."""

    @property
    def provider_id(self) -> str:
        """24 hex digits; the storage provider that clients name."""

    @property
    def objects(self) -> Objects:
        """What came."""

    @property
    def largest_put(self) -> int:
        """Bytes of one request at most."""

    @property
    def smallest_part(self) -> int:
        """Bytes of each part but the last at least."""

    @property
    def elsewhere(self) -> bool:
        """Whether it listens on a port of its own, as a cloud is another host than the site."""

    def upload(self, origin: str, key: str, parts: int) -> SignedUpload:
        """Sign an upload.

        Args:
            origin: ``scheme://host:port`` of the store.
            key: letters, digits, ``-`` and ``/``.
            parts: 0 for one plain request; otherwise how many parts the object is put in, where
                the dialect knows parts.
        """

    async def complete(self, upload: SignedUpload, tags: list[str] | None) -> None:
        """Join the parts, if there are any; does nothing when it was done before.

        Args:
            tags: ETags of the parts (S3) or block ids (Azure), as the client tells them;
                ``None``: it does not.

        Raises:
            Incomplete: a part is missing, or differs from what the client says.
        """

    def download(self, origin: str, what: Download) -> str | None:
        """Sign a download; ``None``: the dialect has no such thing."""

    def holds(self, path: str) -> bool:
        """Whether a path, encoded, is below this store's root."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request to the store: never an exception for what a client did."""


def part_count(size: int, target: int, most: int) -> int:
    """Into how many parts to cut, so that each official client has bytes for the last one too.

    The CLI sends ``ceil(size / n)`` bytes a part; the SDK rounds that up to the next multiple of
    256 KiB, and adds 256 KiB where it is one already.

    Args:
        size: bytes of the whole; may be 0.
        target: bytes of a part, about.
        most: parts.

    Source: SDK 23, CLI 18.5.1.
    """
    count = max(1, min(most, ceil(size / target)))
    while count > 1:
        even = ceil(size / count)
        filled = ceil(size / (even + ALIGNMENT - even % ALIGNMENT))
        if filled == count:
            break
        count = filled
    return count
