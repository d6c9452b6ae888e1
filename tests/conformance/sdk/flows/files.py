"""What is known of a file: entries, versions, metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from tests.conformance.sdk.flows.refusals import refusal


def entries(fw: Any, acquisition: str) -> Any:
    """The files of a container, as they come with it and from the list of all files."""
    one = fw.get(acquisition)
    listed = fw.files.find(f"parent_ref.id={acquisition}")
    return {
        "with it": one.files,
        "listed": listed,
        "by id": [fw.get_file(each.file_id) for each in listed],
        "paged": [
            each.name for each in fw.files.iter_find(f"parent_ref.id={acquisition}", limit=1)
        ],
        "by filter": [
            each.name for each in fw.files.find(f"parent_ref.id={acquisition}", "type=nifti")
        ],
        "ref": one.files[0].ref(),
    }


def info(fw: Any, acquisition: str, name: str) -> Any:
    """Info of a file: merged, cut, replaced; by the container and by the file."""
    one = fw.get(acquisition)
    steps = []

    def seen() -> None:
        steps.append(one.reload().get_file(name).info)

    one.update_file_info(name, {"a": 1, "b": {"c": 2}})
    seen()
    one.get_file(name).update_info(b={"c": 2, "d": 3}, e=None)
    seen()
    one.delete_file_info(name, "a", "e")
    seen()
    one.replace_file_info(name, {"only": [1, "zwei"]})
    seen()
    file = one.reload().get_file(name)
    file.replace_info({"last": True})
    seen()
    return {"steps": steps, "whole": fw.get_acquisition_file_info(acquisition, name)}


def classify(fw: Any, acquisition: str, name: str) -> Any:
    """The classification of a file: added to, cut, replaced with a modality."""
    one = fw.get(acquisition)
    steps = []

    def seen() -> None:
        file = one.reload().get_file(name)
        steps.append([file.modality, file.classification])

    one.update_file_classification(name, {"Intent": ["Structural"]})
    seen()
    one.update_file_classification(name, {"Intent": ["Localizer"], "Custom": ["mine"]})
    seen()
    one.delete_file_classification(name, {"Intent": ["Structural"]})
    seen()
    one.replace_file_classification(name, {"Measurement": ["T1"]}, modality="MR")
    seen()
    return steps


def change(fw: Any, acquisition: str, name: str) -> Any:
    """Type and modality; not a new version."""
    fw.get(acquisition).update_file(name, type="dicom", modality="CT")
    return fw.get(acquisition).get_file(name)


def tags(fw: Any, acquisition: str, name: str) -> Any:
    """Tags of a file, by its id."""
    one = fw.get(acquisition)
    steps = []

    def seen() -> None:
        steps.append(one.reload().get_file(name).tags)

    file = one.get_file(name)
    file.add_tag("x")
    seen()
    file.add_tags(["y", "z"])
    seen()
    file.rename_tag("y", "why")
    seen()
    file.delete_tag("x")
    seen()
    file.set_tags(["end"])
    seen()
    return {"steps": steps, "alone": fw.get_file_tags(file.file_id)}


def versions(fw: Any, acquisition: str, name: str) -> Any:
    """A file of two versions: read, and the older one restored."""
    one = fw.get(acquisition)
    file = one.get_file(name)
    before = fw.get_file_versions(file.file_id)
    old = fw.get_file(file.file_id, version=1)
    contents = [one.read_file(name, version=number) for number in (1, 2)]
    fw.restore_file(file.file_id, 1, False)
    now = one.reload().get_file(name)
    return {
        "before": before,
        "old": old,
        "contents": contents,
        "now": now,
        "content": now.read(),
        "reloaded": old.reload(),
        "after": fw.get_file_versions(file.file_id),
    }


def delete(fw: Any, acquisition: str, by_name: str, by_id: str, together: list[str]) -> Any:
    """By the container, by the id, and several at once."""
    one = fw.get(acquisition)
    ids = {each.name: each.file_id for each in one.files}
    answers = [
        one.delete_file(by_name),
        fw.delete_file(ids[by_id]),
        fw.delete_files_by_ids([ids[name] for name in together]),
    ]
    gone = refusal(fw.get_file, ids[by_id])
    return {"answers": answers, "gone": gone, "left": [each.name for each in one.reload().files]}


def delete_with_reason(fw: Any, acquisition: str, name: str, reason: str) -> Any:
    """Without a reason, and with one."""
    one = fw.get(acquisition)
    without = refusal(one.delete_file, name)
    return {"without": without, "with": one.delete_file(name, delete_reason=reason)}


def move(fw: Any, acquisition: str, name: str, session: str, new: str) -> Any:
    """A file goes to a session under another name."""
    file = fw.get(acquisition).get_file(name)
    target = {"container_reference": {"type": "session", "id": session}, "name": new}
    fw.move_file(file.file_id, target)
    return {
        "id": file.file_id,
        "there": fw.get(session).get_file(new),
        "bytes": fw.get(session).read_file(new),
        "left": [each.name for each in fw.get(acquisition).files],
    }


def by_id(fw: Any, acquisition: str, name: str) -> Any:
    """Classification and info of a file, by its id alone.

    The SDK's own ways to write info by the id raise before they send anything.
    """
    one = fw.get(acquisition)
    one.update_file_info(name, {"a": 1, "b": {"c": 2}})
    file_id = one.get_file(name).file_id
    classification = {"modality": "MR", "replace": {"Intent": ["Structural"]}}
    fw.modify_file_classification(file_id, classification)
    return {"info": fw.get_file_info(file_id), "file": fw.get_file(file_id)}


def all_of(fw: Any, project: str) -> Any:
    """Every file of a project's subjects, sessions and acquisitions: path -> SHA-256."""
    return {
        where: hashlib.sha256(file.read()).hexdigest()
        for where, file in _walked(fw.lookup(project))
    }


def contents_of(fw: Any, project: str, ending: str) -> Any:
    """The bytes of those whose names end so: path -> content."""
    return {
        where: file.read()
        for where, file in _walked(fw.lookup(project))
        if file.name.endswith(ending)
    }


def _walked(project: Any) -> Iterator[tuple[str, Any]]:
    for subject in project.subjects.iter():
        yield from _inside(subject, subject.label)
        for session in subject.sessions.iter():
            above = f"{subject.label}/{session.label}"
            yield from _inside(session, above)
            for acquisition in session.acquisitions.iter():
                yield from _inside(acquisition, f"{above}/{acquisition.label}")


def _inside(container: Any, where: str) -> Iterator[tuple[str, Any]]:
    for file in container.reload().files:
        yield f"{where}/{file.name}", file


def content(fw: Any, project: str, path: str) -> Any:
    """The bytes of one file of an acquisition."""
    folder, _, name = path.rpartition("/")
    return fw.lookup(f"{project}/{folder}").read_file(name)
