"""The official SDK sends files, and the record is asked what arrived."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from tests.conformance.place import Place
from tests.conformance.sdk.process import Sdk
from tests.house.house import Ground

#: By a form, or by a signed URL: the SDK's own switch.
WAYS = pytest.mark.parametrize("signed", [False, True], ids=["form", "signed"])


def digest(content: bytes) -> str:
    return f"v0-sha384-{hashlib.sha384(content).hexdigest()}"


def asked(ground: Ground, method: str, route: str) -> int:
    """How often a route was asked, since requests were forgotten."""
    found = [one for one in ground.requests() if one["method"] == method]
    return len([one for one in found if one["route"].endswith(route)])


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "grüße a#b.txt"
    path.write_bytes(b"hello\n")
    return path


@pytest.mark.row("upload-form")
def test_a_file_goes_up_by_a_form(sdk: Sdk, ground: Ground, place: Place, text: Path) -> None:
    ground.forget_requests()
    (entry,) = sdk("uploads.by_form", container=place.acquisition, path=text)

    assert (text.name, 6, 1) == (entry["name"], entry["size"], entry["version"])
    assert digest(b"hello\n") == entry["hash"]
    assert ("text", "text/plain") == (entry["type"], entry["mimetype"])
    assert {"id": place.acquisition, "type": "acquisition"} == entry["parent_ref"]
    assert place.session == entry["parents"]["session"]
    assert {"id": "admin@sandbox.local", "type": "user"} == {
        name: entry["origin"][name] for name in ("id", "type")
    }
    (stored,) = place.versions(place.acquisition)
    assert (text.name, 6, entry["file_id"]) == (stored["name"], stored["size"], stored["file_id"])
    assert 1 == asked(ground, "POST", "/files")


@pytest.mark.row("signed-ticket", "signed-put", "signed-finalize")
def test_a_file_goes_up_by_a_signed_url(sdk: Sdk, ground: Ground, place: Place, text: Path) -> None:
    ground.forget_requests()
    (entry,) = sdk("uploads.signed", container=place.acquisition, path=text)

    assert (text.name, 6, 1, "text") == tuple(
        entry[name] for name in ("name", "size", "version", "type")
    )
    (stored,) = place.versions(place.acquisition)
    assert stored["sha384"].endswith(hashlib.sha384(b"hello\n").hexdigest())
    # A ticket, the bytes, the end: and not the form that the SDK falls back to.
    assert 2 == asked(ground, "POST", "/files")
    assert 1 == len([one for one in ground.requests() if one["method"] == "PUT"])


@WAYS
@pytest.mark.row("upload-form", "signed-finalize")
def test_an_empty_file_goes_up(sdk: Sdk, place: Place, tmp_path: Path, signed: bool) -> None:
    empty = tmp_path / "empty.dat"
    empty.touch()

    how = "signed" if signed else "by_form"
    (entry,) = sdk(f"uploads.{how}", container=place.acquisition, path=empty)

    assert ("empty.dat", 0) == (entry["name"], entry["size"])
    assert [0] == [one["size"] for one in place.versions(place.acquisition)]


@WAYS
@pytest.mark.row("upload-form", "signed-finalize")
def test_files_hang_on_every_level(sdk: Sdk, place: Place, text: Path, signed: bool) -> None:
    levels = [place.project, place.subject, place.session, place.acquisition]

    entries = sdk("uploads.on_every_level", containers=levels, path=text, signed=signed)

    assert ["project", "subject", "session", "acquisition"] == [
        one["parent_ref"]["type"] for one in entries
    ]
    assert levels == [one["parent_ref"]["id"] for one in entries]
    assert [[text.name]] * 4 == [[one["name"] for one in place.versions(at)] for at in levels]


@WAYS
@pytest.mark.row("upload-several")
def test_several_files_go_up_in_one_call(
    sdk: Sdk, ground: Ground, place: Place, tmp_path: Path, signed: bool
) -> None:
    contents = {f"{number}.dcm": bytes([number]) * number for number in (1, 2, 3)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    ground.forget_requests()

    entries = sdk(
        "uploads.several",
        acquisition=place.acquisition,
        paths=[str(tmp_path / name) for name in contents],
        signed=signed,
    )

    assert [*contents] == [one["name"] for one in entries]
    assert {name: (len(content), digest(content)[10:]) for name, content in contents.items()} == {
        one["name"]: (one["size"], one["sha384"].rpartition("-")[2])
        for one in place.versions(place.acquisition)
    }
    assert (6 if signed else 1) == asked(ground, "POST", "/files")


@WAYS
@pytest.mark.row("upload-form", "signed-finalize")
def test_what_is_in_memory_goes_up(sdk: Sdk, place: Place, signed: bool) -> None:
    entries = sdk("uploads.from_memory", acquisition=place.acquisition, signed=signed)

    assert [
        ("note.txt", 8, "text"),
        ("blob.bin", 4, None),
        ("table.csv", 8, "tabular data"),
    ] == [(one["name"], one["size"], one["type"]) for one in entries]
    stored = {one["name"]: one["sha384"] for one in place.versions(place.acquisition)}
    assert stored["note.txt"].endswith(hashlib.sha384("grüße\n".encode()).hexdigest())
    assert stored["blob.bin"].endswith(hashlib.sha384(b"\0\1\2\3").hexdigest())


@WAYS
@pytest.mark.row("upload-metadata")
def test_what_is_known_of_a_file_comes_with_it(sdk: Sdk, place: Place, signed: bool) -> None:
    (entry,) = sdk("uploads.with_metadata", acquisition=place.acquisition, signed=signed)

    assert {
        "modality": "MR",
        "type": "nifti",
        "info": {"a": {"b": [1, 2.5, None, "ü"]}},
        "tags": ["raw"],
        "classification": {"Intent": ["Structural"]},
    } == {name: entry[name] for name in ("modality", "type", "info", "tags", "classification")}
    assert 5 == entry["size"]


@pytest.mark.row("upload-preserve")
@pytest.mark.parametrize("preserve", [False, True])
def test_metadata_is_kept_when_that_is_asked_for(sdk: Sdk, place: Place, preserve: bool) -> None:
    entry = sdk("uploads.twice", acquisition=place.acquisition, preserve=preserve)

    kept = ({"n": 1}, ["t"], "archive")
    fresh: tuple[object, ...] = ({}, [], "text")
    assert (2, 7) == (entry["version"], entry["size"])
    assert (kept if preserve else fresh) == (entry["info"], entry["tags"], entry["type"])


@pytest.mark.row("signed-put", "file-download")
def test_megabytes_arrive_whole(sdk: Sdk, place: Place, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(random.Random(7).randbytes(5_000_003))

    seen = sdk("uploads.large", acquisition=place.acquisition, path=large)

    assert 5_000_003 == seen["entry"]["size"]
    assert seen["same"] is True


def placement(place: Place, **files: str) -> dict[str, object]:
    """What the placement routes are told; ``files`` names a file for a level."""

    def level(name: str, **fields: object) -> dict[str, object]:
        return fields | ({"files": [{"name": files[name]}]} if name in files else {})

    return {
        "group": {"_id": "lab"},
        "project": level("project", label=place.label),
        "session": level(
            "session",
            label="by hand",
            uid=f"1.{place.project}",
            subject={"code": "sub-07"},
            timestamp="2026-01-02T03:04:05+00:00",
        ),
        "acquisition": level("acquisition", label="T2w", uid=f"2.{place.project}"),
    }


@pytest.mark.row("upload-label", "upload-uid", "upload-reaper")
@pytest.mark.parametrize("how", ["label", "uid", "reaper"])
def test_files_are_placed_where_the_metadata_says(sdk: Sdk, place: Place, how: str) -> None:
    metadata = placement(place, project="p.txt", acquisition="a.dcm")
    contents = {"p.txt": b"project", "a.dcm": b"acquisition", "nowhere.txt": b"dropped"}

    once = sdk("uploads.placed", how=how, metadata=metadata, contents=contents)
    again = sdk("uploads.placed", how=how, metadata=metadata, contents={"a.dcm": b"newer"})

    assert {"p.txt", "a.dcm"} == {one["name"] for one in once}
    assert ["a.dcm"] == [one["name"] for one in again]
    assert ["p.txt"] == [one["name"] for one in place.versions(place.project)]
    (at,) = {one["parent_ref"]["id"] for one in [*once, *again] if one["name"] == "a.dcm"}
    made = place.container(at)
    assert ("acquisition", "T2w") == (made["kind"], made["label"])
    assert "by hand" == place.container(made["parent_id"])["label"]
    assert [1, 2] == [one["version"] for one in place.versions(at)]
