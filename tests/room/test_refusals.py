"""One that is refused stands in nobody's way, and nothing is sent to hear the same again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from fwsync.errors import Exit, Garbled
from fwsync.keys import parse_key
from fwsync.model import Mode, RelPath, RemoteEntry
from fwsync.ports import Member
from fwsync.remotes.flywheel import Flywheel
from fwsync.remotes.http import Api
from tests.contract.meddler import Forward, meddling
from tests.room.rooms import LAYOUT, Ground, Shelf, did, grown, plant, workbench

TREE = {f"s/e/a/{number}": b"%d" % number for number in range(8)}


# ------------------------------------------------------------------ a user who may only read


def sent_to(server: Ground) -> list[str]:
    """The containers that files were posted to, in order."""
    return [
        str(one["path"])
        for one in server.sandbox.site.requests.recent
        if one["method"] == "POST" and str(one["path"]).endswith("/files")
    ]


@asynccontextmanager
async def reader(server: Ground, access: str) -> AsyncIterator[Flywheel]:
    """The project as the ordinary user sees it, who may read it."""
    await server.api.json(
        "POST",
        ("projects", server.project.id, "permissions"),
        body={"_id": server.sandbox.ready.user_id, "access": access},
    )
    key = parse_key(server.sandbox.user_api_key).secret
    async with Api(server.sandbox.url, key, patience_s=10) as api:
        yield Flywheel(api, [server.project], LAYOUT)


async def test_after_the_first_refusal_no_body_goes_to_that_container(
    server: Ground, tmp_path: Path
) -> None:
    held = {"s/e/a/old": b"old", "s/e/b/old": b"old"}
    await server.put(held)
    async with (
        reader(server, "ro") as flywheel,
        workbench(tmp_path, lambda: flywheel) as bench,
    ):
        plant(bench.root, {**held, **TREE, "s/e/b/1": b"1", "s/e/b/2": b"2"})
        server.sandbox.site.requests.clear()
        report = await bench.cycle(Mode.UP, transfers=1)

        assert len(TREE) + 2 == report.problems
        assert (2, 2) == (len(sent_to(server)), len(set(sent_to(server))))
        assert Exit.AUTH == report.exit_code
        assert held == await server.held()


async def test_a_permission_that_comes_is_used_by_the_next_cycle(
    server: Ground, tmp_path: Path
) -> None:
    await server.put({"s/e/a/old": b"old"})
    async with (
        reader(server, "ro") as flywheel,
        workbench(tmp_path, lambda: flywheel) as bench,
    ):
        plant(bench.root, TREE)
        assert Exit.AUTH == (await bench.cycle(Mode.UP)).exit_code

        async with reader(server, "rw"):
            assert len(TREE) == (await bench.cycle(Mode.UP)).uploaded


async def test_what_comes_down_beside_a_refusal_is_no_refusal_of_the_run(
    server: Ground, tmp_path: Path
) -> None:
    await server.put({"s/e/a/old": b"old"})
    async with (
        reader(server, "ro") as flywheel,
        workbench(tmp_path, lambda: flywheel) as bench,
    ):
        plant(bench.root, {"s/e/a/1": b"1"})
        report = await bench.cycle()

        assert (1, 1) == (report.downloaded, report.problems)
        assert Exit.DIFFERENCES == report.exit_code


# ------------------------------------------------------------- a stream that breaks at one file


class Breaks(Shelf):
    """Its bulk streams break whenever they come to one file."""

    at = RelPath("s/e/a/3")

    async def _members(self, entries: Sequence[RemoteEntry]) -> AsyncIterator[Member]:
        async for member in super()._members(entries):
            if member.entry.path == self.at:
                raise Garbled("the stream broke")
            yield member


@pytest.mark.parametrize("at", ["s/e/a/0", "s/e/a/3", "s/e/a/7"])
async def test_a_file_at_which_every_stream_breaks_comes_alone(at: str, tmp_path: Path) -> None:
    shelf = Breaks(TREE)
    shelf.at = RelPath(at)
    async with workbench(tmp_path, lambda: shelf) as bench:
        report = await bench.cycle(Mode.DOWN)

        assert {"downloaded": len(TREE), "bytes": len(TREE)} == did(report)
        assert TREE == grown(bench.root)
    assert [("open", at)] == [one for one in shelf.asked if one[0] == "open"]


async def test_a_file_that_does_not_even_come_alone_is_a_problem_and_the_others_arrive(
    tmp_path: Path,
) -> None:
    shelf = Breaks(TREE)
    shelf.gives["s/e/a/3"] = iter([Garbled("broken") for _ in range(100)])
    async with workbench(tmp_path, lambda: shelf) as bench:
        report = await bench.cycle(Mode.DOWN)

        assert ["s/e/a/3"] == [one.path for one in report.problem_list]
        assert TREE.keys() - {"s/e/a/3"} == grown(bench.root).keys()


async def test_an_archive_that_breaks_at_each_start_hides_no_file(
    server: Ground, tmp_path: Path
) -> None:
    """On the wire: every bulk answer is cut to nothing, single files come."""

    async def no_archives(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if request.method == "GET" and request.path == "/api/download":
            return web.Response(body=b"", content_type="application/octet-stream")
        return None

    await server.put(TREE)
    async with meddling(server.sandbox.url) as meddler:
        meddler.meddle = no_archives
        secret = server.sandbox.api_key.rpartition(":")[2]
        async with Api(meddler.url, secret, patience_s=2) as api:
            flywheel = Flywheel(api, [server.project], LAYOUT)
            async with workbench(tmp_path, lambda: flywheel) as bench:
                report = await bench.cycle(Mode.DOWN)

                assert [] == report.problem_list
                assert TREE == grown(bench.root)
