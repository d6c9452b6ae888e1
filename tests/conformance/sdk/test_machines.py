"""The official SDK as a device, and as one that packs many files into one."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from tests.conformance.place import Place
from tests.conformance.sdk.process import Sdk


@pytest.mark.row(
    "devices-create",
    "devices-list",
    "devices-status",
    "devices-self",
    "devices-change",
    "devices-keys",
    "auth-device",
)
def test_a_device_works_and_goes(sdk: Sdk) -> None:
    seen = sdk("machines.device", host=sdk.key.rpartition(":")[0] + ":")

    made = seen["made"]
    assert ("scanner 3", "reaper") == (made["label"], made["type"])
    assert [made["id"]] == [one["id"] for one in seen["listed"]]
    assert [None] == [one.get("key") for one in seen["listed"]]
    assert (True, made["id"]) == (seen["who"]["is_device"], seen["who"]["origin"]["id"])
    assert (60, "1.2", {"a": 1}) == tuple(
        seen["itself"][name] for name in ("interval", "version", "info")
    )
    assert made["key"] == seen["itself"]["key"]
    assert ("error", ["disk full"]) == (seen["failing"]["status"], seen["failing"]["errors"])
    assert ("ok", []) == (seen["fine"]["status"], seen["fine"]["errors"])
    assert "spare" == seen["second"]["label"]
    assert made["id"] == seen["by spare"]["origin"]["id"]
    assert 401 == seen["ended"]["status"]
    assert seen["disabled"]["disabled"] is True
    assert seen["disabled"].get("key") is None
    assert made["id"] not in seen["left"]


def events(text: str) -> list[tuple[str, Any]]:
    """Name and data of each event."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest.mark.row("packfile-start", "packfile-add", "packfile-end", "packfile-zip")
def test_many_files_become_one_zip(sdk: Sdk, place: Place) -> None:
    contents = {f"{number}.dcm": b"slice %d" % number for number in range(3)}
    metadata = {
        "project": {"_id": place.project},
        "session": {"label": "ses-01", "subject": {"code": "sub-01"}},
        "acquisition": {"label": "T1: w/ t2* x ", "timestamp": "2026-01-02T03:04:06Z"},
        "packfile": {"type": "dicom"},
    }

    text = sdk("machines.packfile", project=place.project, contents=contents, metadata=metadata)

    told = events(text)
    assert ["progress"] * 3 + ["result"] == [name for name, _ in told]
    assert [(1, 3), (2, 3), (3, 3)] == [(data["done"], data["total"]) for _, data in told[:-1]]
    assert 100.0 == told[-2][1]["percent"]
    result = told[-1][1]
    assert place.session == result["session_id"]
    assert "T1 w t2 x.zip" == result["info"]["name"]
    assert "dicom" == result["info"]["type"]
    (stored,) = place.versions(result["acquisition_id"])
    assert ("T1 w t2 x.zip", result["info"]["size"]) == (stored["name"], stored["size"])
    content = sdk("downloads.ways_of_one", container=result["acquisition_id"], name="T1 w t2 x.zip")
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        assert {f"T1 w t2 x/{name}": content for name, content in contents.items()} == {
            one.filename: packed.read(one) for one in packed.infolist() if not one.is_dir()
        }
        assert {(2026, 1, 2, 3, 4, 6)} == {
            one.date_time for one in packed.infolist() if not one.is_dir()
        }


@pytest.mark.row("packfile-errors", "error-shape")
def test_a_token_that_nobody_was_given_is_refused(sdk: Sdk, place: Place) -> None:
    refused = sdk("machines.packfile_refused", project=place.project)

    assert refused["status"] in (400, 403, 404)
    assert "token" in refused["reason"]


@pytest.mark.row("packfile-clean")
def test_a_token_in_use_is_not_cleaned_away(sdk: Sdk, place: Place) -> None:
    place.ask("POST", f"/projects/{place.project}/packfile-start")

    assert 0 == sdk("machines.clean")["removed"]["tokens"]
