"""Renames that a killed run has left half-way on the server, and that a person takes back here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fwsync.asides import ASIDE
from fwsync.errors import AuthError
from fwsync.model import Mode
from tests.room.rooms import TREE, Bench, Ground, X, Y, copies, did, grown, plant
from tests.room.test_engine_moves_up import rename
from tests.room.test_engine_moves_up_faults import (
    CHANGES,
    Killed,
    Trouble,
    frail,
    nth,
    until_killed,
)

RING = [("s/e/a", "tmp"), ("s/e/c", "s/e/a"), ("s/e/b", "s/e/c"), ("tmp", "s/e/b")]


def turned(bench: Bench) -> None:
    rename(bench.root, *RING)


def turned_back(bench: Bench) -> None:
    rename(bench.root, *((new, old) for old, new in reversed(RING)))


async def containers(server: Ground) -> dict[str, str]:
    return {path: entry.container.id for path, entry in (await server.listed()).items()}


async def killed_half_way(agreed: Bench, server: Ground, number: int, when: str) -> None:
    """Three folders of unlike sizes go round here, and the run that carries it up is killed."""
    plant(agreed.root, {"s/e/c/x.dcm": b"another", "s/e/c/w": b"w", "s/e/c/v": b"v"})
    await agreed.cycle()
    turned(agreed)
    killed = nth(number, Killed())
    trouble = Trouble(before=killed) if when == "before" else Trouble(after=killed)
    await until_killed(frail(agreed, server, trouble), Mode.BOTH)


async def check_both_as_here(agreed: Bench, server: Ground, again: Mode = Mode.BOTH) -> None:
    """One run has the server as it is here, and the next one has nothing to do."""
    expected = grown(agreed.root)
    report = await agreed.cycle(again)

    assert [] == report.problem_list
    assert expected == grown(agreed.root) == await server.held()
    assert not [path for path in await server.listed() if ASIDE in path]
    assert {} == did(await agreed.cycle(again))
    assert {} == did(await agreed.cycle())


@pytest.mark.parametrize("again", [Mode.UP, Mode.BOTH])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(4))
async def test_folders_that_are_turned_back_here_are_so_on_the_server(
    number: int, when: str, again: Mode, agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {"s/e/c/x.dcm": b"another", "s/e/c/w": b"w", "s/e/c/v": b"v"})
    await agreed.cycle()
    before = await containers(server)
    await killed_half_way(agreed, server, number, when)
    turned_back(agreed)

    await check_both_as_here(agreed, server, again)

    assert before == await containers(server)


@pytest.mark.parametrize("edited", [{X: b"edited"}, {X: b"1", Y: b"2"}, {"s/e/b/z.nii.gz": b"3"}])
@pytest.mark.parametrize("number", range(4))
async def test_what_is_edited_in_a_folder_that_is_turned_back_is_an_edit_there(
    number: int, edited: dict[str, bytes], agreed: Bench, server: Ground
) -> None:
    await killed_half_way(agreed, server, number, "after")
    turned_back(agreed)
    plant(agreed.root, edited)

    await check_both_as_here(agreed, server)


@pytest.mark.parametrize("number", range(4))
async def test_what_is_new_in_a_folder_that_is_turned_back_stays_there(
    number: int, agreed: Bench, server: Ground
) -> None:
    await killed_half_way(agreed, server, number, "after")
    turned_back(agreed)
    plant(agreed.root, {f"s/e/{one}/new": one.encode() for one in "abc"})

    await check_both_as_here(agreed, server)


@pytest.mark.parametrize("number", range(4))
async def test_a_folder_that_went_round_and_then_elsewhere_is_elsewhere(
    number: int, agreed: Bench, server: Ground
) -> None:
    await killed_half_way(agreed, server, number, "after")
    rename(agreed.root, ("s/e/b", "s/e/d"))

    await check_both_as_here(agreed, server)


BACK: dict[str, Callable[[Bench], None]] = {
    "swap": CHANGES["swap"],
    "folder": lambda bench: rename(bench.root, ("sub-7", "s")),
    "swapped folders": CHANGES["swapped folders"],
    "folder and files": lambda bench: rename(
        bench.root, ("s/e/c/1.dcm", "s/e/c/x.dcm"), ("s/e/c", "s/e/a")
    ),
}


@pytest.mark.parametrize("change", BACK)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(4))
async def test_files_that_are_taken_back_here_are_so_on_the_server(
    number: int, when: str, change: str, agreed: Bench, server: Ground
) -> None:
    CHANGES[change](agreed)
    killed = nth(number, Killed())
    trouble = Trouble(before=killed) if when == "before" else Trouble(after=killed)
    await until_killed(frail(agreed, server, trouble), Mode.BOTH)
    BACK[change](agreed)

    await check_both_as_here(agreed, server)


@pytest.mark.parametrize("number", range(4))
async def test_what_was_moved_beside_a_refusal_of_the_key_is_known_to_have_moved(
    number: int, agreed: Bench, server: Ground
) -> None:
    names = [f"s/e/a/{one}.dat" for one in range(4)]
    plant(agreed.root, {one: one.encode() for one in names})
    await agreed.cycle()
    pairs = [(one, f"{one}.new") for one in names]
    rename(agreed.root, *pairs)
    bench = frail(agreed, server, Trouble(before=nth(number, AuthError("refused"))))
    with pytest.raises(AuthError):
        await bench.cycle()
    rename(agreed.root, *((new, old) for old, new in pairs))

    await check_both_as_here(agreed, server)


@pytest.mark.parametrize("number", range(4))
async def test_where_two_of_three_folders_change_places_again_they_do_so_on_the_server(
    number: int, agreed: Bench, server: Ground
) -> None:
    await killed_half_way(agreed, server, number, "after")
    rename(agreed.root, ("s/e/a", "tmp"), ("s/e/b", "s/e/a"), ("tmp", "s/e/b"))

    await check_both_as_here(agreed, server)


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("number", range(4))
async def test_folders_with_a_file_of_the_same_bytes_are_as_they_are_here(
    number: int, back: bool, agreed: Bench, server: Ground
) -> None:
    plant(agreed.root, {f"s/e/{one}/same": b"the same" for one in "abc"})
    await killed_half_way(agreed, server, number, "after")
    if back:
        turned_back(agreed)

    await check_both_as_here(agreed, server)


@pytest.mark.parametrize("number", range(4))
async def test_what_is_deleted_in_a_folder_that_is_turned_back_is_nowhere_twice(
    number: int, agreed: Bench, server: Ground
) -> None:
    await killed_half_way(agreed, server, number, "after")
    turned_back(agreed)
    (agreed.root / X).unlink()
    await agreed.cycle()
    await agreed.cycle()

    assert sorted(grown(agreed.root).values()) == sorted((await server.held()).values())
    assert len(set(grown(agreed.root).values())) == len(grown(agreed.root))
    assert {} == did(await agreed.cycle())


@pytest.mark.parametrize("mine", [b"x", b"edited here"])
async def test_what_others_have_written_meanwhile_in_a_folder_taken_back_is_an_edit_there(
    mine: bytes, agreed: Bench, server: Ground
) -> None:
    CHANGES["folder"](agreed)
    await until_killed(frail(agreed, server, Trouble(after=nth(0, Killed()))), Mode.BOTH)
    BACK["folder"](agreed)
    await server.put({"sub-7/e/a/x.dcm": b"edited there"})
    plant(agreed.root, {X: mine})

    report = await agreed.cycle()

    assert (mine != b"x") == bool(report.conflicts)
    assert b"edited there" == grown(agreed.root)[X] == (await server.held())[X]
    assert set(await server.listed()) == set(TREE)
    assert mine == b"x" or [mine] == copies(agreed.root)
    assert {} == did(await agreed.cycle())
