"""Rule files in the syntax of fw-meta: a list, and the first rule whose filters match.

::

    - level: acquisition
      include: ["path=~**/*.dcm"]
      type: dicom
      mappings: ["path={sub}/{ses}/{acq}/*", "PatientID=subject.label"]
      defaults: {session.label: unknown}

Administrators have such files already; they are read as fw-meta 4.13.0 reads them, as far
as a file's place goes. Its rules for labels hold as well: ``*`` becomes ``star``, other
odd characters ``_``, and a label is cut after 64 characters, an acquisition's after 128.

Not as there: a rule that cannot be carried out is refused and not passed over, times get
no zone of this machine, and of the options that fw-meta hides only ``zip`` and
``zip_single`` are known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NoReturn

from fwsync.errors import UsageError
from fwsync.layout import Unmappable
from fwsync.mapping.fields import FILE_NAME, LABEL_FIELDS, LEVEL_OF, field_name, load
from fwsync.mapping.forms import DEPTH, LEVELS, Miss, Pack, Reading
from fwsync.mapping.fwmeta_syntax import Facts, Filter, Pattern, Template
from fwsync.mapping.packs import Packs
from fwsync.mapping.placing import FieldValue, Header, Scanner
from fwsync.mapping.rules import Rule, Rules
from fwsync.model import Address, Level, Stamp

_KEYS = {
    *("level", "include", "exclude", "type", "zip", "zip_single", "group_by"),
    *("mapping", "mappings", "default", "defaults", "override", "overrides"),
}
_OF_A_FILE = ("path", "name", "dir", "ext", "depth", "size", "ctime", "mtime")
_GROUP_ID = re.compile(r"[0-9a-z][0-9a-z.@_-]{0,62}[0-9a-z]")
_BAD = re.compile(r"[*/:<>?\\|\t\n\r\x0b\x0c\x00-\x1f\x7f]+")
_LONGEST = {Level.ACQUISITION: 128}


def rules_of(
    parsed: object,
    *,
    group: str | None = None,
    project: str | None = None,
    scanner: Scanner | None = None,
    offset_s: int = 0,
) -> Rules:
    """The mapping that a rule file describes.

    Args:
        parsed: the file's YAML or JSON: a list of rules, or a table with ``rules``.
        group: where the files go.
        project: the same.
        scanner: what a DICOM header says where no mapping does.
        offset_s: of the zone that ``mtime`` is compared in, east of Greenwich.

    Raises:
        UsageError: a rule is not one; the message names it by its number.
    """
    listed = parsed.get("rules") if isinstance(parsed, Mapping) else parsed
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise UsageError("rules: expected a list of rules", hint="each begins with `- level: …`")
    rules: list[Rule] = []
    for number, one in enumerate(listed, start=1):
        title = f"rule {number}"
        if not isinstance(one, Mapping):
            raise UsageError(f"{title}: is {one!r}; expected a table")
        form = FwMeta(title, one, scanner, offset_s)
        include = form.include[0] if form.include else ""
        shown = f"{title} ({include})" if include else title
        zip_single = one.get("zip_single") is not False
        rules.append(Rule(shown, form, packs=Packs(zip_single=zip_single)))
    return Rules(rules, group=group, project=project)


class FwMeta:
    """One rule of a rule file."""

    two_way = False

    def __init__(
        self, title: str, table: Mapping[str, object], scanner: Scanner | None, offset_s: int
    ) -> None:
        self._title = title
        unknown = sorted(set(table) - _KEYS)
        if unknown:
            self._refuse(f"{unknown[0]!r} is not known", f"known: {', '.join(sorted(_KEYS))}")
        self._level = self._level_of(table.get("level", "acquisition"))
        self.include = self._texts(table, "include")
        self._include = [Filter(text) for text in self.include]
        self._exclude_texts = self._texts(table, "exclude")
        self._exclude = [Filter(text) for text in self._exclude_texts]
        self._type = str(table.get("type") or "")
        self._zips = self._type == "dicom" or table.get("zip") is True
        if table.get("group_by") not in (None, "dir"):
            self._refuse("group_by is not known but for dir")
        self._mappings = [self._mapping(one) for one in self._pairs(table, "mappings", "mapping")]
        self._defaults = self._values(table, "defaults", "default")
        self._overrides = self._values(table, "overrides", "override")
        self._scanner = scanner
        self._offset_s = offset_s
        self.reads_headers = self._type == "dicom"
        self._check_sources()
        found = {name for _, pattern in self._mappings for name in pattern.fields.values()}
        named = {LEVEL_OF[name] for name in found if name in LEVEL_OF}
        named |= {LEVEL_OF[name] for name in {*self._defaults, *self._overrides} & LEVEL_OF.keys()}
        self._routes = self.reads_headers and scanner is not None and scanner.routes
        if self._routes:
            named |= {Level.GROUP, Level.PROJECT}
        self.levels = frozenset(named | set(LEVELS[2 : DEPTH[self._level] + 1]))

    @property
    def keywords(self) -> frozenset[str]:
        """What its mappings want to know of a header; empty: it reads none."""
        if not self.reads_headers:
            return frozenset()
        named = {name for template, _ in self._mappings for name in template.fields}
        return frozenset(one for one in named if one not in _OF_A_FILE and one[0] != "!")

    def wants_header(self, path: str, stamp: Stamp | None) -> bool:
        """True if the rule is for DICOM files and for this one."""
        if not self.reads_headers:
            return False
        return self._left_out(Facts(path, stamp, self._offset_s)) is None

    def read(self, path: str, header: Header | None, stamp: Stamp | None) -> Reading | Miss:
        """See :class:`fwsync.mapping.forms.Form`."""
        facts = Facts(path, stamp, self._offset_s, dict(header or {}))
        out = self._left_out(facts)
        if out is not None:
            return out
        if self.reads_headers and header is None:
            return Miss("it has no header of dicom that can be read", "give a rule for it", 1)
        values, lacking = self._extract(facts, header)
        if self._routes and lacking and LABEL_FIELDS[Level.PROJECT] not in values:
            return Miss(lacking.reason, lacking.hint, 1, final=True)
        wanted = [LABEL_FIELDS[level] for level in LEVELS[2 : DEPTH[self._level] + 1]]
        missing = [name for name in wanted if name not in values]
        if missing:
            why = f"nothing gives it a {missing[0]}" + (f"; {lacking.reason}" if lacking else "")
            return Miss(why, "add a mapping or a default", 1, final=self.reads_headers)
        own = path.rpartition("/")[2]
        name = str(values.pop(FILE_NAME, "") or "")
        kind = str(values.get("file.type", ""))
        saw = ", ".join(f"{LEVEL_OF[one]} {values[one]!r}" for one in values if one in LEVEL_OF)
        if self._zips:
            pack = Pack(name, own, kind or "archive", f"packed as {kind or 'archive'} by folder")
            return Reading(values, saw, own, None, self._level, pack)
        return Reading(values, saw or "as set", own, name or own, self._level, kind=kind)

    def pack_kind(self, address: Address) -> str:
        """Empty: a pack has no name of its own here."""
        return ""

    def write(self, labels: Mapping[Level, str], level: Level, rest: str) -> str | None:
        """None: such rules read, and write nothing."""
        return None

    def _left_out(self, facts: Facts) -> Miss | None:
        if self._include and not any(one.matches(facts) for one in self._include):
            return Miss(f"it does not match {' or '.join(self.include)}")
        for one, text in zip(self._exclude, self._exclude_texts, strict=True):
            if one.matches(facts):
                return Miss(f"{text} excludes it")
        return None

    def _extract(
        self, facts: Facts, header: Header | None
    ) -> tuple[dict[str, FieldValue], Unmappable | None]:
        """Everything that is known: what is found first stays, and overrides stand above all."""
        found: dict[str, FieldValue] = {}

        def get(name: str) -> FieldValue | None:
            if name.startswith("!"):
                own = name[1:] if name.startswith("!@") else field_name(name[1:])
                return found.get(own)
            value = facts.get(name)
            return facts.values.get(name) if value is None else value

        for template, pattern in self._mappings:
            if any(get(name) in ("", None) for name in template.fields):
                continue
            for name, text in pattern.match(template.fill(get)).items():
                _set_default(found, name, text)
        lacking = self._from_header(found, header)
        # The folders stand for what is still missing, from the innermost out.
        folders = facts.path.split("/")[-2::-1]
        for level, folder in zip(_upward(self._level), folders, strict=False):
            _set_default(found, LABEL_FIELDS[level], folder)
        for name, value in self._defaults.items():
            _set_default(found, name, value)
        for name, value in self._overrides.items():
            found.pop(name, None)
            _set_default(found, name, value)
        if self._type:
            found.setdefault("file.type", self._type)
        return {name: one for name, one in found.items() if not name.startswith("@")}, lacking

    def _from_header(
        self, found: dict[str, FieldValue], header: Header | None
    ) -> Unmappable | None:
        if not self.reads_headers or header is None or self._scanner is None:
            return None
        said = self._scanner.find(header)
        if isinstance(said, Unmappable):
            return said
        for level, label in said.labels.items():
            _set_default(found, LABEL_FIELDS[Level(level)], label)
        for name, value in said.fields.items():
            if name != FILE_NAME:
                found.setdefault(name, value)
        return None

    # -------------------------------------------------------------------- reading the table

    def _level_of(self, value: object) -> Level:
        if value not in LEVELS[1:]:
            self._refuse(f"level is {value!r}", f"one of {', '.join(LEVELS[1:])}")
        return Level(str(value))

    def _texts(self, table: Mapping[str, object], key: str) -> list[str]:
        value = table.get(key) or []
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            self._refuse(f"{key} is {value!r}; expected a list of filters")
        return [str(one) for one in value]

    def _pairs(self, table: Mapping[str, object], *keys: str) -> list[tuple[str, object]]:
        value = next((table[key] for key in keys if table.get(key)), [])
        if isinstance(value, str):
            value = [value]
        if isinstance(value, Mapping):
            return [(str(key), one) for key, one in value.items()]
        pairs: list[tuple[str, object]] = []
        for one in value if isinstance(value, list | tuple) else [value]:
            pair = one.split("=", 1) if isinstance(one, str) else one
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                self._refuse(f"{keys[0]}: {one!r} is not of the form A=B")
            pairs.append((str(pair[0]), pair[1]))
        return pairs

    def _mapping(self, pair: tuple[str, object]) -> tuple[Template, Pattern]:
        """Source on the left and target on the right, or the other way round."""
        first, second = pair[0], str(pair[1])
        try:
            return Template(first), Pattern(second)
        except UsageError as error:
            try:
                return Template(second), Pattern(first)
            except UsageError:
                self._refuse(f"mapping {first}={second}: {error.message}", error.hint)

    def _values(self, table: Mapping[str, object], *keys: str) -> dict[str, object]:
        return {field_name(name): value for name, value in self._pairs(table, *keys)}

    def _check_sources(self) -> None:
        known: set[str] = set()
        for template, pattern in self._mappings:
            for name in template.fields:
                if name.startswith("!"):
                    own = name[1:] if name.startswith("!@") else field_name(name[1:])
                    if own not in known:
                        self._refuse(f"{{{name}}} stands before a mapping that gives it")
                elif name not in _OF_A_FILE and not self.reads_headers:
                    self._refuse(
                        f"{{{name}}} is nothing that a file without a type has",
                        f"known: {', '.join(_OF_A_FILE)}; type: dicom reads headers",
                    )
            known |= set(pattern.fields.values())

    def _refuse(self, why: str, hint: str = "") -> NoReturn:
        raise UsageError(f"{self._title}: {why}", hint=hint)


def _upward(level: Level) -> list[Level]:
    """The levels that folders can stand for, from a file's own up to the subject."""
    return list(reversed(LEVELS[2 : DEPTH[level] + 1]))


def _set_default(found: dict[str, FieldValue], name: str, value: object) -> None:
    """Keep a value if it is one and the first."""
    loaded = None if name in found else _loaded(name, value)
    if loaded not in ("", None):
        found[name] = loaded


def _loaded(name: str, value: object) -> FieldValue | None:
    if value is None or name.startswith("@"):
        return None if value is None else str(value)
    if name == "group._id":
        text = str(value).lower()
        return text if _GROUP_ID.fullmatch(text) else None
    if name in LEVEL_OF:
        return _sanitized(str(value))[: _LONGEST.get(LEVEL_OF[name], 64)]
    if name == FILE_NAME:
        return _sanitized(str(value))
    if isinstance(value, str):
        # Already ISO where the pattern had a form for it.
        return load(name, value)
    return value if isinstance(value, int | float | bool | list | dict) else str(value)


def _sanitized(text: str) -> str:
    return _BAD.sub("_", text.replace("*", "star"))[:255].rstrip(".")
