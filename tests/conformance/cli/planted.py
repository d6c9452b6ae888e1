"""A project filled past the CLI, with what a folder cannot bring: tags, info, an analysis."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from tests.conformance.cli.trees import MRA, SCOUT, Tree, nifti, series
from tests.house.house import Ground
from tests.sandbox.api import Api, client


def _zipped(members: Tree) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"slices/{name}.dcm", content)
    return buffer.getvalue()


SLICES: Final = {f"{name}.dcm": content for name, content in series(MRA).items()}

#: Path of labels below the project -> content. What lies on the project has no folder.
FILES: Final[Tree] = {
    "protocol.txt": b"one protocol for all\n",
    "sub-01/ses-01/T1w/T1w.nii": nifti(voxels=40),
    "sub-01/ses-01/T1w/mra.dicom.zip": _zipped(series(MRA)),
    "sub-01/ses-01/survey/log.txt": b"09:00 began\n",
    "sub-01/ses-01/sheet.csv": b"trial,rt\n1,0.5\n",
    "sub-02/ses-01/rest/bold.nii": nifti(voxels=20, seed=2),
    "sub-02/ses-01/rest/scout.dcm": next(iter(series(SCOUT).values())),
    "sub-02/ses-01/rest/noté #1.txt": "noté\n".encode(),
}
OUTPUT: Final = {"qa.csv": b"snr\n17\n"}
INPUT: Final = "sub-01/ses-01/T1w/T1w.nii"

Json = dict[str, Any]

TAGGED: Final = ("sub-01/ses-01/T1w", "sub-02/ses-01/rest")  # with `keep`

_LEVELS: Final = ("subject", "session", "acquisition")


@dataclass(frozen=True)
class Planted:
    """The project, and ids in it; of containers by their path of labels."""

    label: str
    id: str
    containers: dict[str, str]
    analysis: str

    @property
    def source(self) -> str:
        """As the CLI names it."""
        return f"fw://lab/{self.label}"


def fill(ground: Ground, label: str) -> Planted:
    """Make the project in the group ``lab``."""

    async def work() -> Planted:
        async with client(ground.sandbox.url, ground.key()) as api:
            return await _fill(api, label)

    return ground.run(work())


async def _fill(api: Api, label: str) -> Planted:
    project = await api.make("project", label, group="lab", info={"grant": "R01"})
    made = {".": project}
    for path, content in FILES.items():
        folder = PurePosixPath(path).parent
        for depth, kind in enumerate(_LEVELS[: len(folder.parts)]):
            at = PurePosixPath(*folder.parts[: depth + 1])
            if str(at) not in made:
                parent: Json = {_LEVELS[depth - 1] if depth else "project": made[str(at.parent)]}
                if kind == "session":
                    parent = {"project": project, "subject": {"_id": made[str(at.parent)]}}
                made[str(at)] = await api.make(kind, at.name, **parent)
        kind = ("project", *_LEVELS)[len(folder.parts)]
        name = PurePosixPath(path).name
        told = json.dumps({"info": {"of": name}, "tags": ["seen"]}) if name == "T1w.nii" else None
        await api.upload(f"{kind}s/{made[str(folder)]}", {name: content}, told)
    for subject, set_ in (("sub-01", "Training"), ("sub-02", "Testing")):
        await api.ask("PUT", f"/subjects/{made[subject]}", json={"mlset": set_})
    for acquisition in TAGGED:
        await api.ask("POST", f"/acquisitions/{made[acquisition]}/tags", json={"value": "keep"})
    return Planted(label, project, made, await _analysis(api, made))


async def _analysis(api: Api, made: dict[str, str]) -> str:
    input_ = {
        "type": "acquisition",
        "id": made[str(PurePosixPath(INPUT).parent)],
        "name": PurePosixPath(INPUT).name,
    }
    body = {"label": "QA report", "inputs": [input_]}
    analysis: str = (await api.post(f"/sessions/{made['sub-01/ses-01']}/analyses", body))["_id"]
    await api.upload(f"analyses/{analysis}", dict(OUTPUT))
    return analysis
