"""Several files in one form to their container: by one request, each judged by itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fwsync.keys import parse_key
from fwsync.model import RelPath
from fwsync.remotes.http import Api
from fwsync.remotes.routes import together
from tests.contract.meddler import Forward, Meddler, cut
from tests.fixtures.upload import Text
from tests.remotes.routes.lies import Lie, every_lie, pushed_past
from tests.remotes.routes.pushing import (
    FAULTS,
    TREE,
    Yard,
    problems,
    routes,
    through,
    yard,
)

FILES = {f"s/e/a/f{n:02}.dcm": bytes([n]) * n * 100 for n in range(8)}
TO_FILES = "POST acquisitions/files"


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"signed_url": False},
        {"multipart_signed_url": False},
        {"audit_trail": True},
        {"empty_hashes": True},
        {"device_uploads": True},
        {"page_limit": 2},
        {"project_locking": True},
        {"malware_scanning": True},
    ],
    ids=str,
)
async def test_a_tree_arrives_as_it_is_whatever_the_site_is_like(
    tmp_path: Path, switches: dict[str, Any]
) -> None:
    async with yard(tmp_path, switches) as here:
        outcomes = await here.push(here.remote("multipart"), TREE)

        assert problems(outcomes) == {}
        assert set(routes(outcomes).values()) == {"multipart"}
        await here.assert_once(TREE)


async def test_small_files_of_one_container_go_by_one_request(here: Yard) -> None:
    await here.push(here.remote("multipart"), FILES)

    assert here.asked()[TO_FILES] == 1
    await here.assert_once(FILES)


async def test_a_request_carries_so_many_files_and_so_many_bytes(here: Yard) -> None:
    many = {f"s/e/a/{n:03}": b"x" for n in range(together.MOST_FILES + 1)}
    large = {f"s/e/b/{n}": bytes(together.MOST_BYTES // 2 - 1) for n in range(5)}

    await here.push(here.remote("multipart"), many)
    assert here.asked()[TO_FILES] == 2

    here.forget_requests()
    await here.push(here.remote("multipart"), large)
    assert here.asked()[TO_FILES] == 3
    await here.assert_once(many | large)


async def test_a_name_that_cannot_be_read_back_for_certain_goes_alone(here: Yard) -> None:
    odd = {'s/e/a/say "hi".txt': b"1", "s/e/a/100%25.txt": b"2"}

    outcomes = await here.push(here.remote("multipart"), FILES | odd)

    assert problems(outcomes) == {}
    assert here.asked()[TO_FILES] == 3
    await here.assert_once(FILES | odd)


async def test_files_with_the_same_to_say_go_together_and_keep_their_own(here: Yard) -> None:
    told: list[dict[str, Any]] = [{"type": "dicom"}, {"type": "dicom"}, {"tags": ["mine"]}, {}]
    uploads = [Text(RelPath(f"s/e/a/f{n}"), b"content", metadata=one) for n, one in enumerate(told)]

    entries = [sent.entry async for sent in here.remote("multipart").put(uploads)]

    assert all(entries)
    assert here.asked()[TO_FILES] == 3
    found = {}
    for entry in entries:
        assert entry is not None
        address = ("acquisitions", entry.container.id, "files", entry.name, "info")
        answer = await here.api.json("GET", address)
        assert isinstance(answer, dict)
        found[entry.name] = (answer["type"] or "", answer["tags"])
    assert found == {
        "f0": ("dicom", []),
        "f1": ("dicom", []),
        "f2": ("", ["mine"]),
        "f3": ("", []),
    }


async def test_a_file_that_changes_meanwhile_is_reported_and_the_others_arrive(
    here: Yard,
) -> None:
    files = {f"s/e/a/f{n}": bytes([n]) * 200_000 for n in range(8)}
    moved: list[int] = []

    def advanced(path: str, size: int) -> None:
        moved.append(size)
        if path.endswith("f3") and size > 0:  # half of the request has left
            os.utime(here.folder / "root" / "s/e/a/f5", ns=(1, 1))

    outcomes = await here.push(here.remote("multipart"), files, advanced)

    assert list(problems(outcomes)) == ["s/e/a/f5"]
    await here.assert_once({path: files[path] for path in files if path != "s/e/a/f5"})
    asked = here.asked()
    assert asked[TO_FILES] == 2  # the one that was broken off, and the one without that file
    assert asked["GET acquisitions/files/f0/info"] == 0  # it was not acted on: no need to look
    assert sum(moved) == 7 * 200_000


@pytest.mark.parametrize("fault", FAULTS)
async def test_whichever_request_fails_each_file_arrives_once(here: Yard, fault: str) -> None:
    tree = {path: TREE[path] for path in TREE if path.startswith("s1/") or "/" not in path}
    here.forget_requests()
    await here.push(here.remote("multipart"), tree)
    count = here.sandbox.site.requests.total
    assert count > 5

    for number in range(1, count + 1):
        there = await here.another(f"p{number}")
        rule = {"match": {"hits": {"nth": number}}, "action": FAULTS[fault]}
        there.fail(rule)
        outcomes = await there.push(there.remote("multipart"), tree)
        assert there.sandbox.site.faults.report()[0]["fired"] == 1
        there.fail()

        assert problems(outcomes) == {}, number
        await there.assert_once(tree)


async def test_a_server_that_stores_slowly_is_not_sent_the_file_again(here: Yard) -> None:
    """As 60 s, and a second more for each 20 MB: a file of many GB is hashed for minutes."""
    tree = {"s/e/a/large.nii": bytes(30 << 20)}
    rule = {"match": {"method": "POST", "path": "/*/*/files"}}
    here.fail({**rule, "action": {"delay_s": 1.2, "when": "after"}})
    key = parse_key(here.sandbox.api_key).secret

    async with Api(here.sandbox.url, key, stall_s=0.4) as api:
        outcomes = await here.push(here.remote("multipart", api=api), tree)

    assert problems(outcomes) == {}
    assert [one.tries for one in outcomes] == [1]
    assert here.asked()[TO_FILES] == 1
    await here.assert_once(tree)


# -------------------------------------------------------------------------- unlike servers


def is_upload(request: web.Request) -> bool:
    return request.method == "POST" and request.path.endswith("/files")


async def parts(request: web.Request) -> int:
    return (await request.read()).count(b'name="file"')


async def test_a_server_that_takes_one_file_at_a_time_is_asked_once(
    here: Yard, meddler: Meddler
) -> None:
    several: list[int] = []

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if is_upload(request) and (count := await parts(request)) > 1:
            several.append(count)
            message = "Targeted uploads can only send one file"
            return web.json_response({"message": message}, status=400)
        return None

    meddler.meddle = meddle
    async with through(here, meddler) as api:
        remote = here.remote("multipart", api=api)
        assert problems(await here.push(remote, FILES)) == {}
        more = {f"s/e/b/{n}": b"x" for n in range(5)}
        assert problems(await here.push(remote, more)) == {}

    assert several == [len(FILES)]
    await here.assert_once(FILES | more)


async def test_one_file_that_is_refused_does_not_slow_down_the_run(
    here: Yard, meddler: Meddler
) -> None:
    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if is_upload(request) and b"f03.dcm" in await request.read():
            return web.json_response({"message": "not this one"}, status=422)
        return None

    meddler.meddle = meddle
    async with through(here, meddler) as api:
        remote = here.remote("multipart", api=api)
        outcomes = await here.push(remote, FILES)
        assert list(problems(outcomes)) == ["s/e/a/f03.dcm"]
        here.forget_requests()
        more = {f"s/e/b/{n}": b"x" for n in range(5)}
        await here.push(remote, more)

    assert here.asked()[TO_FILES] == 1


async def test_a_proxy_that_takes_less_is_sent_less(here: Yard, meddler: Meddler) -> None:
    sizes: list[int] = []
    files = {f"s/e/a/f{n}": bytes(100_000) for n in range(16)}

    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if is_upload(request):
            sizes.append(len(await request.read()))
            if sizes[-1] > 500_000:
                return web.Response(status=413, text="<html>Request Entity Too Large</html>")
        return None

    meddler.meddle = meddle
    async with through(here, meddler) as api:
        remote = here.remote("multipart", api=api)
        assert problems(await here.push(remote, files)) == {}
        del sizes[:]
        more = {f"s/e/b/f{n}": bytes(100_000) for n in range(16)}
        assert problems(await here.push(remote, more)) == {}

    assert max(sizes) < 500_000
    assert len(sizes) < 6
    await here.assert_once(files | more)


async def test_a_server_that_fails_over_one_file_takes_the_others(
    here: Yard, meddler: Meddler
) -> None:
    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if is_upload(request) and b"f03.dcm" in await request.read():
            return web.json_response({"message": "[Errno 36]"}, status=500)
        return None

    meddler.meddle = meddle
    async with through(here, meddler) as api:
        outcomes = await here.push(here.remote("multipart", api=api), FILES)

    assert list(problems(outcomes)) == ["s/e/a/f03.dcm"]
    await here.assert_once({path: FILES[path] for path in FILES if "f03" not in path})


async def test_a_request_that_always_breaks_is_taken_apart(here: Yard, meddler: Meddler) -> None:
    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        return cut(request) if is_upload(request) and await parts(request) > 1 else None

    meddler.meddle = meddle
    async with through(here, meddler) as api:
        assert problems(await here.push(here.remote("multipart", api=api), FILES)) == {}

    await here.assert_once(FILES)


@every_lie
async def test_an_answer_is_believed_file_by_file(
    here: Yard, meddler: Meddler, lie: Lie, wrong: int, times: int
) -> None:
    files = {path: content for path, content in FILES.items() if content}
    told = await pushed_past(here, meddler, lie, files, route="multipart", is_form=is_upload)

    assert len(told) == wrong
    assert await here.held() == files
    assert max(one["version"] for one in (await here.record())["files"]) == times


@pytest.mark.parametrize("page", ["<html>your session has expired</html>", '{"a": 1}', "[", ""])
async def test_an_answer_that_is_none_leads_to_a_look(
    here: Yard, meddler: Meddler, page: str
) -> None:
    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if not is_upload(request) or await parts(request) == 1:
            return None
        await forward()
        return web.Response(text=page)

    meddler.meddle = meddle
    async with through(here, meddler) as api:
        assert problems(await here.push(here.remote("multipart", api=api), FILES)) == {}

    await here.assert_once(FILES)


async def test_a_server_that_says_too_little_is_sent_one_file_at_a_time_from_then_on(
    here: Yard, meddler: Meddler
) -> None:
    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if not is_upload(request):
            return None
        answer = await forward()
        assert isinstance(answer.body, bytes)
        return web.json_response(json.loads(answer.body)[:1])

    meddler.meddle = meddle
    async with through(here, meddler) as api:
        remote = here.remote("multipart", api=api)
        assert problems(await here.push(remote, FILES)) == {}
        here.forget_requests()
        assert problems(await here.push(remote, {f"s/e/b/{n}": b"x" for n in range(4)})) == {}

    assert here.asked()[TO_FILES] == 4


async def test_requests_that_fail_now_and_then_cost_little(here: Yard) -> None:
    files = {f"s/e/a/{n:03}": bytes([n % 256]) * 50 for n in range(640)}
    await here.push(here.remote("multipart"), {"s/e/a/first": b""})  # the containers are there
    here.forget_requests()
    here.fail(
        {"match": {"method": "POST", "probability": 0.2, "seed": 3}, "action": {"reset": True}}
    )

    outcomes = await here.push(here.remote("multipart"), files)
    here.fail()
    requests = here.sandbox.site.requests.total

    assert problems(outcomes) == {}
    assert requests < 640 // 2
    await here.assert_once(files | {"s/e/a/first": b""})
