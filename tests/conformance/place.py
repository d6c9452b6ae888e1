"""A place for a test in a sandbox that it shares, and what the sandbox's record says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.house.house import Ground

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A project with one container of each level; each is an id but ``label``, the project's."""

    ground: Ground
    label: str
    project: str
    subject: str
    session: str
    acquisition: str

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """A request by the admin, without the SDK; below ``/api`` or ``/sandbox``."""
        return self.ground.ask(method, path, body)

    def container(self, container: str) -> Json:
        """The record of a container, also of a deleted one."""
        found: list[Json] = self.ask("GET", "/sandbox/record")["containers"]
        return next(one for one in found if one["id"] == container)

    def versions(self, container: str) -> list[Json]:
        """The record of the files in a container, each version by itself, deleted ones too."""
        found: list[Json] = self.ask("GET", "/sandbox/record")["files"]
        return [one for one in found if one["container_id"] == container]


def plant(ground: Ground, label: str) -> Place:
    """Make a project and one container of each level."""

    def make(kind: str, **body: object) -> str:
        made: str = ground.ask("POST", f"/{kind}", body)["_id"]
        return made

    project = make("projects", label=label, group="lab")
    subject = make("subjects", label="sub-01", project=project)
    session = make("sessions", label="ses-01", project=project, subject={"_id": subject})
    acquisition = make("acquisitions", label="T1w", session=session)
    return Place(ground, label, project, subject, session, acquisition)
