"""What fwsync says of files and containers, as the official SDK reads it."""

from __future__ import annotations

import asyncio

from fwsync.keys import parse_key
from fwsync.layout import Layout
from fwsync.model import RelPath, RemoteEntry
from fwsync.remotes.flywheel import Flywheel, project_by_id
from fwsync.remotes.http import Api
from tests.conformance.place import Place
from tests.conformance.sdk.process import Sdk
from tests.fixtures.upload import Text

METADATA = {
    "type": "nifti",
    "modality": "MR",
    "classification": {"Intent": ["Structural"]},
    "info": {"EchoTime": 0.003, "ImageType": ["ORIGINAL", "PRIMARY"]},
    "tags": ["raw"],
}
FIELDS = {
    "project.description": "ageing brains",
    "project.info.phase": 2,
    "subject.sex": "female",
    "subject.firstname": "Ada",
    "subject.species": "human",
    "subject.info.hand": "left",
    "subject.tags": ["control"],
    "session.uid": "1.2.3",
    "session.timestamp": "2026-01-02T03:04:05-05:00",
    "session.timezone": "America/New_York",
    "session.age": 34 * 31_557_600,
    "session.weight": 71.5,
    "session.operator": "op",
    "session.info.room": {"no": 4},
    "session.tags": ["night", "with/slash"],
    "acquisition.uid": "1.2.3.4",
    "acquisition.timestamp": "2026-01-02T08:10:00Z",
    "acquisition.timezone": "America/New_York",
    "acquisition.info.coil": "head",
}


async def send(place: Place, path: str) -> RemoteEntry:
    key = parse_key(place.ground.key())
    async with Api(place.ground.sandbox.url, key.secret, patience_s=10) as api:
        project = await project_by_id(api, place.project)
        assert project is not None
        layout = Layout.parse(group=project.group, project=project.label)
        remote = Flywheel(api, [project], layout)
        [sent] = [one async for one in remote.put([Text(RelPath(path), b"x", METADATA, FIELDS)])]
        assert sent.entry is not None, sent.error
        assert [] == remote.asides
        return sent.entry


def test_the_official_sdk_reads_what_was_said_of_new_containers(sdk: Sdk, place: Place) -> None:
    entry = asyncio.run(send(place, "new/night/T1w/scan.nii.gz"))

    seen = sdk("metadata.told", acquisition=entry.container.id)

    assert seen == {
        "project": {"description": "ageing brains", "info": {"phase": 2}},
        "subject": {
            "label": "new",
            "code": "new",
            "sex": "female",
            "firstname": "Ada",
            "species": "human",
            "info": {"hand": "left"},
            "tags": ["control"],
        },
        "session": {
            "label": "night",
            "uid": "1.2.3",
            "timestamp": "2026-01-02T08:04:05+00:00",
            "timezone": "America/New_York",
            "age": 34 * 31_557_600,
            "age_years": 34.0,
            "weight": 71.5,
            "operator": "op",
            "info": {"room": {"no": 4}},
            "tags": ["night", "with/slash"],
        },
        "acquisition": {
            "label": "T1w",
            "uid": "1.2.3.4",
            "timestamp": "2026-01-02T08:10:00+00:00",
            "timezone": "America/New_York",
            "info": {"coil": "head"},
        },
        "file": {"name": "scan.nii.gz", **METADATA},
    }


def test_the_official_sdk_reads_what_was_filled_in_and_what_was_kept(
    sdk: Sdk, place: Place
) -> None:
    place.ask("PUT", f"/sessions/{place.session}", {"weight": 50.0, "info": {"room": "mine"}})

    entry = asyncio.run(send(place, "sub-01/ses-01/T1w/scan.nii.gz"))
    seen = sdk("metadata.told", acquisition=entry.container.id)

    assert place.acquisition == entry.container.id
    session = seen["session"]
    assert (50.0, {"room": "mine"}, "1.2.3") == (
        session["weight"],
        session["info"],
        session["uid"],
    )
    assert ("female", "head") == (seen["subject"]["sex"], seen["acquisition"]["info"]["coil"])
