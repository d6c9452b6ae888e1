"""The sandbox as the demo sees it: its own record of what it holds and what it was asked.

The one rule: what counts is what the server has, not what a client says it sent.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fwsync.digest import ContentHasher
from fwsync.errors import FwsyncError

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A file on the server."""

    size: int  #: bytes
    sha384: str  #: hex
    versions: int  #: ever stored under this path, deleted ones too


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that the server holds, by ``group/project/subject/session/acquisition/file``."""

    files: dict[str, Stored]
    containers: Counter[str]  #: path -> how many of that name were ever made there


class Server:
    """A running sandbox, asked with the admin's key."""

    def __init__(self, ready: Mapping[str, str]) -> None:
        self.url = ready["url"]
        self.key = ready["api_key"]

    def make_group(self, group: str) -> None:
        """Make a group: the one thing that fwsync never does."""
        self._ask("POST", "/api/groups", {"_id": group, "label": group})

    def count_anew(self) -> None:
        """Forget which requests there were."""
        self._ask("DELETE", "/sandbox/requests")

    def requests(self) -> int:
        """Requests since they were last forgotten, the demo's own looks not counted."""
        return int(self._ask("GET", "/sandbox/requests")["total"])

    def contents_sent(self) -> int:
        """Of these, the ones that were answered with the content of files."""
        counts: dict[str, int] = self._ask("GET", "/sandbox/requests")["counts"]
        return sum(
            number
            for route, number in counts.items()
            if route.startswith("GET ") and route.endswith(("/download", "/files/{name}"))
        )

    def holdings(self) -> Holdings:
        """What it holds now."""
        return read(self._ask("GET", "/sandbox/record"))

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        secret = self.key.rpartition(":")[2]
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=_TIMEOUT_S)
        try:
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {"Authorization": f"scitran-user {secret}", "Content-Type": "application/json"},
            )
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise FwsyncError(f"{method} {path}: the sandbox gave no answer ({error})") from error
        finally:
            connection.close()
        if response.status >= 300:
            what = text.decode("utf-8", "replace")
            raise FwsyncError(f"{method} {path}: the sandbox answered {response.status}: {what}")
        return json.loads(text)


def read(record: Mapping[str, Any]) -> Holdings:
    """Holdings from the sandbox's record."""
    rows = {row["id"]: row for row in record["containers"]}

    def path_of(container: str) -> str:
        row = rows[container]
        if row["kind"] == "group":
            return str(row["id"])
        return f"{path_of(row['parent_id'])}/{row['label']}"

    def alive(container: str | None) -> bool:
        return container is None or (
            not rows[container]["deleted"] and alive(rows[container]["parent_id"])
        )

    files: dict[str, Stored] = {}
    versions: Counter[str] = Counter()
    for row in record["files"]:
        path = f"{path_of(row['container_id'])}/{row['name']}"
        versions[path] += 1
        if row["version"] == row["newest"] and not row["deleted"] and alive(row["container_id"]):
            files[path] = Stored(row["size"], row["sha384"], 0)
    return Holdings(
        {path: Stored(one.size, one.sha384, versions[path]) for path, one in files.items()},
        Counter(path_of(container) for container in rows),
    )


def differences(wanted: Mapping[str, Path], there: Holdings) -> list[str]:
    """What is not on the server as it should be; empty if all is.

    Args:
        wanted: path on the server -> the file whose bytes belong there. Nothing else may be
            there: no other file, no empty container, no second one of a name.
    """
    return [*_of_files(wanted, there), *_of_containers(wanted, there)]


def _of_files(wanted: Mapping[str, Path], there: Holdings) -> Iterator[str]:
    for path in sorted(wanted.keys() | there.files.keys()):
        stored, source = there.files.get(path), wanted.get(path)
        if stored is None:
            yield f"{path}: is not on the server"
        elif source is None:
            yield f"{path}: is on the server, and was never sent"
        else:
            if stored.versions != 1:
                yield f"{path}: was stored {stored.versions} times; expected once"
            hasher = ContentHasher()
            hasher.update(source.read_bytes())
            if (stored.size, f"sha384:{stored.sha384}") != (hasher.size, hasher.digest):
                yield f"{path}: has other bytes on the server ({stored.size:,}; {hasher.size:,})"


def _of_containers(wanted: Mapping[str, Path], there: Holdings) -> Iterator[str]:
    needed = {parent.as_posix() for path in wanted for parent in Path(path).parents if parent.name}
    for path in sorted(needed | there.containers.keys()):
        made = there.containers[path]
        if path not in needed:
            yield f"{path}: was made on the server, and holds nothing that was sent"
        elif made != 1:
            yield f"{path}: was made {made} times on the server; expected once"
