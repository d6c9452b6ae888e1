"""Lists: their parameters, and one page of what they select.

What SQL can decide exactly is decided there, by an index, so that a page costs the same wherever
it lies; everything else is decided in Python while the rows stream by. Its one rule: the two
never disagree: SQL says what :meth:`fwsync.sandbox.kept.filters.Filter.accepts` would say.

Source: core19's pagination (422 for what breaks a rule); the page object of SDK 23.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from multidict import MultiMapping

from fwsync.sandbox.kept.access import Grants
from fwsync.sandbox.kept.filters import SHORT_KEYS, Clause, Filter, parse_filter
from fwsync.sandbox.problems import unprocessable

Json = dict[str, Any]
BATCH: Final = 500  # rows rendered at a time
MAX_SORT: Final = 32  # keys; the database takes no more than 2000
LAST_ROW: Final = (1 << 63) - 1  # what the database can count to
ORDERS: Final = ("", "asc", "desc", "1", "-1")
_UNSORTABLE: Final = frozenset('"\0')  # no path of SQLite can have them
_SQL_OPERATORS: Final = ("=", "!=", "<", "<=", ">", ">=")


NO_FILTER: Final = Filter()
GIVEN: Final = "{} IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The parameters of a list, checked."""

    filter: Filter = NO_FILTER
    filter_text: str = ""
    sort: tuple[tuple[str, bool], ...] = ()  # key, descending
    limit: int | None = None
    skip: int = 0
    after_id: str | None = None
    page: int | None = None

    def at_most(self, entries: int) -> ListQuery:
        """The same, of a site that puts no more than so many on a page; 0: as many as there are."""
        if not entries or (self.limit is not None and self.limit <= entries):
            return self
        skip = self.skip if self.page is None else entries * (self.page - 1)
        return replace(self, limit=entries, skip=skip)


