"""What the sandbox holds, read past the CLI."""

from __future__ import annotations

import csv
import io
from typing import Any

from tests.house.house import Ground

Json = dict[str, Any]


def content(ground: Ground, file_id: str) -> bytes:
    """The bytes of a file, read by the admin."""
    return ground.content("GET", f"/files/{file_id}/download")


def find(ground: Ground, *path: str) -> Json:
    """The container or file at a path."""
    found: Json = ground.ask("POST", "/lookup", {"path": list(path)})
    return found


def entries(ground: Ground, project: str) -> dict[str, Json]:
    """Entries of the files of a project (by id); by name, which must be unique in it."""
    page = ground.ask("GET", f"/files?filter=parents.project={project}&limit=1000")
    by_name = {entry["name"]: entry for entry in page["results"]}

    assert page["total"] == len(by_name), [entry["name"] for entry in page["results"]]
    return by_name


def table(body: bytes) -> list[dict[str, str]]:
    """Lines of a CSV file, such as the CLI's reports are."""
    return list(csv.DictReader(io.StringIO(body.decode())))


def asked(ground: Ground, route: str) -> list[Json]:
    """Requests for a route, as the table of routes spells it, since they were last forgotten."""
    return [one for one in ground.requests() if one["route"] == f"/api{route}"]
