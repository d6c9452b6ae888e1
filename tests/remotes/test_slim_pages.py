"""Reading less of a page of files tells the same of each as reading all of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.errors import Garbled
from fwsync.remotes.flywheel_wire import Page, WireFile, file_of, page_of, slim_page

HASH = "v0-sha384-" + "a" * 96

REGULAR = {
    "name": "t1.nii",
    "size": 1,
    "hash": HASH,
    "file_id": "f1",
    "_id": "o1",
    "version": 2,
    "modified": "2026-11-23T06:01:01.702493+00:00",
    "deleted": None,
    "parent_ref": {"type": "acquisition", "id": "a1"},
    "parents": {"project": "p1", "subject": "s1", "session": "e1", "analysis": None},
    "info": {"a": [1.5, {}]},
}

MISSING = object()
ODD = st.sampled_from([MISSING, None, "", "x", 0, 1, -1, 2**70, 1.0, 1e30, True, [], {}, ["x"]])
REFS = st.sampled_from(
    [
        {"type": "acquisition", "id": ""},
        {"type": "gear", "id": "g1"},
        {"type": 1, "id": "a1"},
        {"id": "a1"},
        {"type": "session", "id": None},
    ]
)
ABOVE = st.sampled_from([{"acquisition": "a2"}, {"subject": 7}, {"session": "e1"}, {"project": {}}])


@st.composite
def items(draw: st.DrawFn) -> dict[str, object]:
    item: dict[str, object] = dict(REGULAR)
    for key in draw(st.sets(st.sampled_from(sorted(REGULAR)), max_size=3)):
        values = ODD
        if key in ("parent_ref", "parents"):
            values = ODD | (REFS if key == "parent_ref" else ABOVE)
        value = draw(values)
        item[key] = value
        if value is MISSING:
            del item[key]
    return item


def files(page: Page) -> list[WireFile] | str:
    """What is told of the files, but for what is above them, of which less may be read."""
    try:
        return [replace(file_of(one, "the files"), parents={}) for one in page.items]
    except Garbled as error:
        return error.message


def slim_or_all(body: bytes) -> object:
    try:
        return slim_page(bytearray(body))
    except ValueError:
        return json.loads(body)


@given(st.lists(items(), max_size=3), st.sampled_from([None, 0, 3, MISSING]))
def test_what_is_told_of_a_file_does_not_depend_on_how_much_of_it_is_read(
    results: list[dict[str, object]], total: object
) -> None:
    answer: dict[str, object] = {"results": results, "count": len(results)}
    if total is not MISSING:
        answer["total"] = total
    body = json.dumps(answer).encode()

    page, whole = page_of(slim_or_all(body), "the files"), page_of(json.loads(body), "the files")

    assert (page.total, files(page)) == (whole.total, files(whole))


def test_of_a_regular_file_only_what_is_asked_for_is_read() -> None:
    body = json.dumps({"total": 1, "results": [REGULAR]}).encode()

    (item,) = page_of(slim_page(bytearray(body)), "the files").items

    assert item.keys() == REGULAR.keys() - {"_id", "info"}
    assert item["parents"] == {"subject": "s1", "session": "e1"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"results": 1}', b'{"results": [{}]}', b"{", b"null"]
)
def test_what_is_no_page_of_files_is_left_to_who_reads_everything(body: bytes) -> None:
    with pytest.raises(ValueError, match="validation error"):
        slim_page(bytearray(body))
