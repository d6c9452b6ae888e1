"""The official SDK reads and changes what is known of containers."""

from __future__ import annotations

import pytest

from tests.conformance.place import Place
from tests.conformance.sdk.process import Sdk

LEVELS = pytest.mark.parametrize("level", ["project", "subject", "session", "acquisition"])


@LEVELS
@pytest.mark.row("info")
def test_info_is_merged_cut_and_replaced(sdk: Sdk, place: Place, level: str) -> None:
    steps = sdk("metadata.info", container=getattr(place, level))

    assert [
        {"a": 1, "b": {"c": 2}},
        {"a": 1, "b": {"d": "ü"}, "e": [1, None]},
        {"b": {"d": "ü"}},
        {"only": 1},
    ] == steps


@LEVELS
@pytest.mark.row("tags")
def test_tags_come_and_go(sdk: Sdk, place: Place, level: str) -> None:
    seen = sdk("metadata.tags", container=getattr(place, level))

    assert [["t1"], ["t1", "with/slash"], ["t2", "with/slash"], ["t2"]] == [
        sorted(one) for one in seen["steps"]
    ]
    assert 409 == seen["twice"]["status"]


@pytest.mark.row("tags")
def test_a_group_has_tags(sdk: Sdk, place: Place) -> None:
    place.ask("POST", "/groups", {"_id": "tagged", "label": "Tagged"})

    seen = sdk("metadata.tags", container="tagged")

    assert ["t2"] == seen["steps"][-1]


@pytest.mark.row("tags")
def test_several_tags_come_and_go(sdk: Sdk, place: Place) -> None:
    steps = sdk("metadata.several_tags", acquisition=place.acquisition)

    assert [["x", "y", "z"], ["y"]] == steps


@LEVELS
@pytest.mark.row("notes")
def test_a_note_is_written_changed_and_deleted(sdk: Sdk, place: Place, level: str) -> None:
    seen = sdk("metadata.notes", container=getattr(place, level), kind=level)

    note = seen["note"]
    assert ("first look: fine", "admin@sandbox.local") == (note["text"], note["user"])
    assert note["created"].endswith("+00:00")
    assert note == seen["read"]
    assert ["second look"] == seen["changed"]
    assert [] == (seen["left"] or [])
