r"""Templates: ``sub-{subject}/{session}/{acquisition}/{file}``, read and written.

==================  ======================================================================
``{session}``       one component or a part of one, as few characters as will do
``{ses:s\d+}``      the same, of a form of its own: a regular expression
``{ses:%Y%m%d}``    the same, and a point in time too: ``session.timestamp``
``*``               anything within one component
``**``              any number of components, none too
``[…]``             may be missing
``\[``              a bracket, brace, star or backslash itself
==================  ======================================================================

A field that stands twice must say the same twice. Without ``{file}`` a file keeps the
name that it has. Files that lie in a folder further up belong to what that folder names,
as they do in the default layout.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn, TypeAlias

from fwsync.errors import UsageError
from fwsync.layout import label_of
from fwsync.mapping.fields import FILE_NAME, LEVEL_OF, field_name, load
from fwsync.mapping.moments import format_regex, read_moment
from fwsync.mapping.placing import FieldValue
from fwsync.model import Level


@dataclass(frozen=True, slots=True)
class Field:
    """``{name}``, ``{name:regex}`` or ``{name:%Y…}``."""

    name: str  #: canonical
    regex: str = ""
    form: str = ""  #: strptime's, of a point in time
    text: str = ""  #: as it was written

    @property
    def moment(self) -> str:
        """The field that the point in time goes to."""
        return self.name.replace(".label", ".timestamp")


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stands for itself; never holds a slash."""

    text: str


class Mark(Enum):
    """The rest of the syntax."""

    SLASH = "/"
    ONE = "*"
    ANY = "**"
    OPEN = "["
    CLOSE = "]"


Piece: TypeAlias = "Field | Literal | Mark"


def tokens_of(template: str) -> list[Piece]:
    """Take a template apart.

    Raises:
        UsageError: it is empty, a brace or bracket is open, a field is unknown, …
    """
    tokens: list[Piece] = []
    at = 0
    for match in _SYNTAX.finditer(template):
        if match.start() != at:
            break
        at = match.end()
        tokens.append(_token(template, match))
    if at != len(template):
        hint = "close the brace or bracket; one that is meant itself is written \\{ or \\["
        _refuse(template, f"cannot be read from {template[at:]!r} on", hint)
    if not tokens:
        _refuse(template, "is empty")
    depth = 0
    for token in tokens:
        depth += (token is Mark.OPEN) - (token is Mark.CLOSE)
        if depth < 0:
            break
    if depth:
        _refuse(template, "has a bracket without its other half")
    if tokens[0] is Mark.SLASH or tokens[-1] is Mark.SLASH:
        _refuse(template, "begins or ends with a slash", "paths are relative to the folder")
    return tokens


_SYNTAX = re.compile(
    r"""
    (?P<field>\{(?P<name>[^{}:]+)(?::(?P<rest>(?:\\.|\{[^{}]*\}|[^{}\\])+))?\})
    | (?P<mark>\*\*|[*/\[\]])
    | (?P<literal>(?:\\.|[^{}*/\[\]\\])+)
    """,
    re.VERBOSE,
)


def _token(template: str, match: re.Match[str]) -> Piece:
    if match["mark"]:
        return Mark(match["mark"])
    if match["literal"]:
        return Literal(re.sub(r"\\(.)", r"\1", match["literal"]))
    try:
        name = field_name(match["name"].strip())
    except UsageError as error:
        _refuse(template, error.message, error.hint)
    rest = match["rest"] or ""
    if re.search(r"%[A-Za-z]", rest):
        if not name.startswith(("session.", "acquisition.")):
            _refuse(template, f"{match[0]} has a time, which only a session or acquisition has")
        format_regex(rest)
        return Field(name, form=rest, text=match[0])
    try:
        re.compile(rest)
    except re.error as error:
        _refuse(template, f"{match[0]} holds no regular expression ({error})")
    return Field(name, regex=rest, text=match[0])


def _refuse(template: str, why: str, hint: str = "") -> NoReturn:
    raise UsageError(f"{template!r}: {why}", hint=hint)