@dataclass(frozen=True, slots=True)
class Where:
    """Conditions of SQL, joined by AND, with their parameters."""

    conditions: tuple[str, ...] = ()
    parameters: tuple[object, ...] = ()

    def also(self, condition: str, *parameters: object) -> Where:
        """With one more condition."""
        return Where((*self.conditions, condition), (*self.parameters, *parameters))

    @property
    def text(self) -> str:
        """What follows WHERE."""
        return " AND ".join(self.conditions) or "1"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a list comes from.

    ``texts`` and ``times`` map keys of the JSON to columns that hold exactly their value;
    ``unless_null`` those whose value counts only where another column is not null.
    ``orders`` maps further keys to expressions that sort as their values do.
    """

    select: str
    table: str  # with its alias, for counting
    alias: str
    render: Callable[[sqlite3.Connection, Sequence[sqlite3.Row]], list[Json]]
    texts: Mapping[str, str]
    times: Mapping[str, str] = field(
        default_factory=lambda: {"created": "created", "modified": "modified"}
    )
    numbers: Mapping[str, str] = field(default_factory=dict)
    unless_null: Mapping[str, str] = field(default_factory=dict)
    orders: Mapping[str, str] = field(default_factory=dict)
    ids_grow: bool = False  # whoever was created later has the larger id

    def column(self, key: str) -> str | None:
        """The column of a key."""
        name = self.texts.get(key) or self.times.get(key) or self.numbers.get(key)
        return f"{self.alias}.{name}" if name else None

    def order(self, key: str) -> str:
        """What to sort by; what stands nowhere else stands in the document."""
        document = f"json_extract({self.alias}.doc, {_path(key)})"
        return self.orders.get(key) or self.column(key) or document


@dataclass(frozen=True, slots=True)
class Page:
    """What a list answers; ``total`` only when it was asked for."""

    results: list[Json]
    total: int | None


def list_query(query: MultiMapping[str]) -> ListQuery:
    """Read the parameters of a list.

    Raises:
        ApiError: 422, one is wrong, or two do not go together.
    """
    for name in ("filter", "sort", "limit", "skip", "page", "after_id"):
        if len(query.getall(name, [])) > 1:
            raise unprocessable(f"{name} may be given only once")
    limit = _number(query, "limit", least=1)
    skip, page = _number(query, "skip", least=0), _number(query, "page", least=1)
    sort, after_id = query.get("sort"), query.get("after_id")
    if page is not None and skip is not None:
        raise unprocessable("page and skip do not go together")
    if page is not None and limit is None:
        raise unprocessable("page needs a limit")
    if after_id is not None and (sort or page is not None or skip is not None):
        raise unprocessable("after_id does not go with sort, page or skip")
    if page is not None and limit is not None:
        skip = limit * (page - 1)
        if skip > LAST_ROW:
            raise unprocessable("there is no such page")
    text = query.get("filter", "")
    return ListQuery(parse_filter(text), text, _sort(sort or ""), limit, skip or 0, after_id, page)


def _number(query: MultiMapping[str], name: str, *, least: int) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) >= least):
        raise unprocessable(f"{name} must be a whole number, {least} or more")
    return int(text)


def _sort(text: str) -> tuple[tuple[str, bool], ...]:
    keys = []
    for clause in filter(None, text.split(",")):
        key, _, order = clause.partition(":")
        if order not in ORDERS or not key or not _UNSORTABLE.isdisjoint(key):
            raise unprocessable(f"Invalid sort: {clause!r}")
        keys.append((SHORT_KEYS.get(key, key), order in ("desc", "-1")))
    if len(keys) > MAX_SORT:
        raise unprocessable(f"sort takes {MAX_SORT} keys at most")
    return tuple(keys)


def granted(grants: Grants | None, where: Where, alias: str, *, groups: bool = False) -> Where:
    """Leave out what the caller may not see."""
    if grants is None:
        return where
    given = json.dumps(sorted(grants.by_id))
    if groups:
        given = json.dumps(sorted({*grants.by_id, *grants.on_the_way}))
        return where.also(GIVEN.format(f"{alias}.id"), given)
    either = " OR ".join(GIVEN.format(f"{alias}.{name}") for name in ("group_id", "project_id"))
    return where.also(f"({either})", given, given)


def page(
    db: sqlite3.Connection, source: Source, where: Where, query: ListQuery, *, total: int | None
) -> Page:
    """One page.

    Args:
        total: how many pass, all pages together: ``-1`` asks for it to be counted, ``None`` for
            nothing, any other number is known to be right.
    """
    narrowed, rest = _narrow(source, where, query.filter)
    if total == -1:
        total = _count(db, source, narrowed, rest)
    if query.after_id is not None:
        narrowed = narrowed.also(f"{source.alias}.id > ?", query.after_id)
    sql = f"{source.select} WHERE {narrowed.text} ORDER BY {_order(source, query)}"
    parameters: tuple[object, ...] = narrowed.parameters
    skip, limit = query.skip, query.limit
    if not rest.clauses:
        sql += " LIMIT ? OFFSET ?"
        parameters += (-1 if limit is None else limit, skip)
        skip, limit = 0, None
    found: list[Json] = []
    for entry in _stream(db, source, sql, parameters, rest):
        if skip:
            skip -= 1
            continue
        found.append(entry)
        if len(found) == limit:
            break
    return Page(found, total)


def _stream(
    db: sqlite3.Connection, source: Source, sql: str, parameters: Sequence[object], rest: Filter
) -> Iterator[Json]:
    cursor = db.execute(sql, parameters)
    try:
        while rows := cursor.fetchmany(BATCH):
            yield from filter(rest.accepts, source.render(db, rows))
    finally:
        cursor.close()  # or the reading transaction would stay


def _count(db: sqlite3.Connection, source: Source, where: Where, rest: Filter) -> int:
    if not rest.clauses:
        sql = f"SELECT count(*) FROM {source.table} WHERE {where.text}"  # noqa: S608 - no values
        counted: int = db.execute(sql, where.parameters).fetchone()[0]
        return counted
    sql = f"{source.select} WHERE {where.text}"
    return sum(1 for _ in _stream(db, source, sql, where.parameters, rest))


def _narrow(source: Source, where: Where, wanted: Filter) -> tuple[Where, Filter]:
    """Move the clauses SQL can decide exactly into the conditions; the others remain."""
    rest = []
    for clause in wanted.clauses:
        condition = _condition(source, clause)
        if condition is None:
            rest.append(clause)
            continue
        text, parameter = condition
        other = source.unless_null.get(clause.key)
        if other is not None and clause.operator.startswith("!"):
            text = f"({source.alias}.{other} IS NULL OR {text})"
        elif other is not None:
            text = f"{source.alias}.{other} IS NOT NULL AND {text}"
        where = where.also(text, parameter)
    return where, Filter(tuple(rest))


def _condition(source: Source, clause: Clause) -> tuple[str, object] | None:
    column = source.column(clause.key)
    if column is None:
        return None
    if clause.key in source.texts and clause.operator not in _SQL_OPERATORS:
        return _of_text(column, clause)
    if clause.operator not in _SQL_OPERATORS:
        return None
    operator = "IS NOT" if clause.operator == "!=" else clause.operator
    typed, text = clause.values[0].typed, clause.values[0].text
    if clause.key in source.texts:
        # A number equals the text it is written as.
        exact = isinstance(typed, str) or (operator in ("=", "IS NOT") and type(typed) is float)
        return (f"{column} {operator} ?", text) if exact else None
    if clause.key in source.times:
        if not isinstance(typed, datetime):
            return None
        try:
            stamp = typed.astimezone(UTC).isoformat(timespec="microseconds")
        except OverflowError:  # the first or the last day there is
            return None
        return f"{column} {operator} ?", stamp
    return (f"{column} {operator} ?", typed) if isinstance(typed, float) else None


def _of_text(column: str, clause: Clause) -> tuple[str, object] | None:
    """A pattern, or a list of texts, for a column of texts."""
    if clause.pattern is not None:
        return f"{column} REGEXP ?", clause.pattern.pattern
    if not all(isinstance(value.typed, str | float) for value in clause.values):
        return None
    listed = json.dumps([value.text for value in clause.values])
    if clause.operator == "=|":
        return GIVEN.format(column), listed
    return f"({column} IS NULL OR NOT {GIVEN.format(column)})", listed


def _order(source: Source, query: ListQuery) -> str:
    if source.ids_grow and [key for key, _ in query.sort] == ["created"]:
        # The same order, and there is an index for it.
        return f"{source.alias}.id {'DESC' if query.sort[0][1] else 'ASC'}"
    keys = []
    for key, descending in query.sort:
        keys.append(f"{source.order(key)} {'DESC' if descending else 'ASC'}")
    return ", ".join([*keys, f"{source.alias}.id ASC"])


def _path(key: str) -> str:
    steps = "".join(f'."{step}"' for step in key.split("."))
    return "'$" + steps.replace("'", "''") + "'"
