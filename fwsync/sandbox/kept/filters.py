r"""The filter language of lists: ``label=sub-01,created>2020-01-01,info.a.b=~^x``.

Clauses are joined by commas, all must hold. A key is a dotted path into the JSON of the entry; a
list on the way means "any of them". Its one rule: :meth:`Filter.accepts` is the meaning,
whatever a database is asked to leave out early.

====================  ============================================================
``=  !=``             equal, or not; ``null`` also stands for "is not there"
``<  <=  >  >=``      among numbers, among texts, among times
``=~``                a regular expression, found anywhere
``=|[a,b]  !=|[a,b]`` one of, none of
``"…"``               a text, with ``\"`` and ``\\``
``\,``                a comma inside a value
====================  ============================================================

Source: core19 `validators`/`parse` of list parameters; the in-lists are newer.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from fwsync.sandbox.problems import unprocessable

#: Longest first: the first that fits is the operator.
OPERATORS: Final = ("!=|[", "=|[", "=~", "!=", "<=", ">=", "=", "<", ">")

#: Short keys, and what they stand for.
SHORT_KEYS: Final = {
    kind: f"parents.{kind}" for kind in ("group", "project", "subject", "session", "acquisition")
}

MAX_CLAUSES: Final = 200  # the database joins no more than 1000 conditions

_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?)?$")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
_INDEX = re.compile(r"[0-9]{1,9}")
_WORDS: Final = {"null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Value:
    """One operand.

    ``typed`` is what the text stands for; ``text`` is the text itself, and equality takes either,
    so that ``label=101`` finds the label "101".
    """

    text: str
    typed: str | float | bool | datetime | None


@dataclass(frozen=True, slots=True)
class Clause:
    """``key operator values``; one value except for in-lists."""

    key: str
    operator: str
    values: tuple[Value, ...]
    pattern: re.Pattern[str] | None = None

    def accepts(self, entry: dict[str, Any]) -> bool:
        """Whether the entry satisfies this clause."""
        found = list(_reach(entry, self.key.split(".")))
        if self.pattern is not None:
            return any(isinstance(x, str) and self.pattern.search(x) for x in found)
        if self.operator in ("=", "=|"):
            return any(_equal(found, value) for value in self.values)
        if self.operator in ("!=", "!=|"):
            return not any(_equal(found, value) for value in self.values)
        compare = _ORDERINGS[self.operator]
        return any(_ordered(x, self.values[0], compare) for x in found)


@dataclass(frozen=True, slots=True)
class Filter:
    """Clauses, all of which must hold; none accepts everything."""

    clauses: tuple[Clause, ...] = ()

    def accepts(self, entry: dict[str, Any]) -> bool:
        """Whether an entry passes."""
        return all(clause.accepts(entry) for clause in self.clauses)

    def keys(self) -> set[str]:
        """First segments of the keys, to know what must be loaded."""
        return {clause.key.split(".")[0] for clause in self.clauses}


def parse_filter(text: str) -> Filter:
    """Read a filter.

    Raises:
        ApiError: 422, a clause cannot be read.
    """
    clauses: list[Clause] = []
    at = 0
    while at < len(text):
        if len(clauses) == MAX_CLAUSES:
            raise unprocessable(f"Invalid filter: more than {MAX_CLAUSES} clauses")
        clause, at = _clause(text, at)
        clauses.append(clause)
    return Filter(tuple(clauses))


def _clause(text: str, at: int) -> tuple[Clause, int]:
    start = at
    while at < len(text) and text[at] not in "=!<>,":
        at += 1
    operator = next((op for op in OPERATORS if text.startswith(op, at)), None)
    key = text[start:at].strip()
    if operator is None or not key:
        raise unprocessable(f"Invalid filter: no operator in {text[start : start + 80]!r}")
    at += len(operator)
    key = SHORT_KEYS.get(key, key)
    if operator.endswith("["):
        values, at = _values(text, at)
        return Clause(key, operator[:-1], values), at
    value, at = _value(text, at, ",")
    if operator != "=~":
        return Clause(key, operator, (value,)), at
    return Clause(key, operator, (value,), _pattern(value.text)), at


def _pattern(text: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a client's pattern may mean one day
            return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise unprocessable(f"Invalid filter: {text[:80]!r} is no pattern: {error}") from error


def _values(text: str, at: int) -> tuple[tuple[Value, ...], int]:
    values: list[Value] = []
    while not text.startswith("]", at):
        value, at = _value(text, at, ",]")
        values.append(value)
        if at >= len(text) and text[-1:] != "]":
            raise unprocessable("Invalid filter: the list is not closed")
    at += 1
    if at < len(text) and text[at] != ",":
        raise unprocessable(f"Invalid filter: {text[at:]!r} after a list")
    return tuple(values), at + 1


def _value(text: str, at: int, ends: str) -> tuple[Value, int]:
    """One value; the position returned is after the comma, or at the bracket that ends it."""
    if text.startswith('"', at) and (quoted := _quoted(text, at, ends)):
        return quoted
    taken: list[str] = []
    while at < len(text) and text[at] not in ends:
        if text[at] == "\\" and text[at + 1 : at + 2] == ",":
            at += 1
        taken.append(text[at])
        at += 1
    raw = "".join(taken)
    typed = _typed(raw.strip())
    return Value(raw, raw if isinstance(typed, str) else typed), _after(text, at)


def _quoted(text: str, at: int, ends: str) -> tuple[Value, int] | None:
    taken: list[str] = []
    at += 1
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] in ('"', "\\", ","):
            at += 1
        taken.append(text[at])
        at += 1
    if at >= len(text) or (at + 1 < len(text) and text[at + 1] not in ends):
        return None  # a quotation mark that is only part of a value
    content = "".join(taken)
    return Value(content, content), _after(text, at + 1)


def _after(text: str, at: int) -> int:
    return at + 1 if text.startswith(",", at) else at


def _typed(raw: str) -> str | float | bool | datetime | None:
    if raw in _WORDS:
        return _WORDS[raw]
    if (moment := as_time(raw)) is not None:
        return moment
    if _NUMBER.match(raw):
        return float(raw)
    return raw


def as_time(text: str) -> datetime | None:
    """The moment an ISO date or date-time stands for, UTC unless it says otherwise."""
    if not _DATE.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "T"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _reach(entry: Any, path: list[str]) -> Iterator[Any]:
    """Every value at the path; a list on the way, or at the end, stands for its members."""
    if isinstance(entry, list):
        if not path:
            yield entry
        elif _INDEX.fullmatch(path[0]) and int(path[0]) < len(entry):
            yield from _reach(entry[int(path[0])], path[1:])
        for member in entry:
            yield from _reach(member, path)
    elif not path:
        yield entry
    elif isinstance(entry, dict) and path[0] in entry:
        yield from _reach(entry[path[0]], path[1:])


def _equal(found: list[Any], value: Value) -> bool:
    if value.typed is None:
        return not found or any(x is None for x in found)
    return any(_same(x, value) for x in found)


def _same(x: Any, value: Value) -> bool:
    if isinstance(x, str):
        if isinstance(value.typed, datetime):
            return x == value.text or as_time(x) == value.typed
        return x == value.text
    if isinstance(x, bool) or isinstance(value.typed, bool):
        return x is value.typed
    return isinstance(x, int | float) and isinstance(value.typed, float) and x == value.typed


def _ordered(x: Any, value: Value, compare: Callable[[Any, Any], bool]) -> bool:
    if isinstance(value.typed, datetime):
        moment = as_time(x) if isinstance(x, str) else None
        return moment is not None and compare(moment, value.typed)
    if isinstance(value.typed, str):
        return isinstance(x, str) and compare(x, value.typed)
    if isinstance(value.typed, bool) or value.typed is None or isinstance(x, bool):
        return False
    return isinstance(x, int | float) and compare(x, value.typed)


_ORDERINGS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
