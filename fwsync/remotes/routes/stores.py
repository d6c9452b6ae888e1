"""What the clouds' object stores want of a PUT, and what their answers prove. No socket, no disk.

Its rule: a store is known by what its addresses hold, never by what it answers to a try; and an
ETag is a hash only where it is certain that it is one.

Sources: SDK 23 (``.googleapis.``, ``.s3.``, ``.amazonaws.`` in an address); "Amazon S3 multipart
upload limits", "Checking object integrity" and PutObject of the S3 documentation; "Resumable
uploads" and "Hashes and ETags" of the Cloud Storage documentation; "Put Blob" and "Put Block" of
the Azure documentation.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from fwsync.errors import Refused

QUANTUM = 256 << 10  #: bytes; a session of Cloud Storage keeps multiples of this until its end
S3_PUT = 5 << 30  #: bytes of one request to S3
AZURE_PUT = 5000 << 20  #: bytes of Put Blob
AZURE_BLOCK = 4000 << 20  #: bytes of Put Block

_HEX = re.compile(r"[0-9a-f]{32}")
_KEPT = re.compile(r"bytes=0-([0-9]{1,18})")


class TooLarge(Refused):
    """The file is larger than may go this way, and another may take it; nothing was sent."""


class Dialect(StrEnum):
    """How a store is spoken to."""

    S3 = "s3"  #: parts by number, side by side; joined by their ETags
    AZURE = "azure"  #: blocks by id, side by side; joined by the site
    GCS = "gcs"  #: one session, in order; says how far it is
    PLAIN = "plain"  #: any other: what SDK 23 does where it knows nothing of the store


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a file, and where they go."""

    number: int  #: from 1
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Store:
    """A store, as the addresses of one upload show it."""

    dialect: Dialect
    in_parts: bool  #: False: one PUT is the whole file
    upload_id: str = ""  #: of an S3 multipart upload
    amazon: bool = False  #: Amazon's own

    @property
    def largest_put(self) -> int | None:
        """Bytes of one request at most; None: no limit that a file meets."""
        if self.dialect is Dialect.S3:
            return S3_PUT
        if self.dialect is Dialect.AZURE:
            return AZURE_BLOCK if self.in_parts else AZURE_PUT
        return None

    @property
    def side_by_side(self) -> bool:
        """Whether parts may be on their way at the same time."""
        return self.dialect in (Dialect.S3, Dialect.AZURE)

    @property
    def keeps_parts(self) -> bool:
        """Whether a part that was confirmed need not be sent again after a restart of ours."""
        return self.in_parts and self.dialect is not Dialect.PLAIN

    def headers(self, told: Mapping[str, str]) -> dict[str, str]:
        """What each PUT carries.

        Args:
            told: the headers that came with the ticket.
        """
        headers = dict(told)
        if self.dialect is Dialect.AZURE and not self.in_parts:
            names = {name.lower() for name in headers}
            if "x-ms-blob-type" not in names:  # Azure refuses a blob without it, whoever forgot
                headers["x-ms-blob-type"] = "BlockBlob"
        return headers

    def says_md5(self) -> bool:
        """Whether an answer of this store may tell the MD5 of what it took."""
        return self.dialect is not Dialect.PLAIN

    def md5(self, headers: Mapping[str, str]) -> str | None:
        """The MD5 of what was just put, in hex, where the answer tells it for certain.

        Args:
            headers: of the answer; case does not matter in them.
        """
        if self.dialect is Dialect.GCS:
            return _from_base64(_named(headers.get("x-goog-hash", ""), "md5"))
        if self.dialect is Dialect.AZURE:
            return _from_base64(headers.get("Content-MD5", ""))
        if self.dialect is not Dialect.S3 or "x-amz-server-side-encryption-customer-algorithm" in (
            headers
        ):
            return None
        # Amazon: an MD5 where there is no encryption, or one with its own keys. Others: where
        # there is none.
        sealed = headers.get("x-amz-server-side-encryption", "")
        if sealed and not (self.amazon and sealed == "AES256"):
            return None
        found = tag_of(headers)
        return found if _HEX.fullmatch(found) else None


