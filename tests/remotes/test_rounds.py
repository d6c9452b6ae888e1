"""Questions that come together: one answer, and never one from before the question."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from fwsync.errors import Unavailable
from fwsync.remotes.rounds import Rounds


class Server:
    """Answers each question by how many rounds there were, when it is let."""

    def __init__(self) -> None:
        self.rounds: list[tuple[str, list[str]]] = []
        self.may = asyncio.Event()
        self.may.set()
        self.error: Unavailable | None = None

    async def answer(self, key: str, questions: Sequence[str]) -> Mapping[str, int]:
        self.rounds.append((key, sorted(questions)))
        number = len(self.rounds)
        await self.may.wait()
        if self.error is not None:
            raise self.error
        return dict.fromkeys(questions, number)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_is_asked_side_by_side_is_one_round_for_each_thing() -> None:
    server = Server()
    rounds: Rounds[str, str, int] = Rounds(server.answer)

    told = await asyncio.gather(*(rounds.ask(key, question) for key in "ab" for question in "xyx"))

    assert [("a", ["x", "y"]), ("b", ["x", "y"])] == server.rounds
    assert [{"x": 1, "y": 1}] * 3 + [{"x": 2, "y": 2}] * 3 == told


async def test_no_answer_is_of_a_request_from_before_the_question() -> None:
    server = Server()
    rounds: Rounds[str, str, int] = Rounds(server.answer)
    server.may.clear()
    early = asyncio.create_task(rounds.ask("a", "x"))
    await turns()
    assert [("a", ["x"])] == server.rounds

    late = asyncio.create_task(rounds.ask("a", "x"))
    await turns()
    server.may.set()

    assert ({"x": 1}, {"x": 2}) == (await early, await late)


async def test_an_error_is_that_of_all_who_asked_and_of_nobody_later() -> None:
    server = Server()
    rounds: Rounds[str, str, int] = Rounds(server.answer)
    server.error = Unavailable("down")

    told = await asyncio.gather(
        *(rounds.ask("a", question) for question in "xyz"), return_exceptions=True
    )

    assert [server.error] * 3 == told
    server.error = None
    assert {"x": 2} == await rounds.ask("a", "x")


@pytest.mark.parametrize("when", ["gathering", "asking"])
async def test_who_is_cancelled_takes_nobody_along(when: str) -> None:
    server = Server()
    rounds: Rounds[str, str, int] = Rounds(server.answer)
    server.may.clear()
    first = asyncio.create_task(rounds.ask("a", "x"))
    others = [asyncio.create_task(rounds.ask("a", question)) for question in "yz"]
    await turns(1 if when == "gathering" else 5)
    first.cancel()
    await turns()
    server.may.set()

    for one in others:
        told = await asyncio.wait_for(one, 5)
        assert {"y", "z"} == set(told)
    assert first.cancelled()
