"""Signatures of version 4 in the query of a URL: Amazon's, and Google's, which is the same scheme.

Pure: no clock, no I/O. The words differ (``X-Amz-…`` and ``X-Goog-…``) and stand in a
:class:`Flavour`.

Sources: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", Amazon S3 API
reference; "V4 signing process with your own program", Cloud Storage documentation.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping

WEEK_S: Final = 7 * 24 * 3600  # the longest that a URL may live, in both clouds
STAMP: Final = "%Y%m%dT%H%M%SZ"
UNRESERVED: Final = "-_.~"


@dataclass(frozen=True, slots=True)
class Flavour:
    """How one cloud spells the scheme."""

    algorithm: str
    prefix: str  # of the parameters of the query
    secret_prefix: str
    service: str
    region: str
    request: str  # the last word of the scope


AMAZON: Final = Flavour(
    "AWS4-HMAC-SHA256", "X-Amz-", "AWS4", service="s3", region="us-east-1", request="aws4_request"
)
GOOGLE: Final = Flavour(
    "GOOG4-HMAC-SHA256",
    "X-Goog-",
    "GOOG4",
    service="storage",
    region="auto",
    request="goog4_request",
)


@dataclass(frozen=True, slots=True)
class Key:
    """A pair of keys: the one that is named in URLs, and the secret."""

    id: str
    secret: str


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature, and the texts it was made from: a cloud shows them when it refuses."""

    signature: str
    string_to_sign: str
    canonical_request: str


def presign(
    flavour: Flavour,
    key: Key,
    method: str,
    url: str,
    *,
    parameters: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    at: float,
    life_s: int,
) -> str:
    """A URL that allows one request.

    Args:
        url: scheme, host and path, the path encoded; no query.
        parameters: further ones of the query, signed too.
        headers: that the request must carry as they are, besides Host.
        at: seconds since the epoch.
    """
    moment = datetime.fromtimestamp(at, UTC).strftime(STAMP)
    scope = _scope(flavour, moment[:8])
    host, _, path = url.partition("://")[2].partition("/")
    carried = CIMultiDict({"host": host, **(headers or {})})
    names = sorted(name.lower() for name in carried)
    p = flavour.prefix
    query = [
        *parameters,
        (f"{p}Algorithm", flavour.algorithm),
        (f"{p}Credential", f"{key.id}/{scope}"),
        (f"{p}Date", moment),
        (f"{p}Expires", str(life_s)),
        (f"{p}SignedHeaders", ";".join(names)),
    ]
    signed = sign(flavour, key, method, "/" + path, query, carried, names)
    written = "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in query)
    return f"{url}?{written}&{p}Signature={signed.signature}"


def sign(
    flavour: Flavour,
    key: Key,
    method: str,
    path: str,
    query: Sequence[tuple[str, str]],
    headers: MultiMapping[str],
    signed_headers: Sequence[str],
) -> Signed:
    """Sign a request.

    Args:
        path: as it is on the wire, encoded.
        query: decoded; all of it but the signature, with date and scope in it.
        signed_headers: names, lower case, sorted; one that did not come is signed as empty.
    """
    told = dict(query)
    moment = told[f"{flavour.prefix}Date"]
    scope = told[f"{flavour.prefix}Credential"].partition("/")[2]
    request = "\n".join(
        (
            method,
            quote_from_bytes(unquote_to_bytes(_bytes(path)), safe="/" + UNRESERVED),
            "&".join(sorted(f"{_encoded(n)}={_encoded(v)}" for n, v in query)),
            *(f"{name}:{_value(headers.getall(name, []))}" for name in signed_headers),
            "",
            ";".join(signed_headers),
            "UNSIGNED-PAYLOAD",
        )
    )
    digest = hashlib.sha256(_bytes(request)).hexdigest()
    text = "\n".join((flavour.algorithm, moment, scope, digest))
    secret = (flavour.secret_prefix + key.secret).encode()
    for step in scope.split("/"):
        secret = hmac.digest(secret, _bytes(step), "sha256")
    return Signed(hmac.digest(secret, _bytes(text), "sha256").hex(), text, request)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # what was no UTF-8 on the wire


def _scope(flavour: Flavour, day: str) -> str:
    return f"{day}/{flavour.region}/{flavour.service}/{flavour.request}"


def _encoded(text: str) -> str:
    return quote(text, safe=UNRESERVED, errors="surrogateescape")


def _value(values: Sequence[str]) -> str:
    return ",".join(" ".join(value.split()) for value in values)


# ---------------------------------------------------------------------------------- judging


class Refusal(Exception):
    """Why a request is not what was signed.

    Args:
        reason: one of the words below.
        detail: what it is about.
        signed: the signature that would have been right.
    """

    def __init__(self, reason: str, detail: str = "", signed: Signed | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.signed = signed


MALFORMED: Final = "malformed"
UNKNOWN_KEY: Final = "unknown key"
EXPIRED: Final = "expired"
NOT_YET: Final = "not yet"
TOO_LONG: Final = "too long"
MISMATCH: Final = "mismatch"
UNSIGNED_HEADERS: Final = "unsigned headers"
SKEW_S: Final = 15 * 60


def judge(
    flavour: Flavour,
    key: Key,
    method: str,
    path: str,
    query: Sequence[tuple[str, str]],
    headers: CIMultiDictProxy[str],
    now: float,
) -> None:
    """Let through what was signed, and nothing else.

    Args:
        path: as it is on the wire, encoded.
        query: decoded, as it came.

    Raises:
        Refusal: the parameters are not complete, the URL is too old, or the signature differs.
    """
    p = flavour.prefix
    told = dict(query)
    words = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
    if len(told) < len(query) or any(f"{p}{word}" not in told for word in words):
        raise Refusal(MALFORMED)
    begun = _moment(told[f"{p}Date"])
    life = told[f"{p}Expires"]
    access, _, scope = told[f"{p}Credential"].partition("/")
    if (
        told[f"{p}Algorithm"] != flavour.algorithm
        or begun is None
        or not (life.isascii() and life.isdigit() and len(life) < 10)
        or scope != _scope(flavour, told[f"{p}Date"][:8])
    ):
        raise Refusal(MALFORMED)
    if int(life) > WEEK_S:
        raise Refusal(TOO_LONG)
    if access != key.id:
        raise Refusal(UNKNOWN_KEY, access)
    signed_headers = told[f"{p}SignedHeaders"].split(";")
    if "host" not in signed_headers or signed_headers != sorted(set(signed_headers)):
        raise Refusal(MALFORMED)
    left_out = _unsigned(headers, p.lower(), signed_headers)
    if left_out:
        raise Refusal(UNSIGNED_HEADERS, ", ".join(left_out))
    rest = [(name, value) for name, value in query if name != f"{p}Signature"]
    signed = sign(flavour, key, method, path, rest, headers, signed_headers)
    given = _bytes(told[f"{p}Signature"])
    if not hmac.compare_digest(signed.signature.encode(), given):
        raise Refusal(MISMATCH, signed=signed)
    if begun > now + SKEW_S:
        raise Refusal(NOT_YET)
    if now > begun + int(life):
        raise Refusal(EXPIRED, str(begun + int(life)))


def _unsigned(
    headers: CIMultiDictProxy[str], prefix: str, signed_headers: Sequence[str]
) -> list[str]:
    """Headers of the cloud's own that came, though nobody signed them."""
    ours = {name.lower() for name in headers if name.lower().startswith(prefix)}
    return sorted(ours - set(signed_headers))


def _moment(text: str) -> float | None:
    try:
        return datetime.strptime(text, STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
