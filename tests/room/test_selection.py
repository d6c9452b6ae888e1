"""What is not selected takes no part in a run, on either side (I6, S98, S99)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Set
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.digest import LocalTag
from fwsync.model import Decision, Mode, Outcome, RelPath, RemoteEntry, Report, Verb
from fwsync.plan import DeleteLimits
from fwsync.reconcile import Rules, reconcile
from fwsync.remotes.where import parse_where
from fwsync.selection import Reach, Selection
from fwsync.state import State, open_state
from tests.room.rooms import TREE, Bench, Ground, X, Y, did, grown, in_trash, opened_names
from tests.room.test_state_in_step import LATER, OTHER_TAG, TAG, local, remote

NIFTI = "s/e/b/z.nii.gz"

#: Of what only the server knows, and of what a path says: neither takes X.
ELSEWHERE = [
    Selection(types=("nifti",)),
    Selection(not_types=("dicom",)),
    Selection(tags=("none",)),
    Selection(where=parse_where("type=nifti")),
    Selection(before_ns=1),
    Selection(names=(re.compile("z"),)),
    Selection(acquisitions=("b",)),
    Selection(subjects=("other",)),
]


async def pulled(bench: Bench, selection: Selection) -> Report:
    return await bench.cycle(Mode.DOWN, selection=selection)


@pytest.mark.parametrize("selection", ELSEWHERE)
async def test_what_is_not_selected_and_gone_there_stays_here(
    selection: Selection, server: Ground, agreed: Bench
) -> None:
    await server.delete(X, Y)
    for _ in range(2):
        assert {} == did(await pulled(agreed, selection))
    assert TREE == grown(agreed.root)

    assert {"deleted": 2} == did(await agreed.cycle(Mode.DOWN))
    assert 2 == len(in_trash(agreed.root))


@pytest.mark.parametrize("selection", ELSEWHERE)
async def test_what_is_not_selected_does_not_come_again(
    selection: Selection, agreed: Bench
) -> None:
    (agreed.root / X).unlink()
    assert {} == did(await pulled(agreed, selection))
    assert not (agreed.root / X).exists()

    assert {"downloaded": 1, "bytes": 1} == did(await agreed.cycle(Mode.DOWN))


@pytest.mark.parametrize("selection", ELSEWHERE)
async def test_an_edit_of_what_is_not_selected_is_not_reported(
    selection: Selection, agreed: Bench
) -> None:
    (agreed.root / X).write_bytes(b"edited here")
    report = await pulled(agreed, selection)

    assert [] == report.difference_list
    assert report.ok
    assert [X] == [one.path for one in (await agreed.cycle(Mode.DOWN)).difference_list]


@pytest.mark.parametrize("selection", ELSEWHERE)
async def test_nothing_is_read_of_what_is_not_selected(selection: Selection, agreed: Bench) -> None:
    await agreed.state.call(State.forget_hashes)
    with opened_names() as names:
        await pulled(agreed, selection)

    assert "x.dcm" not in names


@pytest.mark.parametrize("selection", ELSEWHERE)
async def test_what_was_not_selected_is_adopted_later(
    selection: Selection, server: Ground, bench: Bench
) -> None:
    await server.put(TREE)
    for path, content in TREE.items():
        (bench.root / path).parent.mkdir(parents=True, exist_ok=True)
        (bench.root / path).write_bytes(content)
    await pulled(bench, selection)
    report = await bench.cycle(Mode.DOWN)

    assert {"adopted"} == did(report).keys()
    assert 1 <= report.adopted <= len(TREE)


async def test_what_is_selected_by_its_path_and_gone_there_goes_here(
    server: Ground, agreed: Bench
) -> None:
    await server.delete(X)
    assert {} == did(await pulled(agreed, Selection(acquisitions=("b",))))
    assert {"deleted": 1} == did(await pulled(agreed, Selection(acquisitions=("a",))))
    assert not (agreed.root / X).exists()


async def test_the_cap_is_that_of_what_is_selected(server: Ground, agreed: Bench) -> None:
    limits = DeleteLimits(files=None, percent=50, percent_from=1)
    await server.put({"s/e/a/keep.dcm": b"k"})
    await agreed.cycle(Mode.DOWN)
    await server.delete(X, Y)
    selection = Selection(acquisitions=("a",))
    report = await agreed.cycle(Mode.DOWN, selection=selection, limits=limits)

    assert "2 of 3 files would be deleted here" in report.halted
    assert {**TREE, "s/e/a/keep.dcm": b"k"} == grown(agreed.root)


async def test_what_is_gone_with_all_of_its_container_may_have_moved_out_of_the_selection(
    server: Ground, agreed: Bench
) -> None:
    await server.delete(X, Y)

    assert {} == did(await pulled(agreed, Selection(acquisitions=("a",))))
    assert TREE == grown(agreed.root)
    assert {"deleted": 2} == did(await agreed.cycle(Mode.DOWN))


async def test_a_selection_of_nothing_is_said(agreed: Bench) -> None:
    assert {} == did(await pulled(agreed, Selection(subjects=("nobody",))))
    (told,) = agreed.notes.told
    assert "warning: only_subjects: no subject is called 'nobody' (there is s)" == told


async def test_a_file_that_is_retyped_stays_what_it_is(server: Ground, agreed: Bench) -> None:
    entry = (await server.listed())[X]
    await server.api.json("PUT", ("files", entry.file_id), body={"type": "nifti"})
    for selection in (Selection(types=("dicom",)), Selection(types=("nifti",))):
        assert {} == did(await pulled(agreed, selection))
    assert TREE == grown(agreed.root)


@pytest.mark.parametrize("selection", [Selection(types=("dicom",)), Selection(subjects=("t",))])
async def test_a_selected_file_that_moves_on_the_server_moves_here(
    selection: Selection, server: Ground, agreed: Bench
) -> None:
    subject = (await server.listed())["s/note.txt"].container.id
    await server.api.json("PUT", ("subjects", subject), body={"label": "t", "code": "t"})
    report = await pulled(agreed, selection)

    assert (0, 0) == (report.downloaded, report.bytes)
    assert 2 <= report.renamed
    assert {"t/e/a/x.dcm", "t/e/a/y.dcm"} <= grown(agreed.root).keys()
    assert not (agreed.root / X).exists()
    await agreed.cycle(Mode.DOWN)
    assert sorted(TREE.values()) == sorted(grown(agreed.root).values())


async def test_verify_looks_at_what_is_selected(server: Ground, agreed: Bench) -> None:
    (agreed.root / X).write_bytes(b"edited here")
    (agreed.root / NIFTI).unlink()
    for selection, differs in (
        (Selection(types=("nifti",)), [NIFTI]),
        (Selection(acquisitions=("a",)), [X]),
        (Selection(names=(re.compile("y"),)), []),
    ):
        with agreed.engine(selection=selection) as engine:
            view = await engine.look()
        assert differs == [one.path for one in view.plan.decisions]


async def test_the_state_counts_what_was_agreed_and_is_left_out(agreed: Bench) -> None:
    def left_out(state: State) -> tuple[int, int]:
        state.start_listing()
        some = state.leave_out(Reach(lambda path: path == RelPath(X)))
        state.start_listing()
        return some, state.leave_out(Reach(None))

    assert (len(TREE) - 1, len(TREE)) == await agreed.state.call(left_out)


# -------------------------------------------------------------------------- for every world


def there(path: str, etag: str = "v1") -> RemoteEntry:
    return replace(remote(path, etag), file_id=f"id of {path}")


def fill(state: State, world: World, listed: Set[str]) -> None:
    """As in a run that selects: only what is selected is listed."""
    for path, (_, _, base) in world.items():
        if base:
            done = Decision(Verb.UPLOAD, RelPath(path))
            state.record([Outcome(done, local=local(path, TAG), remote=there(path))])
    here = {path: tag for path, (tag, _, _) in world.items() if tag is not None}
    state.take_scan(local(path) for path in sorted(here))
    state.remember([(local(path, LocalTag(tag)), LATER) for path, tag in here.items() if tag])
    state.start_listing()
    state.take_listing([there(path, etag) for path, (_, etag, _) in world.items()
                        if etag and path in listed])  # fmt: skip


def verdicts(state: State, mode: Mode) -> list[Decision]:
    rules = Rules(mode, delete_up=True, delete_down=True)
    return list(reconcile(*state.out_of_step(), rules=rules))


World = dict[str, tuple[LocalTag | str | None, str | None, bool]]
PATHS = ("a", "b", "c/d", "c/e", "f")
WORLDS = st.dictionaries(
    st.sampled_from(PATHS),
    st.tuples(
        st.sampled_from([None, "", TAG, OTHER_TAG]),
        st.sampled_from([None, "v1", "v2"]),
        st.booleans(),
    ),
)


@given(WORLDS, st.sets(st.sampled_from(PATHS)), st.sampled_from(Mode), st.booleans())
def test_a_selection_changes_what_takes_part_and_never_what_it_means(
    world: World, selected: set[str], mode: Mode, by_path: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with open_state(Path(folder) / "whole.db") as whole:
            fill(whole, world, set(PATHS))
            everything = verdicts(whole, mode)
        with open_state(Path(folder) / "part.db") as part:
            fill(part, world, selected)
            part.leave_out(Reach((lambda path: path in selected) if by_path else None))
            found = verdicts(part, mode)
            to_read = {entry.path for entry, _ in part.to_hash()}

    known = {path for path in selected if by_path or (path in world and world[path][1])}
    assert [one for one in everything if one.path in known] == found
    assert to_read <= known
