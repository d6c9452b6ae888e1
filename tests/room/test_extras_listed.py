"""Which sidecars and analyses are listed, under which paths, and what a list may leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fwsync.errors import Exit
from fwsync.metadata.sidecars import SUFFIX
from fwsync.model import Mode
from fwsync.remotes import flywheel_extras
from tests.room.beside import (  # fixtures too
    BOTH,
    RUN,
    TREE,
    analyse,
    blockbuster,
    filled,
    flags,
    pull,
    root,
    run,
    sidecars,
    the_id,
    web,
)
from tests.room.rooms import Ground, grown
from tests.sandbox.api import Api

__all__ = ["blockbuster", "flags", "root", "web"]  # fixtures


async def test_what_is_not_selected_has_no_sidecar(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await server.put({**TREE, "other/e/a/x.nii": b"x"})

    await pull(root, flags, metadata_files=True, only_subjects=["s"])

    assert "s/e/a/scan.nii.flywheel.json" in sidecars(root)
    assert [] == [path for path in sidecars(root) if path.startswith("other")]
    everything = await pull(root, flags, metadata_files=True)
    assert everything.ok
    assert 4 == sum(path.startswith("other") for path in sidecars(root))


async def test_analyses_of_one_label_keep_their_folders(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    first = await filled(server, web)
    second = await analyse(server, web)
    await web.upload(f"analyses/{second}", {"log.txt": b"second"})
    await pull(root, flags, analyses=True)
    twin = f"{RUN}%id={second}"
    assert b"fine" == (root / RUN / "OUTPUT/log.txt").read_bytes()
    assert b"second" == (root / twin / "OUTPUT/log.txt").read_bytes()

    await web.ask("DELETE", f"/analyses/{first}")
    report = await pull(root, flags, analyses=True, delete_down=True, max_delete="100%")

    assert 0 == report.downloaded
    assert b"second" == (root / twin / "OUTPUT/log.txt").read_bytes()
    assert not (root / RUN).exists()


async def test_a_selection_holds_for_files_of_analyses(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)

    await pull(root, flags, analyses=True, only_types=["tabular data"])

    assert [f"{RUN}/OUTPUT/fit.csv"] == list(grown(root))
    report = await pull(root, flags, **BOTH)
    assert report.ok
    assert [] == report.notes
    assert len(TREE) + 3 + 12 == len(grown(root))


async def test_a_filter_holds_for_what_is_written(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)

    await pull(root, flags, **BOTH, exclude=["*.txt", "*.csv.flywheel.json"])

    found = grown(root)
    assert [] == [path for path in found if ".txt" in path or path.endswith(f".csv{SUFFIX}")]
    assert f"{RUN}/OUTPUT/fit.csv" in found
    report = await run(Mode.BOTH, root, flags, delete_up=True, delete_down=True)
    assert (0, 0) == (report.uploaded, report.deleted)


async def test_what_could_not_be_listed_is_a_problem_and_nothing_is_gone(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    await pull(root, flags, **BOTH)
    before = grown(root)
    server.sandbox.site.faults.add(
        {
            "id": "hidden",
            "match": {"path": "/projects/*/all/analyses"},
            "action": {"status": 403},
        }
    )

    report = await pull(root, flags, **BOTH, delete_down=True)

    assert ["analyses" in one.message for one in report.problem_list] == [True]
    assert Exit.DIFFERENCES == report.exit_code
    assert 0 == report.deleted
    assert before == grown(root)


async def test_a_file_of_an_analysis_that_does_not_come_is_a_problem_and_others_come(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    server.sandbox.site.faults.add(
        {
            "id": "gone",
            "match": {"path": "/acquisitions/*/files/scan.nii"},
            "action": {"status": 404},
        }
    )

    report = await pull(root, flags, analyses=True)

    assert f"{RUN}/INPUT/scan.nii" in [one.path for one in report.problem_list]
    assert b"1,2" == (root / RUN / "OUTPUT/fit.csv").read_bytes()
    server.sandbox.site.faults.clear()
    assert (await pull(root, flags, analyses=True)).ok
    assert b"scan" == (root / RUN / "INPUT/scan.nii").read_bytes()


async def test_a_long_name_has_a_sidecar_too(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    name = "x" * 250 + ".nii"
    await server.put({f"s/e/a/{name}": b"x"})

    report = await pull(root, flags, metadata_files=True)

    assert report.ok
    assert (1 + 4, 1) == (report.sidecars, report.downloaded)
    assert 0 == (await run(Mode.UP, root, flags)).uploaded
    assert 0 == (await pull(root, flags, metadata_files=True)).sidecars


@pytest.mark.parametrize("when", ["asked", "never"])
async def test_lists_that_leave_info_out_cost_one_request_more(
    server: Ground, web: Api, flags: dict[str, Any], root: Path, when: str
) -> None:
    await filled(server, web)
    session = await the_id(web, "sessions", "e")
    await web.ask("PATCH", f"/sessions/{session}/info", json={"set": {"weather": "fair"}})
    await web.ask("PATCH", "/sandbox/switches", json={"info_in_lists": when})

    report = await pull(root, flags, **BOTH)

    assert report.ok
    assert 12 == report.sidecars
    found = sidecars(root)
    assert {"TR": 2.0, "é": ["ü"]} == found["s/e/a/scan.nii.flywheel.json"]["info"]
    assert {"weather": "fair"} == found["s/e/e.flywheel.json"]["info"]
    assert {"model": "linear"} == found[f"{RUN}/fit 1.flywheel.json"]["info"]
    again = await pull(root, flags, **BOTH)
    assert (0, 0, []) == (again.downloaded, again.sidecars, again.notes)


async def test_metadata_that_the_server_does_not_give_are_a_problem(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    await web.ask("PATCH", "/sandbox/switches", json={"info_in_lists": "never"})
    server.sandbox.site.faults.add(
        {"id": "old", "match": {"path": "/download/targets"}, "action": {"status": 404}}
    )

    report = await pull(root, flags, metadata_files=True)

    assert 1 == len(report.problem_list)
    assert "s/e/a/scan.nii.flywheel.json" not in sidecars(root)
    assert b"scan" == (root / "s/e/a/scan.nii").read_bytes()


async def test_an_export_that_is_one_endless_line_is_a_problem_and_fills_no_memory(
    server: Ground, web: Api, flags: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(server, web)
    await web.ask("PATCH", "/sandbox/switches", json={"info_in_lists": "never"})
    monkeypatch.setattr(flywheel_extras, "MOST_OF_A_LINE", 100)
    cut = {"id": "cut", "match": {"path": "/download/targets"}, "action": {"cut_at": 150}}
    server.sandbox.site.faults.add(cut)

    report = await pull(root, flags, metadata_files=True)

    assert ["a line without an end"] == [
        one.message.rpartition(": ")[2] for one in report.problem_list
    ]
    assert b"scan" == (root / "s/e/a/scan.nii").read_bytes()


async def test_lists_of_one_entry_a_page_are_read_to_their_end(
    server: Ground, web: Api, flags: dict[str, Any], root: Path
) -> None:
    await filled(server, web)
    await analyse(server, web)
    await web.ask("PATCH", "/sandbox/switches", json={"page_limit": 1})

    report = await pull(root, flags, **BOTH)

    assert report.ok
    assert len(TREE) + 6 == report.downloaded
    assert 0 == (await pull(root, flags, **BOTH)).downloaded
