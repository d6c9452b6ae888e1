"""Begun uploads in the state, and giving them up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from fwsync import cleanup
from fwsync.cleanup import Fate, GivenUp
from fwsync.digest import ContentHasher
from fwsync.errors import NotFound, Refused, Unavailable
from fwsync.ledger import StateLedger
from fwsync.model import LocalEntry, Outcome, RelPath
from fwsync.ports import Ledger, OpenUpload
from fwsync.remotes.http import Api
from fwsync.state import State, StateThread, open_state
from tests.remotes.conftest import KEY, ok, serving
from tests.room.rooms import Shelf, local, plant, upload

A, B = RelPath("a"), RelPath("b")


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateThread]:
    made = await StateThread.open(partial(open_state, tmp_path / "state.db", now_ns=lambda: 5))
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def ledger(state: StateThread) -> Ledger:
    return StateLedger(state)


async def test_what_was_begun_is_found_by_a_later_run(ledger: Ledger, state: StateThread) -> None:
    number = await ledger.begin(A, "stamp", "signed", {"urls": ["u"], "ü": None})
    await ledger.confirm(number, 2, "e2")
    await ledger.confirm(number, 1, "e1")
    await ledger.confirm(number, 1, "e1 again")

    expected = OpenUpload(
        number, A, "stamp", "signed", {"urls": ["u"], "ü": None}, {1: "e1 again", 2: "e2"}, 5
    )
    for one in (ledger, StateLedger(state)):
        assert await one.find(A, "signed") == [expected]
        assert await one.find(A, "packfile") == []
        assert await one.find(B, "signed") == []
        assert await one.all() == [expected]


async def test_the_newest_comes_first_and_what_has_ended_is_gone(ledger: Ledger) -> None:
    first = await ledger.begin(A, "1", "signed", {})
    second = await ledger.begin(A, "2", "signed", {})
    await ledger.confirm(first, 1, "e")
    await ledger.update(second, {"sent": True})
    assert [one.id for one in await ledger.find(A, "signed")] == [second, first]
    assert (await ledger.find(A, "signed"))[0].note == {"sent": True}

    await ledger.end(first)
    await ledger.end(first)
    assert [one.id for one in await ledger.all()] == [second]


async def test_parts_go_with_their_upload(ledger: Ledger, state: StateThread) -> None:
    number = await ledger.begin(A, "1", "signed", {})
    await ledger.confirm(number, 1, "e")
    await ledger.end(number)

    def left(one: State) -> int:
        return int(one._db.ask("SELECT count(*) FROM upload_part")[0][0])

    assert await state.call(left) == 0


async def test_what_is_begun_side_by_side_is_known(ledger: Ledger) -> None:
    paths = [RelPath(f"p{n}") for n in range(20)]
    await asyncio.gather(*(ledger.begin(path, "1", "signed", {}) for path in paths))

    for path in paths:
        assert len(await ledger.find(path, "signed")) == 1


async def test_a_file_that_both_sides_agree_on_is_no_longer_begun(
    ledger: Ledger, state: StateThread, tmp_path: Path
) -> None:
    plant(tmp_path / "root", {"a": b"one", "b": b"two"})
    for path in (A, B):
        await ledger.begin(path, "1", "signed", {})
    shelf = Shelf()
    decision = upload(tmp_path / "root", "a")
    remote = shelf.store(A, b"one")
    here = local(tmp_path / "root", "a")
    agreed = Outcome(decision, local=_hashed(here, b"one"), remote=remote, moved=3, hashed_at_ns=1)
    await state.call(State.record, [agreed])

    assert [one.path for one in await ledger.all()] == [B]


def _hashed(entry: LocalEntry, content: bytes) -> LocalEntry:
    hasher = ContentHasher()
    hasher.update(content)
    return replace(entry, etag=hasher.local_tag, digest=hasher.digest)


# ------------------------------------------------------------------------------- giving up


async def given_up(api: Api, ledger: Ledger) -> list[GivenUp]:
    return [one async for one in cleanup.give_up(api, ledger)]


async def test_tickets_of_containers_are_forgotten_and_said_to_expire(ledger: Ledger) -> None:
    number = await ledger.begin(A, "1", "signed", {"ticket": "t", "urls": ["secret"]})
    await ledger.confirm(number, 1, "e")

    assert [one.path for one in await cleanup.begun(ledger)] == [A]
    async with Api("http://127.0.0.1:9", KEY) as api:
        assert await given_up(api, ledger) == [GivenUp(A, "signed", 5, 1, Fate.EXPIRES)]
        assert api.requests == 0
        assert await given_up(api, ledger) == []


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (None, Fate.CANCELLED),
        (NotFound("gone", status=404), Fate.CANCELLED),
        (Refused("no such request", status=405), Fate.EXPIRES),
        (Unavailable("later"), Fate.KEPT),
    ],
)
async def test_what_the_server_did_not_answer_is_kept(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, error: Exception | None, fate: Fate
) -> None:
    async def cancel(api: Api, note: object) -> bool:
        await api.json("GET", ("x",))
        if error is not None:
            raise error
        return True

    monkeypatch.setattr(cleanup, "CANCELS", {"other": cancel})
    await ledger.begin(A, "1", "other", {})

    async def answer(request: web.Request) -> web.StreamResponse:
        return ok()

    async with serving(answer) as url, Api(url, KEY) as api:
        [one] = await given_up(api, ledger)

    assert one.fate is fate
    assert len(await ledger.all()) == (fate is Fate.KEPT)
    assert (one.reason != "") is (fate is Fate.KEPT)
