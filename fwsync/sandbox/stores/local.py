"""Storage on the site's own disk: ``PUT /api/upload/fs-file?token=…``, the token being a JWT.

Nothing in its URLs looks like a cloud's (``.s3.``, ``.amazonaws.``, ``.googleapis.``), so the
official clients send plain PUTs, one for each URL, and end with an empty body.

Sources: the OpenAPI description of 2026 and SDK 23 (``upload_signed_fs_file``).
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from typing import Any, Final

from aiohttp import web

from fwsync.sandbox.kept.blobs import Blobs
from fwsync.sandbox.problems import ApiError, missing
from fwsync.sandbox.stores.objects import Objects, receive
from fwsync.sandbox.stores.store import UPLOAD_LIFE_S, Download, SignedUpload

PATH: Final = "/api/upload/fs-file"
MAX_PUT: Final = 5 << 40  # bytes
_HEADER: Final = {"alg": "HS256", "typ": "JWT"}


class Local:
    """The dialect of a site without a cloud."""

    provider_id = "10" * 12
    largest_put = MAX_PUT
    smallest_part = 1
    elsewhere = False

    def __init__(self, blobs: Blobs) -> None:
        self.objects = Objects(blobs)
        self._secret = secrets.token_bytes(32)

    def upload(self, origin: str, key: str, parts: int) -> SignedUpload:
        """A URL for each part."""
        numbers: list[int | None] = [None] if parts <= 1 else list(range(1, parts + 1))
        return SignedUpload(
            key, tuple(f"{origin}{PATH}?token={self._token(key, part)}" for part in numbers)
        )

    async def complete(self, upload: SignedUpload, tags: list[str] | None) -> None:
        """Join the parts in the order of their URLs."""
        count = len(upload.urls)
        if count > 1:
            await self.objects.complete(upload.key, range(1, count + 1), "")

    def download(self, origin: str, what: Download) -> None:
        """None: files are read by tickets."""

    def holds(self, path: str) -> bool:
        """Nothing: its one path belongs to the API."""
        return False

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Never asked for."""
        raise missing(f"no such route: {request.path}")

    async def put(self, request: web.Request, token: str) -> tuple[str, str]:
        """Take the body of a PUT. An empty one may come without a length, as CLI 18.5.1 sends it.

        Returns:
            The key, and the ETag.

        Raises:
            ApiError: 403, the token is wrong or too old; 411.
        """
        told = self._read(token)
        key, part = str(told["uuid"]), told["part"]
        if request.content_length is None and await request.content.readany():
            raise ApiError(411, "Content-Length is required")
        piece = await receive(self.objects.blobs, request.content, part=part is not None)
        if part is None:
            self.objects.put(key, piece, piece.md5.hex())
        else:
            self.objects.put_part(key, part, piece)
        return key, piece.md5.hex()

    def _token(self, key: str, part: int | None) -> str:
        told = {
            "provider_id": self.provider_id,
            "uuid": key,
            "part": part,
            "exp": int(self.objects.now()) + UPLOAD_LIFE_S,
        }
        text = f"{_packed(_HEADER)}.{_packed(told)}"
        return f"{text}.{self._signature(text)}"

    def _signature(self, text: str) -> str:
        return _base64(hmac.digest(self._secret, text.encode(), "sha256"))

    def _read(self, token: str) -> dict[str, Any]:
        text, _, given = token.rpartition(".")
        if not token.isascii() or not hmac.compare_digest(self._signature(text), given):
            raise ApiError(403, "the token is not valid")
        told: dict[str, Any] = _unpacked(text.partition(".")[2])  # ours, as it is signed
        if self.objects.now() > told["exp"]:
            raise ApiError(403, "the token has expired")
        return told


def _packed(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _unpacked(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
