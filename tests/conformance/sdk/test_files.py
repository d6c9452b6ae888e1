"""The official SDK reads and changes what is known of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.place import Place
from tests.conformance.sdk.process import Sdk


@pytest.fixture
def file(sdk: Sdk, place: Place, tmp_path: Path) -> str:
    """The name of a file of the acquisition, which has one version."""
    send(sdk, place.acquisition, tmp_path, "t1.nii.gz", b"first")
    return "t1.nii.gz"


def send(sdk: Sdk, container: str, folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    sdk("uploads.by_form", container=container, path=folder / name)


@pytest.mark.row("files-list", "files-get", "lists-page-object", "lists-filter")
def test_entries_are_the_same_wherever_they_are_read(
    sdk: Sdk, place: Place, file: str, tmp_path: Path
) -> None:
    send(sdk, place.acquisition, tmp_path, "more.txt", b"more")

    seen = sdk("files.entries", acquisition=place.acquisition)

    kept = ("name", "file_id", "version", "size", "hash", "type", "created", "modified")

    def told(entries: list[dict[str, object]]) -> list[dict[str, object]]:
        return sorted(({name: one[name] for name in kept} for one in entries), key=str)

    assert {"t1.nii.gz", "more.txt"} == {one["name"] for one in seen["with it"]}
    assert told(seen["with it"]) == told(seen["listed"]) == told(seen["by id"])
    assert {"t1.nii.gz", "more.txt"} == set(seen["paged"])
    assert 2 == len(seen["paged"])
    assert ["t1.nii.gz"] == seen["by filter"]
    assert (place.acquisition, "acquisition") == (seen["ref"]["id"], seen["ref"]["type"])


@pytest.mark.row("file-info-change", "file-info")
def test_info_of_a_file_is_merged_cut_and_replaced(sdk: Sdk, place: Place, file: str) -> None:
    seen = sdk("files.info", acquisition=place.acquisition, name=file)

    assert [
        {"a": 1, "b": {"c": 2}},
        {"a": 1, "b": {"c": 2, "d": 3}, "e": None},
        {"b": {"c": 2, "d": 3}},
        {"only": [1, "zwei"]},
        {"last": True},
    ] == seen["steps"]
    assert (file, 5, {"last": True}) == tuple(
        seen["whole"][name] for name in ("name", "size", "info")
    )
    assert [1] == [one["version"] for one in place.versions(place.acquisition)]


@pytest.mark.row("file-classification")
def test_a_classification_grows_shrinks_and_is_replaced(sdk: Sdk, place: Place, file: str) -> None:
    steps = sdk("files.classify", acquisition=place.acquisition, name=file)

    assert [
        [None, {"Intent": ["Structural"]}],
        [None, {"Intent": ["Structural", "Localizer"], "Custom": ["mine"]}],
        [None, {"Intent": ["Localizer"], "Custom": ["mine"]}],
        ["MR", {"Measurement": ["T1"]}],
    ] == steps


@pytest.mark.row("file-change")
def test_type_and_modality_change_without_a_new_version(sdk: Sdk, place: Place, file: str) -> None:
    seen = sdk("files.change", acquisition=place.acquisition, name=file)

    assert ("dicom", "CT", 1) == (seen["type"], seen["modality"], seen["version"])


@pytest.mark.row("files-tags")
def test_tags_of_a_file_come_and_go(sdk: Sdk, place: Place, file: str) -> None:
    seen = sdk("files.tags", acquisition=place.acquisition, name=file)

    assert [
        ["x"],
        ["x", "y", "z"],
        ["x", "why", "z"],
        ["why", "z"],
        ["end"],
    ] == seen["steps"]
    assert ["end"] == seen["alone"]


@pytest.mark.row("files-versions", "files-restore", "file-version", "files-get")
def test_an_older_version_is_read_and_restored(
    sdk: Sdk, place: Place, file: str, tmp_path: Path
) -> None:
    send(sdk, place.acquisition, tmp_path, file, b"second")

    seen = sdk("files.versions", acquisition=place.acquisition, name=file)

    assert {1, 2} == {one["version"] for one in seen["before"]}
    assert (1, 5) == (seen["old"]["version"], seen["old"]["size"])
    assert [b"first", b"second"] == seen["contents"]
    assert (3, 5, b"first") == (seen["now"]["version"], seen["now"]["size"], seen["content"])
    assert seen["old"]["file_id"] == seen["now"]["file_id"]
    assert seen["old"]["hash"] == seen["now"]["hash"]
    assert 1 == seen["reloaded"]["version"]
    newest = max(seen["after"], key=lambda one: int(one["version"]))
    assert (3, 1) == (newest["version"], newest["restored_from"])
    assert [1, 2, 3] == sorted(one["version"] for one in place.versions(place.acquisition))


@pytest.mark.row("file-delete", "files-delete")
def test_files_are_deleted_by_name_by_id_and_together(
    sdk: Sdk, place: Place, tmp_path: Path
) -> None:
    for name in ("a", "b", "c", "d", "e"):
        send(sdk, place.acquisition, tmp_path, name, b"x")

    seen = sdk(
        "files.delete",
        acquisition=place.acquisition,
        by_name="a",
        by_id="b",
        together=["c", "d"],
    )

    assert [1, 1, 2] == [one["deleted"] for one in seen["answers"]]
    assert 404 == seen["gone"]["status"]
    assert ["e"] == seen["left"]
    alive = {one["name"] for one in place.versions(place.acquisition) if not one["deleted"]}
    assert {"e"} == alive


@pytest.mark.row("delete-reason")
def test_a_deletion_needs_a_reason_where_there_is_an_audit_trail(
    sdk: Sdk, place: Place, file: str, switch: Callable[..., None]
) -> None:
    switch(audit_trail=True)

    seen = sdk(
        "files.delete_with_reason",
        acquisition=place.acquisition,
        name=file,
        reason="duplicate_data",
    )

    assert seen["without"]["status"] in (400, 422)
    assert 1 == seen["with"]["deleted"]
    assert [] == [one for one in place.versions(place.acquisition) if not one["deleted"]]


@pytest.mark.row("files-move")
def test_a_file_moves_under_another_name(sdk: Sdk, place: Place, file: str) -> None:
    seen = sdk(
        "files.move", acquisition=place.acquisition, name=file, session=place.session, new="at.nii"
    )

    assert seen["id"] == seen["there"]["file_id"]
    assert {"id": place.session, "type": "session"} == seen["there"]["parent_ref"]
    assert b"first" == seen["bytes"]
    assert [] == seen["left"]


@pytest.mark.row("files-info", "files-change")
def test_a_file_is_read_and_classified_by_its_id_alone(sdk: Sdk, place: Place, file: str) -> None:
    seen = sdk("files.by_id", acquisition=place.acquisition, name=file)

    assert {"a": 1, "b": {"c": 2}} == seen["info"]
    assert ("MR", {"Intent": ["Structural"]}, 1) == tuple(
        seen["file"][name] for name in ("modality", "classification", "version")
    )
