"""Files on their way up."""

from __future__ import annotations

import io
import json
import urllib.request
from pathlib import Path
from typing import Any

import flywheel


def by_form(fw: Any, container: str, path: str) -> Any:
    """One file from the disk, as a form."""
    return fw.get(container).upload_file(path, signed=False)


def signed(fw: Any, container: str, path: str) -> Any:
    """One file from the disk, as the SDK prefers."""
    return fw.get(container).upload_file(path)


def on_every_level(fw: Any, containers: list[str], path: str, *, signed: bool) -> Any:
    """The same file on each of some containers."""
    return [fw.get(one).upload_file(path, signed=signed)[0] for one in containers]


def several(fw: Any, acquisition: str, paths: list[str], *, signed: bool) -> Any:
    """Several files in one call."""
    return fw.upload_file_to_acquisition(acquisition, paths, signed=signed)


def from_memory(fw: Any, acquisition: str, *, signed: bool) -> Any:
    """Text, bytes and a stream that are no files; each with a type of its own."""
    one = fw.get(acquisition)
    text = flywheel.FileSpec("note.txt", "grüße\n", "text/plain")
    data = flywheel.FileSpec("blob.bin", b"\0\1\2\3", "application/octet-stream")
    stream = flywheel.FileSpec("table.csv", io.BytesIO(b"a,b\n1,2\n"), "text/csv", size=8)
    return [one.upload_file(spec, signed=signed)[0] for spec in (text, data, stream)]


def with_metadata(fw: Any, acquisition: str, *, signed: bool) -> Any:
    """What is known of a file comes with it; as a text for a form, as the SDK wants it."""
    known = {
        "modality": "MR",
        "type": "nifti",
        "info": {"a": {"b": [1, 2.5, None, "ü"]}},
        "tags": ["raw"],
        "classification": {"Intent": ["Structural"]},
    }
    spec = flywheel.FileSpec("t1.nii.gz", b"nifti", "application/gzip")
    metadata = known if signed else json.dumps(known)
    return fw.get(acquisition).upload_file(spec, metadata=metadata, signed=signed)


def twice(fw: Any, acquisition: str, *, preserve: bool) -> Any:
    """The same name again, keeping what was said of the first one or not."""
    one = fw.get(acquisition)
    known = json.dumps({"info": {"n": 1}, "tags": ["t"], "type": "archive"})
    first = flywheel.FileSpec("again.txt", b"first")
    one.upload_file(first, signed=False, metadata=known)
    second = flywheel.FileSpec("again.txt", b"second!")
    return one.upload_file(second, signed=False, preserve_metadata=preserve)[0]


def placed(fw: Any, how: str, metadata: dict[str, Any], contents: dict[str, bytes]) -> Any:
    """``/upload/label``, ``/upload/uid`` and ``/upload/reaper``."""
    upload = getattr(fw, f"upload_by_{how}")
    files = [flywheel.FileSpec(name, content) for name, content in contents.items()]
    return upload(files=files, metadata=json.dumps(metadata))


def managed(fw: Any, acquisition: str, content: bytes) -> Any:
    """Managed storage: a URL, the bytes, the entry."""
    ticket = fw.create_signed_upload_url({"size": len(content)})
    for url in ticket.upload_urls:
        headers = ticket.upload_headers or {}
        put = urllib.request.Request(url, content, headers, method="PUT")
        urllib.request.urlopen(put, timeout=30).close()
    entry = fw.upsert_file(
        {
            "name": "managed.bin",
            "size": len(content),
            "parent_ref": {"type": "acquisition", "id": acquisition},
            "uuid": ticket.uuid,
            "provider_id": ticket.provider_id,
        }
    )
    return {"entry": entry, "bytes": fw.get(acquisition).read_file("managed.bin")}


def large(fw: Any, acquisition: str, path: str) -> Any:
    """A file as the SDK prefers to send it, and back."""
    one = fw.get(acquisition)
    entry = one.upload_file(path)[0]
    name = Path(path).name
    same = one.read_file(name) == Path(path).read_bytes()
    return {"entry": entry, "same": same}
