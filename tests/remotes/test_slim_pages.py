"""Reading less of a page of files tells the same of each as reading all of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.errors import Garbled
from fwsync.model import ContainerRef, Level, RelPath
from fwsync.ports import entry_of
from fwsync.remotes.flywheel_slim import Above, SlimPage, row_of, slim_page, wire_of
from fwsync.remotes.flywheel_wire import cursor_of, file_of, page_of
from fwsync.state_rows import remote_row

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
NUMBERS = [0, 1, -1, 2**63 - 1, 2**63, -(2**63) - 1, 2**70, 1.0, 1e30, True]
MOMENTS = ["9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00", "2262-04-11T23:47:17Z"]
ODD = st.sampled_from([MISSING, None, "", "x", *NUMBERS, *MOMENTS, [], {}, ["x"]])
REFS = st.sampled_from(
    [
        {"type": "acquisition", "id": ""},
        {"type": "acquisition", "id": "a1", "id2": 3},
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


def told(answer: object) -> tuple[object, ...] | str:
    """What is told of a page: of its files, but for what is above them, of which less is read."""
    try:
        if isinstance(answer, SlimPage):
            wires = [wire_of(one) for one in answer.results]
            behind = answer.results[-1].file_id if answer.results else ""
            return answer.total, [replace(one, parents={}) for one in wires], behind
        page = page_of(answer, "the files")
        whole = [replace(file_of(one, "the files"), parents={}) for one in page.items]
        return page.total, whole, cursor_of(page.items[-1], "the files") if page.items else ""
    except Garbled as error:
        return error.message


def slim_or_all(body: bytes) -> object:
    try:
        return slim_page(bytearray(body))
    except ValueError:
        return read_all(body)


def read_all(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return "no JSON"


def page_with(results: Sequence[object], total: object = MISSING) -> bytes:
    answer: dict[str, object] = {"results": results, "count": len(results)}
    if total is not MISSING:
        answer["total"] = total
    return json.dumps(answer).encode()


@given(st.lists(items(), max_size=3), st.sampled_from([None, 3, "3", *NUMBERS, MISSING]))
def test_what_is_told_of_a_file_does_not_depend_on_how_much_of_it_is_read(
    results: list[dict[str, object]], total: object
) -> None:
    body = page_with(results, total)

    slim, whole = told(slim_or_all(body)), told(json.loads(body))

    assert whole == slim


PIECES = [
    b"", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\ud83d\\ude00", b"\\u0000", b"\x00", b"\n",
    b"-0", b"01", b"1.", b"1.0", b"1e0", b"1E400", b"NaN", b"-Infinity", b"9" * 30, b"null",
    b"true", b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\x", b"/", b"'",
    "\u00e9".encode(), b"\xef\xbb\xbf", b'"size":2,', b'"size":"2",',
    b'"name":"u.nii",', b'"name":null,', b'"file_id":"f9",',
    b'"deleted":"x",', b'"parent_ref":{},', b'"results":[],', b'"total":7,',
    b"//", b"[[[[", b"]]]]",
]  # fmt: skip


@given(st.data())
def test_whatever_is_in_an_answer_it_is_told_the_same_or_refused_by_both(
    data: st.DataObject,
) -> None:
    body = page_with([REGULAR, {**REGULAR, "name": "t2.nii", "file_id": "f2"}], 2)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        piece = data.draw(st.sampled_from(PIECES) | st.binary(max_size=2))
        body = body[:at] + piece + body[at + data.draw(st.integers(0, 12)) :]

    slim, whole = told(slim_or_all(body)), told(read_all(body))

    assert whole == slim


def test_of_a_regular_file_no_more_is_kept_than_decides_something() -> None:
    body = page_with([REGULAR], 1)

    (file,) = slim_page(bytearray(body)).results

    assert file.parents == Above(subject="s1", session="e1")
    assert set(file.__struct_fields__) == REGULAR.keys() - {"_id", "info"}


@given(items())
def test_a_row_is_what_the_entry_of_the_file_would_be(item: dict[str, object]) -> None:
    path = RelPath("sub/ses/acq/t1.nii")
    try:
        (file,) = slim_page(bytearray(page_with([item]))).results
    except ValueError:
        return

    row = row_of(file, path, "acquisition")

    wire = file_of(item, "the files")
    assert remote_row(wire.entry(path, ContainerRef(Level.ACQUISITION, wire.parent_id))) == row
    assert remote_row(entry_of(row)) == row


@given(items())
def test_what_is_told_of_a_file_fits_into_the_state(item: dict[str, object]) -> None:
    try:
        wire = file_of(item, "the files")
    except Garbled:
        return

    assert 0 <= wire.size < 2**63
    assert 0 <= wire.version < 2**63
    assert -(2**63) <= wire.modified_ns < 2**63


@pytest.mark.parametrize("key", ["size", "version"])
@pytest.mark.parametrize("number", [2**63, -1, 1.0, True], ids=str)
def test_a_number_that_is_none_is_named(key: str, number: object) -> None:
    with pytest.raises(Garbled, match=f"'{key}'"):
        file_of({**REGULAR, key: number}, "the files")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_time_that_cannot_be_kept_is_none(moment: str) -> None:
    assert file_of({**REGULAR, "modified": moment}, "the files").modified_ns == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"results": 1}',
        b'{"results": [{}]}',
        b"{",
        b"null",
        b'{"results": []}x',
    ],
)
def test_what_is_no_page_of_files_is_left_to_who_reads_everything(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expected|Object|Input|truncated"):
        slim_page(bytearray(body))


@pytest.mark.parametrize(
    "spoilt", [b"\xff", b"\xed\xa0\x80", b"\xc3"], ids=["a byte", "half a pair", "half a letter"]
)
def test_a_byte_that_is_no_text_spoils_a_page_wherever_it_is(spoilt: bytes) -> None:
    body = page_with([{**REGULAR, "info": {"x": "here"}}], 1).replace(b"here", spoilt)

    with pytest.raises(UnicodeDecodeError):
        slim_page(bytearray(body))


def test_a_page_that_is_not_whole_is_none() -> None:
    body = page_with([REGULAR], 1)

    for end in range(len(body)):
        with pytest.raises(ValueError, match=r"."):
            slim_page(bytearray(body[:end]))
