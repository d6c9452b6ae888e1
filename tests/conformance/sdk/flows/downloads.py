"""Files on their way down."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

from tests.conformance.sdk.flows.refusals import refusal


def ways(fw: Any, acquisition: str, name: str, folder: str) -> Any:
    """Every way to the bytes of one file."""
    one = fw.get(acquisition)
    file = one.get_file(name)
    target, other = Path(folder) / "target", Path(folder) / "other"
    one.download_file(name, str(target))
    file.download(str(other))
    by_url = _without_key(file.url())
    by_other_url = _without_key(fw.file_url(f"{_path(fw, one)}/files/{name}"))
    return {
        "download_file": target.read_bytes(),
        "download": other.read_bytes(),
        "read_file": one.read_file(name),
        "read": file.read(),
        "url": by_url,
        "file_url": by_other_url,
    }


def _without_key(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        content: bytes = answer.read()
    return content


def _path(fw: Any, acquisition: Any) -> str:
    parents = acquisition.parents
    session, subject = fw.get(parents.session), fw.get(parents.subject)
    project = fw.get(parents.project)
    labels = (session.label, acquisition.label)
    return "/".join([project.group, project.label, subject.label, *labels])


def ranges(fw: Any, acquisition: str, name: str, asked: list[str]) -> Any:
    """What ``range`` answers, with ``view``."""
    one = fw.get(acquisition)
    return [one.read_file(name, range=each, view=True) for each in asked]


def with_hash(fw: Any, acquisition: str, name: str, digest: str) -> Any:
    """The bytes, if they have this hash."""
    return fw.get(acquisition).read_file(name, hash=digest)


def zips(fw: Any, acquisition: str, name: str, member: str, folder: str) -> Any:
    """The members of a zip, by the container and by the file."""
    one = fw.get(acquisition)
    file = one.get_file(name)
    target = Path(folder) / "member"
    file.download_zip_member(member, str(target))
    return {
        "by container": one.get_file_zip_info(name),
        "by file": file.get_zip_info(),
        "read": one.read_file_zip_member(name, member),
        "file read": file.read_zip_member(member),
        "download": target.read_bytes(),
    }


def zip_errors(fw: Any, acquisition: str, zipped: str, plain: str) -> Any:
    """A member that is not there, and a file that is no zip."""
    one = fw.get(acquisition)
    asked = [
        (one.read_file_zip_member, (zipped, "absent")),
        (one.get_file_zip_info, (plain,)),
        (one.read_file, ("absent.txt",)),
    ]
    return [refusal(act, *args) for act, args in asked]


def archive(fw: Any, containers: list[str], target: str, form: str, **types: Any) -> Any:
    """``download_tar`` or ``download_zip`` of one or several containers."""
    nodes = [fw.get(one) for one in containers]
    download = getattr(fw, f"download_{form}")
    return download(nodes[0] if len(nodes) == 1 else nodes, target, **types)


def of_container(fw: Any, container: str, target: str, form: str) -> Any:
    """The same, asked of the container."""
    return getattr(fw.get(container), f"download_{form}")(target)


def tickets(fw: Any, body: dict[str, Any], target: str, **params: Any) -> Any:
    """A ticket with everything that can be asked of one, and its tar."""
    ticket = fw.create_download_ticket(body, **params)
    fw.download_ticket(ticket.ticket, target, format="tar")
    return ticket


def ways_of_one(fw: Any, container: str, name: str) -> Any:
    """The bytes of one file."""
    return fw.get(container).read_file(name)
