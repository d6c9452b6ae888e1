"""What is known of stores by their addresses and answers; what is kept of a ticket."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from fwsync.errors import Garbled
from fwsync.model import RelPath
from fwsync.ports import OpenUpload
from fwsync.remotes.routes.stores import (
    QUANTUM,
    Dialect,
    Store,
    cut,
    kept_of,
    store_of,
    tag_of,
)
from fwsync.remotes.routes.tickets import Ticket, ticket_in, ticket_of

SITE = URL("https://site.test/api")
AMAZON = "https://bucket.s3.eu-west-1.amazonaws.com/k"
AZURE = "https://acc.blob.core.windows.net/c/k?sv=2022&se=2026&sr=b&sp=cw&sig=x"
GOOGLE = "https://storage.googleapis.com/bucket/k"

DIGEST = hashlib.md5(b"hello").digest()
HEX = DIGEST.hex()
PACKED = base64.b64encode(DIGEST).decode()


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ([f"{AMAZON}?X-Amz-Signature=s"], Store(Dialect.S3, False, amazon=True)),
        (
            [f"{AMAZON}?partNumber={n}&uploadId=u&X-Amz-Signature=s" for n in (1, 2)],
            Store(Dialect.S3, True, "u", amazon=True),
        ),
        (["http://minio:9000/b/k?X-Amz-Signature=s"], Store(Dialect.S3, False)),
        (["http://minio/b/k?uploadId=u&partNumber=1&Signature=s"], Store(Dialect.S3, True, "u")),
        (["http://h/fw.s3.test/k"], Store(Dialect.S3, False)),
        ([AZURE], Store(Dialect.AZURE, False)),
        ([f"{AZURE}&comp=block&blockid={n}" for n in "ab"], Store(Dialect.AZURE, True)),
        ([f"{GOOGLE}?X-Goog-Signature=s"], Store(Dialect.GCS, False)),
        ([f"{GOOGLE}?upload_id=u"], Store(Dialect.GCS, True)),
        ([f"{GOOGLE}?upload_id=u"] * 3, Store(Dialect.GCS, True)),
        (["https://site/api/upload/fs-file?token=t"], Store(Dialect.PLAIN, False)),
        (["https://site/1", "https://site/2"], Store(Dialect.PLAIN, True)),
        # The name of an object says nothing of the store.
        (["https://site/objects/a.s3.googleapis.b?token=t"], Store(Dialect.PLAIN, False)),
    ],
)
def test_a_store_is_known_by_its_addresses(urls: list[str], expected: Store) -> None:
    assert store_of(urls, {}, listed=len(urls) > 1) == expected


@pytest.mark.parametrize(
    "urls",
    [
        [AZURE, AZURE],
        [f"{AZURE}&blockid=a", AZURE],
        [f"{AMAZON}?uploadId=u", f"{AMAZON}?uploadId=v"],
        [AMAZON, AMAZON],
    ],
)
def test_addresses_that_are_no_parts_of_one_are_no_store(urls: list[str]) -> None:
    assert store_of(urls, {}, listed=True) is None


stores = st.sampled_from(
    [Store(Dialect.S3, True, "u"), Store(Dialect.AZURE, True), Store(Dialect.PLAIN, True)]
)


@given(size=st.integers(0, 1 << 44), count=st.integers(1, 200), store=stores)
def test_parts_are_the_whole_file_in_order(size: int, count: int, store: Store) -> None:
    parts = cut(size, count, store)

    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [part.offset for part in parts] == [
        sum(before.size for before in parts[:n]) for n in range(len(parts))
    ]
    assert sum(part.size for part in parts) == size
    assert len(parts) == (min(count, size) or 1)
    assert max(part.size for part in parts) - min(part.size for part in parts[:-1] or parts) <= 1
    # Never less than what SDK 23 sends by the same addresses, where that has bytes for all.
    sdk = -(-size // count) + QUANTUM - -(-size // count) % QUANTUM
    assert count == 1 or sdk * (count - 1) >= size or parts[0].size % QUANTUM == 0


@given(size=st.integers(0, 1 << 44), count=st.integers(1, 200))
def test_parts_of_a_session_are_multiples_but_for_the_last(size: int, count: int) -> None:
    parts = cut(size, count, Store(Dialect.GCS, True))

    assert sum(part.size for part in parts) == size
    assert all(part.size % QUANTUM == 0 for part in parts[:-1])
    assert len(parts) <= count
    assert size == 0 or all(part.size for part in parts)


@given(gib=st.integers(5, 5000))
def test_parts_for_s3_are_never_too_short(gib: int) -> None:
    """The site chooses how many; what it may choose leaves each of them 5 MiB at least."""
    size = gib << 30
    parts = cut(size, 1000, Store(Dialect.S3, True, "u"))

    assert all(part.size >= 5 << 20 for part in parts[:-1])


KMS = {"x-amz-server-side-encryption": "aws:kms"}
SSE = {"x-amz-server-side-encryption": "AES256"}
OWN_KEY = {"x-amz-server-side-encryption-customer-algorithm": "AES256"}
S3 = Store(Dialect.S3, False)


@pytest.mark.parametrize(
    ("store", "headers", "expected"),
    [
        (S3, {"etag": f'"{HEX}"'}, HEX),
        (S3, {"ETag": f'"{HEX}-3"'}, None),
        (S3, {"ETag": f'"{HEX[:-1]}"'}, None),
        (S3, {}, None),
        (S3, {"ETag": f'"{HEX}"', **KMS}, None),
        (S3, {"ETag": f'"{HEX}"', **SSE}, None),
        (S3, {"ETag": f'"{HEX}"', **OWN_KEY}, None),
        (Store(Dialect.S3, False, amazon=True), {"ETag": f'"{HEX}"', **SSE}, HEX),
        (Store(Dialect.S3, False, amazon=True), {"ETag": f'"{HEX}"', **KMS}, None),
        (Store(Dialect.AZURE, False), {"Content-MD5": PACKED, "ETag": f'"{HEX}"'}, HEX),
        (Store(Dialect.AZURE, True), {"ETag": '"0x8D"'}, None),
        (Store(Dialect.GCS, False), {"x-goog-hash": f"crc32c=AAAA==, md5={PACKED}"}, HEX),
        (Store(Dialect.GCS, False), {"x-goog-hash": "crc32c=AAAA=="}, None),
        (Store(Dialect.GCS, False), {"x-goog-hash": "md5=!"}, None),
        (Store(Dialect.PLAIN, False), {"ETag": f'"{HEX}"'}, None),
    ],
)
def test_a_hash_is_taken_for_one_only_where_it_is_one(
    store: Store, headers: dict[str, str], expected: str | None
) -> None:
    assert store.md5(CIMultiDict(headers)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("bytes=0-262143", 262144), ("bytes=0-0", 1), ("bytes=5-9", None), ("0-5", None)],
)
def test_how_far_a_session_is(text: str, expected: int | None) -> None:
    assert kept_of({"Range": text}) == expected
    assert kept_of({}) == 0


def test_an_etag_is_told_without_its_marks() -> None:
    assert tag_of({"ETag": 'W/"a"'}) == "a"
    assert tag_of({}) == ""


# ------------------------------------------------------------------------------- tickets


def made(urls: list[str], size: int = 100) -> Ticket:
    answer = {"ticket": "t", "urls": {"f": urls}, "headers": {"a": "b"}}
    return ticket_of(answer, "acquisitions/a1", "f", size, SITE, "f")


def parts(upload_id: str = "u", signature: str = "s", count: int = 2) -> list[str]:
    query = f"uploadId={upload_id}&X-Amz-Signature={signature}"
    return [f"{AMAZON}?partNumber={n}&{query}" for n in range(1, count + 1)]


def kept(of: Ticket, **told: object) -> OpenUpload:
    note = json.loads(json.dumps({**of.note(), **told}))
    return OpenUpload(1, RelPath("f"), "stamp", "signed", note, {}, 0)


@pytest.mark.parametrize("urls", [parts(), [f"{AZURE}&blockid=a"], [f"{GOOGLE}?upload_id=u"] * 2])
def test_a_ticket_in_parts_is_the_same_after_a_restart(urls: list[str]) -> None:
    ticket = made(urls)
    assert ticket_in(kept(ticket), 100) == ticket


def test_a_ticket_in_one_piece_is_kept_without_its_address() -> None:
    for urls in ([AMAZON], [AZURE], [GOOGLE], ["https://h/x"]):
        note = made(urls).note()
        assert "://" not in str(note)
        assert ticket_in(kept(made(urls)), 100) is None


def test_what_was_sent_in_one_piece_can_be_redeemed() -> None:
    found = ticket_in(kept(made([AMAZON]), sent=True), 100)

    assert found is not None
    assert (found.id, found.urls) == ("t", ())
    assert not found.store.in_parts


def test_a_note_of_another_size_or_of_nonsense_is_no_ticket() -> None:
    ticket = made(parts())
    assert ticket_in(kept(ticket), 101) is None
    assert ticket_in(kept(ticket, urls=None), 100) is None
    assert ticket_in(kept(ticket, ticket=None), 100) is None
    assert ticket_in(kept(ticket, urls=[AZURE, AZURE]), 100) is None
    assert ticket_in(kept(made([AMAZON]), sent=True, store="of another version"), 100) is None


def test_a_ticket_shows_no_address() -> None:
    assert "Signature" not in repr(made(parts()))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (parts(signature="new"), True),
        (parts(upload_id="v"), False),
        (parts(count=3), False),
        ([AMAZON], False),
    ],
)
def test_a_ticket_goes_on_with_another_of_the_same_parts(other: list[str], expected: bool) -> None:
    assert made(other).continues(made(parts())) is expected


def test_an_unknown_store_is_not_known_to_keep_parts() -> None:
    urls = ["https://h/1", "https://h/2"]
    assert not made(urls).continues(made(urls))
    assert "urls" not in made(urls).note()


def test_blocks_of_azure_without_ids_are_refused() -> None:
    with pytest.raises(Garbled):
        made([AZURE, AZURE])
