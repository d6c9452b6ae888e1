"""A storage account that judges requests as Azure Blob Storage does: ``/fwblob/files/<key>?sv=…``.

The account stands in the path, as in the emulators, for there is no host of that name.

Sources: "Create a service SAS", "Put Blob", "Put Block", "Put Block List", "Get Blob", "Blob
service error codes" and "Scalability and performance targets for Blob storage" of the Azure
documentation.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote

from aiohttp import hdrs, web

from fwsync.sandbox.kept.blobs import Blobs
from fwsync.sandbox.stores.answers import Beyond, Problem, request_id, xml_error
from fwsync.sandbox.stores.bucket import BLOBS, Bucket, decoded, query_of
from fwsync.sandbox.stores.objects import Incomplete, Piece
from fwsync.sandbox.stores.store import DOWNLOAD_LIFE_S, UPLOAD_LIFE_S, Download, SignedUpload

VERSION: Final = "2022-11-02"  # of the service that URLs are signed for
OLDEST: Final = "2020-12-06"  # the string to sign has had its lines since then
MAX_PUT: Final = 5000 << 20  # bytes of Put Blob
MAX_BLOCK: Final = 4000 << 20  # bytes
MAX_BLOCKS: Final = 50_000
MAX_LIST: Final = 8 << 20  # bytes of a block list
_LISTED: Final = re.compile(r"<(Committed|Uncommitted|Latest)>([^<]*)</\1>")
#: The parameters of the query that are signed, in their order; the path stands after ``se``.
_LINES: Final = [
    "si",
    "sip",
    "spr",
    "sv",
    "sr",
    "snapshot",
    "ses",
    "rscc",
    "rscd",
    "rsce",
    "rscl",
    "rsct",
]
_FAILED: Final = (
    "Server failed to authenticate the request. Make sure the value of Authorization header is"
    " formed correctly including the signature."
)


def signature(secret: str, account: str, path: str, told: Mapping[str, str]) -> str:
    """The ``sig`` of a service SAS for a blob.

    Args:
        secret: of the account, in base64.
        path: container and blob, decoded, without a slash before them.
        told: the parameters of the query, decoded.
    """
    lines = [told.get("sp", ""), told.get("st", ""), told.get("se", "")]
    lines += [f"/blob/{account}/{path}", *(told.get(name, "") for name in _LINES)]
    text = "\n".join(lines).encode("utf-8", "surrogateescape")
    return base64.b64encode(hmac.digest(base64.b64decode(secret), text, "sha256")).decode()


class Azure(Bucket):
    """The dialect of Azure Blob Storage."""

    provider_id = "a2" * 12
    account = "fwblob"
    container = "files"
    root = f"/{account}/"
    largest_put = MAX_PUT
    smallest_part = 1
    unmet = "ConditionNotMet"
    type_in, name_in = "rsct", "rscd"

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs)
        self.secret = base64.b64encode(secrets.token_bytes(64)).decode()

    # ---------------------------------------------------------------------------- signing

    def upload(self, origin: str, key: str, parts: int) -> SignedUpload:
        """Put Blob for one part, Put Block for several."""
        url = self.sign(origin, key, "cw", UPLOAD_LIFE_S)
        headers = {"x-ms-blob-type": "BlockBlob"}
        if parts <= 1:
            return SignedUpload(key, (url,), headers)
        ids = tuple(base64.b64encode(b"%08d" % number).decode() for number in range(parts))
        urls = tuple(f"{url}&comp=block&blockid={quote(name, safe='')}" for name in ids)
        return SignedUpload(key, urls, headers, block_ids=ids)

    def download(self, origin: str, what: Download) -> str:
        """A URL that names the file and its type."""
        return self.sign(
            origin,
            BLOBS + what.sha384,
            "r",
            DOWNLOAD_LIFE_S,
            rscd=what.disposition,
            rsct=what.mimetype,
        )

    def sign(self, origin: str, key: str, permissions: str, life_s: int, **parameters: str) -> str:
        """A URL for one blob."""
        until = datetime.fromtimestamp(self.now() + life_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told = {"sv": VERSION, "se": until, "sr": "b", "sp": permissions, **parameters}
        told["sig"] = signature(self.secret, self.account, f"{self.container}/{key}", told)
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in told.items())
        return f"{origin}{self.root}{self.container}/{quote(key, safe='/-_.~')}?{query}"

    # ------------------------------------------------------------------------- completing

    async def complete(self, upload: SignedUpload, tags: list[str] | None) -> None:
        """Put Block List, which the site asks for and not the client."""
        ids = tags or upload.block_ids
        if len(ids) > MAX_BLOCKS:
            raise Incomplete("BlockListTooLong: a list has 50,000 blocks at most")
        if ids:
            await self.objects.complete(upload.key, ids, _new_etag())

    # ---------------------------------------------------------------------------- serving

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Put Blob, Put Block, Put Block List, Get Blob, Get Blob Properties."""
        try:
            told = dict(query_of(request))
            key = self._judged(request, told)
            if request.method == "PUT":
                return await self._put(request, key, told)
            if request.method in ("GET", "HEAD"):
                return await self._get(request, key, told)
            raise Problem(
                405, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb."
            )
        except Problem as problem:
            headers = self._headers() | {"x-ms-error-code": problem.code} | problem.headers
            tail = f"\nRequestId:{headers['x-ms-request-id']}\nTime:{self._time()}"
            return xml_error(
                problem.status,
                problem.code,
                problem.message + tail,
                details=problem.details,
                headers=headers,
            )

    def _judged(self, request: web.Request, told: dict[str, str]) -> str:
        """The key that the signature allows to use as the request wants to."""
        if hdrs.AUTHORIZATION in request.headers:
            raise Problem(
                400,
                "InvalidAuthenticationInfo",
                "Authentication information is not given in the correct format."
                " Check the value of Authorization header.",
            )
        if not told.get("sig"):
            raise Problem(
                401,
                "NoAuthenticationInformation",
                "Server failed to authenticate the request. Please refer to the information in the"
                " www-authenticate header.",
            )
        # An encoded slash belongs to a name: it ends no container.
        path = request.rel_url.raw_path[len(self.root) :]
        container, key = (unquote(x, errors="surrogateescape") for x in path.partition("/")[::2])
        if told.get("sv", "") < OLDEST or told.get("sr") != "b" or told.get("si"):
            raise Problem(
                403,
                "AuthenticationFailed",
                _FAILED,
                AuthenticationErrorDetail="only a service SAS for a blob is taken here",
            )
        wanted = signature(self.secret, self.account, f"{container}/{key}", told)
        given = told["sig"].encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(wanted.encode(), given):
            raise Problem(
                403,
                "AuthenticationFailed",
                _FAILED,
                AuthenticationErrorDetail="Signature did not match.",
            )
        self._check_time(told)
        if told.get("spr") == "https" and request.scheme != "https":
            raise _mismatch("AuthorizationProtocolMismatch", "protocol")
        if told.get("sip") and told["sip"] != request.remote:
            raise _mismatch("AuthorizationSourceIPMismatch", "source IP")
        needed = {"PUT": "cw", "GET": "r", "HEAD": "r"}.get(request.method, "")
        if not set(needed) & set(told.get("sp", "")):
            raise _mismatch("AuthorizationPermissionMismatch", "permission")
        return key

    def _check_time(self, told: Mapping[str, str]) -> None:
        start, end = _moment(told.get("st", "")), _moment(told.get("se", ""))
        now = self.now()
        if end is None or now > end or (start is not None and now < start):
            raise Problem(
                403,
                "AuthenticationFailed",
                _FAILED,
                AuthenticationErrorDetail="Signature not valid in the specified time frame: "
                f"Start [{told.get('st', '')}] - Expiry [{told.get('se', '')}]"
                f" - Current [{self._time()}]",
            )

    async def _put(self, request: web.Request, key: str, told: Mapping[str, str]) -> web.Response:
        size = request.content_length
        if size is None:
            raise Problem(
                411, "MissingContentLengthHeader", "The Content-Length header was not specified."
            )
        if told.get("comp") == "block":
            return await self._put_block(request, key, told.get("blockid", ""), size)
        if told.get("comp") == "blocklist":
            return await self._put_list(request, key, size)
        kind = request.headers.get("x-ms-blob-type")
        if kind is None:
            raise Problem(
                400,
                "MissingRequiredHeader",
                "An HTTP header that's mandatory for this request is not specified.",
                HeaderName="x-ms-blob-type",
            )
        if kind != "BlockBlob":
            raise Problem(
                400,
                "InvalidHeaderValue",
                "The value for one of the HTTP headers is not in the correct format.",
                HeaderName="x-ms-blob-type",
                HeaderValue=kind,
            )
        piece = await self._received(request, size, MAX_PUT, part=False)
        etag = _new_etag()
        self.objects.put(key, piece, etag)
        return self._created(piece.md5, etag)

    async def _put_block(
        self, request: web.Request, key: str, name: str, size: int
    ) -> web.Response:
        if not 0 < len(decoded(name)) <= 64:
            raise Problem(
                400,
                "InvalidQueryParameterValue",
                "Value for one of the query parameters specified in the request URI is invalid.",
                QueryParameterName="blockid",
                QueryParameterValue=name,
                Reason="Not a valid base64 string.",
            )
        held = self.objects.get(key)
        known = held.parts if held is not None else {}
        if len(str(next(iter(known), name))) != len(name):
            raise Problem(
                400, "InvalidBlobOrBlock", "The specified blob or block content is invalid."
            )
        if len(known) >= MAX_BLOCKS:
            raise Problem(
                409,
                "BlockCountExceedsLimit",
                "The committed block count cannot exceed the maximum limit of 50,000 blocks.",
            )
        piece = await self._received(request, size, MAX_BLOCK, part=True)
        self.objects.put_part(key, name, piece)
        # Only who sends one is told one, since version 2019-02-02 of the service.
        return self._created(piece.md5 if "Content-MD5" in request.headers else None, None)

    async def _put_list(self, request: web.Request, key: str, size: int) -> web.Response:
        if size > MAX_LIST:
            raise _too_large(MAX_LIST)
        text = (await request.content.read(-1)).decode("utf-8", "replace")
        if "<BlockList>" not in text.replace(" />", ">").replace("/>", ">"):
            raise Problem(
                400, "InvalidXmlDocument", "The specified XML is not syntactically valid."
            )
        names = [match[2].strip() for match in _LISTED.finditer(text)]
        if len(names) > MAX_BLOCKS:
            raise Problem(
                400,
                "BlockListTooLong",
                "The block list may not contain more than 50,000 blocks.",
            )
        etag = _new_etag()
        try:
            await self.objects.join(key, names, etag)
        except Incomplete as error:
            raise Problem(
                400, "InvalidBlockList", "The specified block list is invalid."
            ) from error
        return self._created(None, etag)

    async def _received(self, request: web.Request, size: int, limit: int, *, part: bool) -> Piece:
        if size > limit:
            raise _too_large(limit)
        wrong = Problem(
            400,
            "Md5Mismatch",
            "The MD5 value specified in the request did not match with the MD5 value"
            " calculated by the server.",
        )
        return await self.received(request, wrong, part=part)

    def _created(self, md5: bytes | None, etag: str | None) -> web.Response:
        headers = self._headers() | {"x-ms-request-server-encrypted": "true"}
        if md5 is not None:
            headers["Content-MD5"] = base64.b64encode(md5).decode()
        if etag is not None:
            headers |= {hdrs.ETAG: f'"{etag}"', hdrs.LAST_MODIFIED: self.http_date()}
        return web.Response(status=201, headers=headers)

    async def _get(
        self, request: web.Request, key: str, told: Mapping[str, str]
    ) -> web.StreamResponse:
        headers = self._headers() | {"x-ms-blob-type": "BlockBlob"}
        try:
            sent = await self.send(request, key, told, headers)
        except Beyond as beyond:
            problem = Problem(
                416,
                "InvalidRange",
                "The range specified is invalid for the current size of the resource.",
            )
            problem.headers[hdrs.CONTENT_RANGE] = f"bytes */{beyond.size}"
            raise problem from None
        if sent is None:
            raise Problem(404, "BlobNotFound", "The specified blob does not exist.")
        return sent

    def _headers(self) -> dict[str, str]:
        return {"x-ms-request-id": request_id(), "x-ms-version": VERSION}

    def _time(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).isoformat().replace("+00:00", "Z")


def _new_etag() -> str:
    return f"0x8D{secrets.token_hex(7)[:13].upper()}"


def _mismatch(code: str, what: str) -> Problem:
    return Problem(
        403, code, f"This request is not authorized to perform this operation using this {what}."
    )


def _too_large(limit: int) -> Problem:
    return Problem(
        413,
        "RequestBodyTooLarge",
        "The request body is too large and exceeds the maximum permissible limit.",
        MaxLimit=str(limit),
    )


def _moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
