r"""The small languages of fw-meta's rule files: templates, patterns, filters.

================  ==========================================================================
``{sub}_{ses}``   a pattern takes a text apart: fields, and what stands between them
``[…]`` ``*``     a part that may be missing; anything but a slash
``**/``           any folders, slashes too
``{sub:s\d+}``    a field of a form of its own; ``{acq.ts:%Y%m%d}`` for a point in time
``…!r`` ``…!i``   what is not in braces is a regular expression; upper case is lower case
``{path}``        a template puts a text together: ``{dir/a/b}`` replaces, ``{x|y}`` is a
                  default, ``{x:.5}`` a format, ``{!subject.label}`` what was found before
``size<10MB``     a filter compares: ``= != < > <= >= =~ !~``
================  ==========================================================================

Source: fw-meta 4.13.0 and fw-utils 5.2.0, observed; what they do is done here, even where
their text says otherwise (``[`` in a field's form is a part that may be missing).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fwsync.errors import UsageError
from fwsync.mapping.fields import FILE_NAME, LEVEL_OF, field_name
from fwsync.mapping.moments import civil, format_regex, read_moment
from fwsync.mapping.placing import FieldValue
from fwsync.model import Stamp

_BRACES = re.compile(r"(?<!\\)([{}])")
_OPTIONS = re.compile(r"(?<!\\)!([a-z]+)$")
_UID = r"([a-z]{2,8}\.)?(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){4,}"
# The first that matches at a place is used.
_SIMPLE = (
    (r"(?<!\\)\[", "("),
    (r"(?<!\\)\]", ")?"),
    (r"(?<!\\)\.", r"\."),
    (r"(?<!\\)\*\*/", ".*"),
    (r"(?<!\\)\*", "[^/]*"),
    (r"(?<!\\)\\uid", _UID),
    (r"\\\[", "["),
    (r"\\\]", "]"),
    (r"\\\.", "."),
    (r"\\\*", "*"),
)
_CARETS = ((r"(?<!\\)\^", r"\^"), (r"\\\^", "^"))
_LAZY = ((r"(?<!\\)\*(?![?{])", "*?"), (r"(?<!\\)\+(?![?{])", "+?"))

_SIZE = re.compile(r"(\d+(?:\.\d*)?)\s*(?:([KMGTPEZY])i?)?B?", re.IGNORECASE)
_FILTER = re.compile(r"(?<=\w)(!=|<=|>=|=~|!~|=|<|>)")
_COMPARE: Mapping[str, Callable[[object, object], bool]] = {
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,  # type: ignore[operator]  # both text or both numbers
    ">": lambda one, other: one > other,  # type: ignore[operator]
    "<=": lambda one, other: one <= other,  # type: ignore[operator]
    ">=": lambda one, other: one >= other,  # type: ignore[operator]
}
_STRINGS = ("path", "name", "dir", "ext")
_FILTER_NAMES = {
    "filepath": "path",
    "filename": "name",
    "dirname": "dir",
    "created": "ctime",
    "modified": "mtime",
}


def simple_regex(text: str, carets: bool = True) -> str:
    """A pattern's text outside braces as a regular expression."""
    return _replace(text, _SIMPLE + _CARETS if carets else _SIMPLE)


def _replace(text: str, table: tuple[tuple[str, str], ...]) -> str:
    def new(match: re.Match[str]) -> str:
        return next(new for old, new in table if re.match(old, match[0]))

    return re.sub("|".join(old for old, _ in table), new, text)


def _options(text: str) -> tuple[str, str]:
    """A pattern without its ``!ri``, and the letters."""
    match = _OPTIONS.search(text)
    if match is None:
        return text, ""
    if set(match[1]) - set("ri"):
        raise UsageError(f"{text!r} ends in !{match[1]}", hint="only !r and !i are known")
    return text[: match.start()], match[1]


