"""Analyses: containers with inputs and outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flywheel

from tests.conformance.sdk.flows.refusals import refusal


def story(fw: Any, session: str, acquisition: str, name: str, folder: str) -> Any:
    """An analysis of a session, from a file of an acquisition, with outputs of its own."""
    file = fw.get(acquisition).get_file(name)
    parent = fw.get(session)
    analysis = parent.add_analysis(
        label="Skull strip", description="by hand", inputs=[file.ref()], info={"k": 1}
    )
    formed = analysis.upload_output(flywheel.FileSpec("mask.nii", b"mask"), signed=False)
    signed = analysis.upload_file(flywheel.FileSpec("log.txt", b"all well"))
    analysis.add_note("looks right")
    analysis.add_tag("done")
    analysis.update_info({"k": 2})
    target = Path(folder) / "mask.nii"
    again = fw.get(analysis.id)
    again.download_file("mask.nii", str(target))
    return {
        "id": analysis.id,
        "formed": formed,
        "signed": signed,
        "again": again,
        "model": type(again).__name__,
        "downloaded": target.read_bytes(),
        "input": fw.get_analysis_input_files(analysis.id, name),
        "of session": [one.id for one in fw.get_session_analyses(session)],
        "with session": [one.id for one in fw.get(session).analyses],
        "all": [one.id for one in fw.get_all_analyses(filter=f"parent.id={session}")],
    }


def on_levels(fw: Any, containers: list[str]) -> Any:
    """An analysis on each of some containers: its parent, and what it stands below."""
    made = []
    for one in containers:
        analysis = fw.get(one).add_analysis(label=f"of {one}")
        made.append([analysis.parent.to_dict(), analysis.parents.to_dict()])
    return made


def delete(fw: Any, session: str) -> Any:
    """An analysis that is deleted is gone from its session."""
    analysis = fw.get(session).add_analysis(label="short-lived")
    before = [one.label for one in fw.get_session_analyses(session)]
    fw.delete_session_analysis(session, analysis.id)
    gone = refusal(fw.get_analysis, analysis.id)
    after = [one.label for one in fw.get_session_analyses(session)]
    return {"before": before, "after": after, "gone": gone}


def nested(fw: Any, session: str) -> Any:
    """An analysis by way of its session: read, changed, written to, noted."""
    analysis = fw.get(session).add_analysis(label="by the parent")
    fw.modify_session_analysis(session, analysis.id, {"label": "renamed"})
    fw.upload_output_to_session_analysis(
        session, analysis.id, flywheel.FileSpec("out.txt", b"output"), signed=False
    )
    fw.add_session_analysis_note(session, analysis.id, {"text": "noted"})
    seen = fw.get_session_analysis(session, analysis.id)
    content = fw.download_output_from_session_analysis_as_data(session, analysis.id, "out.txt")
    fw.delete_session_analysis_note(session, analysis.id, seen.notes[0].id)
    return {
        "seen": seen,
        "content": content,
        "notes": fw.get_session_analysis(session, analysis.id).notes,
    }
