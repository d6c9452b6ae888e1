"""A project of the sandbox, as another client works at it."""

from __future__ import annotations

import http.client
from collections.abc import Iterable
from contextlib import closing

from tests.house.house import Ground


class Site:
    """A project on the server that others work at."""

    def __init__(self, ground: Ground, label: str) -> None:
        self.ground = ground
        self.label = label
        found = ground.ask("POST", "/lookup", {"path": ["lab", label]})
        self.project = str(found["_id"])

    def make(self, kind: str, label: str, **above: object) -> str:
        return str(self.ground.ask("POST", f"/{kind}s", {"label": label, **above})["_id"])

    def session(self, subject: str, label: str) -> str:
        return self.make("session", label, project=self.project, subject={"_id": subject})

    def subject(self, label: str) -> str:
        body = {"code": label, "label": label, "project": self.project}
        return str(self.ground.ask("POST", "/subjects", body)["_id"])

    def gone(self, kind: str, id_: str) -> None:
        self.ground.ask("DELETE", f"/{kind}s/{id_}")

    def drop(self, paths: Iterable[str]) -> None:
        """Delete files of acquisitions, by their paths below the project."""
        for path in paths:
            above, _, name = path.rpartition("/")
            found = self.ground.ask(
                "POST", "/lookup", {"path": ["lab", self.label, *above.split("/")]}
            )
            self.ground.ask("DELETE", f"/acquisitions/{found['_id']}/files/{name}")

    def put(self, kind: str, id_: str, name: str, content: bytes) -> None:
        """One file, by a form."""
        head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        secret = self.ground.sandbox.api_key.rpartition(":")[2]
        headers = {
            "Authorization": f"Bearer {secret}",
            "Content-Type": "multipart/form-data; boundary=b",
        }
        with closing(http.client.HTTPConnection("127.0.0.1", self.ground.port)) as wire:
            body = head.encode() + content + b"\r\n--b--"
            wire.request("POST", f"/api/{kind}s/{id_}/files", body, headers)
            answer = wire.getresponse()
            assert 200 == answer.status, answer.read()

    def names(self, id_: str) -> list[str]:
        """Of the files of an acquisition."""
        return sorted(
            one["name"] for one in self.ground.ask("GET", f"/acquisitions/{id_}")["files"]
        )

    def content(self, acquisition: str, name: str) -> bytes:
        """Of a file of an acquisition."""
        return self.ground.content("GET", f"/acquisitions/{acquisition}/files/{name}")