def _parts(text: str) -> list[tuple[bool, str]]:
    """Text inside and outside of braces; text without any is one field."""
    if not text:
        raise UsageError("a rule has an empty template or pattern")
    if not _BRACES.search(text):
        return [(True, text)]
    parts: list[tuple[bool, str]] = []
    inside = False
    for piece in _BRACES.split(text):
        if piece in ("{", "}"):
            if inside == (piece == "{"):
                raise UsageError(f"{text!r} has a brace without its other half")
            inside = not inside
        elif piece:
            parts.append((inside, piece))
        elif inside:
            raise UsageError(f"{text!r} has a pair of empty braces")
    if inside:
        raise UsageError(f"{text!r} has a brace without its other half")
    return parts


class Pattern:
    """Takes a text apart.

    Raises:
        UsageError: it is none, or a field is not known.
    """

    def __init__(self, text: str) -> None:
        self.fields: dict[str, str] = {}  # by group: the field
        self._forms: dict[str, str] = {}
        bare, options = _options(text)
        raw = "r" in options
        regex = ""
        for inside, part in _parts(bare):
            if not inside:
                regex += part if raw else simple_regex(part)
            elif re.match(r"\d+(,\d+)?", part):
                regex += f"{{{part}}}"
            else:
                regex += self._group(part, raw)
        try:
            self._regex = re.compile(
                f"^{_replace(regex, _LAZY)}$", re.IGNORECASE if "i" in options else 0
            )
        except re.error as error:
            raise UsageError(f"{text!r} is no pattern ({error})") from error

    def _group(self, part: str, raw: bool) -> str:
        short, _, form = part.partition(":")
        name = short if short.startswith("@") else field_name(short)
        group = f"f{len(self.fields)}"
        self.fields[group] = name
        usual = "[^/]+" if name in LEVEL_OF or name == FILE_NAME else ".+"
        # Codes of a time are a form of their own only where the field is a time.
        if form and re.search("date|time", name):
            self._forms[group] = form
            return f"(?P<{group}>{format_regex(form)})"
        if form and not raw:
            form = simple_regex(form)
        return f"(?P<{group}>{form or usual})"

    def match(self, text: str) -> dict[str, str]:
        """Fields and their texts; empty if the text does not match. Times are ISO 8601."""
        match = self._regex.match(text)
        found: dict[str, str] = {}
        for group, name in self.fields.items():
            value = match[group] if match else None
            if value and group in self._forms:
                value = read_moment(value, self._forms[group])
            if value:
                found[name] = value
        return found


_BLOCK = re.compile(
    r"(?P<field>[^/:|]+)"
    r"((?<!\\)/(?P<old>.+?)((?<!\\)/(?P<new>.*?))?)?"
    r"((?<!\\):(?P<form>.+?))?"
    r"((?<!\\)\|(?P<default>.+))?$"
)


class Template:
    """Puts a text together from what is known of a file.

    Raises:
        UsageError: it is none.
    """

    def __init__(self, text: str) -> None:
        self._parts: list[str | re.Match[str]] = []
        self.fields: list[str] = []
        for inside, part in _parts(text):
            if not inside:
                self._parts.append(re.sub(r"\\([{}])", r"\1", part))
                continue
            block = _BLOCK.match(part)
            if block is None:
                raise UsageError(f"{text!r} is no template: {{{part}}} cannot be read")
            try:
                re.compile(block["old"] or "")
            except re.error as error:
                raise UsageError(f"{text!r} is no template ({error})") from error
            self._parts.append(block)
            self.fields.append(block["field"])

    def fill(self, get: Callable[[str], FieldValue | None]) -> str:
        """The text; what is missing is its default or ``UNKNOWN``."""
        return "".join(
            part if isinstance(part, str) else _filled(part, get(part["field"]))
            for part in self._parts
        )


def _filled(block: re.Match[str], value: FieldValue | None) -> str:
    if value in (None, ""):
        return block["default"] or "UNKNOWN"
    if block["old"]:
        value = re.sub(block["old"], block["new"] or "", str(value))
    try:
        return f"{{:{block['form']}}}".format(value) if block["form"] else str(value)
    except ValueError:
        return str(value)


