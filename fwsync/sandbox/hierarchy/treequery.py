"""The tree in one request, fields chosen: ``POST /tree`` and ``GET /tree/graph``; the catalogue.

A request names a level and, inside of it, its neighbours: those above (one) or below (many), the
files, the analyses. Its one rule: a neighbour costs one query for all the containers that have
it, not one for each.

Source: SDK 23 (`fetch_tree`, `get_tree_graph`, `catalog_list`).
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from aiohttp import web
from multidict import MultiDict

from fwsync.sandbox.hierarchy.containers import source
from fwsync.sandbox.kept.access import Grants
from fwsync.sandbox.kept.listing import GIVEN, ListQuery, Where, granted, list_query, page
from fwsync.sandbox.kept.tree import KINDS, PLURAL
from fwsync.sandbox.pages import answer_page
from fwsync.sandbox.problems import invalid
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]

MAX_DEPTH: Final = 8  # levels of a request; the tree itself has five
_OPTIONS: Final = {"fields", "filter", "sort", "limit", "join_origin", "join-origin"}
_KIND_OF: Final = {PLURAL[kind]: kind for kind in (*KINDS, "analysis")}
_FILES: Final = frozenset({"files", "inputs", "analyses"})  # what has files in it
HIDDEN: Final = "info"  # of containers and files; too large for a list


@dataclass(frozen=True, slots=True)
class Edge:
    """From a container to its neighbours, as ``/tree/graph`` tells it."""

    collection: str
    local: str
    foreign: str
    order: str


def _edges(kind: str) -> dict[str, Edge]:
    at = KINDS.index(kind) if kind in KINDS else len(KINDS)
    above = {one: Edge(PLURAL[one], f"parents.{one}", "_id", "one") for one in KINDS[:at]}
    below = {
        PLURAL[one]: Edge(PLURAL[one], "_id", f"parents.{kind}", "many") for one in KINDS[at + 1 :]
    }
    if kind == "group":
        return above | below
    files = {"files": Edge("files", "_id", "parent_ref.id", "many")}
    if kind == "analysis":
        return above | files
    return above | below | {"analyses": Edge("analyses", "_id", "parent.id", "many")} | files


GRAPH: Final = {plural: _edges(kind) for plural, kind in _KIND_OF.items()}


async def graph(call: Call) -> web.Response:
    """``GET /tree/graph``: what can be joined to what."""
    return answer(
        {
            level: {"connections": {name: asdict(edge) for name, edge in edges.items()}}
            for level, edges in GRAPH.items()
        }
    )


@dataclass(frozen=True, slots=True)
class Branch:
    """One level of a request: what of it is shown, and which neighbours."""

    level: str
    fields: tuple[tuple[str, ...], ...]
    query: ListQuery
    joins: dict[str, Branch] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Of its containers; empty for files."""
        return _KIND_OF.get(self.level, "")

    @property
    def with_files(self) -> bool:
        """Whether the files of its containers, or the inputs of analyses, are needed."""
        keys = {key for key, _ in self.query.sort} | self.query.filter.keys()
        named = {path[0] for path in self.fields}
        return "files" in self.joins or not _FILES.isdisjoint(keys | named)


async def fetch(call: Call) -> web.Response:
    """``POST /tree``: a list, or the page object where it is asked for."""
    body = await call.json_object()
    if len(body) != 1 or not body.keys() <= GRAPH.keys():
        raise invalid(f"the body names one of {', '.join(GRAPH)}")
    [(level, told)] = body.items()
    root = _branch(level, told, list_query(call.request.query))
    grants = await call.site.grants(call.caller)
    where = Where(("c.deleted IS NULL", "c.kind = ?"), (root.kind,))
    where = granted(grants, where, "c", groups=root.kind == "group")
    shown = source(root.kind, with_files=root.with_files, grants=grants)

    def choose(db: sqlite3.Connection, entries: list[Json]) -> list[Json]:
        return _chosen(db, root, entries, grants)

    return await answer_page(call, shown, where, root.query, shape=choose)


def _branch(level: str, told: object, outer: ListQuery | None = None, depth: int = 1) -> Branch:
    """Read one level.

    Args:
        outer: the parameters of the request itself, which go before those in the body.

    Raises:
        ApiError: 400, 422.
    """
    if not isinstance(told, dict):
        raise invalid(f"{level} must be an object")
    if depth > MAX_DEPTH:
        raise invalid(f"more than {MAX_DEPTH} levels of a tree cannot be asked for at once")
    edges = GRAPH.get(level, {})
    if unknown := sorted(set(told) - _OPTIONS - edges.keys()):
        raise invalid(f"{level} has no {unknown[0]!r}; see /tree/graph")
    fields = told.get("fields")
    if not isinstance(fields, list) or not all(isinstance(one, str) for one in fields):
        raise invalid(f"{level} needs fields, a list of texts")
    options = {name: told[name] for name in ("filter", "sort", "limit") if told.get(name)}
    if options and level not in _KIND_OF:
        raise invalid("files are not filtered, sorted or limited in a tree")
    inner = list_query(MultiDict({name: str(value) for name, value in options.items()}))
    query = inner if outer is None else _joined_queries(inner, outer)
    joins = {
        name: _branch(edges[name].collection, told[name], depth=depth + 1)
        for name in edges
        if name in told
    }
    return Branch(level, tuple(tuple(one.split(".")) for one in fields), query, joins)


