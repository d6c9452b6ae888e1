"""Properties of the filter language: it never fails but by 422, SQL and Python agree on it, and
what is quoted is read as it was."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fwsync.sandbox.hierarchy.containers import source
from fwsync.sandbox.kept import tree
from fwsync.sandbox.kept.filters import Filter, parse_filter
from fwsync.sandbox.kept.listing import ListQuery, Where, page
from fwsync.sandbox.kept.records import Pen, open_records
from fwsync.sandbox.problems import ApiError

pytestmark = pytest.mark.row("lists-filter")

FRAGMENTS = [
    *(
        "label",
        "_id",
        "created",
        "info.a",
        "info.a.0",
        "project",
        "parents.group",
        "tags",
        "nowhere",
    ),
    *("=", "!=", "<", "<=", ">", ">=", "=~", "=|[", "!=|[", "]", ",", "\\,", '"', '\\"', "\\", "."),
    *(
        "null",
        "true",
        "1",
        "1e3",
        "-.5",
        "2026-01-02",
        "2026-01-02T03:04:05Z",
        "101",
        "a,b",
        "[",
        "(",
    ),
    *(
        "a{99999999999}",
        "(?P<",
        "[[a]",
        "(" * 300,
        "\uff11",
        "0001-01-01T00:00:00+23:59",
        "9" * 400,
    ),
]
pieces = st.sampled_from(FRAGMENTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
texts = st.lists(pieces, max_size=9).map("".join) | st.text(max_size=30)
#: Values that look like something else, and some that do not.
LABELS = [
    *(
        "",
        "a",
        "b",
        "A",
        "a,b",
        'q"q',
        "\\",
        "101",
        "1e2",
        "100.0",
        "-0",
        "null",
        "true",
        "]",
        "[a]",
    ),
    *(
        "2026-01-02",
        "2026-01-02T03:04:05Z",
        " a ",
        "ä",
        "\uff11",
        "a=b",
        "(",
        "\n",
        "1_0",
        "nan",
        "inf",
    ),
]
OPERATORS = ["=", "!=", "<", "<=", ">", ">="]


@settings(max_examples=500)
@given(texts)
@example("label=~a{99999999999}")
@example("label=~[[a]")
@example("label=~" + "(" * 3000)
def test_any_text_is_a_filter_or_422(text: str) -> None:
    entry = {"label": "101", "info": {"a": ["x", 1, None, {"b": 2}]}, "created": "2026-01-02"}

    wanted = read(text)

    if isinstance(wanted, ApiError):
        assert wanted.status == 422
        assert wanted.extra["core_status_code"] == "input_validation_error"
    else:
        assert wanted.accepts(entry) in (True, False)
        assert wanted.accepts({}) in (True, False)


def read(text: str) -> Filter | ApiError:
    """The filter, or what the client is told instead."""
    try:
        return parse_filter(text)
    except ApiError as problem:
        return problem


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(LABELS))
def test_what_is_quoted_is_read_as_it_was(value: str) -> None:
    for text in (f"label={quoted(value)}", f"label=|[x,{quoted(value)},y]"):
        wanted = parse_filter(f"{text},ready=true")

        assert wanted.accepts({"label": value, "ready": True})
        assert not wanted.accepts({"label": value, "ready": False})
        assert not wanted.accepts({"label": value + "+", "ready": True})


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(LABELS))
def test_without_quotation_marks_only_commas_need_help(value: str) -> None:
    assume("\\" not in value and not value.startswith('"') and value.strip() != "null")

    wanted = parse_filter("label=" + value.replace(",", "\\,") + ",ready=true")

    assert wanted.accepts({"label": value, "ready": True})
    assert not wanted.accepts({"label": value, "ready": False})


@given(st.sampled_from(OPERATORS), st.sampled_from(LABELS), st.sampled_from(LABELS))
def test_an_operator_and_its_opposite_do_not_both_hold(op: str, label: str, value: str) -> None:
    opposite = dict(zip(OPERATORS, ["!=", "=", ">=", ">", "<=", "<"], strict=True))[op]
    entry = {"label": label}

    one = parse_filter(f"label{op}{quoted(value)}").accepts(entry)
    other = parse_filter(f"label{opposite}{quoted(value)}").accepts(entry)

    assert one != other


# ---------------------------------------------------------------------------- SQL and Python


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A project whose sessions have every label there is, and some dates and uids."""
    path: Path = tmp_path_factory.mktemp("records") / "sandbox.db"

    def fill(pen: Pen) -> None:
        tree.upsert_group(pen, "grp", tree.NewContainer("group", "Grp", None, {}))
        project = tree.create(pen, tree.NewContainer("project", "Proj", "grp", {}))
        subject = tree.create(pen, tree.NewContainer("subject", "sub", project, {}))
        for at, label in enumerate(LABELS):
            uid = None if at % 3 else label
            doc: dict[str, Any] = {"info": {"a": at % 4, "b": label}, "uid": uid}
            tree.create(pen, tree.NewContainer("session", label, subject, doc))
            pen.tick()

    with asyncio.Runner() as runner:
        records = runner.run(open_records(path, durable=False))
        try:
            runner.run(records.write(fill))
            connection = records.connect()
            yield connection
            connection.close()
        finally:
            records.close()


@st.composite
def clauses(draw: st.DrawFn, ids: list[str], times: list[str]) -> str:
    """A clause of a key that SQL may decide."""
    key = draw(
        st.sampled_from(["label", "_id", "uid", "created", "modified", "info.a", "info.b"])
        | st.sampled_from(["parents.group", "project", "parents.session", "nowhere", "revision"])
    )
    pool = st.sampled_from([*LABELS, "grp", "1", "2", "nowhere", *ids[:3], *times[:3]])
    value = pool | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
    form = draw(st.integers(0, 3))
    if form == 0:
        return f"{key}{draw(st.sampled_from(OPERATORS))}{quoted(draw(value))}"
    if form == 1:
        return f"{key}{draw(st.sampled_from(OPERATORS))}" + draw(value).replace(",", "\\,")
    if form == 2:
        return f"{key}=~" + draw(
            st.sampled_from(["a", "^a", "1", "b$", "^$", ".", "[0-9]", "(?i)A"])
        )
    inside = ",".join(quoted(one) for one in draw(st.lists(value, max_size=3)))
    return f"{key}{draw(st.sampled_from(['=|', '!=|']))}[{inside}]"


@settings(max_examples=400)
@given(st.data())
def test_sql_and_python_agree_on_every_filter(db: sqlite3.Connection, data: st.DataObject) -> None:
    where = Where(("c.kind = 'session'", "c.deleted IS NULL"))
    shown = source("session", with_files=False)
    everything = page(db, shown, where, ListQuery(), total=None).results
    ids = [entry["_id"] for entry in everything]
    times = [entry["created"] for entry in everything]
    text = ",".join(data.draw(st.lists(clauses(ids, times), min_size=1, max_size=3)))
    wanted = read(text)
    assume(not isinstance(wanted, ApiError))
    assert isinstance(wanted, Filter)

    found = page(db, shown, where, ListQuery(filter=wanted, filter_text=text), total=-1)

    expected = [entry["_id"] for entry in everything if wanted.accepts(entry)]
    assert [entry["_id"] for entry in found.results] == expected, text
    assert found.total == len(expected)
    assert json.dumps(found.results)
