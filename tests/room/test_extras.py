"""Sidecars and analyses beside the files of a pull: written once, never sent, never overwritten."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fwsync import runs
from fwsync.errors import Exit
from fwsync.layout import ANALYSES
from fwsync.metadata.sidecars import SUFFIX
from fwsync.model import Mode
from tests.room.beside import (  # fixtures too
    BOTH,
    RUN,
    TREE,
    blockbuster,
    exported,
    filled,
    flags,
    pull,
    root,
    run,
    sidecars,
    the_id,
    verify,
    web,
)
from tests.room.rooms import Ground, grown, in_parts, in_trash, opened_names
from tests.sandbox.api import Api

__all__ = ["blockbuster", "flags", "root", "web"]  # fixtures


async def test_metadata_and_analyses_come_down_beside_the_files(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)

    report = await pull(root, flags, **BOTH)

    found = grown(root)
    plain = {path: content for path, content in found.items() if not path.endswith(SUFFIX)}
    assert plain == TREE | {
        f"{RUN}/INPUT/scan.nii": b"scan",
        f"{RUN}/OUTPUT/fit.csv": b"1,2",
        f"{RUN}/OUTPUT/log.txt": b"fine",
    }
    full = "SUBJECTS/s/SESSIONS/e"
    ours = {
        "aging.flywheel.json": "flywheel/aging/aging.flywheel.json",
        "top.json.flywheel.json": "flywheel/aging/FILES/top.json.flywheel.json",
        "s/s.flywheel.json": "flywheel/aging/SUBJECTS/s/s.flywheel.json",
        "s/e/e.flywheel.json": f"flywheel/aging/{full}/e.flywheel.json",
        "s/e/session.json.flywheel.json": f"flywheel/aging/{full}/FILES/session.json.flywheel.json",
        "s/e/a/a.flywheel.json": f"flywheel/aging/{full}/ACQUISITIONS/a/a.flywheel.json",
        "s/e/a/scan.nii.flywheel.json": (
            f"flywheel/aging/{full}/ACQUISITIONS/a/FILES/scan.nii.flywheel.json"
        ),
        "s/e/a/notes.txt.flywheel.json": (
            f"flywheel/aging/{full}/ACQUISITIONS/a/FILES/notes.txt.flywheel.json"
        ),
    } | {
        f"{RUN}/{name}{SUFFIX}": f"flywheel/aging/{full}/ANALYSES/fit 1/{name}{SUFFIX}"
        for name in ("fit 1", "INPUT/scan.nii", "OUTPUT/fit.csv", "OUTPUT/log.txt")
    }
    theirs = await exported(server, web)
    assert {path: theirs[other] for path, other in ours.items()} == sidecars(root)
    assert {"TR": 2.0, "é": ["ü"]} == sidecars(root)["s/e/a/scan.nii.flywheel.json"]["info"]
    assert (len(TREE) + 3, len(ours)) == (report.downloaded, report.sidecars)
    assert report.ok
    assert [] == in_parts(root)


async def test_a_second_pull_has_nothing_to_do(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    await pull(root, flags, **BOTH)
    before = {path: path.stat() for path in root.rglob("*.json")}

    with opened_names() as names:
        report = await pull(root, flags, **BOTH)

    assert (0, 0, 0) == (report.downloaded, report.sidecars, report.skipped)
    assert before == {path: path.stat() for path in before}
    assert [] == [name for name in names if name.endswith((SUFFIX, ".csv", ".nii"))]
    assert report.requests <= (await pull(root, flags)).requests + 2  # the project; the analyses


@pytest.mark.parametrize("without_state", [False, True])
async def test_what_fwsync_wrote_never_goes_up_and_is_no_deletion(
    server: Ground, web: Api, flags: dict[str, Any], root: Path, without_state: bool
) -> None:
    await filled(server, web)
    await pull(root, flags, **BOTH)
    held = await server.held()
    if without_state:
        for file in (root / ".fwsync").glob("state.db*"):
            file.unlink()
    (root / RUN / "OUTPUT/fit.csv").unlink()
    (root / "s/e/a/scan.nii.flywheel.json").unlink()

    pushed = await run(Mode.UP, root, flags, delete_up=True)
    synced = await run(Mode.BOTH, root, flags, delete_up=True, delete_down=True)

    assert (0, 0, 0, 0) == (pushed.uploaded, pushed.deleted, synced.uploaded, synced.deleted)
    assert pushed.ok
    assert synced.ok
    assert held == await server.held()
    assert without_state == any("not known any more" in note for note in pushed.notes)

    again = await pull(root, flags, **BOTH)

    assert (1, 1) == (again.downloaded, again.sidecars)
    assert b"1,2" == (root / RUN / "OUTPUT/fit.csv").read_bytes()


async def test_an_edit_is_reported_and_neither_sent_nor_overwritten(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    made = await filled(server, web)
    await pull(root, flags, **BOTH)
    edited = {f"{RUN}/OUTPUT/fit.csv": b"9,9", "s/e/a/scan.nii.flywheel.json": b"{}"}
    for path, content in edited.items():
        (root / path).write_bytes(content)
    await web.upload(f"analyses/{made}", {"fit.csv": b"3,4,5"})

    for mode in (Mode.DOWN, Mode.UP, Mode.BOTH):
        report = await run(mode, root, flags, **({} if mode is Mode.UP else BOTH))

        assert sorted(edited) == sorted(one.path for one in report.difference_list), mode
        assert Exit.DIFFERENCES == report.exit_code
        assert (0, 0) == (report.uploaded, report.downloaded)
    assert edited == {path: (root / path).read_bytes() for path in edited}

    for path in edited:
        (root / path).unlink()
    report = await pull(root, flags, **BOTH)
    assert (1, 1) == (report.downloaded, report.sidecars)
    assert report.ok
    assert b"3,4,5" == (root / RUN / "OUTPUT/fit.csv").read_bytes()


async def test_only_what_changed_on_the_server_is_written_anew(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    made = await filled(server, web)
    await pull(root, flags, **BOTH)
    sidecar = root / "s/e/a/scan.nii.flywheel.json"
    was = sidecar.read_bytes()
    acquisition = await the_id(web, "acquisitions", "a")
    where = f"/acquisitions/{acquisition}/files/scan.nii"
    await web.ask("PATCH", f"{where}/info", json={"set": {"TR": 3.0}})
    await web.upload(f"analyses/{made}", {"fit.csv": b"3,4,5"})

    report = await pull(root, flags, metadata_files=True)

    assert 3.0 == json.loads(sidecar.read_bytes())["info"]["TR"]
    assert (0, 1) == (report.downloaded, report.sidecars)
    assert [was] == in_trash(root)

    report = await pull(root, flags, analyses=True)
    assert (1, 0) == (report.downloaded, report.sidecars)
    assert b"3,4,5" == (root / RUN / "OUTPUT/fit.csv").read_bytes()


async def test_an_input_comes_at_the_version_that_it_had(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    acquisition = await the_id(web, "acquisitions", "a")
    await web.upload(f"acquisitions/{acquisition}", {"scan.nii": b"another scan"})

    report = await pull(root, flags, analyses=True)

    assert report.ok
    assert b"scan" == (root / RUN / "INPUT/scan.nii").read_bytes()
    assert b"another scan" == (root / "s/e/a/scan.nii").read_bytes()


async def test_a_lost_record_is_found_again_without_a_byte(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    first = await pull(root, flags, **BOTH)
    for file in (root / ".fwsync").glob("state.db*"):
        file.unlink()
    before = grown(root)

    report = await pull(root, flags, **BOTH)

    assert (0, 0, 0) == (report.downloaded, report.sidecars, report.bytes)
    assert report.ok
    assert before == grown(root)
    (root / "s/e/a/scan.nii.flywheel.json").unlink()
    assert 1 == (await pull(root, flags, **BOTH)).sidecars
    assert 12 == first.sidecars


async def test_a_file_of_the_user_or_of_the_project_has_its_name_first(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await server.put({**TREE, "s/e/a/notes.txt.flywheel.json": b"of the project"})
    (root / "s/e/a").mkdir(parents=True)
    (root / "s/e/a/scan.nii.flywheel.json").write_bytes(b"of the user")

    report = await pull(root, flags, metadata_files=True)

    assert b"of the user" == (root / "s/e/a/scan.nii.flywheel.json").read_bytes()
    assert b"of the project" == (root / "s/e/a/notes.txt.flywheel.json").read_bytes()
    assert ["s/e/a/scan.nii.flywheel.json"] == [one.path for one in report.difference_list]
    assert ["s/e/a/notes.txt.flywheel.json" in note for note in report.notes] == [True]


async def test_verify_knows_what_was_written(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    await pull(root, flags, **BOTH)
    assert (await verify(root, flags)).ok
    assert (await verify(root, flags, deep=True)).ok

    edited, gone = f"{RUN}/OUTPUT/log.txt", "s/e/a/a.flywheel.json"
    status = (root / edited).stat()
    (root / edited).write_bytes(b"FINE")
    os.utime(root / edited, ns=(status.st_atime_ns, status.st_mtime_ns))
    (root / gone).unlink()

    for deep in (False, True):
        report = await verify(root, flags, deep=deep)
        assert sorted([edited, gone]) == sorted(one.path for one in report.difference_list)
        assert Exit.DIFFERENCES == report.exit_code


async def test_what_is_gone_from_the_server_stays_unless_deletions_come_down(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    made = await filled(server, web)
    await pull(root, flags, **BOTH)
    await web.ask("DELETE", f"/analyses/{made}")
    await server.delete("s/e/a/notes.txt")

    report = await pull(root, flags, **BOTH)

    assert b"fine" == (root / RUN / "OUTPUT/log.txt").read_bytes()
    assert 0 == report.deleted
    assert any("gone from the server" in note for note in report.notes)

    report = await pull(root, flags, **BOTH, delete_down=True, max_delete="3")
    assert Exit.DIFFERENCES == report.exit_code
    assert b"fine" == (root / RUN / "OUTPUT/log.txt").read_bytes()

    report = await pull(root, flags, **BOTH, delete_down=True, max_delete="100%")
    assert not (root / RUN / "OUTPUT/log.txt").exists()
    assert not (root / "s/e/a/notes.txt.flywheel.json").exists()
    assert b"fine" in in_trash(root)
    assert report.ok
    assert [] == (await pull(root, flags, **BOTH, delete_down=True)).notes


async def test_a_plan_says_what_would_be_written_and_writes_nothing(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)

    planned = await asyncio.to_thread(
        runs.run_plan, Mode.DOWN, root, "lab/aging", {**flags, **BOTH}
    )

    assert 4 + 3 + 12 == len(planned.plan.carry_out)
    assert not root.exists()


async def test_what_is_moved_with_its_folder_is_still_ours(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    await pull(root, flags, **BOTH)
    (root / "s").rename(root / "t")

    report = await run(Mode.UP, root, flags)

    assert (0, 3) == (report.uploaded, report.renamed)  # the files themselves
    assert not any(SUFFIX in path or ANALYSES in path for path in await server.held())


async def test_what_gets_another_label_moves_here_without_a_byte(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    await pull(root, flags, **BOTH)
    subject = await the_id(web, "subjects", "s")
    answer = await web.ask("PUT", f"/subjects/{subject}", json={"label": "t", "code": "t"})
    assert 200 == answer.status

    report = await pull(root, flags, **BOTH)

    found = grown(root)
    assert report.ok
    assert 0 == report.bytes
    assert not (root / "s").exists()
    assert b"fine" == found[f"t{RUN[1:]}/OUTPUT/log.txt"]
    assert "t" == sidecars(root)["t/t.flywheel.json"]["label"]
    assert 12 == len(sidecars(root))
    again = await pull(root, flags, **BOTH)
    assert (0, 0, 0, []) == (again.downloaded, again.sidecars, again.renamed, again.notes)


async def test_a_file_in_the_folder_of_analyses_is_not_sent(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    await pull(root, flags, analyses=True)
    (root / RUN / "mine.txt").write_bytes(b"mine")

    report = await run(Mode.UP, root, flags)

    assert [f"{RUN}/mine.txt"] == [one.path for one in report.problem_list]
    assert 0 == report.uploaded


async def test_a_name_is_noted_before_a_file_stands_there(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    await pull(root, flags, **BOTH)
    with sqlite3.connect(root / ".fwsync/state.db") as db:  # as a kill before the record leaves it
        db.execute("DELETE FROM extra")
    db.close()

    pushed = await run(Mode.UP, root, flags)
    report = await pull(root, flags, **BOTH)

    assert (0, 0) == (pushed.uploaded, len(pushed.problem_list))
    assert (0, 0, 0) == (report.downloaded, report.sidecars, report.skipped)
    assert report.ok


async def test_the_full_layout_has_them_where_the_platform_has_them(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)

    report = await pull(root, flags, **BOTH, layout="full")

    prefix = "flywheel/aging/"
    theirs = {
        path.removeprefix(prefix): told for path, told in (await exported(server, web)).items()
    }
    found = sidecars(root)
    inputs = "SUBJECTS/s/SESSIONS/e/ANALYSES/fit 1/INPUT/"
    assert theirs == found
    assert b"scan" == (root / f"{inputs}scan.nii").read_bytes()
    assert report.ok
    again = await pull(root, flags, **BOTH)
    assert (0, 0, 0, 0) == (again.downloaded, again.sidecars, again.uploaded, again.skipped)
