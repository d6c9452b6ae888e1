"""What the tests of archives share: a tree with a file at each level, and what a tar holds."""

from __future__ import annotations

import tarfile
from io import BytesIO
from typing import Any

from tests.sandbox.core2018.old import Old, OldTree


async def fill(old: Old, tree: OldTree) -> None:
    """A file at each level; that of the subject by the only way there is."""
    await old.put(f"projects/{tree.project}", "proj.txt", b"proj")
    metadata = {
        "group": {"_id": "lab"},
        "project": {"label": "Project A"},
        "session": {
            "label": "Sess 1",
            "subject": {"code": "s1", "files": [{"name": "subj.txt"}]},
        },
    }
    answer = await old.place("label", metadata, subj_txt=b"subj")
    assert answer.status == 200, answer
    await old.put(f"sessions/{tree.session}", "sess.txt", b"sess")
    await old.put(f"acquisitions/{tree.acquisition}", "acq.dcm", b"acq")


def nodes(tree: OldTree, *levels: str) -> dict[str, Any]:
    wanted = [{"level": level, "_id": getattr(tree, level)} for level in levels]
    return {"optional": True, "nodes": wanted}


async def members(old: Old, body: dict[str, Any], **params: str) -> list[str]:
    made = await old.post("/download", body, **params)
    answer = await old.ask("GET", "/download", params={"ticket": made["ticket"]})
    with tarfile.open(fileobj=BytesIO(answer.body), mode="r:") as archive:
        names = archive.getnames()
    assert made["file_cnt"] == len(names)
    return names
