"""A tree with sidecars is sent, and read back by plain questions to the API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fwsync.describing import Describer, Speaking
from fwsync.metadata import sidecars
from fwsync.metadata.rules import MetadataRule, MetadataRules
from fwsync.model import Level, LocalEntry, Problem, RelPath
from fwsync.sources import Said
from fwsync.uploader import Uploader
from tests.room.rooms import LAYOUT, Ground, descriptor, done, local, plant, upload

RULES = MetadataRules(
    [MetadataRule(match=("*.nii.gz",), type="nifti", modality="MR", tags=("raw",))], ["pilot"]
)
EVERYTHING = Speaking(RULES, sidecars=True, bids=True)


def text(told: object) -> bytes:
    return json.dumps(told).encode()


async def send(
    server: Ground, root: Path, speaking: Speaking, *paths: str
) -> tuple[list[Problem], list[Problem]]:
    """Send these files; what could not be read, and what the server did not take."""
    said: list[Problem] = []
    remote = server.connect()
    with descriptor(root) as root_fd:
        describer = Describer(root_fd, LAYOUT, speaking, said.append)
        uploader = Uploader(remote, root_fd, lambda path, size: None, describe=describer.describe)
        for path in paths:
            outcomes = await uploader.send([upload(root, path)])
            assert [path] == done(outcomes), outcomes
    return said, remote.asides


async def the(server: Ground, kind: str, label: str) -> dict[str, Any]:
    found = await server.api.json("GET", ("projects", server.project.id, kind))
    assert isinstance(found, list)
    [one] = [one for one in found if one["label"] == label]
    whole = await server.api.json("GET", (kind, one["_id"]))
    assert isinstance(whole, dict)
    return whole


async def the_file(server: Ground, name: str) -> dict[str, Any]:
    answer = await server.api.json("GET", ("files",), params={"filter": f'name="{name}"'})
    assert isinstance(answer, dict)
    [one] = answer["results"]
    whole = await server.api.json("GET", ("files", one["file_id"]))
    assert isinstance(whole, dict)
    return whole


def picked(doc: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: doc[name] for name in names}


async def test_a_bids_tree_says_what_stands_in_its_sidecars(server: Ground, tmp_path: Path) -> None:
    image = "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz"
    json_file = image.removesuffix(".nii.gz") + ".json"
    root = plant(
        tmp_path / "bids",
        {
            "participants.tsv": b"participant_id\tsex\tage\nsub-01\tF\t34\n",
            "sub-01/sub-01_sessions.tsv": b"session_id\tmood\nses-1\tcalm\n",
            image: b"scan",
            json_file: text({"RepetitionTime": 2.0, "a.b": {"$c": [1]}}),
        },
    )

    problems = await send(server, root, EVERYTHING, image, json_file)

    file = await the_file(server, Path(image).name)
    assert picked(file, "type", "modality", "tags", "info") == {
        "type": "nifti",
        "modality": "MR",
        "tags": ["pilot", "raw"],
        "info": {"RepetitionTime": 2.0, "a_b": {"-c": [1]}},
    }
    assert ["pilot"] == (await the_file(server, Path(json_file).name))["tags"]
    subject = await the(server, "subjects", "sub-01")
    assert ("female", {"sex": "F", "age": 34}) == (subject["sex"], subject["info"])
    assert {"mood": "calm"} == (await the(server, "sessions", "ses-1"))["info"]
    assert ([], []) == problems


async def test_what_was_read_from_one_project_can_be_said_to_another(
    server: Ground, tmp_path: Path
) -> None:
    """The sidecars are written from what the server says: their shape is one for both ways."""
    entry = {
        "name": "scan",
        "size": 4,
        "type": "raw",
        "mimetype": "application/octet-stream",
        "info": {"k": [1, {"x": None}]},
        "tags": ["kept"],
        "classification": {"Custom": ["odd"]},
    }
    session = {
        "label": "e",
        "timestamp": "2026-01-02T03:04:05+00:00",
        "timezone": "Europe/Berlin",
        "age": 3600,
        "info": {"s": 1},
        "tags": ["night"],
    }
    project = {"label": "other", "description": "of another", "info": {"p": 1}}
    root = plant(
        tmp_path / "tree",
        {
            "s/e/a/scan": b"scan",
            "s/e/a/scan.flywheel.json": sidecars.written(entry),
            "s/e/e.flywheel.json": sidecars.written(session, Level.SESSION),
            "aging.flywheel.json": sidecars.written(project, Level.PROJECT),
        },
    )

    problems = await send(server, root, Speaking(MetadataRules(), sidecars=True), "s/e/a/scan")

    assert sidecars.written(entry) == sidecars.written(await the_file(server, "scan"))
    made = await the(server, "sessions", "e")
    told = json.loads(sidecars.written(made, Level.SESSION))
    assert told | {"timestamp": told["timestamp"][:19] + "+00:00"} == session
    whole = await server.api.json("GET", ("projects", server.project.id))
    assert isinstance(whole, dict)
    assert {"description": "of another", "info": {"p": 1}} == picked(whole, "description", "info")
    assert ([], []) == problems


async def test_a_sidecar_of_a_file_is_not_that_of_the_folder_of_its_name(
    server: Ground, tmp_path: Path
) -> None:
    root = plant(
        tmp_path / "tree",
        {"s/e/e": b"named as its folder", "s/e/e.flywheel.json": text({"tags": ["the file's"]})},
    )

    await send(server, root, Speaking(MetadataRules(), sidecars=True), "s/e/e")

    assert ["the file's"] == (await the_file(server, "e"))["tags"]
    assert [] == (await the(server, "sessions", "e"))["tags"]


@pytest.mark.parametrize("broken", [b"{", b"[]", text({"tags": 3}), text({"info": "x"}), b"\xff"])
async def test_a_broken_sidecar_is_one_problem_and_its_file_goes_without(
    broken: bytes, server: Ground, tmp_path: Path
) -> None:
    root = plant(
        tmp_path / "tree",
        {
            "s/e/a/f": b"one",
            "s/e/a/g": b"two",
            "s/e/a/f.flywheel.json": broken,
            "s/e/e.flywheel.json": broken,
        },
    )

    said, refused = await send(server, root, Speaking(RULES, sidecars=True), "s/e/a/f", "s/e/a/g")

    assert ["s/e/a/f.flywheel.json", "s/e/e.flywheel.json"] == sorted(one.path for one in said)
    assert [] == refused
    assert ["pilot"] == (await the_file(server, "f"))["tags"]


async def test_what_is_described_twice_complains_once(tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"s/e/a/f": b"x", "s/e/a/f.flywheel.json": b"{"})
    said: list[Problem] = []

    with descriptor(root) as root_fd:
        describer = Describer(root_fd, LAYOUT, EVERYTHING, said.append)
        for _ in range(2):
            await describer.describe(local(root, "s/e/a/f"))

    assert 1 == len(said)


async def test_a_link_in_place_of_a_sidecar_is_not_followed(server: Ground, tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"s/e/a/f": b"one"})
    (tmp_path / "secret").write_bytes(text({"info": {"secret": 1}}))
    (root / "s/e/a/f.flywheel.json").symlink_to(tmp_path / "secret")

    said, _ = await send(server, root, Speaking(MetadataRules(), sidecars=True), "s/e/a/f")

    assert ["s/e/a/f.flywheel.json"] == [one.path for one in said]
    assert {} == (await the_file(server, "f"))["info"]


async def test_nothing_is_read_that_nobody_asked_for(server: Ground, tmp_path: Path) -> None:
    root = plant(
        tmp_path / "tree",
        {
            "sub-1/ses-1/a/f.nii": b"x",
            "sub-1/ses-1/a/f.nii.flywheel.json": b"{",
            "participants.tsv": b"x\n\ty",
        },
    )

    assert ([], []) == await send(server, root, Speaking(RULES), "sub-1/ses-1/a/f.nii")


async def test_what_the_layout_knows_is_said_as_well(tmp_path: Path) -> None:
    root = plant(
        tmp_path / "tree", {"s/e/a/f": b"x", "s/e/a/f.flywheel.json": text({"tags": ["t"]})}
    )

    async def first(entry: LocalEntry) -> Said:
        return Said({"type": "dicom"}, {"session.age": 1, "file.modality": "CT"})

    with descriptor(root) as root_fd:
        described = await Describer(root_fd, LAYOUT, EVERYTHING, print, first).describe(
            local(root, "s/e/a/f")
        )

    assert {"type": "dicom", "modality": "CT", "tags": ["pilot", "t"]} == described.metadata
    assert {"session.age": 1} == described.fields
    assert RelPath("s/e/a/f") == local(root, "s/e/a/f").path


async def test_what_a_person_said_of_a_file_outlives_its_next_version(
    server: Ground, tmp_path: Path
) -> None:
    told = {"info": {"ours": 1, "both": 1}, "tags": ["ours"], "type": "raw"}
    tree = {"s/e/a/f": b"one", "s/e/a/f.flywheel.json": text(told)}
    root = plant(tmp_path / "tree", tree)
    speaking = Speaking(MetadataRules(), sidecars=True)
    await send(server, root, speaking, "s/e/a/f")
    first = await the_file(server, "f")
    address = ("acquisitions", first["parent_ref"]["id"], "files", "f")
    changes = {"set": {"hers": {"deep": 1}, "both": "hers"}}
    await server.api.json("PATCH", (*address, "info"), body=changes)
    await server.api.json("POST", (*address, "tags"), body={"value": "hers"})
    classified = {"add": {"Intent": ["Structural"]}}
    await server.api.json("PATCH", (*address, "classification"), body=classified)
    told["info"] = {"ours": 2, "both": 2}
    plant(root, {"s/e/a/f": b"two", "s/e/a/f.flywheel.json": text(told)})

    await replace(server, root, speaking, "s/e/a/f")

    second = await the_file(server, "f")
    assert picked(second, "version", "type", "info", "tags", "classification") == {
        "version": 2,
        "type": "raw",
        "info": {"ours": 2, "both": 2, "hers": {"deep": 1}},
        "tags": ["ours", "hers"] if second["tags"][0] == "ours" else ["hers", "ours"],
        "classification": {"Intent": ["Structural"]},
    }


async def replace(server: Ground, root: Path, speaking: Speaking, path: str) -> None:
    """Send a file over the one that is there, as a run does: it looks first."""
    remote = server.connect()
    entry = await remote.look(RelPath(path))
    with descriptor(root) as root_fd:
        describer = Describer(root_fd, LAYOUT, speaking, print)
        uploader = Uploader(remote, root_fd, lambda path, size: None, describe=describer.describe)
        outcomes = await uploader.send([upload(root, path, entry)])
        assert [path] == done(outcomes), outcomes


async def test_a_table_that_changes_is_read_again(tmp_path: Path) -> None:
    image = "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
    root = plant(
        tmp_path / "root",
        {image: b"scan", "participants.tsv": b"participant_id\tsex\nsub-01\tF\n"},
    )
    said: list[Problem] = []
    with descriptor(root) as root_fd:
        describer = Describer(root_fd, LAYOUT, EVERYTHING, said.append)
        first = await describer.describe(local(root, image))
        # A watch goes on for days.
        plant(root, {"participants.tsv": b"participant_id\tsex\tage\nsub-01\tM\t34\n"})
        second = await describer.describe(local(root, image))
        (root / "participants.tsv").unlink()
        third = await describer.describe(local(root, image))

    assert [] == said
    assert first.fields != second.fields
    assert "subject.sex" in second.fields
    assert "subject.sex" not in third.fields
