r"""The filter language of Flywheel's lists: ``type=nifti,size>1000000,info.EchoTime<=0.03``.

Its one rule: what cannot be read is refused before the server is asked. A site of today
evaluates a filter itself. A server of 2018 has no filters: there it is evaluated here, on what
its lists say of a file.

====================  ============================================================
``=  !=``             equal, or not; ``null`` also stands for "is not there"
``<  <=  >  >=``      among numbers, among texts, among times
``=~``                a regular expression, found anywhere
``=|[a,b]  !=|[a,b]`` one of, none of
``"…"``               a text, with ``\"`` and ``\\``
``\,``                a comma inside a value
====================  ============================================================

Source: core19 (parameters of lists); flywheel-sdk 23 for ``\,``; in-lists by later sites.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fwsync.errors import UsageError
from fwsync.remotes.flywheel_wire import nanoseconds_of
from fwsync.remotes.where_fields import check_key, check_value

#: Longest first: the first that fits is the operator.
_OPERATORS: Final = ("!=|[", "=|[", "=~", "!=", "<=", ">=", "=", "<", ">")

#: Short keys, and what they stand for. Source: core19.
_SHORT: Final = {
    kind: f"parents.{kind}" for kind in ("group", "project", "subject", "session", "acquisition")
}
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d([T ].*)?")
_ESCAPED: Final = re.compile(r'\\([",\\])')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_BARE: Final = re.compile(r"(?:[^,\\]|\\.|\\\Z)*")
_BARE_IN_LIST: Final = re.compile(r"(?:[^,\]\\]|\\.)*")
_WORDS: Final = frozenset({"null", "true", "false"})  #: unquoted, they are no texts
_MOST_SHOWN: Final = 60  # characters
_ORDERS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXT_ORDERS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_HINT: Final = "write KEY=VALUE, such as type=nifti or size>1000000; a comma means and"


@dataclass(frozen=True, slots=True)
class _Value:
    """One operand: its text, and whether it stood in quotation marks."""

    text: str
    quoted: bool

    def equals(self, found: object) -> bool:
        """Whether a value of a record is this one; ``label=101`` finds the label "101"."""
        if isinstance(found, str):
            return found == self.text or (self.is_time and _is_same_time(found, self.text))
        if self.quoted:
            return False
        if isinstance(found, bool):
            return self.text == str(found).lower()
        if isinstance(found, int | float):
            return _NUMBER.fullmatch(self.text) is not None and float(self.text) == found
        return False

    @property
    def is_null(self) -> bool:
        """True if it stands for "is not there"."""
        return self.text == "null" and not self.quoted

    @property
    def is_number(self) -> bool:
        """True if it is compared as a number."""
        return not self.quoted and _NUMBER.fullmatch(self.text) is not None

    @property
    def is_time(self) -> bool:
        """True if it is compared as a day or a time."""
        return not self.quoted and _is_moment(self.text)

    def is_passed_by(self, found: object, order: str) -> bool:
        """Whether a value of a record is less or more than this one; of another kind, never."""
        if isinstance(found, str):
            if self.is_time:
                then, now = nanoseconds_of(self.text), nanoseconds_of(found)
                return _is_moment(found) and _ORDERS[order](now, then)
            is_no_text = self.text in _WORDS or _NUMBER.fullmatch(self.text) is not None
            is_text = self.quoted or not is_no_text
            return is_text and _TEXT_ORDERS[order](found, self.text)
        if isinstance(found, bool) or not isinstance(found, int | float) or self.quoted:
            return False
        return bool(_NUMBER.fullmatch(self.text)) and _ORDERS[order](found, float(self.text))


@dataclass(frozen=True, slots=True)
class Clause:
    """``key operator values``; several values only in a list."""

    key: str  #: dotted
    operator: str
    values: tuple[_Value, ...]
    pattern: re.Pattern[str] | None = None  #: of ``=~``

    def accepts(self, record: Mapping[str, object]) -> bool:
        """Whether a record satisfies it."""
        found = list(_reach(record, self.key.split(".")))
        if self.pattern is not None:
            return any(isinstance(one, str) and self.pattern.search(one) for one in found)
        if self.operator in ("=", "=|"):
            return self._has(found)
        if self.operator in ("!=", "!=|"):
            return not self._has(found)
        return any(self.values[0].is_passed_by(one, self.operator) for one in found)

    def __str__(self) -> str:
        values = ",".join(one.text for one in self.values)
        return f"{self.key}{self.operator}{f'[{values}]' if self.operator[-1] == '|' else values}"

    def check(self) -> None:
        """See that a file can have what is asked for.

        Raises:
            UsageError: none can.
        """
        check_key(self.key)
        if self.pattern is not None:
            return
        for value in self.values:
            if not value.is_null:
                is_time = _is_moment(value.text)  # in quotation marks, too: a server may take it
                check_value(self.key, value.text, is_number=value.is_number, is_time=is_time)

    def _has(self, found: Sequence[object]) -> bool:
        is_missing = not found or None in found
        return any(
            is_missing if value.is_null else any(map(value.equals, found)) for value in self.values
        )


@dataclass(frozen=True, slots=True)
class Where:
    """A filter that was read: all of its clauses must hold."""

    text: str  #: as it was written
    clauses: tuple[Clause, ...]

    @property
    def keys(self) -> frozenset[str]:
        """What it asks for: the first parts of its keys."""
        return frozenset(one.key.partition(".")[0] for one in self.clauses)

    def check(self) -> None:
        """See that a file can have all that is asked for.

        Raises:
            UsageError: none can.
        """
        for clause in self.clauses:
            clause.check()

    def accepts(self, record: Mapping[str, object]) -> bool:
        """Whether a file whose record this is satisfies it."""
        return all(one.accepts(record) for one in self.clauses)


def parse_where(text: str) -> Where:
    """Read a filter.

    Raises:
        UsageError: it cannot be read.
    """
    clauses: list[Clause] = []
    at = 0
    while at < len(text):
        clause, at = _clause(text, at)
        clauses.append(clause)
    if not clauses:
        raise UsageError("the filter is empty", hint=_HINT)
    return Where(text, tuple(clauses))


def _clause(text: str, start: int) -> tuple[Clause, int]:
    """A clause, and where the next one begins."""
    at = start
    while at < len(text) and text[at] not in "=!<>,":
        at += 1
    sign = next((one for one in _OPERATORS if text.startswith(one, at)), None)
    key = text[start:at].strip()
    if sign is None or not key:
        shown = text[start : start + _MOST_SHOWN]
        raise UsageError(f"{shown!r} is no clause: it has no key, or no operator", hint=_HINT)
    key, at = _SHORT.get(key, key), at + len(sign)
    if sign.endswith("["):
        values, at = _list(text, at)
        return Clause(key, sign[:-1], values), at
    value, at = _value(text, at, _BARE)
    if at < len(text) and text[at] != ",":
        raise UsageError(f"{text[at : at + _MOST_SHOWN]!r} stands behind a value", hint=_HINT)
    pattern = _pattern(value.text) if sign == "=~" else None
    return Clause(key, sign, (value,), pattern), at + 1


def _list(text: str, at: int) -> tuple[tuple[_Value, ...], int]:
    values: list[_Value] = []
    while not text.startswith("]", at):
        value, at = _value(text, at, _BARE_IN_LIST)
        values.append(value)
        if at >= len(text):
            raise UsageError("a list of values is not closed by a bracket", hint=_HINT)
        at += text[at] == ","
    if at + 1 < len(text) and text[at + 1] != ",":
        raise UsageError(f"{text[at + 1 :]!r} stands behind a list", hint=_HINT)
    return tuple(values), at + 2


def _value(text: str, at: int, bare: re.Pattern[str]) -> tuple[_Value, int]:
    quoted = _QUOTED.match(text, at)
    if quoted is not None and text[quoted.end() : quoted.end() + 1] in ("", ",", "]"):
        return _Value(_ESCAPED.sub(r"\1", quoted[1]), quoted=True), quoted.end()
    plain = bare.match(text, at)
    assert plain is not None, "it may match nothing"
    return _Value(plain[0].replace("\\,", ","), quoted=False), plain.end()


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{text[:_MOST_SHOWN]!r} is no regular expression ({error})") from None


def _reach(found: object, path: Sequence[str]) -> Iterator[object]:
    """Every value at a path; a list on the way stands for its members."""
    if isinstance(found, list):
        for member in found:
            yield from _reach(member, path)
    elif not path:
        yield found
    elif isinstance(found, Mapping) and path[0] in found:
        yield from _reach(found[path[0]], path[1:])


def _is_moment(text: str) -> bool:
    if _DATE.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_same_time(one: str, other: str) -> bool:
    return _is_moment(one) and nanoseconds_of(one) == nanoseconds_of(other)
