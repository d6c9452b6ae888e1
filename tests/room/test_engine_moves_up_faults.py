"""Renames carried up to a server that refuses them, or by a run that is killed among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain

import pytest

from fwsync.asides import ASIDE
from fwsync.errors import Forbidden, FwsyncError, NotFound, Refused, Unavailable
from fwsync.model import Level, Mode, RelPath, RemoteEntry
from fwsync.remotes.flywheel import Flywheel
from fwsync.state import State
from tests.room.rooms import LAYOUT, TREE, Bench, Ground, X, Y, did, grown, plant
from tests.room.test_engine_moves import followed, moved, relabel
from tests.room.test_engine_moves_up import IN_STEP, rename

REFUSALS = [
    Forbidden("no", status=403),
    NotFound("no such route", status=404),
    Refused("no such method", status=405),
]


class Killed(Exception):
    """The end of a process, as a test has it."""


@dataclass
class Trouble:
    """What goes wrong with moves: before one is made, or after it."""

    before: Iterator[Exception | None] = field(default_factory=lambda: iter(()))
    after: Iterator[Exception | None] = field(default_factory=lambda: iter(()))
    asked: list[str] = field(default_factory=list)


class Frail(Flywheel):
    """A project whose moves go wrong where a test says so."""

    trouble = Trouble()

    async def move(self, entry: RemoteEntry, path: RelPath) -> RemoteEntry:
        self._begin(path)
        there = await super().move(entry, path)
        self._end()
        return there

    async def move_folder(self, old: RelPath, new: RelPath) -> bool:
        self._begin(new)
        has_moved = await super().move_folder(old, new)
        self._end()
        return has_moved

    def _begin(self, path: str) -> None:
        self.trouble.asked.append(path)
        if error := next(self.trouble.before, None):
            raise error

    def _end(self) -> None:
        if error := next(self.trouble.after, None):
            raise error


def frail(bench: Bench, server: Ground, trouble: Trouble) -> Bench:
    """The same bench, whose server has trouble with moves."""

    def connect() -> Frail:
        remote = Frail(server.api, [server.project], LAYOUT)
        remote.trouble = trouble
        return remote

    return replace(bench, connect=connect)


def always(error: Exception) -> Iterator[Exception]:
    while True:
        yield error


def nth(number: int, error: Exception) -> Iterator[Exception | None]:
    yield from [None] * number
    yield error


async def until_killed(bench: Bench, mode: Mode) -> None:
    """A run that ends where the trouble is; one that has none gets to its end."""
    with suppress(Killed):
        try:
            await bench.cycle(mode)
        except BaseExceptionGroup as several:
            if several.split(Killed)[1] is not None:
                raise


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: str(one.status))
@pytest.mark.parametrize("may_delete", [True, False])
async def test_what_the_server_does_not_move_is_sent_and_deleted_as_the_rules_have_it(
    refusal: FwsyncError, may_delete: bool, agreed: Bench, server: Ground
) -> None:
    rename(agreed.root, ("s/e/a", "s/e/T1"))
    bench = frail(agreed, server, Trouble(always(refusal)))

    report = await bench.cycle(delete_up=may_delete)

    files = {path: TREE[path] for path in (X, Y)}
    expected = TREE | moved(files, "s/e/a/", "s/e/T1/")
    if may_delete:
        expected = moved(TREE, "s/e/a/", "s/e/T1/")
    deleted = {"deleted": 2} if may_delete else {}
    assert {"renamed": 0, "uploaded": 2, "bytes": 3} | deleted == followed(report)
    assert expected == await server.held()
    assert IN_STEP == followed(await bench.cycle(delete_up=may_delete))


@pytest.mark.parametrize("may_delete", [True, False])
async def test_a_file_that_is_not_moved_where_its_folder_was_is_not_doubled(
    may_delete: bool, agreed: Bench, server: Ground
) -> None:
    rename(agreed.root, ("s/e/a", "s/e/c"), ("s/e/c/x.dcm", "s/e/c/1.dcm"))
    refusals = chain([None], always(Refused("no such method", status=405)))
    bench = frail(agreed, server, Trouble(refusals))

    await bench.cycle(delete_up=may_delete)
    await bench.cycle(delete_up=may_delete)

    expected = moved(moved(TREE, "s/e/a/", "s/e/c/"), "s/e/c/x.dcm", "s/e/c/1.dcm")
    assert expected == grown(bench.root)
    left = {} if may_delete else {"s/e/c/x.dcm": TREE[X]}
    assert expected | left == await server.held()
    assert IN_STEP == followed(await bench.cycle(delete_up=may_delete))


async def test_an_unheard_answer_to_a_move_costs_a_look(agreed: Bench, server: Ground) -> None:
    rename(agreed.root, (X, "s/e/a/first.dcm"))
    bench = frail(agreed, server, Trouble(after=nth(0, Unavailable("broke off"))))

    assert {"renamed": 1} == followed(await bench.cycle())
    assert IN_STEP == followed(await bench.cycle())


async def test_a_move_that_the_server_only_says_it_has_made_is_made(
    agreed: Bench, server: Ground
) -> None:
    rename(agreed.root, (X, "s/e/a/first.dcm"))
    match = {"method": "POST", "path": "/files/*/move", "hits": {"nth": 1}}
    server.sandbox.site.faults.add({"match": match, "action": {"status": 200, "body": {}}})

    assert {"renamed": 1} == followed(await agreed.cycle())
    assert moved(TREE, X, "s/e/a/first.dcm") == grown(agreed.root) == await server.held()
    assert IN_STEP == followed(await agreed.cycle())


@pytest.mark.parametrize("status", [400, 403, 409])
@pytest.mark.parametrize("answer", ["heard", "lost"])
async def test_a_look_that_is_refused_after_a_move_is_no_refusal_of_the_move(
    answer: str, status: int, agreed: Bench, server: Ground
) -> None:
    rename(agreed.root, (X, "s/e/a/first.dcm"))
    faults = server.sandbox.site.faults
    look = "/acquisitions/*/files/first.dcm/info"
    # The first look is the one before the move: the name must be free.
    match = {"method": "GET", "path": look, "hits": {"nth": 2}}
    faults.add({"match": match, "action": {"status": status}})
    if answer == "lost":
        match = {"method": "POST", "path": "/files/*/move", "hits": {"nth": 1}}
        faults.add({"match": match, "action": {"reset": True, "when": "after"}})

    report = await agreed.cycle()
    faults.clear()

    assert 0 == report.uploaded
    assert ["s/e/a/first.dcm"] == [one.path for one in report.problem_list if one.retryable]
    assert 0 == (await agreed.cycle()).uploaded
    listed = await server.listed()
    assert moved(TREE, X, "s/e/a/first.dcm") == grown(agreed.root) == await server.held()
    assert 1 == listed["s/e/a/first.dcm"].version
    assert IN_STEP == followed(await agreed.cycle())


Z = "s/e/b/z.nii.gz"

CHANGES: dict[str, Callable[[Bench], None]] = {
    "file": lambda bench: rename(bench.root, (X, "s/e/a/first.dcm")),
    "folder": lambda bench: rename(bench.root, ("s", "sub-7")),
    "chain": lambda bench: rename(bench.root, (Y, "s/e/a/w"), (X, Y)),
    "swap": lambda bench: rename(bench.root, (X, "tmp"), (Y, X), ("tmp", Y)),
    "ring": lambda bench: rename(bench.root, (X, "tmp"), (Z, X), (Y, Z), ("tmp", Y)),
    "swapped folders": lambda bench: rename(
        bench.root, ("s/e/a", "tmp"), ("s/e/b", "s/e/a"), ("tmp", "s/e/b")
    ),
    "folder and files": lambda bench: rename(
        bench.root, ("s/e/a", "s/e/c"), ("s/e/c/x.dcm", "s/e/c/1.dcm")
    ),
}


@pytest.mark.parametrize("again", [Mode.UP, Mode.BOTH])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(4))
async def test_a_run_that_is_killed_among_renames_is_ended_by_the_next(
    number: int, when: str, change: str, again: Mode, agreed: Bench, server: Ground
) -> None:
    CHANGES[change](agreed)
    killed = nth(number, Killed())
    trouble = Trouble(before=killed) if when == "before" else Trouble(after=killed)
    bench = frail(agreed, server, trouble)
    expected = grown(agreed.root)
    await until_killed(bench, again)

    report = await agreed.cycle(again)

    assert 0 == report.uploaded == report.downloaded
    assert [] == report.problem_list
    assert expected == grown(agreed.root) == await server.held()
    assert not [path for path in await server.listed() if ASIDE in path]
    assert IN_STEP == followed(await agreed.cycle(again))
    assert IN_STEP == followed(await agreed.cycle())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(4))
async def test_folders_that_go_round_do_so_in_the_run_after_one_that_is_killed(
    number: int, when: str, agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {"s/e/c/x.dcm": b"another", "s/e/c/w": b"w"})
    await agreed.cycle()
    ring = [("s/e/a", "tmp"), ("s/e/c", "s/e/a"), ("s/e/b", "s/e/c"), ("tmp", "s/e/b")]
    rename(agreed.root, *ring)
    killed = nth(number, Killed())
    trouble = Trouble(before=killed) if when == "before" else Trouble(after=killed)
    expected = grown(agreed.root)
    await until_killed(frail(agreed, server, trouble), Mode.BOTH)

    report = await agreed.cycle()

    assert [] == report.problem_list
    assert (0, 0) == (report.uploaded, report.downloaded)
    assert expected == grown(agreed.root) == await server.held()
    assert not [path for path in await server.listed() if ASIDE in path]
    assert {} == did(await agreed.cycle())


async def test_a_run_with_nothing_to_rename_forgets_what_a_killed_one_had_begun(
    agreed: Bench,
) -> None:
    begun = "moving_up_begun"
    await agreed.state.call(State.set_setting, begun, '{"5d0000000000000000000001": "s/e/a/w"}')

    await agreed.cycle()

    assert None is await agreed.state.call(State.setting, begun)


async def test_what_was_put_aside_and_then_edited_here_has_its_name_again(
    agreed: Bench, server: Ground
) -> None:
    CHANGES["swap"](agreed)
    bench = frail(agreed, server, Trouble(after=nth(0, Killed())))
    await until_killed(bench, Mode.BOTH)
    plant(agreed.root, {X: b"edited", Y: b"edited, too"})

    await agreed.cycle()

    assert grown(agreed.root) == await server.held()
    assert {} == did(await agreed.cycle())


async def test_a_container_that_others_move_meanwhile_is_left_to_the_next_run(
    agreed: Bench, server: Ground
) -> None:
    rename(agreed.root, ("s", "mine"))
    with agreed.engine() as engine:
        view = await engine.look()
        await relabel(server, X, Level.SUBJECT, "theirs")
        report = await engine.carry_out(view)

    assert 4 == len(report.problem_list)
    assert moved(TREE, "s/", "theirs/") == await server.held()
    assert {"renamed": 4} == followed(await agreed.cycle())
    assert moved(TREE, "s/", "theirs/") == grown(agreed.root) == await server.held()
    assert IN_STEP == followed(await agreed.cycle())


@pytest.mark.parametrize("what", ["changed", "taken", "deleted"])
async def test_a_file_that_is_not_as_it_was_there_is_not_moved(
    what: str, agreed: Bench, server: Ground
) -> None:
    rename(agreed.root, (X, "s/e/a/first.dcm"))
    with agreed.engine() as engine:
        view = await engine.look()
        if what == "changed":
            await server.put({X: b"theirs"})
        elif what == "taken":
            await server.put({"s/e/a/first.dcm": b"theirs"})
        else:
            await server.delete(X)
        before = await server.held()
        report = await engine.carry_out(view)

    assert ["s/e/a/first.dcm"] == [one.path for one in report.problem_list]
    assert before == await server.held()
    for _ in range(2):
        await agreed.cycle()
    here = {path: one for path, one in grown(agreed.root).items() if "fwsync-conflict" not in path}
    assert here == await server.held()
    assert b"x" in grown(agreed.root).values() or what == "deleted"
    assert b"theirs" in grown(agreed.root).values() or what == "deleted"


async def test_a_folder_that_is_not_quiet_yet_may_have_what_is_gone(
    agreed: Bench, server: Ground
) -> None:
    """A watch sees the old folder go before the new one is quiet."""
    before = {path: one.file_id for path, one in (await server.listed()).items()}
    rename(agreed.root, ("s/e/a", "s/e/T1"))

    first = await agreed.cycle(Mode.UP, settle=lambda _files: {RelPath("s/e/T1")}, delete_up=False)
    second = await agreed.cycle(Mode.UP, settle=lambda _files: set(), delete_up=False)

    assert (0, 0) == (first.renamed, first.held)
    assert {"renamed": 2} == followed(second)
    assert before[X] == (await server.listed())["s/e/T1/x.dcm"].file_id


async def test_what_may_be_in_a_folder_that_is_not_quiet_yet_is_not_fetched_from_where_it_is(
    agreed: Bench, server: Ground
) -> None:
    before = {path: one.file_id for path, one in (await server.listed()).items()}
    rename(agreed.root, ("s/e/a", "s/e/T1"))
    await relabel(server, X, Level.SUBJECT, "z")

    first = await agreed.cycle(Mode.BOTH, settle=lambda _files: {RelPath("s/e/T1")})
    second = await agreed.cycle(Mode.BOTH, settle=lambda _files: set())

    assert 0 == first.downloaded
    assert (0, 0) == (second.downloaded, second.uploaded)
    assert before[X] == (await server.listed())["z/e/T1/x.dcm"].file_id


async def test_an_edit_goes_along_with_its_folder_while_another_folder_is_not_quiet(
    agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {"s/e/z/1.dcm": b"z"})
    await agreed.cycle()
    before = {path: one.file_id for path, one in (await server.listed()).items()}
    rename(agreed.root, ("s/e/a", "s/e/moved"))
    plant(agreed.root, {"s/e/moved/x.dcm": b"edited", "s/e/z/1.dcm": b"saved now"})

    await agreed.cycle(settle=lambda _files: {RelPath("s/e/z")}, delete_up=False)

    assert before[X] == (await server.listed())["s/e/moved/x.dcm"].file_id
    held = await server.held()
    assert b"edited" == held["s/e/moved/x.dcm"]
    assert X not in held


async def test_what_a_cycle_has_renamed_is_no_news_to_the_next_one(
    agreed: Bench, server: Ground
) -> None:
    """A watch has one engine for years."""
    with agreed.engine() as engine:
        await relabel(server, X, Level.ACQUISITION, "moved")
        assert 0 < (await engine.cycle()).renamed
        plant(agreed.root, {"s/e/moved/x.dcm": b"mine"})
        await server.put({"s/e/moved/x.dcm": b"theirs"})

        report = await engine.cycle()

    assert ["s/e/moved/x.dcm"] == report.conflict_list
    assert [] == report.problem_list
    assert b"theirs" == (agreed.root / "s/e/moved/x.dcm").read_bytes()
