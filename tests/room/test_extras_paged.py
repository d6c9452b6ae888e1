"""Sidecars and analyses by pages: whatever the size of a page, the same comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fwsync import state_beside, state_extras
from fwsync.metadata.sidecars import SUFFIX
from fwsync.remotes import flywheel_extras
from tests.room.beside import (  # fixtures too
    BOTH,
    blockbuster,
    filled,
    flags,
    pull,
    root,
    sidecars,
    the_id,
    verify,
    web,
)
from tests.room.rooms import Ground, grown, in_trash
from tests.sandbox.api import Api

__all__ = ["blockbuster", "flags", "root", "web"]  # fixtures


@pytest.fixture
def one_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_extras, "PAGE", 1)
    monkeypatch.setattr(state_beside, "_PART", 1)
    monkeypatch.setattr(flywheel_extras, "_COUNT", 1)
    monkeypatch.setattr(flywheel_extras, "_HELD", 1)


async def relabel(web: Api, kind: str, label: str, to: str) -> None:
    id_ = await the_id(web, kind, label)
    assert 200 == (await web.ask("PUT", f"/{kind}/{id_}", json={"label": to})).status


@pytest.mark.usefixtures("one_a_page")
async def test_pages_of_one_bring_move_and_let_go_the_same(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    made = await filled(server, web)

    first = await pull(root, flags, **BOTH)
    again = await pull(root, flags, **BOTH)

    assert (True, 12) == (first.ok, first.sidecars)
    assert (0, 0, []) == (again.downloaded, again.sidecars, again.notes)
    assert (await verify(root, flags, deep=True)).ok

    await relabel(web, "subjects", "s", "t")
    moved = await pull(root, flags, **BOTH)
    assert (True, 0, False) == (moved.ok, moved.bytes, (root / "s").exists())
    assert 12 == len(sidecars(root))

    await web.ask("DELETE", f"/analyses/{made}")
    held = await pull(root, flags, **BOTH)
    assert ["6 more" in note for note in held.notes] == [True]
    gone = await pull(root, flags, **BOTH, delete_down=True, max_delete="100%")
    assert (True, 7) == (gone.ok, gone.deleted)
    assert b"fine" in in_trash(root)
    assert not [path for path in grown(root) if "analyses" in path]
    assert 8 == len(sidecars(root))
    assert [] == (await pull(root, flags, **BOTH)).notes


async def test_two_that_swap_their_labels_have_each_what_is_theirs(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    both = {f"s/{one}/a/same.nii": one.encode() for one in ("e", "f")}
    await server.put({"s/e/a/one.nii": b"one", "s/f/a/two.nii": b"two", **both})
    await pull(root, flags, **BOTH)
    ids = {label: await the_id(web, "sessions", label) for label in ("e", "f")}
    await relabel(web, "sessions", "e", "between")
    await relabel(web, "sessions", "f", "e")
    await relabel(web, "sessions", "between", "f")

    report = await pull(root, flags, **BOTH)

    told = sidecars(root)
    assert report.ok
    assert b"one" == grown(root)["s/f/a/one.nii"]
    assert {"s/e/a/two.nii" + SUFFIX, "s/f/a/one.nii" + SUFFIX} == {
        path for path in told if ".nii" in path and "same" not in path
    }
    assert [] == report.difference_list
    assert ["e", "f"] == [told[f"s/{one}/{one}{SUFFIX}"]["label"] for one in ("e", "f")]
    assert ids["e"] != await the_id(web, "sessions", "e")
    again = await pull(root, flags, **BOTH)
    assert (0, 0, []) == (again.sidecars, again.renamed, again.notes)


async def test_a_label_that_goes_on_to_another_leaves_nothing_behind(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await server.put({"s/e/a/one.nii": b"one", "s/f/a/two.nii": b"two"})
    await pull(root, flags, **BOTH)
    await relabel(web, "sessions", "f", "g")
    await relabel(web, "sessions", "e", "f")

    report = await pull(root, flags, **BOTH)
    again = await pull(root, flags, **BOTH)

    assert (True, []) == (report.ok, again.notes)
    assert {"s/f", "s/g"} == {path.rpartition("/a/")[0] for path in grown(root) if "/a/" in path}
    assert (0, 0) == (again.sidecars, again.renamed)


async def test_a_move_that_was_killed_before_its_record_is_taken_up(
    server: Ground, web: Api, flags: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(server, web)
    await pull(root, flags, **BOTH)
    await relabel(web, "sessions", "e", "f")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as amid:
        amid.setattr(state_extras.Extras, "move", killed)
        with pytest.raises(BaseException):  # noqa: B017, PT011 - however a run ends by it
            await pull(root, flags, **BOTH)

    report = await pull(root, flags, **BOTH)

    assert (True, []) == (report.ok, report.difference_list)
    assert not (root / "s/e").exists()
    assert 12 == len(sidecars(root))
    again = await pull(root, flags, **BOTH)
    assert (0, 0, 0, []) == (again.downloaded, again.sidecars, again.renamed, again.notes)


async def test_two_subjects_of_which_lists_say_little_have_both_their_metadata(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await server.put({f"{one}/e/a/scan.nii": one.encode() for one in ("s", "t", "u")})
    for label in ("s", "t"):
        subject = await the_id(web, "subjects", label)
        await web.ask("PATCH", f"/subjects/{subject}/info", json={"set": {"of": label}})
    await web.ask("PATCH", "/sandbox/switches", json={"info_in_lists": "never"})

    report = await pull(root, flags, **BOTH, only_subjects=["s", "t"])

    assert (True, []) == (report.ok, report.problem_list)
    told = sidecars(root)
    assert [{"of": one} for one in ("s", "t")] == [
        told[f"{one}/{one}{SUFFIX}"]["info"] for one in ("s", "t")
    ]
