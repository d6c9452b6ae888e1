"""Whatever stands in the body of a change: the answer is JSON, no 500, and all can be read on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sandbox.api import Api, Tree, plant

TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["\ud800", "a\0b", "..", "/", "$", "a.b", "é" * 300, "2026-01-02T03:04:05Z"]),
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), TEXTS
)  # NaN and infinities too, as Python writes them
WORDS = [
    "set",
    "delete",
    "replace",
    "add",
    "modality",
    "type",
    "value",
    "text",
    "name",
    "info",
    "label",
    "tags",
    "timestamp",
    "timezone",
    "age",
    "session",
    "subject",
    "project",
    "container_reference",
    "id",
    "code",
    "uid",
    "classification",
    "_id",
    "group",
]
KEYS = st.one_of(
    TEXTS,
    st.sampled_from(WORDS),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
BODIES = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(WORDS), VALUES, min_size=1, max_size=2),
    st.lists(TEXTS, max_size=3),
)
ROUTES = [
    ("PUT", "{session}"),
    ("PUT", "{group}"),
    ("PUT", "{acquisition}"),
    ("POST", "/acquisitions"),
    ("POST", "/sessions"),
    ("PATCH", "{session}/info"),
    ("POST", "{session}/tags"),
    ("PATCH", "{session}/tags"),
    ("DELETE", "{session}/tags"),
    ("PUT", "{session}/tags/t"),
    ("POST", "{session}/notes"),
    ("PUT", "{file}"),
    ("PATCH", "{file}/info"),
    ("PUT", "{file}/info"),
    ("PUT", "{file}/classification"),
    ("PUT", "{file}/tags"),
    ("PATCH", "{file}/tags"),
    ("DELETE", "{file}/tags"),
    ("POST", "{file}/move"),
    ("PUT", "{named}"),
    ("PATCH", "{named}/info"),
    ("PATCH", "{named}/classification"),
    ("DELETE", "/files"),
    ("DELETE", "/acquisitions"),
]
_PLACES: dict[int, tuple[Tree, str]] = {}


async def places(api: Api) -> dict[str, str]:
    """The things that are changed; made once for a server."""
    if id(api) not in _PLACES:
        tree = await plant(api)
        [entry] = await api.upload(f"sessions/{tree.session}", {"a.txt": b"a"})
        await api.post(f"/sessions/{tree.session}/tags", {"value": "t"})
        _PLACES.clear()
        _PLACES[id(api)] = tree, entry["file_id"]
    tree, file_id = _PLACES[id(api)]
    return {
        "group": "/groups/grp",
        "session": f"/sessions/{tree.session}",
        "acquisition": f"/acquisitions/{tree.acquisition}",
        "file": f"/files/{file_id}",
        "named": f"/sessions/{tree.session}/files/a.txt",
    }


@pytest.mark.row("error-shape")
@settings(
    max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(route=st.sampled_from(ROUTES), body=BODIES)
async def test_no_body_of_a_change_is_a_500(api: Api, route: tuple[str, str], body: Any) -> None:
    method, path = route
    found = await places(api)
    headers = {"Content-Type": "application/json"}
    answer = await api.ask(method, path.format(**found), data=json.dumps(body), headers=headers)
    strict = json.loads(answer.body, parse_constant=pytest.fail)

    assert answer.status < 500
    assert answer.status == 200 or strict["status_code"] == answer.status
    for thing in ("session", "group", "file"):
        seen = await api.ask("GET", found[thing])
        assert seen.status == 200
        json.loads(seen.body, parse_constant=pytest.fail)
