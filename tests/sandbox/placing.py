"""Forms for the uploads that say where they belong, and what became of them."""

from __future__ import annotations

import io
import json
from typing import Any

import aiohttp

from tests.sandbox.api import Answer, Api

Json = dict[str, Any]


async def send(
    api: Api,
    strategy: str,
    metadata: Json | str | None,
    files: dict[str, bytes],
    *,
    metadata_last: bool = False,
    headers: dict[str, str] | None = None,
    **params: str,
) -> Answer:
    """``POST /upload/<strategy>``, as SDK 23 sends it."""
    form = aiohttp.FormData(default_to_multipart=True)
    text = metadata if isinstance(metadata, str) or metadata is None else json.dumps(metadata)
    if text is not None and not metadata_last:
        form.add_field("metadata", text)
    for name, content in files.items():
        form.add_field("files", io.BytesIO(content), filename=name)
    if text is not None and metadata_last:
        form.add_field("metadata", text)
    return await api.ask(
        "POST", f"/upload/{strategy}", data=form, params=params, headers=headers or {}
    )


async def placed(
    api: Api, strategy: str, metadata: Json, files: dict[str, bytes], **options: Any
) -> list[Json]:
    """The entries of an upload that must succeed."""
    answer = await send(api, strategy, metadata, files, **options)
    assert answer.status == 200, answer
    entries: list[Json] = answer.json
    return entries


def by_label(**changes: Any) -> Json:
    """Metadata with a file on every level; ``changes`` replace members, ``None`` drops them."""
    told: Json = {
        "group": {"_id": "grp"},
        "project": {"label": "Proj", "files": [{"name": "p.txt"}]},
        "session": {
            "label": "ses",
            "timestamp": "2026-01-02T03:04:05+00:00",
            "subject": {"code": "sub", "files": [{"name": "s.txt"}]},
            "files": [{"name": "e.txt"}],
        },
        "acquisition": {
            "label": "acq",
            "timestamp": "2025-01-02T03:04:05+01:00",
            "timezone": "Europe/Berlin",
            "files": [{"name": "a.dcm", "type": "pet", "info": {"a": 1}, "tags": ["t"]}],
        },
    }
    told |= changes
    return {name: value for name, value in told.items() if value is not None}


def by_uid(session: str = "1.2", acquisition: str = "1.2.3", **changes: Any) -> Json:
    """Metadata with uids, and one file in the acquisition."""
    told: Json = {
        "group": {"_id": "grp"},
        "project": {"label": "Proj"},
        "session": {"uid": session, "label": "ses", "subject": {"code": "sub"}},
        "acquisition": {"uid": acquisition, "label": "acq", "files": [{"name": "a.txt"}]},
    }
    told |= changes
    return {name: value for name, value in told.items() if value is not None}
