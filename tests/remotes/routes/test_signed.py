"""Files by signed URLs: what is asked, in which order, and what becomes of trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fwsync.errors import (
    Forbidden,
    IntegrityError,
    Refused,
    SourceChanged,
    Unavailable,
)
from fwsync.remotes.routes.parcel import NotOffered
from fwsync.remotes.routes.signed import MINTS
from fwsync.remotes.routes.stores import TooLarge
from fwsync.sandbox.stores import Dialect
from tests.remotes.routes.signing import (
    LONG,
    MINT,
    PARTS,
    PUT,
    REDEEM,
    STORES,
    Desk,
    MiB,
    desk,
    long_ago,
    noise,
)


@pytest.fixture(params=STORES)
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    """One of each store, unless the test names some."""
    async with desk(tmp_path, request.param, switches=PARTS) as one:
        yield one


def only(*stores: Dialect) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("here", stores, indirect=True)


in_pieces_and_whole = pytest.mark.parametrize(
    ("here", "size"),
    [*((store, 100_000) for store in STORES), ("s3", LONG), ("gcs", LONG)],
    indirect=["here"],
)

# ---------------------------------------------------------------------------- what is sent


@pytest.mark.parametrize("size", [0, 1, 70_000, 6 * MiB - 1])
async def test_a_file_goes_by_a_ticket_a_put_and_its_redemption(here: Desk, size: int) -> None:
    content = noise(size)
    async with here.route() as route:
        source = here.file("a.bin", content)
        entry = await here.sent(route, source)

    assert [one[0] for one in here.asked()] == ["mint", "put", "redeem"]
    assert all("preserve_metadata=true" in one[1] for one in here.asked() if one[0] != "put")
    assert here.put_bytes() == size
    assert (entry.size, entry.digest) == (size, source.digest)
    assert source.seen is not None
    assert await here.held() == {"a.bin": content}


@pytest.mark.parametrize("size", [LONG + 1, 6 * MiB])
async def test_a_long_file_goes_in_parts(here: Desk, size: int) -> None:
    content = noise(size)
    async with here.route() as route:
        source = here.file("a.bin", content)
        entry = await here.sent(route, source)

    kinds = here.kinds()
    assert (kinds[0], kinds[-1]) == ("mint", "redeem")
    assert here.put_bytes() == size
    assert size < 10 * MiB or kinds.count("put") >= 3
    assert (entry.size, entry.digest) == (size, source.digest)
    assert source.seen is not None
    assert await here.held() == {"a.bin": content}
    assert sum(count for _, count in here.progress) == size


async def test_the_bytes_go_without_the_key_and_are_counted_as_sent(here: Desk) -> None:
    async with here.route() as route:
        await here.sent(route, here.file("a.bin", b"hello"))
        sent = route._api.bytes_sent

    callers = {one["method"]: one["caller"] for one in here.sandbox.site.requests.recent}
    assert callers["PUT"] is None or callers["PUT"].get("kind") != "user"
    assert sent == 5


async def test_metadata_go_with_the_ticket(here: Desk) -> None:
    told = {"type": "nifti", "info": {"a": {"b": 1}}, "tags": ["t"]}
    async with here.route() as route, here.api() as api:
        await here.sent(route, here.file("a.bin", b"hello", metadata=told))
        where = ("acquisitions", here.container.id, "files", "a.bin", "info")
        answer = await api.json("GET", where)

    assert isinstance(answer, dict)
    assert (answer["type"], answer["info"]["a"], answer["tags"]) == ("nifti", {"b": 1}, ["t"])


@pytest.mark.parametrize("name", ["ü ß&=+#.nii.gz", "a%2Fb", "'\"", "t2*"])
async def test_a_name_is_sent_as_it_is(here: Desk, name: str) -> None:
    async with here.route() as route:
        entry = await here.sent(route, here.file(name, b"hello"))

    assert entry.name == name


async def test_each_file_of_a_lot_stands_alone(here: Desk) -> None:
    async with here.route() as route:
        sources = [here.file(f"{n}", bytes([n]) * 10) for n in range(4)]
        (here.root / "1").write_bytes(b"meanwhile")
        sent = await here.send(route, *sources)

    assert [type(one.error) for one in sent] == [type(None), SourceChanged, *[type(None)] * 2]
    assert sorted(await here.held()) == ["0", "2", "3"]


# -------------------------------------------------------------------------- not this way


async def test_a_site_that_gives_no_ticket_is_asked_once(tmp_path: Path) -> None:
    async with desk(tmp_path, switches={"signed_url": False}) as here, here.route() as route:
        sent = await here.send(route, here.file("a", b"1"), here.file("b", b"2"))

        assert [type(one.error) for one in sent] == [NotOffered, NotOffered]
        assert here.kinds() == ["mint"]
        assert here.progress == []


async def test_over_5_gib_on_one_address_of_s3_another_way_is_named(tmp_path: Path) -> None:
    off = {"multipart_signed_url": False}
    async with desk(tmp_path, "s3", switches=off) as here, here.route() as route:
        (here.root / "a.bin").touch()
        await asyncio.to_thread(_stretch, here.root / "a.bin", (5 << 30) + 1)
        error = await here.error(route, here.source("a.bin"))

        assert isinstance(error, TooLarge)
        assert "multipart_signed_url" in error.hint
        assert here.kinds() == ["mint"]


def _stretch(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


# -------------------------------------------------------------------------------- trouble


@pytest.mark.parametrize(
    ("here", "status", "size"),
    [
        *((store, status, 5) for store in STORES for status in (400, 401, 403, 404)),
        *((store, 403, LONG) for store in STORES),
    ],
    indirect=["here"],
)
async def test_a_refused_address_is_asked_for_again(here: Desk, status: int, size: int) -> None:
    content = noise(size)
    which = {**PUT, "hits": {"nth": 1 if size == 5 else 2}}
    async with here.route() as route:
        with here.fault("expired", which, {"status": status}):
            await here.sent(route, here.file("a.bin", content))

    assert here.kinds().count("mint") == 2
    assert here.kinds().count("redeem") == 1
    assert await here.held() == {"a.bin": content}


async def test_addresses_that_are_always_refused_end_with_this_file(here: Desk) -> None:
    body = "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired"
    action = {"status": 403, "body": f"{body}</Message></Error>"}
    async with here.route() as route:
        with here.fault("expired", PUT, action):
            error = await here.error(route, here.file("a.bin", b"hello"))
        async with here.ledger() as ledger:
            assert await ledger.all() == []

    assert type(error) is Refused  # Forbidden would close the container, NotFound forget it
    assert "AccessDenied: Request has expired" in error.message
    assert here.kinds() == ["mint", "put"] * MINTS


@pytest.mark.parametrize(
    "action",
    [
        {"status": 503},
        {"status": 500},
        {"reset": True},
        {"reset": True, "when": "after"},
        {"cut_upload_at": 70_000, "cut_with": "reset"},
        {"status": 503, "when": "after"},
    ],
    ids=str,
)
@in_pieces_and_whole
async def test_a_part_that_fails_is_sent_again_alone(
    here: Desk, action: dict[str, Any], size: int
) -> None:
    content = noise(size)
    async with here.route() as route:
        source = here.file("a.bin", content)
        with here.fault("bad", {**PUT, "hits": {"nth": 1 if size < MiB else 2}}, action) as fired:
            await here.sent(route, source)
            assert fired() == 1
    kinds = here.kinds()
    assert (kinds.count("mint"), kinds.count("redeem")) == (1, 1)
    parts = 1 if size < MiB else kinds.count("put") - 1
    assert kinds.count("put") == parts + 1
    assert here.put_bytes() <= size + size // max(1, parts) + MiB
    assert source.seen is not None
    assert await here.held() == {"a.bin": content}


async def test_a_storm_is_weathered(here: Desk) -> None:
    content = noise(LONG)
    async with here.route() as route:
        with here.fault("storm", {"hits": {"first": 6}}, {"status": 503}):
            await here.sent(route, here.file("a.bin", content))

    assert here.kinds().count("mint") <= 7
    assert await here.held() == {"a.bin": content}


async def test_a_store_that_stays_away_is_unavailable(here: Desk) -> None:
    async with here.route() as route:
        with here.fault("away", PUT, {"status": 503}):
            error = await here.error(route, here.file("a.bin", b"hello"))

    assert isinstance(error, Unavailable)
    assert not error.silent
    assert await here.held() == {}


@pytest.mark.parametrize("action", [{"reset": True}, {"status": 504}, {"status": 502}], ids=str)
async def test_a_redemption_without_an_answer_is_left_to_a_look(
    here: Desk, action: dict[str, Any]
) -> None:
    async with here.route() as route:
        with here.fault("lost", REDEEM, {**action, "when": "after"}):
            source = here.file("a.bin", b"hello")
            error = await here.error(route, source)

    assert isinstance(error, Unavailable)
    assert error.silent
    assert source.seen is not None
    assert here.kinds() == ["mint", "put", "redeem"]
    assert await here.held() == {"a.bin": b"hello"}


@only("local", "s3")
async def test_an_empty_list_is_no_reason_to_send_again(here: Desk) -> None:
    with here.fault("empty", REDEEM, {"status": 200, "body": [], "when": "after"}):
        async with here.route() as route:
            error = await here.error(route, here.file("a.bin", b"hello"))

    assert isinstance(error, Unavailable)
    assert here.kinds() == ["mint", "put", "redeem"]


@only("local", "azure")
async def test_a_ticket_that_is_not_known_any_more_is_replaced(here: Desk) -> None:
    async with here.route() as route:
        with here.fault("gone", {**REDEEM, "times": 1}, {"status": 404}):
            await here.sent(route, here.file("a.bin", b"hello"))

    assert here.kinds() == ["mint", "put", "redeem"] * 2
    assert await here.held() == {"a.bin": b"hello"}


@only("local")
@pytest.mark.parametrize("step", [MINT, REDEEM])
async def test_a_container_that_takes_no_file_says_so(here: Desk, step: dict[str, Any]) -> None:
    async with here.route() as route:
        with here.fault("read-only", step, {"status": 403}):
            error = await here.error(route, here.file("a.bin", b"hello"))

    assert isinstance(error, Forbidden)


@pytest.mark.parametrize("size", [100_000, LONG])
@only("s3", "gcs")
async def test_bytes_that_arrive_otherwise_are_noticed(here: Desk, size: int) -> None:
    zero = "0" * 32
    headers = {"ETag": f'"{zero}"', "x-goog-hash": "crc32c=AAAAAA==,md5=" + "A" * 22 + "=="}
    async with here.route() as route:
        with here.fault("flipped", PUT, {"headers": headers}):
            error = await here.error(route, here.file("a.bin", noise(size)))

    assert isinstance(error, IntegrityError)
    assert f"md5:{zero}" in error.message
    assert "redeem" not in here.kinds()


@only("s3")
async def test_a_part_that_arrived_otherwise_once_is_sent_again(here: Desk) -> None:
    content = noise(LONG)
    async with here.route() as route:
        with here.fault("flipped", {**PUT, "hits": {"nth": 2}}, {"headers": {"ETag": "0" * 32}}):
            await here.sent(route, here.file("a.bin", content))

    assert here.kinds().count("mint") == 1
    assert await here.held() == {"a.bin": content}


async def test_an_etag_of_what_is_sealed_is_no_hash(tmp_path: Path) -> None:
    headers = {"ETag": "0" * 32, "x-amz-server-side-encryption": "aws:kms"}
    off = {"multipart_signed_url": False}
    async with desk(tmp_path, "s3", switches=off) as here, here.route() as route:
        with here.fault("sealed", PUT, {"headers": headers}) as fired:
            await here.sent(route, here.file("a.bin", b"hello"))
            assert fired() == 1
        with here.fault("flipped", PUT, {"headers": {"ETag": "0" * 32}}):
            error = await here.error(route, here.file("b.bin", b"hello"))

        assert isinstance(error, IntegrityError)
        assert await here.held() == {"a.bin": b"hello"}


async def test_a_file_that_changes_while_its_parts_go_is_not_redeemed(here: Desk) -> None:
    source = here.file("a.bin", noise(LONG))
    async with here.route() as route:
        sending = asyncio.ensure_future(here.error(route, source))
        while not any(count for _, count in here.progress):
            await asyncio.sleep(0)
        long_ago(here.root / "a.bin", by_s=7)
        error = await sending

    assert isinstance(error, SourceChanged)
    assert "redeem" not in here.kinds()
    assert await here.held() == {}