def _joined_queries(inner: ListQuery, outer: ListQuery) -> ListQuery:
    filtered = outer if outer.filter_text else inner
    return replace(
        outer,
        filter=filtered.filter,
        filter_text=filtered.filter_text,
        sort=outer.sort or inner.sort,
        limit=outer.limit or inner.limit,
    )


def _chosen(
    db: sqlite3.Connection, branch: Branch, entries: list[Json], grants: Grants | None
) -> list[Json]:
    """What of the entries was asked for, and their neighbours."""
    made = [_pick(entry, branch.fields) for entry in entries]
    for name, inner in branch.joins.items():
        edge = GRAPH[branch.level][name]
        around = _neighbours(db, edge, inner, entries, grants)
        for entry, own in zip(made, around, strict=True):
            if edge.order == "many":
                entry[name] = own
            elif own:
                entry[name] = own[0]
    return made


def _neighbours(
    db: sqlite3.Connection, edge: Edge, inner: Branch, entries: list[Json], grants: Grants | None
) -> list[list[Json]]:
    """The neighbours of each entry, in the order of the entries."""
    if edge.collection == "files":
        return [[_pick(file, inner.fields) for file in entry["files"]] for entry in entries]
    local = [_value(entry, edge.local) for entry in entries]
    shown = source(inner.kind, with_files=inner.with_files, grants=grants)
    where = Where(("c.deleted IS NULL", "c.kind = ?"), (inner.kind,))
    where = where.also(GIVEN.format(shown.column(edge.foreign)), json.dumps(list(set(local))))
    where = granted(grants, where, "c", groups=inner.kind == "group")
    everything = replace(inner.query, limit=None)
    found = page(db, shown, where, everything, total=None).results
    by_key: dict[str, list[int]] = defaultdict(list)
    for at, entry in enumerate(found):
        by_key[_value(entry, edge.foreign)].append(at)
    wanted = {key: places[: inner.query.limit] for key, places in by_key.items()}
    needed = sorted({at for places in wanted.values() for at in places})
    chosen = _chosen(db, inner, [found[at] for at in needed], grants)
    by_place = dict(zip(needed, chosen, strict=True))
    return [[by_place[at] for at in wanted.get(key, ())] for key in local]


def _value(entry: Json, path: str) -> Any:
    value: Any = entry
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _pick(entry: Json, fields: Sequence[tuple[str, ...]]) -> Json:
    """The fields of an entry that are there; its id always is."""
    picked: Json = {name: entry[name] for name in ("_id", "file_id") if name in entry}
    for path in fields:
        if path[0] != HIDDEN:
            _copy(entry, picked, path)
    return picked


def _copy(entry: Json, picked: Json, path: tuple[str, ...]) -> None:
    name, rest = path[0], path[1:]
    if name not in entry:
        return
    if not rest:
        picked[name] = entry[name]
    elif isinstance(entry[name], dict):
        inner = picked.setdefault(name, {})
        if inner is not entry[name]:  # it was asked for whole already
            _copy(entry[name], inner, rest)


async def catalogue(call: Call) -> web.Response:
    """``GET /projects/catalog-list``: projects as a catalogue shows them, always in a page."""
    plain = source("project", with_files=False)

    def render(db: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> list[Json]:
        return [_catalogued(entry) for entry in plain.render(db, rows)]

    where = Where(("c.deleted IS NULL", "c.kind = 'project'"))
    where = granted(await call.site.grants(call.caller), where, "c")
    if text := call.query("search_string"):  # in any case
        where = where.also("c.label REGEXP ?", f"(?i){re.escape(text)}")
    query = list_query(call.request.query)
    return await answer_page(call, replace(plain, render=render), where, query, always=True)


def _catalogued(entry: Json) -> Json:
    shown = {name: entry[name] for name in ("_id", "label", "tags", "parents", "created")}
    return shown | {
        "summary": entry.get("description"),
        "therapeutic_areas": [],
        "body_regions": [],
        "organ_systems": [],
        "project_institutions": [],
        "project_contacts": [],
        "stats": None,
    }
