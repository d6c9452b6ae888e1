"""Questions that come together, and are answered together.

Its rule: the answer to a question is of a request that was begun after the question was asked.
So it is as good as one of its own; only the requests are fewer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fwsync.errors import FwsyncError

Key = TypeVar("Key", bound=Hashable)
Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Round(Generic[Question, Answer]):
    questions: dict[Question, None] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    answers: Mapping[Question, Answer] | None = None
    error: FwsyncError | None = None


class Rounds(Generic[Key, Question, Answer]):
    """Gathers the questions about one thing, and has them answered at once.

    Whoever asks first answers for all who come until the round is closed. Where that one is
    cancelled, the others begin again.

    Args:
        answer: is given a thing and the questions about it, each once; what it leaves out is
            not answered. An error of ours is that of all who asked.
        gathered: waits until a round is to be closed. Without it, that is when all who are
            running now have had their turn: what is asked side by side is one round.
    """

    def __init__(
        self,
        answer: Callable[[Key, Sequence[Question]], Awaitable[Mapping[Question, Answer]]],
        gathered: Callable[[Key], Awaitable[None]] | None = None,
    ) -> None:
        self._answer = answer
        self._gathered = gathered or _a_turn
        self._open: dict[Key, _Round[Question, Answer]] = {}

    async def ask(self, key: Key, question: Question) -> Mapping[Question, Answer]:
        """The answers of the round that a question is in; it may be missing among them.

        Raises:
            FwsyncError: as ``answer`` does.
        """
        while (round_ := self._open.get(key)) is not None:
            round_.questions[question] = None
            await round_.over.wait()
            if round_.error is not None:
                raise round_.error.with_traceback(None)  # it would grow with each
            if round_.answers is not None:
                return round_.answers
        return await self._lead(key, question)

    async def _lead(self, key: Key, question: Question) -> Mapping[Question, Answer]:
        round_: _Round[Question, Answer] = _Round({question: None})
        self._open[key] = round_
        try:
            try:
                await self._gathered(key)
            finally:
                del self._open[key]  # whoever comes now is not too late: there is a next one
            round_.answers = await self._answer(key, list(round_.questions))
        except FwsyncError as error:
            round_.error = error
            raise
        finally:
            round_.over.set()
        return round_.answers


async def _a_turn(_: Hashable) -> None:
    await asyncio.sleep(0)
