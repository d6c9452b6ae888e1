"""A bucket that judges requests as Cloud Storage does: ``/fw.storage.googleapis.test/<key>?…``.

The name has ``.googleapis.`` in it because SDK 23 looks for that in a URL, and then sends a
Content-Range. One request goes to a signed URL; several go to one *session*, whose address is a
secret and is not signed.

Sources: "Signed URLs", "Resumable uploads" and "XML API overview" of the Cloud Storage
documentation; SDK 23.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from aiohttp import hdrs, web

from fwsync.sandbox.kept.blobs import Blobs
from fwsync.sandbox.stores import sigv4
from fwsync.sandbox.stores.answers import Beyond, Problem, xml_error
from fwsync.sandbox.stores.bucket import KeyBucket, query_of
from fwsync.sandbox.stores.objects import HOLD_S, Piece, Writer
from fwsync.sandbox.stores.sigv4 import GOOGLE, Refusal
from fwsync.sandbox.stores.store import SignedUpload

MAX_PUT: Final = 5 << 40  # bytes of an object
QUANTUM: Final = 256 << 10  # bytes; a session keeps multiples of this until its end
MAX_SESSIONS: Final = 2000  # each may have a file aside
_RANGE: Final = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")

#: What a refusal is called. An expired URL is a 400 at Google; 403 here, as in the other stores,
#: so that a client which handles the one has met it in each rehearsal.
_REFUSALS: Final = {
    sigv4.MALFORMED: (400, "InvalidArgument", "Invalid argument."),
    sigv4.TOO_LONG: (400, "InvalidArgument", "Invalid argument."),
    sigv4.UNKNOWN_KEY: (403, "AccessDenied", "Access denied."),
    sigv4.UNSIGNED_HEADERS: (
        403,
        "MalformedSecurityHeader",
        "Your request has a malformed header.",
    ),
    sigv4.MISMATCH: (403, "SignatureDoesNotMatch", "Access denied."),
    sigv4.NOT_YET: (403, "AccessDenied", "Access denied."),
    sigv4.EXPIRED: (403, "ExpiredToken", "The provided token has expired."),
}


@dataclass(slots=True)
class Session:
    """A resumable upload: what was kept of it, and how long it is, once that was told."""

    key: str
    since: float
    writer: Writer
    total: int | None = None
    done: Piece | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Gcs(KeyBucket):
    """The dialect of Cloud Storage."""

    provider_id = "9c" * 12
    root = "/fw.storage.googleapis.test/"
    flavour = GOOGLE
    largest_put = MAX_PUT
    smallest_part = QUANTUM

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, f"GOOG1E{secrets.token_hex(16).upper()}")
        self._sessions: dict[str, Session] = {}  # the oldest first

    # ---------------------------------------------------------------------------- signing

    def upload(self, origin: str, key: str, parts: int) -> SignedUpload:
        """A signed URL, or the address of a session as often as there are parts."""
        if parts <= 1:
            return SignedUpload(key, (self.sign("PUT", origin, key),))
        return SignedUpload(key, (self._session_url(origin, key),) * parts)

    async def complete(self, upload: SignedUpload, tags: list[str] | None) -> None:
        """Nothing: the last request of a session completes it."""

    def _session_url(self, origin: str, key: str) -> str:
        self._sweep()
        name = secrets.token_urlsafe(48)
        self._sessions[name] = Session(key, self.now(), Writer(self.objects.blobs))
        return f"{origin}{self.root}{quote(key, safe='/-_.~')}?upload_id={name}"

    def _sweep(self) -> None:
        while self._sessions:
            name, oldest = next(iter(self._sessions.items()))
            if oldest.since > self.now() - HOLD_S and len(self._sessions) < MAX_SESSIONS:
                return
            oldest.writer.abandon()
            del self._sessions[name]

    # ---------------------------------------------------------------------------- serving

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """PUT of an object, the requests of a session and its start, GET, HEAD."""
        try:
            query = query_of(request)
            if hdrs.AUTHORIZATION in request.headers:
                raise Problem(
                    400,
                    "InvalidArgument",
                    "Invalid argument.",
                    Details="Only one auth mechanism allowed; a signed URL takes no"
                    " Authorization header.",
                )
            told = dict(query)
            if request.method == "PUT" and "upload_id" in told:
                return await self._to_session(request, told["upload_id"])
            self._judge(request, query)
            if request.method == "PUT":
                return await self._put(request)
            if request.method == "POST":
                return self._start(request)
            return await self._get(request, told)
        except Refusal as refusal:
            problem = _refused(refusal)
        except Problem as caught:
            problem = caught
        return xml_error(problem.status, problem.code, problem.message, details=problem.details)

    def _judge(self, request: web.Request, query: list[tuple[str, str]]) -> None:
        if not any(name.startswith("X-Goog-") for name, _ in query):
            raise Problem(
                403,
                "AccessDenied",
                "Access denied.",
                Details="Anonymous caller does not have access to the object.",
            )
        if request.method not in ("PUT", "POST", "GET", "HEAD"):
            raise Problem(405, "MethodNotAllowed", "Method not allowed.")
        self.judge(request, query)

    async def _put(self, request: web.Request) -> web.Response:
        size = _length(request)
        told = _content_range(request)
        if told is not None and size and told != (0, size - 1, size):
            raise _invalid("a signed URL takes the whole object in one request")
        wrong = Problem(
            400, "BadDigest", "The Content-MD5 you specified did not match what we received."
        )
        return self._stored(self.key_of(request), await self.received(request, wrong))

    def _start(self, request: web.Request) -> web.Response:
        if request.headers.get("x-goog-resumable") != "start":
            raise _invalid("x-goog-resumable: start is missing")
        origin = f"{request.scheme}://{request.host}"
        url = self._session_url(origin, self.key_of(request))
        return web.Response(status=201, headers={hdrs.LOCATION: url})

    def _stored(self, key: str, piece: Piece) -> web.Response:
        self.objects.put(key, piece, piece.md5.hex())
        return self._whole(piece)

    def _whole(self, piece: Piece) -> web.Response:
        return web.Response(
            headers={
                hdrs.ETAG: f'"{piece.md5.hex()}"',
                "x-goog-hash": f"md5={base64.b64encode(piece.md5).decode()}",
                "x-goog-generation": str(int(self.now() * 1e6)),
                "x-goog-stored-content-length": str(piece.size),
            }
        )

    async def _get(self, request: web.Request, told: dict[str, str]) -> web.StreamResponse:
        try:
            sent = await self.send(request, self.key_of(request), told, {})
        except Beyond:
            raise Problem(416, "InvalidRange", "The requested range cannot be satisfied.") from None
        if sent is None:
            raise Problem(404, "NoSuchKey", "The specified key does not exist.")
        return sent

    # --------------------------------------------------------------------------- sessions

    async def _to_session(self, request: web.Request, name: str) -> web.Response:
        session = self._sessions.get(name)
        if session is None or session.key != self.key_of(request):
            raise Problem(404, "NoSuchUpload", "The requested upload was not found.")
        size = _length(request)
        async with session.lock:
            if session.done is not None:
                return self._whole(session.done)
            told = _content_range(request) or (0, size - 1, size)
            first, last, total = told
            if total is not None and session.total not in (None, total):
                raise _invalid(f"the object was said to have {session.total} bytes")
            session.total = session.total if total is None else total
            if first is not None and last - first + 1 != size:
                raise _invalid("Content-Range and Content-Length do not agree")
            if first is None and size:
                raise _invalid("a question for the state of an upload has no body")
            try:
                if first is not None:
                    await self._append(session, request, first, size)
                return await self._state(session)
            except OSError as error:
                if not isinstance(error, ConnectionError):  # what the disk kept is not known
                    self._sessions.pop(name, None)
                    session.writer.abandon()
                raise

    async def _append(self, session: Session, request: web.Request, first: int, size: int) -> None:
        """Keep what of the body is new: a multiple of the quantum, or all when it is the end."""
        kept = session.writer.size
        if first > kept:
            raise _invalid(
                f"According to the Content-Range header, the upload offset is {first} byte(s),"
                f" which exceeds already uploaded size of {kept} byte(s)."
            )
        final = session.total is not None and first + size >= session.total
        if size < QUANTUM and not final:
            raise _invalid(
                "The number of bytes uploaded is required to be equal or greater than 262144,"
                " except for the final request (it's recommended to be the exact multiple of"
                f" 262144). The received request contained {size} bytes, which does not meet this"
                " requirement."
            )
        known, rest = kept - first, b""
        try:
            while data := await request.content.readany():
                skipped = min(known, len(data))
                known -= skipped
                rest += data[skipped:]
                whole = len(rest) - len(rest) % QUANTUM
                await session.writer.write(rest[:whole])
                rest = rest[whole:]
            if final:
                await session.writer.write(rest)
        finally:
            await session.writer.flush()

    async def _state(self, session: Session) -> web.Response:
        kept = session.writer.size
        if session.total is not None and kept >= session.total:
            session.done = await session.writer.close()
            return self._stored(session.key, session.done)
        headers = {hdrs.RANGE: f"bytes=0-{kept - 1}"} if kept else {}
        return web.Response(status=308, reason="Resume Incomplete", headers=headers)


def _refused(refusal: Refusal) -> Problem:
    status, code, message = _REFUSALS[refusal.reason]
    details = {"Details": f"{refusal.reason} {refusal.detail}".strip()}
    if refusal.signed is not None:
        details["StringToSign"] = refusal.signed.string_to_sign
        details["CanonicalRequest"] = refusal.signed.canonical_request
    return Problem(status, code, message, **details)


def _length(request: web.Request) -> int:
    size = request.content_length
    if size is None:
        raise Problem(
            411, "MissingContentLength", "You must provide the Content-Length HTTP header."
        )
    if size > MAX_PUT:
        raise Problem(
            400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size."
        )
    return size


def _content_range(request: web.Request) -> tuple[int | None, int, int | None] | None:
    """First and last byte, and the length of the whole; ``None`` where a star stands."""
    text = request.headers.get(hdrs.CONTENT_RANGE)
    if text is None or text == "bytes 0--1/0":  # SDK 23, of a file without bytes
        return None
    match = _RANGE.fullmatch(text)
    if match is None:
        raise _invalid(f"Content-Range {text!r} cannot be read")
    total = None if match[3] == "*" else int(match[3])
    if match[1] is None:
        return None, 0, total
    first, last = int(match[1]), int(match[2])
    if last < first or (total is not None and last >= total):
        raise _invalid(f"Content-Range {text!r} makes no sense")
    return first, last, total


def _invalid(details: str) -> Problem:
    return Problem(400, "InvalidArgument", "Invalid argument.", Details=details)
