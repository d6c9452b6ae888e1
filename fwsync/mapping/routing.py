"""Group and project typed in at a scanner's console, the way the reapers read it.

The one rule: what is typed in is taken as it is or reported. A group that is misspelled
is no group, and nothing is sent to the one that looks most like it.

=================================  ===================================================
``group/project``                  as Flywheel's own reaper took it
``group^project``                  where the field is a name, and ``^`` its separator
``subject@group/project``          with a subject, the same way
``fw://group/project[/subject[/    as its successors take it
session]]``
=================================  ===================================================

Source: scitran/reaper of 2017 and the vendor's DICOM connector, by their documentation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fwsync.errors import UsageError
from fwsync.layout import Unmappable

# Source: core18 has at most 32 characters, fw-meta 4.13.0 at most 64.
_GROUP_ID = re.compile(r"[0-9a-z][0-9a-z.@_-]{0,62}[0-9a-z]")


@dataclass(frozen=True, slots=True)
class Route:
    """Where a text leads; what it does not name is empty."""

    group: str = ""
    project: str = ""
    subject: str = ""
    session: str = ""


def route(text: str, field: str = "the text") -> Route | Unmappable:
    """What a routing text names.

    Args:
        text: as it was typed in. The group is lowered, as ids are and consoles are not.
        field: where it stands, for the message.
    """
    text = text.strip()
    if text.lower().startswith("fw://"):
        parts = [part.strip() for part in text[5:].rstrip("/").split("/")]
    else:
        head, _, project = text.partition("/" if "/" in text else "^")
        subject, _, group = head.rpartition("@")
        parts = [group.strip(), project.strip(), subject.strip()][: 3 if subject else 2]
        if "/" in project:
            parts.append("")
    if not 2 <= len(parts) <= 4 or not all(parts):
        return Unmappable(
            f"{field} names no group and project: {text!r}",
            "expected group/project, subject@group/project or fw://group/project",
        )
    group = parts[0].lower()
    if not _GROUP_ID.fullmatch(group):
        return Unmappable(
            f"{field} names a group that cannot be one: {parts[0]!r}",
            "a group's id has 2 to 64 characters: a-z, 0-9 and . @ _ -",
        )
    return Route(group, *parts[1:])


def only_project(text: str) -> Route:
    """The group and project that a setting names.

    Raises:
        UsageError: it names none, or more than these two.
    """
    meant = route(text)
    if isinstance(meant, Unmappable) or meant.subject:
        raise UsageError(f"{text!r} is no project", hint="expected group/project")
    return meant
