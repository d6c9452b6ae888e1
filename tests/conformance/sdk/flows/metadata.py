"""What is known of a container: info, tags, notes."""

from __future__ import annotations

from typing import Any

from tests.conformance.sdk.flows.refusals import refusal


def info(fw: Any, container: str) -> Any:
    """Info of a container: merged, cut, replaced."""
    one = fw.get(container)
    steps = []

    def seen() -> None:
        steps.append(one.reload().info)

    one.update_info({"a": 1, "b": {"c": 2}})
    seen()
    one.update_info(b={"d": "ü"}, e=[1, None])
    seen()
    one.delete_info("a", "e")
    seen()
    one.replace_info({"only": 1})
    seen()
    return steps


def tags(fw: Any, container: str) -> Any:
    """Tags of a container: added, renamed, removed; twice the same is refused."""
    one = fw.get(container)
    steps = []

    def seen() -> None:
        steps.append(one.reload().tags)

    one.add_tag("t1")
    seen()
    one.add_tag("with/slash")
    seen()
    one.rename_tag("t1", "t2")
    seen()
    one.delete_tag("with/slash")
    seen()
    return {"steps": steps, "twice": refusal(one.add_tag, "t2")}


def several_tags(fw: Any, acquisition: str) -> Any:
    """Several tags added and removed at once."""
    fw.add_acquisition_tags(acquisition, ["x", "y", "z"])
    more = fw.get(acquisition).tags
    fw.delete_acquisition_tags(acquisition, ["x", "z"])
    return [more, fw.get(acquisition).tags]


def notes(fw: Any, container: str, kind: str) -> Any:
    """A note is added, read, changed and deleted."""
    one = fw.get(container)
    one.add_note("first look: fine")
    note = one.reload().notes[0]
    read = getattr(fw, f"get_{kind}_note")(container, note.id)
    getattr(fw, f"modify_{kind}_note")(container, note.id, {"text": "second look"})
    changed = one.reload().notes
    one.delete_note(note.id)
    return {
        "note": note,
        "read": read,
        "changed": [each.text for each in changed],
        "left": one.reload().notes,
    }


def told(fw: Any, acquisition: str) -> Any:
    """What is known of an acquisition, of all that it lies in, and of its one file."""
    inner = fw.get(acquisition)
    session, subject, project = (
        fw.get(getattr(inner.parents, kind)) for kind in ("session", "subject", "project")
    )
    [file] = inner.files
    file = file.reload()
    return {
        "project": {"description": project.description, "info": project.info},
        "subject": {
            name: getattr(subject, name)
            for name in ("label", "code", "sex", "firstname", "species", "info", "tags")
        },
        "session": {
            "timestamp": session.timestamp.isoformat(),
            "age_years": session.age_years,
            **{
                name: getattr(session, name)
                for name in ("label", "uid", "timezone", "age", "weight", "operator", "info")
            },
            "tags": session.tags,
        },
        "acquisition": {
            "timestamp": inner.timestamp.isoformat(),
            **{name: getattr(inner, name) for name in ("label", "uid", "timezone", "info")},
        },
        "file": {
            name: getattr(file, name)
            for name in ("name", "type", "modality", "classification", "info", "tags")
        },
    }