def store_of(urls: Sequence[str], headers: Mapping[str, str], *, listed: bool) -> Store | None:
    """The store that some addresses lead to; None: they do not fit together.

    Args:
        urls: of one file, in the order of its parts.
        headers: that came with them.
        listed: they came as a list, if only of one.
    """
    places = [urlsplit(url) for url in urls]
    host = places[0].hostname or ""
    # Behind one address for all buckets, the bucket's own stands first in the path.
    where = f".{host}/{places[0].path.split('/')[1] if places[0].path else ''}"
    queries = [{k.lower(): v[0] for k, v in parse_qs(place.query).items()} for place in places]
    first = queries[0]
    if _is_azure(first, headers, host):
        blocks = "blockid" in first
        fits = all(("blockid" in query) == blocks for query in queries)
        return Store(Dialect.AZURE, blocks) if fits and (blocks or len(urls) == 1) else None
    if ".googleapis." in where or "x-goog-signature" in first:
        # Parts go to one session; its address is told as often as there are parts.
        return Store(Dialect.GCS, "upload_id" in first or len(urls) > 1)
    if ".s3." in where or ".amazonaws." in where or {"x-amz-signature", "uploadid"} & first.keys():
        ids = {query.get("uploadid", "") for query in queries}
        upload_id = ids.pop()
        if ids or (len(urls) > 1 and not upload_id):
            return None
        amazon = ".amazonaws." in f".{host}" and "s3express" not in host
        return Store(Dialect.S3, bool(upload_id), upload_id, amazon)
    return Store(Dialect.PLAIN, listed and len(urls) > 1)


def cut(size: int, count: int, store: Store) -> list[Part]:
    """Into which parts a file goes, one for each address; fewer where it is too short for all.

    The site joins them in the order of the addresses. All but the last are of one length, a
    multiple of :data:`QUANTUM` as those of SDK 23 are, for sites count their addresses by what
    that one does; where that would leave the last ones nothing, as those of CLI 18.5.1.

    Args:
        size: of the file, in bytes.
        count: of addresses.
    """
    even = -(-size // count)
    length = -(-even // QUANTUM) * QUANTUM
    if store.dialect is not Dialect.GCS and length * (count - 1) >= size:
        length = even
        if length * (count - 1) >= size:
            return _uneven(size, count)
    length = max(1, length)
    return [
        Part(number, offset, min(length, size - offset))
        for number, offset in enumerate(range(0, max(size, 1), length), 1)
    ]


def _uneven(size: int, count: int) -> list[Part]:
    """As even as can be: the first ones a byte longer."""
    even, longer = divmod(size, count)
    parts, offset = [], 0
    for number in range(1, min(count, max(size, 1)) + 1):
        length = even + (number <= longer)
        parts.append(Part(number, offset, length))
        offset += length
    return parts


def tag_of(headers: Mapping[str, str]) -> str:
    """The ETag of an answer, without quotation marks; empty: it has none."""
    return headers.get("ETag", "").removeprefix("W/").strip('"')


def kept_of(headers: Mapping[str, str]) -> int | None:
    """How many bytes a session has, by the ``Range`` of its 308; None: that cannot be read."""
    text = headers.get("Range")
    if text is None:
        return 0
    match = _KEPT.fullmatch(text.strip())
    return int(match[1]) + 1 if match else None


def place_of(url: str) -> str:
    """What an address leads to, without what is signed in it: a ticket's part has one."""
    place = urlsplit(url)
    query = {name.lower(): values[0] for name, values in parse_qs(place.query).items()}
    told = [query.get(name, "") for name in ("uploadid", "partnumber", "blockid")]
    return "\n".join([place.netloc, place.path, *told])


def _is_azure(query: Mapping[str, str], headers: Mapping[str, str], host: str) -> bool:
    return (
        any(name.lower() == "x-ms-blob-type" for name in headers)
        or ".blob.core." in host
        or {"sv", "sig", "se"} <= query.keys()
    )


def _named(text: str, name: str) -> str:
    """One of several ``name=value``, split by commas."""
    for pair in text.split(","):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value
    return ""


def _from_base64(text: str) -> str | None:
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == 16 else None
