"""A bucket that judges requests as S3 does, path-style: ``/fw.s3.test/<key>?X-Amz-…``.

The name has ``.s3.`` in it because SDK 23 looks for that in a URL: it then expects ``uploadId`` in
the query and an ETag in the answer, and ends with a ``multipart`` body.

Sources: Amazon S3 API reference (PutObject, UploadPart, CompleteMultipartUpload, error responses,
"Amazon S3 multipart upload limits"); SDK 23, CLI 18.5.1.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from aiohttp import hdrs, web

from fwsync.sandbox.kept.blobs import Blobs
from fwsync.sandbox.stores import sigv4
from fwsync.sandbox.stores.answers import Beyond, Problem, request_id, xml_error
from fwsync.sandbox.stores.bucket import KeyBucket, decoded, query_of
from fwsync.sandbox.stores.objects import MAX_HELD, Incomplete, Piece
from fwsync.sandbox.stores.sigv4 import AMAZON, Refusal
from fwsync.sandbox.stores.store import SignedUpload

MAX_PUT: Final = 5 << 30  # bytes of one request
MIN_PART: Final = 5 << 20  # bytes of every part but the last
MAX_PARTS: Final = 10_000

#: What a refusal is called: status, code and message.
_REFUSALS: Final = {
    sigv4.MALFORMED: (
        400,
        "AuthorizationQueryParametersError",
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential,"
        " X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
    ),
    sigv4.TOO_LONG: (
        400,
        "AuthorizationQueryParametersError",
        "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires"
        " must be less than 604800 seconds",
    ),
    sigv4.UNKNOWN_KEY: (
        403,
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
    ),
    sigv4.UNSIGNED_HEADERS: (
        403,
        "AccessDenied",
        "There were headers present in the request which were not signed",
    ),
    sigv4.MISMATCH: (
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided."
        " Check your key and signing method.",
    ),
    sigv4.NOT_YET: (403, "AccessDenied", "Request is not valid yet"),
    sigv4.EXPIRED: (403, "AccessDenied", "Request has expired"),
}


class S3(KeyBucket):
    """The dialect of S3."""

    provider_id = "53" * 12
    root = "/fw.s3.test/"
    flavour = AMAZON
    largest_put = MAX_PUT
    smallest_part = MIN_PART
    default_type = "binary/octet-stream"

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs, f"AKIA{secrets.token_hex(8).upper()}")
        self._uploads: dict[str, str] = {}  # id of a multipart upload -> key; the oldest first

    # ---------------------------------------------------------------------------- signing

    def upload(self, origin: str, key: str, parts: int) -> SignedUpload:
        """One plain PUT, or a multipart upload of any number of parts, of one as well."""
        if not parts:
            return SignedUpload(key, (self.sign("PUT", origin, key),))
        upload_id = secrets.token_urlsafe(48)
        self._uploads[upload_id] = key
        if len(self._uploads) > MAX_HELD:
            del self._uploads[next(iter(self._uploads))]
        urls = [
            self.sign(
                "PUT",
                origin,
                key,
                parameters=(("partNumber", str(number)), ("uploadId", upload_id)),
            )
            for number in range(1, parts + 1)
        ]
        return SignedUpload(key, tuple(urls), upload_id=upload_id)

    # ------------------------------------------------------------------------- completing

    async def complete(self, upload: SignedUpload, tags: list[str] | None) -> None:
        """CompleteMultipartUpload, which the site asks for and not the client."""
        if upload.upload_id is None:
            return
        held = self.objects.get(upload.key)
        if held is None:
            raise Incomplete("NoSuchUpload: no part of it was put")
        async with held.joining:
            if upload.upload_id not in self._uploads:
                if held.piece is None:
                    raise Incomplete("NoSuchUpload: the multipart upload is not known")
                return
            if not tags:
                raise Incomplete("its parts are not joined: `multipart` with `e_tags` is needed")
            pieces = self._matched(held.parts, tags)
            digest = hashlib.md5(b"".join(p.md5 for p in pieces), usedforsecurity=False)
            etag = f"{digest.hexdigest()}-{len(pieces)}"
            await self.objects.join(upload.key, range(1, len(pieces) + 1), etag)
            del self._uploads[upload.upload_id]

    def _matched(self, parts: dict[int | str, Piece], tags: Sequence[str]) -> list[Piece]:
        pieces = []
        for number, tag in enumerate(tags, 1):
            piece = parts.get(number)
            if piece is None or piece.md5.hex() != tag.strip('"'):
                raise Incomplete(
                    f"InvalidPart: part {number} was not put, or has another ETag than {tag}"
                )
            if number < len(tags) and piece.size < MIN_PART:
                raise Incomplete(
                    f"EntityTooSmall: part {number} has {piece.size} bytes; only the last one"
                    f" may have less than {MIN_PART}"
                )
            pieces.append(piece)
        return pieces

    # ---------------------------------------------------------------------------- serving

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """PutObject, UploadPart, GetObject, HeadObject."""
        try:
            query = query_of(request)
            self._judge(request, query)
            if request.method == "PUT":
                return await self._put(request, dict(query))
            if request.method in ("GET", "HEAD"):
                return await self._get(request, dict(query))
            raise Problem(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
                Method=request.method,
            )
        except Refusal as refusal:
            return self._answered(self._refused(refusal))
        except Problem as problem:
            return self._answered(problem)

    def _judge(self, request: web.Request, query: list[tuple[str, str]]) -> None:
        signed = any(name.startswith("X-Amz-") for name, _ in query)
        if hdrs.AUTHORIZATION in request.headers:
            raise Problem(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter,"
                " Signature query string parameter or the Authorization header should be specified"
                if signed
                else "Unsupported Authorization Type",
                ArgumentName="Authorization",
            )
        if not signed:
            raise Problem(403, "AccessDenied", "Access Denied")
        self.judge(request, query)

    def _refused(self, refusal: Refusal) -> Problem:
        status, code, message = _REFUSALS[refusal.reason]
        details: dict[str, str] = {}
        if refusal.reason == sigv4.UNKNOWN_KEY:
            details["AWSAccessKeyId"] = refusal.detail
        elif refusal.reason == sigv4.UNSIGNED_HEADERS:
            details["HeadersNotSigned"] = refusal.detail
        elif refusal.reason == sigv4.EXPIRED:
            details["Expires"] = _iso(float(refusal.detail))
            details["ServerTime"] = _iso(self.now())
        elif refusal.signed is not None:
            details["AWSAccessKeyId"] = self.key.id
            details["StringToSign"] = refusal.signed.string_to_sign
            details["CanonicalRequest"] = refusal.signed.canonical_request
        return Problem(status, code, message, **details)

    async def _put(self, request: web.Request, query: dict[str, str]) -> web.Response:
        size = request.content_length
        if size is None:
            raise Problem(
                411, "MissingContentLength", "You must provide the Content-Length HTTP header."
            )
        if size > MAX_PUT:
            raise Problem(
                400,
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size",
                ProposedSize=str(size),
                MaxSizeAllowed=str(MAX_PUT),
            )
        key = self.key_of(request)
        number = self._part_number(query, key)
        wanted = request.headers.get("Content-MD5")
        if wanted is not None and len(decoded(wanted)) != 16:
            raise Problem(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
        wrong = Problem(
            400, "BadDigest", "The Content-MD5 you specified did not match what we received."
        )
        piece = await self.received(request, wrong, part=number is not None)
        etag = piece.md5.hex()
        if number is None:
            self.objects.put(key, piece, etag)
        else:
            self.objects.put_part(key, number, piece)
        return web.Response(headers=self._headers() | {hdrs.ETAG: f'"{etag}"'})

    def _part_number(self, query: dict[str, str], key: str) -> int | None:
        """Which part this is; ``None``: a whole object."""
        number, upload_id = query.get("partNumber"), query.get("uploadId")
        if number is None and upload_id is None:
            return None
        if (
            number is None
            or not (number.isascii() and number.isdigit())
            or not 1 <= int(number[:9]) <= MAX_PARTS
        ):
            raise Problem(
                400,
                "InvalidArgument",
                "Part number must be an integer between 1 and 10000, inclusive",
                ArgumentName="partNumber",
                ArgumentValue=number or "",
            )
        if upload_id is None or self._uploads.get(upload_id) != key:
            raise Problem(
                404,
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the upload"
                " may have been aborted or completed.",
                UploadId=upload_id or "",
            )
        return int(number)

    async def _get(self, request: web.Request, query: dict[str, str]) -> web.StreamResponse:
        key = self.key_of(request)
        try:
            sent = await self.send(request, key, query, self._headers())
        except Beyond as beyond:
            raise Problem(
                416,
                "InvalidRange",
                "The requested range is not satisfiable",
                RangeRequested=request.headers.get("Range", ""),
                ActualObjectSize=str(beyond.size),
            ) from None
        if sent is None:
            raise Problem(404, "NoSuchKey", "The specified key does not exist.", Key=key)
        return sent

    def _headers(self) -> dict[str, str]:
        return {"x-amz-request-id": request_id(), "x-amz-id-2": secrets.token_urlsafe(48)}

    def _answered(self, problem: Problem) -> web.Response:
        headers = self._headers()
        details = problem.details | {
            "RequestId": headers["x-amz-request-id"],
            "HostId": headers["x-amz-id-2"],
        }
        return xml_error(
            problem.status, problem.code, problem.message, details=details, headers=headers
        )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