# --------------------------------------------------------------------------- compiling


class Compiled:
    """Tokens as one regular expression over a path or the beginning of one.

    Args:
        deep_file: the last ``{file}`` takes components below its own as well.
    """

    def __init__(self, tokens: list[Piece], *, deep_file: bool = False) -> None:
        self.tokens = tokens
        self.fields: list[Field] = []
        self._deep_file = deep_file
        text = "".join(self._piece(number) for number in range(len(tokens)))
        self.regex = re.compile(text)

    @property
    def levels(self) -> frozenset[Level]:
        """The levels whose labels are among the fields."""
        return frozenset(LEVEL_OF[one.name] for one in self.fields if one.name in LEVEL_OF)

    @property
    def groups(self) -> list[str]:
        """By field: its group in a match."""
        return [f"f{number}" for number in range(len(self.fields))]

    def _piece(self, number: int) -> str:
        token = self.tokens[number]
        last = number == len(self.tokens) - 1
        before = self.tokens[number - 1] if number else Mark.SLASH
        after = Mark.SLASH if last else self.tokens[number + 1]
        if isinstance(token, Literal):
            return re.escape(token.text)
        if isinstance(token, Field):
            alone = before is Mark.SLASH and after is Mark.SLASH
            return self._group(token, last, "[^/]+" if alone else "[^/]+?")
        if token is Mark.ONE:
            whole = before in (Mark.SLASH, Mark.OPEN) and after in (Mark.SLASH, Mark.CLOSE)
            return "[^/]+" if whole else "[^/]*?"
        if token is Mark.ANY:
            if before is Mark.SLASH and not last:
                return "(?:[^/]+/)*"  # takes the slash behind it along
            return ".+" if last else ".*?"
        if token is Mark.SLASH:
            at_front = number < 2 or self.tokens[number - 2] is Mark.SLASH
            return "" if before is Mark.ANY and at_front else "/"
        return "(?:" if token is Mark.OPEN else ")?"

    def _group(self, token: Field, last: bool, usual: str) -> str:
        names = [one.name for one in self.fields]
        if token.name in names:
            return f"(?P=f{names.index(token.name)})"
        self.fields.append(token)
        inner = token.regex or (format_regex(token.form) if token.form else usual)
        if last and self._deep_file and token.name == FILE_NAME and not token.regex:
            inner = ".+"
        return f"(?P<f{len(self.fields) - 1}>{inner})"


def values_of(
    fields: list[Field], groups: list[str], match: re.Match[str], where: list[str]
) -> tuple[dict[str, FieldValue], str] | None:
    """What the fields of a match hold, and the same for people.

    Args:
        fields: of which the values are wanted.
        groups: by field: its group in the match.
        where: by field: "folder 1".

    Returns:
        None if a text is no name that fwsync spells, or no point in time.
    """
    values: dict[str, FieldValue] = {}
    saw: list[str] = []
    for field, group, place in zip(fields, groups, where, strict=True):
        text = match[group]
        if text is None:
            continue
        value: FieldValue | None
        if field.name in LEVEL_OF:
            value = label_of(text)
        elif field.form:
            value = read_moment(text, field.form)
        else:
            value = load(field.name, text)
        if value is None:
            return None
        values[field.name] = value
        if field.form and field.name in LEVEL_OF:
            moment = read_moment(text, field.form)
            if moment is None:
                return None
            values[field.moment] = moment
        saw.append(f"{LEVEL_OF.get(field.name, field.name)} {value!r} from {place}")
    return values, ", ".join(saw)


def components(tokens: list[Piece]) -> list[list[Piece]]:
    """Tokens by component of the path."""
    parts: list[list[Piece]] = [[]]
    for token in tokens:
        if token is Mark.SLASH:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def shown(tokens: list[Piece]) -> str:
    """Tokens as they were written."""
    return "".join(
        token.text if isinstance(token, Field | Literal) else token.value for token in tokens
    )
