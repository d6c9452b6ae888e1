"""Uploads that are taken up where an earlier run, or an earlier try, has left them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fwsync.errors import Unavailable
from fwsync.remotes.routes.parts import AT_ONCE
from fwsync.remotes.routes.signed import REDEEM_AGAIN, SignedRoute
from fwsync.sandbox.stores import Dialect
from tests.remotes.routes.signing import (
    LONG,
    MINT,
    PARTS,
    PUT,
    REDEEM,
    Desk,
    MiB,
    desk,
    noise,
)

KEEP: tuple[Dialect, ...] = ("s3", "azure", "gcs")
ALL: tuple[Dialect, ...] = ("local", *KEEP)


async def killed(
    here: Desk, name: str, match: Mapping[str, Any], when: str = "before", parts: int = 0
) -> None:
    """A run that ends without a word: before the request that matches is carried out, or after.

    What it knew is gone, but for the state; in it are so many parts at least.
    """
    async with here.route() as route:
        with here.fault("slow", match, {"delay_s": 60, "when": when}) as fired:
            run = asyncio.ensure_future(here.send(route, here.source(name)))
            while not fired() or (when == "after" and not _carried_out(here)):
                if run.done():
                    return  # there is no such request any more
                await asyncio.sleep(0.001)
            while parts and await confirmed(route) < parts:
                await asyncio.sleep(0.001)
            run.cancel()
            await asyncio.wait([run])
    here.sandbox.site.requests.clear()


def _carried_out(here: Desk) -> bool:
    recent = here.sandbox.site.requests.recent
    return any(one["faults"] and one["carried_out"] is not None for one in recent)


async def confirmed(route: SignedRoute) -> int:
    """How many parts the state knows of."""
    assert route._ledger is not None
    return sum(len(one.parts) for one in await route._ledger.all())


async def looked(here: Desk, name: str) -> bool:
    """Is the file there, as a new run sees it?"""
    return name in await here.held()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("store", ALL)
async def test_a_kill_at_any_step_leads_to_one_file(
    tmp_path: Path, store: Dialect, when: str
) -> None:
    content = noise(LONG)
    steps: list[Mapping[str, Any]] = [
        MINT,
        *({**PUT, "hits": {"nth": n}} for n in (1, 2, 3)),
        REDEEM,
    ]
    async with desk(tmp_path, store, switches=PARTS) as here:
        for number, step in enumerate(steps):
            name = f"{number}.bin"
            here.file(name, content)
            await killed(here, name, step, when)
            if not await looked(here, name):
                async with here.route() as route:
                    source = here.source(name)
                    await here.sent(route, source)
                    assert source.seen is not None
            held = await here.held()
            assert held.pop(name) == content
            async with here.api() as api:
                await api.json("DELETE", ("acquisitions", here.container.id, "files", name))


@pytest.mark.parametrize("store", KEEP)
async def test_parts_that_were_confirmed_are_not_sent_again(tmp_path: Path, store: Dialect) -> None:
    content = noise(LONG)
    async with desk(tmp_path, store, switches=PARTS) as here:
        here.file("a.bin", content)
        await killed(here, "a.bin", {**PUT, "hits": {"nth": 3}}, parts=0 if store == "gcs" else 2)
        async with here.route() as route:
            here.progress.clear()
            source = here.source("a.bin")
            await here.sent(route, source)

        assert sum(count for _, count in here.progress) == LONG  # those of before count too
        assert "mint" not in here.kinds()
        assert 0 < here.put_bytes() < LONG * 2 // 3
        assert source.seen is not None
        assert await here.held() == {"a.bin": content}
        async with here.ledger() as ledger:
            assert await ledger.all() == []


async def test_a_session_is_asked_how_far_it_is(tmp_path: Path) -> None:
    async with desk(tmp_path, "gcs", switches=PARTS) as here:
        here.file("a.bin", noise(LONG))
        cut = {"cut_upload_at": 3 * MiB, "cut_with": "reset"}
        async with here.route(patience_s=1) as route:
            with (
                here.fault("cut", {**PUT, "hits": {"nth": 2}}, cut),
                here.fault("away", {**PUT, "hits": {"from": 3}}, {"status": 503}),
            ):
                error = await here.error(route, here.source("a.bin"))
        assert isinstance(error, Unavailable)
        here.sandbox.site.requests.clear()
        async with here.route() as route:
            await here.sent(route, here.source("a.bin"))

        first, *rest = [one for one in here.asked() if one[0] == "put"]
        assert (first[2], first[3]) == (308, 0)
        part = -(-LONG // 3 // (256 << 10)) * (256 << 10)
        assert sum(one[3] for one in rest) < LONG - part
        assert await here.held() == {"a.bin": noise(LONG)}


@pytest.mark.parametrize("store", ALL)
async def test_a_file_that_has_changed_starts_over(tmp_path: Path, store: Dialect) -> None:
    async with desk(tmp_path, store, switches=PARTS) as here:
        here.file("a.bin", noise(LONG))
        await killed(here, "a.bin", {**PUT, "hits": {"nth": 3}})
        async with here.route() as route:
            await here.sent(route, here.file("a.bin", noise(LONG, seed=2)))

        assert here.kinds().count("mint") == 1
        assert here.put_bytes() == LONG
        assert await here.held() == {"a.bin": noise(LONG, seed=2)}
        async with here.ledger() as ledger:
            assert await ledger.all() == []


async def test_a_file_that_was_just_written_is_not_taken_up(tmp_path: Path) -> None:
    async with desk(tmp_path, "s3", switches=PARTS) as here:
        here.file("a.bin", noise(LONG))
        os.utime(here.root / "a.bin")
        await killed(here, "a.bin", {**PUT, "hits": {"nth": 3}})
        async with here.route() as route:
            await here.sent(route, here.source("a.bin"))

        assert here.kinds().count("mint") == 1
        assert here.put_bytes() == LONG


@pytest.mark.parametrize("store", KEEP)
@pytest.mark.parametrize("status", [403, 404])
async def test_addresses_that_have_expired_meanwhile_start_over(
    tmp_path: Path, store: Dialect, status: int
) -> None:
    async with desk(tmp_path, store, switches=PARTS) as here:
        here.file("a.bin", noise(LONG))
        await killed(here, "a.bin", {**PUT, "hits": {"nth": 3}})
        async with here.route() as route:
            with here.fault("expired", {**PUT, "times": 1}, {"status": status}):
                await here.sent(route, here.source("a.bin"))

        assert here.kinds().count("mint") == 1
        assert await here.held() == {"a.bin": noise(LONG)}


@pytest.mark.parametrize("store", ALL)
async def test_a_site_that_forgot_the_ticket_gets_the_file_again(
    tmp_path: Path, store: Dialect
) -> None:
    async with desk(tmp_path, store, switches=PARTS) as here:
        here.file("a.bin", noise(LONG))
        await killed(here, "a.bin", REDEEM)
        async with here.route() as route:
            with here.fault("forgotten", {**REDEEM, "times": 1}, {"status": 400}):
                if store == "local":  # nothing is kept there: the first redemption is a new one's
                    assert isinstance(await here.error(route, here.source("a.bin")), Exception)
                    await here.sent(route, here.source("a.bin"))
                else:
                    await here.sent(route, here.source("a.bin"))

        assert await here.held() == {"a.bin": noise(LONG)}


@pytest.mark.parametrize("store", ALL)
@pytest.mark.parametrize("size", [REDEEM_AGAIN, LONG])
async def test_what_was_sent_and_not_redeemed_is_redeemed_by_the_next_try(
    tmp_path: Path, store: Dialect, size: int
) -> None:
    parts = PARTS if size == LONG else {"multipart_signed_url": False}
    async with desk(tmp_path, store, switches=parts) as here, here.route() as route:
        source = here.file("a.bin", noise(size))
        with here.fault("busy", REDEEM, {"status": 503}):
            assert isinstance(await here.error(route, source), Unavailable)
        again = here.source("a.bin")
        await here.sent(route, again)

        once = store != "local" or size == REDEEM_AGAIN
        assert (here.put_bytes() == size) is once
        assert here.kinds().count("redeem") == 2
        assert again.seen is not None
        assert await here.held() == {"a.bin": noise(size)}


async def test_a_new_ticket_for_the_same_parts_keeps_them(tmp_path: Path) -> None:
    """A site that signs the addresses of one upload anew."""
    small = {"signed_parts_from": MiB, "signed_part_size": MiB // 2}
    async with desk(tmp_path, "azure", switches=small) as here:
        store = here.sandbox.site.store
        made: list[Any] = []
        upload = store.upload

        def again(origin: str, key: str, parts: int) -> Any:
            made.append(upload(origin, key, parts))
            return made[0]

        store.upload = again  # type: ignore[method-assign]
        content = noise(16 * MiB)
        async with here.route() as route:
            # By then eight parts at least have arrived, for only four are under way.
            last = {**PUT, "hits": {"nth": 8 + AT_ONCE}}
            with here.fault("expired", last, {"status": 403}):
                await here.sent(route, here.file("a.bin", content))

        assert here.kinds().count("mint") == 2
        assert len(made[0].urls) > 8 + AT_ONCE
        whole = [one for one in here.asked() if one[0] == "put" and one[2] == 201]
        assert len(whole) <= len(made[0].urls) + AT_ONCE
        assert await here.held() == {"a.bin": content}


async def test_without_a_ledger_nothing_is_kept_and_all_arrives(tmp_path: Path) -> None:
    async with desk(tmp_path, "s3", switches=PARTS) as here, here.route(ledger=False) as route:
        with here.fault("busy", {**REDEEM, "times": 1}, {"status": 503}):
            assert isinstance(await here.error(route, here.file("a.bin", b"hello")), Unavailable)
        await here.sent(route, here.source("a.bin"))

        assert here.kinds() == ["mint", "put", "redeem"] * 2


async def test_only_addresses_that_can_be_used_again_are_kept(tmp_path: Path) -> None:
    async with desk(tmp_path, "s3", switches=PARTS) as here:
        async with here.route() as route:
            with here.fault("busy", REDEEM, {"status": 503}):
                await here.error(route, here.file("long.bin", noise(LONG)))
        async with here.ledger() as ledger:
            [upload] = await ledger.all()
            assert "X-Amz-Signature" in str(upload.note["urls"])
            assert len(upload.parts) == 3
        database = here.root.parent / "state.db"
        assert database.stat().st_mode & 0o077 == 0

    off = {"multipart_signed_url": False}
    async with desk(tmp_path / "other", "s3", switches=off) as here:
        async with here.route() as route:
            with here.fault("busy", REDEEM, {"status": 503}):
                await here.error(route, here.file("one.bin", b"hello"))
        async with here.ledger() as ledger:
            [upload] = await ledger.all()
            assert "Signature" not in str(upload)


async def test_no_error_holds_a_signature(tmp_path: Path) -> None:
    async with desk(tmp_path, "s3", switches=PARTS) as here, here.route() as route:
        source = here.file("a.bin", noise(LONG))
        for match in (PUT, REDEEM):
            with here.fault("bad", match, {"status": 403, "body": "no"}):
                error = await here.error(route, source)
                shown = f"{error!r} {error.message} {error.hint} {error.__context__!r}"
                assert "Signature" not in shown
                assert "uploadId" not in shown
