"""Folders whose files all move on the server: here, they move in one step, or file by file."""

from __future__ import annotations

import os

import pytest

from fwsync import renaming
from fwsync.errors import FileProblem
from fwsync.filters import Filters
from fwsync.model import Level, Mode
from tests.room.rooms import Bench, Ground, grown, in_trash, plant
from tests.room.test_engine_moves import DOWN_OR_BOTH, container_of, followed, moved, relabel

MANY = {f"many/e/{scan}/{number}.dcm": b"%d" % number for scan in "ab" for number in range(10)}
X = "many/e/a/0.dcm"


@pytest.fixture
async def full(agreed: Bench, server: Ground) -> Bench:
    """All in step, with a subject that holds many files."""
    await server.put(MANY)
    assert len(MANY) == (await agreed.cycle(Mode.DOWN)).downloaded
    return agreed


@DOWN_OR_BOTH
async def test_s71_a_folder_moves_in_one_step(
    mode: Mode, full: Bench, server: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    inode, expected = (full.root / "many").stat().st_ino, moved(grown(full.root), "many/", "m7/")
    await relabel(server, X, Level.SUBJECT, "m7")
    with monkeypatch.context() as patch:
        patch.delattr(renaming, "relocate")  # no file is renamed by itself

        report = await full.cycle(mode)

    assert {"renamed": len(MANY)} == followed(report)
    assert inode == (full.root / "m7").stat().st_ino
    assert expected == grown(full.root) == await server.held()
    assert not (full.root / "many").exists()
    for again in (mode, Mode.BOTH):
        assert {"renamed": 0} == followed(await full.cycle(again))


@DOWN_OR_BOTH
async def test_s72_a_session_that_moved_moves_without_what_is_beside_it(
    mode: Mode, full: Bench, server: Ground
) -> None:
    await server.put({"many/note.txt": b"n"})
    await full.cycle(mode)
    inode = (full.root / "many/e").stat().st_ino
    session = await container_of(server, X, Level.SESSION)
    subject = await container_of(server, "s/note.txt", Level.SUBJECT)
    await server.api.json("PUT", ("sessions", session), body={"subject": {"_id": subject}})
    # There is a session of that label already.
    await server.api.json("PUT", ("sessions", session), body={"label": "e7"})

    assert {"renamed": len(MANY)} == followed(await full.cycle(mode))

    assert inode == (full.root / "s/e7").stat().st_ino
    assert {"many/note.txt"} == {path for path in grown(full.root) if path.startswith("many/")}
    assert {"renamed": 0} == followed(await full.cycle())


@pytest.mark.parametrize("what", ["filtered file", "folder", "link"])
async def test_what_takes_no_part_in_a_moved_folder_stays_where_it_is(
    what: str, full: Bench, server: Ground
) -> None:
    mine = full.root / "many/e/a/mine"
    if what == "filtered file":
        mine.write_bytes(b"mine")
    elif what == "folder":
        mine.mkdir()
    else:
        mine.symlink_to(full.root)
    await relabel(server, X, Level.SUBJECT, "m7")

    report = await full.cycle(Mode.DOWN, ignore=Filters(exclude=["mine"]))

    assert len(MANY) == report.renamed
    assert os.path.lexists(mine)
    assert not os.path.lexists(full.root / "m7/e/a/mine")
    assert MANY.keys() == {f"many{path[2:]}" for path in grown(full.root) if path.startswith("m7/")}


async def test_a_new_file_goes_along_with_its_whole_folder(full: Bench, server: Ground) -> None:
    plant(full.root, {"many/e/a/mine": b"mine"})
    await relabel(server, X, Level.SUBJECT, "m7")

    assert {"renamed": len(MANY) + 1} == followed(await full.cycle(Mode.DOWN))
    assert b"mine" == (full.root / "m7/e/a/mine").read_bytes()
    assert not (full.root / "many").exists()


async def test_a_new_file_that_cannot_go_along_waits_and_makes_no_second_folder_there(
    full: Bench, server: Ground
) -> None:
    await server.put({"many/e/a/mine": b"theirs"})
    plant(full.root, {"many/e/a/mine": b"mine"})
    await relabel(server, X, Level.SUBJECT, "m7")

    reports = [await full.cycle() for _ in range(3)]

    told = [[one.path for one in report.difference_list] for report in reports]
    assert [["many/e/a/mine"]] * 3 == told
    assert {path for path in await server.held() if path.startswith("many/")} == set()
    assert (b"mine", b"theirs") == (
        (full.root / "many/e/a/mine").read_bytes(),
        (full.root / "m7/e/a/mine").read_bytes(),
    )

    (full.root / "m7/e/a/mine").rename(full.root / "m7/e/a/theirs")
    await full.cycle()
    await full.cycle()

    assert not (full.root / "many").exists()
    assert b"mine" == (await server.held())["m7/e/a/mine"]
    assert {"renamed": 0} == followed(await full.cycle())


async def test_a_folder_that_is_made_anew_here_is_sent_once_nothing_waits_in_it(
    full: Bench, server: Ground
) -> None:
    await server.put({"many/e/a/mine": b"theirs"})
    plant(full.root, {"many/e/a/mine": b"mine"})
    await relabel(server, X, Level.SUBJECT, "m7")
    await full.cycle()
    (full.root / "many/e/a/mine").unlink()
    await full.cycle()

    plant(full.root, {"many/e/a/later": b"later"})
    await full.cycle()

    assert b"later" == (await server.held())["many/e/a/later"]


async def test_a_file_that_changes_meanwhile_keeps_its_folder_where_it_is(
    full: Bench, server: Ground
) -> None:
    await relabel(server, X, Level.SUBJECT, "m7")
    with full.engine(Mode.DOWN) as engine:
        view = await engine.look()
        plant(full.root, {X: b"just now"})
        report = await engine.carry_out(view)

    assert (len(MANY) - 1, ["m7/e/a/0.dcm"]) == (
        report.renamed,
        [one.path for one in report.problem_list],
    )
    assert b"just now" == (full.root / X).read_bytes()


async def test_something_at_the_new_path_is_not_touched(full: Bench, server: Ground) -> None:
    plant(full.root, {"m7/mine": b"mine"})
    await relabel(server, X, Level.SUBJECT, "m7")

    assert {"renamed": len(MANY)} == followed(await full.cycle(Mode.DOWN))
    assert b"mine" == (full.root / "m7/mine").read_bytes()
    assert not (full.root / "many").exists()


@DOWN_OR_BOTH
async def test_s77_folders_whose_labels_change_places_or_follow_each_other_end_right(
    mode: Mode, full: Bench, server: Ground
) -> None:
    await server.put({f"other/e/a/{number}.dcm": b"other %d" % number for number in range(10)})
    await full.cycle(mode)
    for round_ in ("swap", "chain"):
        first = await container_of(server, X, Level.SUBJECT)
        second = await container_of(server, "other/e/a/0.dcm", Level.SUBJECT)
        names = ("other", "many") if round_ == "swap" else ("third", "other")
        for id_, label in ((first, "meanwhile"), (second, names[1]), (first, names[0])):
            await server.api.json("PUT", ("subjects", id_), body={"label": label})

        report = await full.cycle(mode)

        assert {"renamed": 30} == followed(report) if round_ == "swap" else report.renamed >= 20
        assert grown(full.root) == await server.held()
        assert [] == in_trash(full.root)
        assert {"renamed": 0} == followed(await full.cycle())
        if round_ == "swap":  # back, for the chain
            await server.api.json("PUT", ("subjects", second), body={"label": "meanwhile"})
            await server.api.json("PUT", ("subjects", first), body={"label": "many"})
            await server.api.json("PUT", ("subjects", second), body={"label": "other"})
            await full.cycle(mode)


async def test_f12_a_folder_that_was_moved_and_not_recorded_is_adopted(
    full: Bench, server: Ground
) -> None:
    await relabel(server, X, Level.SUBJECT, "m7")
    (full.root / "many").rename(full.root / "m7")

    report = await full.cycle(Mode.BOTH)

    assert {"adopted": len(MANY), "renamed": 0} == followed(report)
    assert grown(full.root) == await server.held()
    assert {"renamed": 0} == followed(await full.cycle())


async def test_a_folder_that_cannot_be_renamed_goes_file_by_file(
    full: Bench, server: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system of layers, whose lower folders cannot be renamed."""
    await relabel(server, X, Level.SUBJECT, "m7")

    def refuse(*_args: object) -> None:
        raise FileProblem("many: cannot be renamed")

    monkeypatch.setattr(renaming, "relocate_folder", refuse)

    assert {"renamed": len(MANY)} == followed(await full.cycle(Mode.DOWN))
    assert not (full.root / "many").exists()
    assert grown(full.root) == await server.held()
