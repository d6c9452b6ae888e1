"""What a site says of a key's rights: only what it says is a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from fwsync.errors import Forbidden, Unavailable
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Granted, Project
from fwsync.remotes.rights import NEEDED, Rights, granted_in
from tests.remotes.conftest import KEY, serving

ME = {"origin": {"type": "user", "id": "me@x"}, "user_is_admin": False, "is_device": False}
READER, WRITER = {"actions": ["files_download"]}, {"actions": [*NEEDED, "files_download"]}

Answers = dict[str, Any]


async def refusal(granted: object, answers: Answers) -> str:
    """Why the key may not write; empty: it may, or nothing is said. Asks of a fake site."""

    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/api")
        told = answers.get(path, 404)
        if isinstance(told, int):
            return web.json_response({"message": "no"}, status=told)
        return web.json_response(told)

    project = Project("lab", "aging", "p1", granted_in({"permissions": granted}))
    async with serving(answer) as url, Api(url, KEY, patience_s=0.2) as api:
        try:
            await Rights(api).check(project)
        except Forbidden as error:
            return error.message
    return ""


def mine(**fields: object) -> list[dict[str, object]]:
    return [{"_id": "other@x", "access": "ro", "role_ids": ["r"]}, {"_id": "me@x", **fields}]


STATUS: Answers = {"/auth/status": ME, "/roles/r": READER, "/roles/w": WRITER}


@pytest.mark.parametrize(
    ("granted", "answers"),
    [
        (None, STATUS),  # permissions are not shown
        ([], STATUS),  # ours are not among them: a group's may hold
        ("nonsense", STATUS),
        ([1, {"_id": 3}], STATUS),
        (mine(), STATUS),  # nothing is said of us but that we are there
        (mine(role_ids=["w"]), STATUS),
        (mine(role_ids=["r", "w"]), STATUS),  # the union counts
        (mine(access="rw"), STATUS),
        (mine(access="ro", role_ids=["gone"]), STATUS),
        (mine(role_ids=["r"]), STATUS | {"/roles/r": 403}),
        (mine(role_ids=["r"]), STATUS | {"/roles/r": {"actions": None}}),
        (mine(role_ids=["r"]), STATUS | {"/auth/status": 404}),
        (mine(role_ids=["r"]), STATUS | {"/auth/status": {"origin": None}}),
        (mine(role_ids=["r"]), STATUS | {"/auth/status": ME | {"user_is_admin": True}}),
        (mine(role_ids=["r"]), STATUS | {"/auth/status": ME | {"is_device": True}}),
    ],
)
async def test_what_is_not_said_is_no_refusal(granted: object, answers: Answers) -> None:
    project = {"/projects/p1": {"_id": "p1", "permissions": granted}}

    assert "" == await refusal(granted, {**project, **answers})


@pytest.mark.parametrize(
    ("granted", "words"),
    [
        (mine(role_ids=["r"]), "no role of it allows containers_create_hierarchy and files"),
        (mine(access="ro"), "its access is 'ro'"),
        (mine(access="rw", role_ids=["r"]), "no role of it allows"),  # roles are what counts
    ],
)
async def test_what_is_said_is_a_refusal(granted: object, words: str) -> None:
    said = await refusal(granted, {"/projects/p1": {"permissions": granted}, **STATUS})

    assert words in said
    assert "me@x" in said


async def test_before_a_refusal_it_looks_again() -> None:
    now = {"/projects/p1": {"permissions": mine(role_ids=["w"])}}

    assert "" == await refusal(mine(role_ids=["r"]), {**now, **STATUS})


async def test_a_site_that_is_away_is_away() -> None:
    with pytest.raises(Unavailable):
        await refusal(mine(role_ids=["r"]), {"/auth/status": 503})


def test_permissions_are_read_as_they_come() -> None:
    assert granted_in({}) is None
    assert granted_in({"permissions": mine(access="rw", role_ids=["w", "r"])[1:]}) == (
        Granted("me@x", "rw", ("w", "r")),
    )
