"""The official SDK keeps analyses: containers with inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.place import Place
from tests.conformance.sdk.process import Sdk


@pytest.mark.row("analyses-create", "analyses-get", "analyses-inputs", "analyses-outputs")
def test_an_analysis_has_inputs_outputs_and_a_place(sdk: Sdk, place: Place, tmp_path: Path) -> None:
    source = tmp_path / "t1.nii.gz"
    source.write_bytes(b"nifti")
    (file,) = sdk("uploads.by_form", container=place.acquisition, path=source)

    seen = sdk(
        "analyses.story",
        session=place.session,
        acquisition=place.acquisition,
        name="t1.nii.gz",
        folder=tmp_path,
    )

    again, me = seen["again"], seen["id"]
    assert "Analysis" in seen["model"]
    assert ("Skull strip", "by hand") == (again["label"], again["description"])
    assert {"id": place.session, "type": "session"} == again["parent"]
    assert (place.session, place.project) == (
        again["parents"]["session"],
        again["parents"]["project"],
    )
    assert [("t1.nii.gz", file["file_id"], 1)] == [
        (one["name"], one["file_id"], one["version"]) for one in again["inputs"]
    ]
    assert {"mask.nii", "log.txt"} == {one["name"] for one in again["files"]}
    assert ["mask.nii", "log.txt"] == [seen[way][0]["name"] for way in ("formed", "signed")]
    assert ["looks right"] == [one["text"] for one in again["notes"]]
    assert (["done"], {"k": 2}) == (again["tags"], again["info"])
    assert b"mask" == seen["downloaded"]
    assert file["file_id"] == seen["input"][0]["file_id"]
    assert [me] == seen["of session"] == seen["with session"] == seen["all"]
    assert "analysis" == place.container(me)["kind"]
    assert {"mask.nii": 4, "log.txt": 8} == {one["name"]: one["size"] for one in place.versions(me)}


@pytest.mark.row("analyses-create")
def test_an_analysis_hangs_on_any_level(sdk: Sdk, place: Place) -> None:
    levels = ["project", "subject", "session", "acquisition"]

    made = sdk("analyses.on_levels", containers=[getattr(place, level) for level in levels])

    for level, (parent, parents) in zip(levels, made, strict=True):
        assert {"id": getattr(place, level), "type": level} == parent
        assert getattr(place, level) == parents[level]


@pytest.mark.row("analyses-delete")
def test_an_analysis_is_deleted(sdk: Sdk, place: Place) -> None:
    seen = sdk("analyses.delete", session=place.session)

    assert (["short-lived"], [], 404) == (seen["before"], seen["after"], seen["gone"]["status"])


@pytest.mark.row("analyses-nested")
def test_an_analysis_is_reached_by_way_of_its_session(sdk: Sdk, place: Place) -> None:
    seen = sdk("analyses.nested", session=place.session)

    assert "renamed" == seen["seen"]["label"]
    assert ["noted"] == [one["text"] for one in seen["seen"]["notes"]]
    assert ["out.txt"] == [one["name"] for one in seen["seen"]["files"]]
    assert b"output" == seen["content"]
    assert [] == (seen["notes"] or [])
