"""Whichever way files go, the server ends up with the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fwsync.errors import FileProblem, SourceChanged, UsageError
from fwsync.layout import Layout
from fwsync.model import Level, Mode, RelPath
from fwsync.ports import FormBy, RouteName
from fwsync.remotes.flywheel_tree import Tree
from fwsync.remotes.naming import Who
from fwsync.remotes.routes.choose import SIGNED_FROM, check_form, check_route
from fwsync.remotes.routes.parcel import NotOffered
from fwsync.remotes.site import Site
from tests.contract.meddler import Forward, Meddler, meddling
from tests.fixtures.upload import Text
from tests.remotes.routes.pushing import (
    TREE,
    Yard,
    problems,
    routes,
    through,
    yard,
)
from tests.room.rooms import plant, workbench

LARGE = {"s1/e1/a1/large.nii": bytes(range(256)) * (SIGNED_FROM // 256)}
SMALL = {"s1/e1/a1/small.nii": b"small", "s1/e1/a1/smaller.nii": b""}
SWITCHES: list[dict[str, Any]] = [
    {},
    {"signed_url": False},
    {"multipart_signed_url": False},
    {"audit_trail": True},
    {"empty_hashes": True},
    {"device_uploads": True},
    {"page_limit": 2},
    {"project_locking": True},
    {"malware_scanning": True},
    {"multiproject": True},
]


def offered() -> Iterator[Any]:
    """Each way at each site that offers it; the others are refused beforehand."""
    for route in RouteName:
        for switches in SWITCHES:
            if route is not RouteName.SIGNED or switches.get("signed_url", True):
                yield pytest.param(route, switches, id=f"{route}-{switches}")


@pytest.mark.parametrize(("route", "switches"), list(offered()))
async def test_the_same_tree_arrives_by_every_way_at_every_site(
    tmp_path: Path, route: RouteName, switches: dict[str, Any]
) -> None:
    async with yard(tmp_path, switches, device=route is RouteName.FORM) as here:
        outcomes = await here.push(here.remote(route), TREE)

        assert problems(outcomes) == {}
        await here.assert_once(TREE)


@pytest.mark.parametrize(
    ("route", "asked"),
    [
        ("auto", {"POST acquisitions/files": 1}),
        ("multipart", {"POST acquisitions/files": 1}),
        ("packfile", {"POST acquisitions/files": 1}),  # they are no packs
        ("form", {"POST upload/label": 1}),
        ("signed", {"POST acquisitions/files": 4}),
    ],
)
async def test_the_servers_log_shows_the_way(here: Yard, route: str, asked: dict[str, int]) -> None:
    await here.push(here.remote(route), SMALL)

    log = here.asked()
    sent = {name: count for name, count in log.items() if "files" in name or "upload" in name}
    sent = {name: count for name, count in sent.items() if name.startswith("POST")}
    assert sent == asked
    await here.assert_once(SMALL)


async def test_large_files_go_by_signed_urls_and_small_ones_together(here: Yard) -> None:
    outcomes = await here.push(here.remote(), LARGE | SMALL)

    assert routes(outcomes) == {
        "s1/e1/a1/large.nii": "signed",
        "s1/e1/a1/small.nii": "multipart",
        "s1/e1/a1/smaller.nii": "multipart",
    }
    await here.assert_once(LARGE | SMALL)


async def test_where_nothing_is_signed_all_files_go_by_forms(tmp_path: Path) -> None:
    async with yard(tmp_path, {"signed_url": False}) as here:
        outcomes = await here.push(here.remote(), LARGE | SMALL)

        assert set(routes(outcomes).values()) == {"multipart"}
        await here.assert_once(LARGE | SMALL)


async def test_a_site_that_gives_no_ticket_after_all_is_asked_once(tmp_path: Path) -> None:
    async with yard(tmp_path, {"signed_url": False}) as here:
        site = replace(here.site, signed_url=True)
        remote = here.remote(site=site)
        first = await here.push(remote, LARGE)
        second = await here.push(remote, {"s1/e1/a1/second": bytes(SIGNED_FROM)})

        assert set((routes(first) | routes(second)).values()) == {"multipart"}
        assert here.asked()["POST acquisitions/files"] == 3  # one of them for a ticket


async def test_a_way_that_was_asked_for_is_not_left_without_a_word(tmp_path: Path) -> None:
    async with yard(tmp_path, {"signed_url": False}) as here:
        remote = here.remote("signed", site=replace(here.site, signed_url=True))
        sent = [one async for one in remote.put([Text(RelPath("s/e/a/f"), b"x")])]

        assert [type(one.error) for one in sent] == [NotOffered]
        assert await here.held() == {}


def test_a_way_that_the_site_does_not_offer_is_refused_beforehand() -> None:
    with pytest.raises(UsageError) as told:
        check_route(Site(signed_url=False), RouteName.SIGNED)

    assert all(one in told.value.hint for one in ("auto", "packfile", "form", "multipart"))
    for route in RouteName:
        check_route(Site(signed_url=True), route)
        if route is not RouteName.SIGNED:
            check_route(Site(), route)


@pytest.mark.parametrize("by", [FormBy.UID, FormBy.REAPER])
def test_forms_by_uid_are_for_who_sees_every_uid(by: FormBy) -> None:
    with pytest.raises(UsageError) as told:
        check_form(by, Who("ann@example.org"))

    assert str(by) in told.value.message
    assert "a device" in told.value.hint
    check_form(by, Who("scanner", is_device=True))
    check_form(by, Who("root@example.org", is_admin=True))
    check_form(FormBy.LABEL, Who("ann@example.org"))


@pytest.mark.parametrize("route", RouteName)
async def test_a_file_that_the_site_finds_too_large_is_refused_before_the_first_byte(
    here: Yard, route: RouteName
) -> None:
    remote = here.remote(route, site=replace(here.site, largest_upload=100))
    files = {"s/e/a/too large": b"x" * 101, "s/e/a/just right": b"x" * 100}
    outcomes = await here.push(remote, files)

    assert list(problems(outcomes)) == ["s/e/a/too large"]
    assert "101 bytes" in problems(outcomes)["s/e/a/too large"]
    await here.assert_once({"s/e/a/just right": files["s/e/a/just right"]})


async def test_a_file_that_is_too_large_is_not_sent_whatever_its_name_is(here: Yard) -> None:
    remote = here.remote(site=replace(here.site, largest_upload=4))
    upload = Text(RelPath('s/e/a/a "quoted": name'), b"12345")
    here.forget_requests()
    sent = [one async for one in remote.put([upload])]

    assert [type(one.error) for one in sent] == [FileProblem]
    assert here.asked() == {}  # nor is anything made for it


class Endless(Text):
    """Larger than one signed URL may take, and gone when it is read."""

    @property
    def size(self) -> int:
        return 6 << 30


async def test_what_one_url_cannot_take_goes_by_a_form(tmp_path: Path) -> None:
    async with yard(tmp_path) as here:
        meddled: list[str] = []

        async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
            if "ticket" in request.query:
                meddled.append(request.path)
                return web.json_response({"message": "too large"}, status=413)
            return None

        meddler: Meddler
        async with meddling(here.sandbox.url) as meddler, through(here, meddler) as api:
            meddler.meddle = meddle
            remote = here.remote(api=api)
            sent = [one async for one in remote.put([Endless(RelPath("s/e/a/f"), b"x")])]

        assert len(meddled) == 1
        assert [type(one.error) for one in sent] == [SourceChanged]
        assert [one.route for one in sent] == ["multipart"]


def test_what_lies_below_a_forgotten_container_is_left_to_no_server() -> None:
    tree = Tree(Layout.parse(group="lab", project="aging"))
    tree.add_project("lab", "aging", "p")
    for level, id_, parent in (
        ("subject", "s", "p"),
        ("session", "e", "s"),
        ("acquisition", "a", "e"),
    ):
        tree.add_child(Level(level), id_, level, parent)
    acquisition = tree.by_id["a"]
    assert (tree.is_alone(acquisition), tree.project_of(acquisition)) == (True, "p")

    tree.add_child(Level.ACQUISITION, "b", "acquisition", "e")
    assert not tree.is_alone(acquisition)
    tree.forget("b")
    assert tree.is_alone(acquisition)

    tree.forget("e")
    assert (tree.is_alone(acquisition), tree.project_of(acquisition)) == (False, "")


async def test_a_run_gives_each_folder_its_requests(here: Yard) -> None:
    tree = {f"s/e/{a}/f{n}": b"x" * n for a in "abc" for n in range(5)} | {"top": b"1"}
    async with workbench(here.folder / "bench", here.remote) as bench:
        plant(bench.root, tree)
        report = await bench.cycle(Mode.UP)

    assert report.uploaded == len(tree)
    asked = here.asked()
    assert asked["POST acquisitions/files"] == 3
    assert asked["POST projects/files"] == 1
    await here.assert_once(tree)


async def test_a_file_that_is_refused_is_a_problem_of_that_file(here: Yard) -> None:
    remote = here.remote(site=replace(here.site, largest_upload=0))
    sent = [one async for one in remote.put([Text(RelPath("s/e/a/f"), b"x")])]

    assert [type(one.error) for one in sent] == [FileProblem]
