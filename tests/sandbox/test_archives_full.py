"""Archives with levels, sidecars and analyses; the lines of targets; the summary."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sandbox.api import Api, Tree

Json = dict[str, Any]
SESSION = "flywheel/Proj/SUBJECTS/sub-01/SESSIONS/ses-01"
SCAN = f"{SESSION}/ACQUISITIONS/acq-01/FILES/scan.nii"
ANALYSIS = f"{SESSION}/ANALYSES/an 1"


async def ticket(api: Api, level: str, container: str, **params: str) -> Json:
    body = {"nodes": [{"level": level, "_id": container}]}
    made: Json = await api.post("/download", body, **params)
    return made


async def targets(api: Api, tree: Tree, body: Json | None = None, **params: str) -> list[Json]:
    body = {"nodes": [{"level": "project", "_id": tree.project}], **(body or {})}
    answer = await api.ask("POST", "/download/targets", json=body, params=params)
    assert answer.status == 200, answer
    return [json.loads(line) for line in answer.body.splitlines()]


@pytest.fixture
async def analysis(api: Api, tree: Tree) -> str:
    """A scan on the acquisition; on the session an analysis made from it, with an output."""
    where = f"acquisitions/{tree.acquisition}"
    await api.upload(where, {"scan.nii": b"scan"}, '{"info": {"TR": 2}, "tags": ["t"]}')
    inputs = [{"type": "acquisition", "id": tree.acquisition, "name": "scan.nii"}]
    body = {"label": "an 1", "inputs": inputs}
    made: str = (await api.post(f"/sessions/{tree.session}/analyses", body))["_id"]
    await api.upload(f"analyses/{made}", {"out.txt": b"output"})
    return made


@pytest.mark.row("download-full")
async def test_analyses_and_sidecars_come_only_when_asked_for(
    api: Api, tree: Tree, analysis: str
) -> None:
    plain = await ticket(api, "project", tree.project, type="full")
    more = await ticket(api, "project", tree.project, type="full", analyses="True")
    classic = await ticket(api, "project", tree.project, analyses="true", metadata="true")

    assert await api.tar(plain["ticket"]) == {SCAN: b"scan"}
    assert (plain["file_cnt"], plain["size"]) == (1, 4)
    assert await api.tar(more["ticket"]) == {
        f"{ANALYSIS}/INPUT/scan.nii": b"scan",
        f"{ANALYSIS}/OUTPUT/out.txt": b"output",
        SCAN: b"scan",
    }
    assert (more["file_cnt"], more["size"]) == (3, 14)
    assert list(await api.tar(classic["ticket"])) == [
        "scitran/grp/Proj/sub-01/ses-01/acq-01/scan.nii"
    ]


@pytest.mark.row("download-full")
async def test_sidecars_stand_beside_what_they_describe(
    api: Api, tree: Tree, analysis: str
) -> None:
    await api.ask("PUT", f"/sessions/{tree.session}", json={"info": {"a": 1}, "uid": "1.2"})
    made = await ticket(api, "project", tree.project, type="full", metadata="true", analyses="1")
    archive = await api.tar(made["ticket"])
    top = "flywheel/Proj"
    sidecar = ".flywheel.json"
    session = json.loads(archive[f"{SESSION}/ses-01{sidecar}"])
    scan = json.loads(archive[f"{SCAN}{sidecar}"])

    assert (made["file_cnt"], made["size"]) == (3, 14)
    assert list(archive) == [
        f"{top}/Proj{sidecar}",
        f"{top}/SUBJECTS/sub-01/sub-01{sidecar}",
        f"{SESSION}/ses-01{sidecar}",
        f"{ANALYSIS}/an 1{sidecar}",
        f"{ANALYSIS}/INPUT/scan.nii",
        f"{ANALYSIS}/INPUT/scan.nii{sidecar}",
        f"{ANALYSIS}/OUTPUT/out.txt",
        f"{ANALYSIS}/OUTPUT/out.txt{sidecar}",
        f"{SESSION}/ACQUISITIONS/acq-01/acq-01{sidecar}",
        SCAN,
        f"{SCAN}{sidecar}",
    ]
    assert (session["label"], session["info"], session["uid"]) == ("ses-01", {"a": 1}, "1.2")
    assert (scan["name"], scan["info"], scan["tags"]) == ("scan.nii", {"TR": 2}, ["t"])
    left_out = {
        *("_id", "parents", "collections", "group", "project", "subject", "session"),
        *("acquisition", "origin", "job", "inputs", "files"),
    }
    assert not left_out & (session.keys() | scan.keys())


@pytest.mark.row("download-full")
async def test_containers_without_files_have_no_sidecar(api: Api, tree: Tree) -> None:
    empty = await api.make("subject", "empty", project=tree.project)
    await api.make("session", "empty", project=tree.project, subject={"_id": empty})
    await api.upload(f"subjects/{tree.subject}", {"s.txt": b"s"})
    last = await api.make("subject", "last", project=tree.project)
    await api.upload(f"subjects/{last}", {"l.txt": b"l"})
    made = await ticket(api, "project", tree.project, type="full", metadata="true", prefix="")

    assert [name for name in await api.tar(made["ticket"]) if name.endswith(".json")] == [
        "Proj/Proj.flywheel.json",
        "Proj/SUBJECTS/sub-01/sub-01.flywheel.json",
        "Proj/SUBJECTS/sub-01/FILES/s.txt.flywheel.json",
        "Proj/SUBJECTS/last/last.flywheel.json",
        "Proj/SUBJECTS/last/FILES/l.txt.flywheel.json",
    ]


@pytest.mark.row("download-full", "download-classic")
async def test_an_analysis_is_a_node_of_its_own(api: Api, tree: Tree, analysis: str) -> None:
    classic = await ticket(api, "analysis", analysis)
    full = await ticket(api, "analysis", analysis, type="full")
    answer = await api.ask("GET", "/download", params={"ticket": classic["ticket"]})

    assert classic["filename"] == "analysis_an 1.tar"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="analysis_an 1.tar"'
    assert (classic["file_cnt"], classic["size"]) == (2, 10)
    assert await api.tar(classic["ticket"]) == {
        "an 1/input/scan.nii": b"scan",
        "an 1/output/out.txt": b"output",
    }
    assert list(await api.tar(full["ticket"])) == [
        f"{ANALYSIS}/INPUT/scan.nii",
        f"{ANALYSIS}/OUTPUT/out.txt",
    ]


async def test_an_input_keeps_its_version_in_the_archive(
    api: Api, tree: Tree, analysis: str
) -> None:
    await api.upload(f"acquisitions/{tree.acquisition}", {"scan.nii": b"a newer scan"})
    archive = await api.tar((await ticket(api, "analysis", analysis))["ticket"])

    assert archive["an 1/input/scan.nii"] == b"scan"


async def test_inputs_of_one_name_stand_side_by_side(api: Api, tree: Tree) -> None:
    inputs = []
    for kind in ("session", "acquisition"):
        container = getattr(tree, kind)
        await api.upload(f"{kind}s/{container}", {"a.txt": kind.encode()})
        inputs.append({"type": kind, "id": container, "name": "a.txt"})
    body = {"label": "an", "inputs": inputs}
    made = (await api.post(f"/sessions/{tree.session}/analyses", body))["_id"]

    assert await api.tar((await ticket(api, "analysis", made))["ticket"]) == {
        "an/input/a.txt": b"session",
        "an/input/a.txt_0": b"acquisition",
    }


async def test_what_one_may_not_read_does_not_come_by_way_of_an_analysis(
    api: Api, user: Api, tree: Tree, analysis: str
) -> None:
    name = (await user.get("/users/self"))["_id"]
    mine = await api.make("project", "Mine", group="grp")
    await api.post(f"/projects/{mine}/permissions", {"_id": name, "access": "ro"})
    inputs = [{"type": "acquisition", "id": tree.acquisition, "name": "scan.nii"}]
    body = {"label": "an", "inputs": inputs}
    made = (await api.post(f"/projects/{mine}/analyses", body))["_id"]
    await api.upload(f"analyses/{made}", {"out.txt": b"o"})
    alone = await ticket(user, "analysis", made)
    whole = await ticket(user, "project", mine, type="full", analyses="true", prefix="")

    assert (alone["file_cnt"], whole["file_cnt"]) == (1, 1)
    assert list(await user.tar(alone["ticket"])) == ["an/output/out.txt"]
    assert list(await user.tar(whole["ticket"])) == ["Mine/ANALYSES/an/OUTPUT/out.txt"]


@pytest.mark.row("download-targets")
async def test_targets_have_a_line_for_each_file_and_sidecar(
    api: Api, tree: Tree, analysis: str
) -> None:
    params = {"type": "full", "prefix": "", "analyses": "True", "metadata": "True"}
    lines = await targets(api, tree, None, **params)
    made = await ticket(api, "project", tree.project, **params)
    archive = await api.tar(made["ticket"])
    sidecars = [line for line in lines if line["download_type"] == "metadata_sidecar"]
    (output,) = [line for line in lines if line.get("filename") == "out.txt"]

    assert {line["dst_path"]: line["size"] for line in lines} == {
        name: len(content) for name, content in archive.items()
    }
    assert len(lines) - len(sidecars) == made["file_cnt"]
    for line in sidecars:
        assert json.loads(archive[line["dst_path"]]) == line["metadata"]
        assert line["filename"] == line["dst_path"].rpartition("/")[2]
    assert (output["container_id"], output["container_type"]) == (analysis, "analysis")
    assert output["filetype"] == "text"


@pytest.mark.row("download-targets")
async def test_a_change_of_metadata_moves_the_time_of_its_target(
    api: Api, tree: Tree, analysis: str
) -> None:
    params = {"type": "full", "prefix": "", "metadata": "True"}
    before = {
        line["dst_path"]: line["modified"] for line in await targets(api, tree, None, **params)
    }
    await api.ask("PUT", f"/sessions/{tree.session}", json={"info": {"a": 1}})
    after = {
        line["dst_path"]: line["modified"] for line in await targets(api, tree, None, **params)
    }
    session = await api.get(f"/sessions/{tree.session}")

    assert [path for path in after if after[path] != before[path]] == [
        "Proj/SUBJECTS/sub-01/SESSIONS/ses-01/ses-01.flywheel.json"
    ]
    assert session["modified"] in after.values()


@pytest.mark.row("download-targets")
async def test_targets_take_filters_as_the_cli_writes_them(
    api: Api, tree: Tree, analysis: str
) -> None:
    await api.upload(f"sessions/{tree.session}", {"notes.txt": b""})
    plus = await targets(api, tree, {"filters": [{"types": {"+": ["nifti"]}}]})
    minus = await targets(api, tree, {"filters": [{"types": {"-": ["nifti"]}}]})
    none = await targets(api, tree, {"filters": [{"types": {"+": ["dicom"]}}]})

    assert [line["filename"] for line in plus] == ["scan.nii"]
    assert [line["filename"] for line in minus] == ["notes.txt"]
    assert none == []


@pytest.mark.row("download-summary")
async def test_the_summary_counts_files_by_type(api: Api, tree: Tree, analysis: str) -> None:
    await api.upload(f"subjects/{tree.subject}", {"a.dcm": b"1" * 100, "b.dcm": b"2" * 246})
    await api.upload(f"projects/{tree.project}", {"odd": b"x"})
    nodes = [{"level": "project", "_id": tree.project}]
    found = await api.post("/download/summary", nodes)
    below = await api.post("/download/summary", [{"level": "session", "_id": tree.session}])

    assert found == {
        "dicom": {"_id": "dicom", "count": 2, "mb_total": pytest.approx(0.00033, abs=1e-6)},
        "nifti": {"_id": "nifti", "count": 1, "mb_total": pytest.approx(4 / (1 << 20))},
        "null": {"_id": "null", "count": 1, "mb_total": pytest.approx(1 / (1 << 20))},
    }
    assert below == {"nifti": found["nifti"]}
    alone = await api.post("/download/summary", [{"level": "analysis", "_id": analysis}])
    assert {kind: one["count"] for kind, one in alone.items()} == {"text": 1}
    assert await api.post("/download/summary", {"nodes": nodes}) == found
    assert await api.post("/download/summary", []) == {}
    assert (await api.ask("POST", "/download/summary", json={"nodes": 1})).status == 400
