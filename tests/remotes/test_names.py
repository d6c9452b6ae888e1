"""Names that a server refuses or alters: sent, known again, and never one for two of ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fwsync.digest import LocalTag
from fwsync.errors import FileProblem, FwsyncError
from fwsync.keys import parse_key
from fwsync.layout import Layout
from fwsync.model import (
    ContainerRef,
    Decision,
    Level,
    LocalEntry,
    Outcome,
    RelPath,
    RemoteEntry,
    Stamp,
    Verb,
)
from fwsync.namebook import StateNames
from fwsync.ports import Alias, Sent
from fwsync.remotes.flywheel import Flywheel, Project, resolve_project
from fwsync.remotes.flywheel_names import Kind, Names
from fwsync.remotes.http import Api
from fwsync.sandbox import Sandbox, running_sandbox
from fwsync.state import State, StateThread, open_state
from tests.contract.conftest import content, listed, put
from tests.contract.meddler import Forward, Meddler, cut, meddling
from tests.fixtures.upload import Text

BAD = "T2* a:b"
KEPT = "T2star a_b"

MODES = pytest.mark.parametrize("rule", ["refuse", "alter"])


@dataclass
class Book:
    """A keeper that remembers, for as long as the test lasts. What is in use the test says."""

    aliases: list[Alias] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    async def remember(self, alias: Alias) -> None:
        self.aliases = [
            one
            for one in self.aliases
            if (one.parent_id, one.is_file, one.ours)
            != (alias.parent_id, alias.is_file, alias.ours)
        ]
        self.aliases.append(alias)

    async def forget(self, alias: Alias) -> None:
        self.aliases.remove(alias)

    async def is_free(self, path: RelPath) -> bool:
        return path not in self.used


@dataclass
class Ground:
    """The project lab/aging, and a book of names that lasts from run to run."""

    api: Api
    project: Project
    sandbox: Sandbox
    meddler: Meddler
    book: Book = field(default_factory=Book)

    def run(self, *, beforehand: bool = False, book: Book | None = None) -> Flywheel:
        """The remote as another run has it."""
        book = book or self.book
        layout = Layout.parse(group="lab", project="aging")
        names = Names(book.aliases, keeper=book, beforehand=beforehand)
        return Flywheel(self.api, [self.project], layout, names=names)

    async def keep_names(self) -> None:
        """The server gives its rule up."""
        site = self.sandbox.site
        site.switch(site.switches.changed({"names": ""}))


@asynccontextmanager
async def grounded(folder: Path, rule: str) -> AsyncIterator[Ground]:
    async with (
        running_sandbox(folder / "sandbox", switches={"names": rule}) as sandbox,
        meddling(sandbox.url) as meddler,
        Api(meddler.url, parse_key(sandbox.api_key).secret, patience_s=10) as api,
    ):
        await api.json("POST", ("groups",), body={"_id": "lab", "label": "Lab"})
        project = await resolve_project(api, "lab/aging", create_project=True)
        yield Ground(api, project, sandbox, meddler)


async def sent(remote: Flywheel, path: str, body: bytes = b"content") -> Sent:
    [one] = [one async for one in remote.put([Text(RelPath(path), body)])]
    return one


async def names_there(ground: Ground) -> list[str]:
    """Files as the server has them: by its labels and names."""
    found = []
    for file in await _list(ground, "files"):
        labels = [file["name"]]
        for kind in ("acquisition", "session", "subject"):
            id_ = file["parents"].get(kind)
            if id_:
                one = await ground.api.json("GET", (f"{kind}s", id_))
                assert isinstance(one, dict)
                labels.append(one["label"])
        found.append("/".join(reversed(labels)))
    return sorted(found)


async def _list(ground: Ground, *path: str) -> list[dict[str, Any]]:
    answer = await ground.api.json("GET", path)
    items = answer["results"] if isinstance(answer, dict) else answer
    assert isinstance(items, list)
    return items


# ------------------------------------------------------------------------------ both ways


@MODES
@pytest.mark.parametrize("beforehand", [False, True])
async def test_a_tree_of_bad_names_is_sent_and_found_again_under_ours(
    rule: str, beforehand: bool, tmp_path: Path
) -> None:
    paths = [f"{BAD}/{BAD}/{BAD}/{BAD}.dcm", f"{BAD}/{BAD}/plain", f"plain/{BAD}/x", f"{BAD}.txt"]
    async with grounded(tmp_path, rule) as ground:
        remote = ground.run(beforehand=beforehand)
        entries = await put(remote, *[Text(RelPath(path), path.encode()) for path in paths])

        assert paths == [one.path for one in entries]
        expected = sorted(path.replace(BAD, KEPT) for path in paths)
        assert expected == await names_there(ground)

        again = ground.run(beforehand=beforehand)
        seen = await listed(again)
        assert set(paths) == set(seen)
        for path in paths:
            assert path.encode() == await content(again, seen[path])
            assert seen[path] == await again.look(RelPath(path))


@MODES
async def test_they_are_changed_added_to_and_deleted_under_ours(rule: str, tmp_path: Path) -> None:
    path = f"{BAD}/{BAD}/{BAD}/{BAD}"
    async with grounded(tmp_path, rule) as ground:
        await put(ground.run(), Text(RelPath(path), b"one"))
        remote = ground.run()
        await listed(remote)

        [changed] = await put(remote, Text(RelPath(path), b"two"))
        await put(remote, Text(RelPath(f"{BAD}/{BAD}/{BAD}/more"), b"three"))
        await put(ground.run(), Text(RelPath(f"{BAD}/{BAD}/{BAD}/unlisted"), b"four"))

        assert 2 == changed.version
        folder = f"{KEPT}/{KEPT}/{KEPT}"
        expected = sorted([f"{folder}/{KEPT}", f"{folder}/more", f"{folder}/unlisted"])
        assert expected == await names_there(ground)
        await remote.delete(changed)
        assert await remote.look(RelPath(path)) is None


async def test_a_server_that_keeps_names_gets_them_as_they_are(tmp_path: Path) -> None:
    path = f"{BAD}/{BAD}/{BAD}/{BAD}"
    async with grounded(tmp_path, "") as ground:
        await put(ground.run(), Text(RelPath(path), b"one"))

        assert [path] == await names_there(ground)
        assert [] == ground.book.aliases
        # Nor is the server asked again what is known of it.
        remote = ground.run()
        await listed(remote)
        ground.meddler.asked.clear()
        await put(remote, Text(RelPath(f"{BAD}/{BAD}/{BAD}/{BAD} 2"), b"two"))
        assert ["POST"] == [method for method, _ in ground.meddler.asked]


async def test_what_a_server_was_seen_to_keep_is_not_asked_about_again(tmp_path: Path) -> None:
    async with grounded(tmp_path, "") as ground:
        remote = ground.run()
        await put(remote, Text(RelPath("s/e/a/plain"), b"x"), Text(RelPath("s/e/a/a:b"), b"x"))
        ground.meddler.asked.clear()

        await put(remote, Text(RelPath("s/e/a/c:d"), b"x"))

        assert ["POST"] == [method for method, _ in ground.meddler.asked]

        await put(remote, Text(RelPath("s/e:1/a/f"), b"x"))
        ground.meddler.asked.clear()
        listed_anew = ground.run()
        await listed(listed_anew)
        ground.meddler.asked.clear()
        await put(listed_anew, Text(RelPath("s/e:2/f"), b"x"))

        # Looked for under its own label alone; made; looked at; sent.
        assert ["GET", "POST", "GET", "POST"] == [method for method, _ in ground.meddler.asked]


async def test_beforehand_no_name_is_refused(tmp_path: Path) -> None:
    async with grounded(tmp_path, "refuse") as ground:
        refused = []

        async def watch(request: web.Request, forward: Forward) -> web.StreamResponse | None:
            answer = await forward()
            refused.append(answer.status == 400)
            return answer

        ground.meddler.meddle = watch
        await put(ground.run(beforehand=True), Text(RelPath(f"{BAD}/{BAD}/{BAD}/a%2Fb"), b"one"))

        assert refused
        assert not any(refused)
        assert [f"{KEPT}/{KEPT}/{KEPT}/a_b"] == await names_there(ground)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("x" * 300, "x" * 255), ("tab\there", "tab_here"), ("a/b", "a_b"), ("t2*", "t2star")],
)
@MODES
async def test_labels_over_the_limits_of_the_server(
    rule: str, ours: str, theirs: str, tmp_path: Path
) -> None:
    layout = Layout.parse(group="lab", project="aging")
    folder = layout.container_path(("lab", "aging", ours, ours, ours))
    async with grounded(tmp_path, rule) as ground:
        await put(ground.run(), Text(RelPath(f"{folder}/f"), b"one"))

        assert [f"{theirs}/{theirs}/{theirs}/f"] == await names_there(ground)
        assert {f"{folder}/f"} == set(await listed(ground.run()))


async def test_an_empty_label_is_sent_as_it_is(tmp_path: Path) -> None:
    async with grounded(tmp_path, "alter") as ground:
        await put(ground.run(), Text(RelPath("s/%empty/%empty/f"), b"one"))

        assert ["s///f"] == await names_there(ground)
        assert {"s/%empty/%empty/f"} == set(await listed(ground.run()))


# ---------------------------------------------------------------------------- two that clash


@pytest.mark.parametrize("rule", ["refuse", "alter", ""])
@pytest.mark.parametrize("beforehand", [False, True])
@pytest.mark.parametrize("order", [(BAD, KEPT), (KEPT, BAD)])
async def test_two_files_that_would_be_one_are_never_written_over_each_other(
    rule: str, beforehand: bool, order: tuple[str, str], tmp_path: Path
) -> None:
    async with grounded(tmp_path, rule) as ground:
        remote = ground.run(beforehand=beforehand)
        first, second = (f"s/e/a/{name}" for name in order)
        ground.book.used = {f"s/e/a/{KEPT}"}

        one = await sent(remote, first, b"one")
        two = await sent(remote, second, b"another")

        assert one.error is None
        seen = await listed(ground.run(beforehand=beforehand))
        assert b"one" == await content(remote, seen[first])
        assert {1} == {entry.version for entry in seen.values()}
        if two.error is None:
            assert b"another" == await content(remote, seen[second])
            assert not rule
        else:
            assert isinstance(two.error, FileProblem)
            assert {first} == set(seen)


@pytest.mark.parametrize("order", [(BAD, KEPT), (KEPT, BAD)])
@MODES
async def test_two_files_of_one_batch_that_would_be_one(
    rule: str, order: tuple[str, str], tmp_path: Path
) -> None:
    async with grounded(tmp_path, rule) as ground:
        remote = ground.run()
        batch = [Text(RelPath(f"s/e/a/{name}"), name.encode()) for name in order]

        told = {str(one.path): one.error async for one in remote.put(batch)}

        assert told[f"s/e/a/{order[0]}"] is None
        assert isinstance(told[f"s/e/a/{order[1]}"], FileProblem)
        assert 1 == len(await names_there(ground))


@MODES
@pytest.mark.parametrize("beforehand", [False, True])
@pytest.mark.parametrize("order", [(BAD, KEPT), (KEPT, BAD)])
async def test_two_folders_that_would_be_one_are_not_made_one(
    rule: str, beforehand: bool, order: tuple[str, str], tmp_path: Path
) -> None:
    async with grounded(tmp_path, rule) as ground:
        remote = ground.run(beforehand=beforehand)
        ground.book.used = {f"s/{KEPT}"}

        one = await sent(remote, f"s/{order[0]}/a/f", b"one")
        two = await sent(remote, f"s/{order[1]}/a/g", b"another")

        assert one.error is None
        assert isinstance(two.error, FileProblem)
        assert [f"s/{KEPT}/a/f"] == await names_there(ground)
        assert {f"s/{order[0]}/a/f"} == set(await listed(ground.run(beforehand=beforehand)))


@MODES
@pytest.mark.parametrize("order", [(BAD, KEPT), (KEPT, BAD)])
async def test_two_folders_that_would_be_one_are_told_apart_at_the_same_moment(
    rule: str, order: tuple[str, str], tmp_path: Path
) -> None:
    async with grounded(tmp_path, rule) as ground:
        remote = ground.run()
        ground.book.used = {f"s/{KEPT}"}
        await put(remote, Text(RelPath("s/e/x"), b"x"))
        looked = asyncio.Event()

        async def hold(request: web.Request, forward: Forward) -> web.StreamResponse | None:
            """Nothing is made before the other one has looked, if anyone lets it look."""
            if request.method == "POST" and request.path.endswith("/sessions"):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(looked.wait(), 0.3)
            answer = await forward()
            if request.method == "GET" and KEPT in request.query.get("filter", ""):
                looked.set()
            return answer

        ground.meddler.meddle = hold
        one, two = await asyncio.gather(
            sent(remote, f"s/{order[0]}/f"), sent(remote, f"s/{order[1]}/g")
        )

        errors = [said.error for said in (one, two) if said.error is not None]
        assert [FileProblem] == [type(error) for error in errors]
        [first] = [said.path[-1] for said in (one, two) if said.error is None]
        assert {"s/e/x", f"s/{KEPT}/{first}"} == set(await names_there(ground))


@pytest.mark.parametrize("what", ["acquisitions", "files"])
async def test_what_is_refused_for_another_reason_has_no_second_name(
    what: str, tmp_path: Path
) -> None:
    async with grounded(tmp_path, "") as ground:

        async def refuse(request: web.Request, forward: Forward) -> web.StreamResponse | None:
            if request.method == "POST" and request.path.endswith(f"/{what}"):
                return web.json_response({"message": "not today"}, status=400)
            return None

        path = f"s/e/{BAD}/x" if what == "acquisitions" else f"s/e/a/{BAD}"
        await put(ground.run(), Text(RelPath("s/e/a/x"), b"x"))
        ground.meddler.meddle = refuse
        told = await sent(ground.run(), path)
        ground.meddler.meddle = None

        assert 400 == getattr(told.error, "status", 0)
        assert [] == ground.book.aliases
        assert (await sent(ground.run(), path)).error is None
        assert path in await names_there(ground)


@MODES
async def test_a_name_that_nothing_has_any_more_is_free_again(rule: str, tmp_path: Path) -> None:
    async with grounded(tmp_path, rule) as ground:
        remote = ground.run()
        entries = await put(
            remote, Text(RelPath(f"s/e/a/{BAD}"), b"x"), Text(RelPath(f"s/{BAD}/f"), b"x")
        )
        await remote.delete(entries[0])
        await ground.api.json("DELETE", ("sessions", entries[1].container.id))
        remote = ground.run()
        await listed(remote)

        await put(remote, Text(RelPath(f"s/e/a/{KEPT}"), b"y"), Text(RelPath(f"s/{KEPT}/f"), b"y"))

        assert [] == ground.book.aliases
        assert {f"s/e/a/{KEPT}", f"s/{KEPT}/f"} == set(await listed(ground.run()))


# ---------------------------------------------------------------------- kills and lost books


@MODES
async def test_what_a_killed_run_sent_is_known_again_by_its_bytes(
    rule: str, tmp_path: Path
) -> None:
    path = f"{BAD}/{BAD}/{BAD}/{BAD}"
    async with grounded(tmp_path, rule) as ground:
        await put(ground.run(book=Book()), Text(RelPath(path), b"one"))  # it wrote nothing down

        [entry] = await put(ground.run(), Text(RelPath(path), b"one"))

        assert (path, 1) == (entry.path, entry.version)
        assert {path} == set(await listed(ground.run()))


@MODES
async def test_a_file_of_other_bytes_under_the_altered_name_is_not_replaced(
    rule: str, tmp_path: Path
) -> None:
    async with grounded(tmp_path, rule) as ground:
        await put(ground.run(), Text(RelPath(f"s/e/a/{KEPT}"), b"of somebody else"))

        told = await sent(ground.run(), f"s/e/a/{BAD}", b"ours")

        assert isinstance(told.error, FileProblem)
        seen = await listed(ground.run())
        assert {f"s/e/a/{KEPT}": 1} == {path: one.version for path, one in seen.items()}


async def test_a_lost_answer_to_an_altered_name_makes_no_second_version(tmp_path: Path) -> None:
    path = f"s/e/a/{BAD}"
    async with grounded(tmp_path, "alter") as ground:
        await put(ground.run(), Text(RelPath("s/e/a/x"), b"x"))
        lost: list[str] = []

        async def lose(request: web.Request, forward: Forward) -> web.StreamResponse | None:
            if request.method == "POST" and request.path.endswith("/files") and not lost:
                lost.append(request.path)
                await forward()
                return cut(request)
            return None

        ground.meddler.meddle = lose
        remote = ground.run()
        first = await sent(remote, path)
        second = await sent(remote, path)

        assert lost
        assert isinstance(first.error, FwsyncError)
        assert isinstance(second.entry, RemoteEntry)
        assert (path, KEPT, 1) == (second.entry.path, second.entry.name, second.entry.version)


async def test_a_name_that_nobody_would_expect_is_not_believed(tmp_path: Path) -> None:
    async with grounded(tmp_path, "") as ground:

        async def rename(request: web.Request, forward: Forward) -> web.StreamResponse | None:
            if request.method != "POST" or not request.path.endswith("/files"):
                return None
            answer = await forward()
            body = (answer.body or b"").replace(b'"name":"T2* a:b"', b'"name":"other"')  # type: ignore[union-attr]
            return web.Response(body=body, content_type="application/json")

        ground.meddler.meddle = rename
        told = await sent(ground.run(), f"s/e/a/{BAD}")

        assert told.entry is None
        assert [] == ground.book.aliases


async def test_a_container_that_somebody_renames_has_the_new_name_here_too(tmp_path: Path) -> None:
    async with grounded(tmp_path, "alter") as ground:
        await put(ground.run(), Text(RelPath(f"s/{BAD}/a/f"), b"one"))
        [session] = await _list(ground, "sessions")
        await ground.api.json("PUT", ("sessions", session["_id"]), body={"label": "new"})

        assert {"s/new/a/f"} == set(await listed(ground.run()))


async def test_a_name_of_ours_that_somebody_else_took_there_is_a_twin(tmp_path: Path) -> None:
    async with grounded(tmp_path, "alter") as ground:
        await put(ground.run(), Text(RelPath(f"s/e/a/{BAD}"), b"ours"))
        await ground.keep_names()
        known = Names()
        known.seen(BAD)  # somebody who sends this name as it is
        layout = Layout.parse(group="lab", project="aging")
        other = Flywheel(ground.api, [ground.project], layout, names=known)
        await put(other, Text(RelPath(f"s/e/a/{BAD}"), b"theirs"))

        seen = await listed(ground.run())

        twin = next(path for path in seen if "%id=" in path)
        assert {f"s/e/a/{BAD}", twin} == set(seen)
        assert b"ours" == await content(other, seen[f"s/e/a/{BAD}"])


# ------------------------------------------------------------------------------- the state


async def test_the_state_keeps_one_name_for_one(tmp_path: Path) -> None:
    state = await StateThread.open(partial(open_state, tmp_path / "state.db"))
    try:
        book = StateNames(state)
        await book.remember(Alias("p1", True, "t2*", "t2star"))
        await book.remember(Alias("p1", False, "t2*", "t2star"))
        await book.remember(Alias("p2", True, "t2*", "t2star"))
        await book.remember(Alias("p1", True, "t2*", "t2_"))

        await book.remember(Alias("p1", True, "t2?", "t2_q"))
        await book.forget(Alias("p1", True, "t2?", "t2_q"))

        expected = {("p1", True, "t2_"), ("p1", False, "t2star"), ("p2", True, "t2star")}
        assert expected == {(one.parent_id, one.is_file, one.theirs) for one in await book.all()}
        assert await book.is_free(RelPath("s"))

        await state.call(agree, "s/t2star/f")
        assert not await book.is_free(RelPath("s/t2star"))
        assert not await book.is_free(RelPath("s/t2star/f"))
        assert await book.is_free(RelPath("s/t2"))
        await state.call(scan, "s/new/f")
        assert not await book.is_free(RelPath("s/new"))

        # Where a layout puts files elsewhere, what counts is where they go.
        await state.call(lambda s: s.places.start())
        assert await book.is_free(RelPath("s/new"))
    finally:
        await state.close()


def agree(state: State, path: str) -> None:
    """Both sides have this file."""
    here = LocalEntry(RelPath(path), Stamp(0, 1, 1, 1, 1), LocalTag("xxh3:0"))
    there = RemoteEntry(RelPath(path), 0, "e", None, ContainerRef(Level.ACQUISITION, "a"), "f")
    state.record([Outcome(Decision(Verb.UPLOAD, RelPath(path)), here, there, hashed_at_ns=1)])


def scan(state: State, path: str) -> None:
    """Only this file is on disk."""
    state.take_scan([LocalEntry(RelPath(path), Stamp(0, 1, 1, 1, 1))])


def test_a_name_stands_for_one_name() -> None:
    names = Names([Alias("p", True, "t2*", "t2star")])

    assert "t2*" == names.ours("p", Kind.FILE, "t2star")
    assert "t2star" == names.theirs("p", Kind.FILE, "t2*")
    # The other way round each of the two is something else than it looks like.
    assert names.ours("p", Kind.FILE, "t2*") is None
    assert names.theirs("p", Kind.FILE, "t2star") is None
    # Elsewhere they are what they are.
    assert "t2star" == names.ours("q", Kind.FILE, "t2star")
    assert "t2star" == names.theirs("p", Kind.CONTAINER, "t2star")