# ----------------------------------------------------------------------------------- filters


@dataclass(frozen=True, slots=True)
class Facts:
    """What filters and templates can see of a file."""

    path: str
    stamp: Stamp | None
    offset_s: int = 0  #: of the zone that times are compared in
    values: Mapping[str, FieldValue] = field(default_factory=dict)

    def get(self, name: str) -> FieldValue | None:
        """A value by name, or None."""
        if name == "path":
            return self.path
        if name == "depth":
            return self.path.count("/") + 1
        folder, _, base = self.path.rpartition("/")
        by_path = {"name": base, "dir": folder, "ext": base.partition(".")[2]}
        return by_path[name] if name in by_path else self._of_stamp(name)

    def _of_stamp(self, name: str) -> FieldValue | None:
        if self.stamp is None or name not in ("size", "mtime", "ctime"):
            return None
        if name == "size":
            return self.stamp.size
        moment = self.stamp.mtime_ns if name == "mtime" else self.stamp.ctime_ns
        return civil(moment, self.offset_s)


class Filter:
    """One expression: ``path=~**/*.dcm``, ``size<10MB``, ``mtime>2024-01-01``.

    Raises:
        UsageError: it is none.
    """

    def __init__(self, text: str) -> None:
        pieces = _FILTER.split(text, maxsplit=1)
        if len(pieces) != 3:
            raise UsageError(f"filter {text!r} compares nothing", hint="like path=~**/*.dcm")
        name, self._compare, value = pieces
        if self._compare == "=":
            value = value.removeprefix("=")
        self.name = self._name(name, text)
        if "::" in value:
            raise UsageError(
                f"filter {text!r} looks into zips, which fwsync does not", hint="leave ::… out"
            )
        self._value = self._operand(value, text)

    @staticmethod
    def _name(name: str, text: str) -> str:
        known = (*_STRINGS, "depth", "size", "ctime", "mtime")
        found = _FILTER_NAMES.get(name, name)
        matches = [one for one in known if one.startswith(found)]
        if found not in known and len(matches) != 1:
            raise UsageError(f"filter {text!r}: {name!r} is none of {', '.join(known)}")
        return found if found in known else matches[0]

    def _operand(self, value: str, text: str) -> re.Pattern[str] | str | float | None:
        if "~" in self._compare:
            if self.name not in _STRINGS:
                raise UsageError(f"filter {text!r}: a {self.name} is compared by = < > only")
            bare, options = _options(value)
            try:
                return re.compile(bare if "r" in options else simple_regex(bare, False), re.I)
            except re.error as error:
                raise UsageError(f"filter {text!r} holds no pattern ({error})") from error
        if self.name in _STRINGS:
            return value.lower()
        if self.name in ("ctime", "mtime"):
            digits = re.sub(r"\D", "", value)
            if len(digits) not in (4, 6, 8, 10, 12, 14):
                raise UsageError(f"filter {text!r} holds no time", hint="like 2024-01-31 10:20")
            return digits
        size = _SIZE.match(value) if self.name == "size" else None
        try:
            return float(value) if size is None else _bytes(size)
        except ValueError as error:
            raise UsageError(f"filter {text!r} holds no number") from error

    def matches(self, facts: Facts) -> bool:
        """True if the file is what the filter is for; what is not known matches nothing."""
        value = facts.get(self.name)
        if value is None:
            return False
        if isinstance(self._value, re.Pattern):
            found = self._value.search(str(value).lower()) is not None
            return found == (self._compare == "=~")
        if self.name in ("ctime", "mtime"):
            value = str(value)[: len(str(self._value))]
        elif self.name in _STRINGS:
            value = str(value).lower()
        return _COMPARE[self._compare](value, self._value)


def _bytes(match: re.Match[str]) -> float:
    return int(float(match[1]) * 1024 ** " KMGTPEZY".index((match[2] or " ").upper()))
