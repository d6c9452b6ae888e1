"""Answers to a form of several files that are not true, and what must come of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tests.contract.meddler import Forward, Meddler
from tests.remotes.routes.pushing import Yard, problems, through
from tests.room.rooms import Tree

Answer = list[dict[str, Any]]
Lie = Callable[[Answer], Answer]


def fewer(answer: Answer) -> Answer:
    return answer[:-2]


def more(answer: Answer) -> Answer:
    return [*answer, {**answer[0], "name": "unasked"}]


def twice(answer: Answer) -> Answer:
    return [*answer, answer[0]]


def renamed(answer: Answer) -> Answer:
    return [{**answer[0], "name": "other.dcm"}, *answer[1:]]


def smaller(answer: Answer) -> Answer:
    return [{**answer[0], "size": 1, "hash": ""}, *answer[1:]]


def elsewhere(answer: Answer) -> Answer:
    there = {"type": "acquisition", "id": "0" * 24}
    return [{**answer[0], "parent_ref": there}, *answer[1:]]


#: Each lie, how many files are reported for it, and how often a file is sent at the most.
every_lie = pytest.mark.parametrize(
    ("lie", "wrong", "times"),
    [
        (fewer, 0, 1),  # looked for, found
        (more, 0, 1),
        (twice, 1, 1),
        (renamed, 1, 1),
        (smaller, 0, 2),  # one is sent once more, and then told as it is
        (elsewhere, 1, 1),
    ],
)


async def pushed_past(
    here: Yard,
    meddler: Meddler,
    lie: Lie,
    tree: Tree,
    *,
    route: str,
    is_form: Callable[[web.Request], bool],
) -> dict[str, str]:
    """Push by a form whose first answer is a lie; what is reported."""
    lied: list[int] = []

    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if not is_form(request) or lied:
            return None
        answer = await forward()
        assert isinstance(answer.body, bytes)
        lied.append(answer.status)
        return web.json_response(lie(json.loads(answer.body)))

    meddler.meddle = meddle
    async with through(here, meddler) as api:
        outcomes = await here.push(here.remote(route, api=api), tree)
    assert lied == [200]
    return problems(outcomes)
