r"""Templates of ``fw ingest template``: a regular expression for each folder.

::

    {group}:{project}:{subject}:{session}:{acquisition}:dicom,packfile_type=dicom

or the same as a list, whose items are patterns, tables with ``pattern``, or ``select``
with several of them. Source: flywheel-cli 18.5.1, `ingest/template.py`, observed.

Not as there: a folder that does not match is reported, where the command line puts its
files into what the folders above name; and what lies deeper than the template is reported
unless it is packed, where the command line drops its folders. A folder is ignored if its
pattern matches, and not before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from fwsync.errors import UsageError
from fwsync.layout import Unmappable
from fwsync.mapping.fields import LABEL_FIELDS, LEVEL_OF, field_name, load
from fwsync.mapping.forms import Miss, Pack, Reading
from fwsync.mapping.placing import FieldValue, Found, Header, Scanner
from fwsync.mapping.rules import Rule, Rules
from fwsync.model import Address, Level, Stamp

_GROUP_ID = r"[0-9a-z][0-9a-z.@_-]{0,30}[0-9a-z]"
_SYNTAX = re.compile(r"\\.|\{([^{}]*)\}|\(\?P<([^>]+)>|[{}]|.", re.DOTALL)
_KEYS = {"pattern", "packfile_type", "packfile_name", "ignore", "scan"}


@dataclass(frozen=True, slots=True)
class _Node:
    """One way for a folder's name to match."""

    text: str
    regex: re.Pattern[str]
    fields: Mapping[str, str]  #: by group: the field
    kind: str = ""
    pack_name: str = ""
    ignore: bool = False
    scan: str = ""  #: "dicom" or "filename": how the files below are read
    by_name: _Node | None = None  #: for "filename"


@dataclass(slots=True)
class _Walk:
    """What the folders of one path have said so far."""

    values: dict[str, FieldValue] = field(default_factory=dict)
    saw: list[str] = field(default_factory=list)


def template_rules(
    parsed: object,
    *,
    group: str | None = None,
    project: str | None = None,
    scanner: Scanner | None = None,
    variables: Mapping[str, str] | None = None,
    same: bool = False,
) -> Rules:
    """The mapping that a template describes.

    Args:
        parsed: the text, or the list that its YAML holds.
        group: where the files go.
        project: the same.
        scanner: for ``scan=dicom``.
        variables: ``--set-var``: what holds where the folders say nothing.
        same: a subject and session of which one is missing share a label.

    Raises:
        UsageError: it is no template.
    """
    known = {field_name(name): text for name, text in (variables or {}).items()}
    form = IngestTemplate(_nodes(parsed), scanner)
    defaults = {LEVEL_OF[name]: text for name, text in known.items() if name in LEVEL_OF}
    rule = Rule("the template", form, defaults=defaults, same=same)
    return Rules([rule], group=group, project=project)


class IngestTemplate:
    """Folders matched one by one.

    Args:
        nodes: by depth, the ways to match.
        scanner: reads DICOM headers.
    """

    two_way = False

    def __init__(self, nodes: Sequence[Sequence[_Node]], scanner: Scanner | None) -> None:
        self._nodes = nodes
        self._scanner = scanner
        every = [node for ways in nodes for node in ways]
        self.reads_headers = any(node.scan == "dicom" for node in every)
        if self.reads_headers and scanner is None:
            _refuse("headers cannot be read here, and it has scan=dicom")
        fields = {name for node in every for name in node.fields.values()}
        named = {LEVEL_OF[name] for name in fields if name in LEVEL_OF}
        if self.reads_headers and scanner is not None and scanner.routes:
            named |= {Level.GROUP, Level.PROJECT}
        self.levels = frozenset(named)

    def wants_header(self, path: str, stamp: Stamp | None) -> bool:
        """True below a folder with ``scan=dicom``."""
        return self.reads_headers and isinstance(self._folders(path), str)

    def read(self, path: str, header: Header | None, stamp: Stamp | None) -> Reading | Miss:
        """See :class:`fwsync.mapping.forms.Form`."""
        walk = _Walk()
        found = self._walk(path, walk)
        if not isinstance(found, str):
            return found
        if header is None:
            return Miss("it has no header of dicom that can be read", "", len(walk.saw))
        assert self._scanner is not None
        said = self._scanner.find(header)
        if isinstance(said, Unmappable):
            return Miss(said.reason, said.hint, len(walk.saw), final=True)
        return _scanned(walk, said, found)

    def pack_kind(self, address: Address) -> str:
        """Empty: a pack's name does not tell the folder that it was."""
        return ""

    def write(self, labels: Mapping[Level, str], level: Level, rest: str) -> str | None:
        """None: a template reads, and writes nothing."""
        return None

    def _folders(self, path: str) -> Reading | Miss | str:
        return self._walk(path, _Walk())

    def _walk(self, path: str, walk: _Walk) -> Reading | Miss | str:
        """Match the folders; text: the file's name, and its header is to be read."""
        *folders, name = path.split("/")
        for depth, folder in enumerate(folders):
            if depth >= len(self._nodes):
                return Miss("it lies deeper than the template", "move it up, or pack it", depth)
            node = next((one for one in self._nodes[depth] if one.regex.match(folder)), None)
            if node is None:
                wanted = " or ".join(repr(one.text) for one in self._nodes[depth])
                return Miss(f"folder {depth + 1} {folder!r} does not match {wanted}", "", depth)
            if node.ignore:
                return Miss(f"the template ignores folder {depth + 1} {folder!r}", "", depth)
            wrong = _take(walk, node, folder, f"folder {depth + 1}")
            if wrong is not None:
                return wrong
            rest = "/".join([*folders[depth + 1 :], name])
            if node.scan:
                return name if node.scan == "dicom" else _named(walk, node, name)
            if node.kind:
                # A pattern may match more than one folder; then their names tell members apart.
                return _packed(walk, node, rest if folder == node.text else f"{folder}/{rest}")
        return Reading(walk.values, ", ".join(walk.saw), name, name)


def _take(walk: _Walk, node: _Node, text: str, where: str) -> Miss | None:
    """Keep what a name says; a later folder overrides an earlier one."""
    match = node.regex.match(text)
    for group, name in node.fields.items():
        part = match[group] if match else None
        if not part:
            continue
        value = part if name in LEVEL_OF else load(name, part)
        if value is None:
            return Miss(f"{part!r} is no {name}", "", len(walk.saw))
        walk.values[name] = value
        walk.saw.append(f"{LEVEL_OF.get(name, name)} {value!r} from {where}")
    return None


def _packed(walk: _Walk, node: _Node, rest: str) -> Reading:
    why = f"packed as {node.kind} by its folder {node.text!r}"
    pack = Pack(node.pack_name, rest, node.kind, why)
    return Reading(walk.values, ", ".join(walk.saw), rest, None, pack=pack, kind=node.kind)


def _named(walk: _Walk, node: _Node, name: str) -> Reading | Miss:
    by_name = node.by_name
    if by_name is None or not by_name.regex.match(name):
        wanted = by_name.text if by_name else ""
        return Miss(f"its name {name!r} does not match {wanted!r}", "", len(walk.saw))
    wrong = _take(walk, by_name, name, "the file's name")
    return wrong or Reading(walk.values, ", ".join(walk.saw), name, name)


def _scanned(walk: _Walk, said: Found, name: str) -> Reading:
    """The header says what the folders have left open."""
    labels = {LABEL_FIELDS[Level(level)]: label for level, label in said.labels.items()}
    values: dict[str, FieldValue] = {**said.fields, **labels, **walk.values}
    pack_name = str(values.pop("file.name", ""))
    pack = Pack(pack_name, said.member or name, "dicom", "packed as dicom by its header")
    saw = ", ".join([*walk.saw, said.saw])
    return Reading(values, saw, name, name, pack=pack, kind="dicom")


# --------------------------------------------------------------------------------- reading


def _nodes(parsed: object) -> list[list[_Node]]:
    if isinstance(parsed, str):
        sections = re.split(r"(?<!\\):", parsed)
        return [[_section(section)] for section in sections]
    if not isinstance(parsed, Sequence) or not parsed:
        _refuse(f"is {parsed!r}; expected text or a list")
    nodes: list[list[_Node]] = []
    for item in parsed:
        if isinstance(item, Mapping) and "select" in item:
            ways = item["select"]
            if not isinstance(ways, Sequence) or not ways:
                _refuse("select is empty; expected a list of patterns")
            nodes.append([_item(way) for way in ways])
        else:
            nodes.append([_item(item)])
    return nodes


def _section(section: str) -> _Node:
    """One part of the text: ``pattern,key=value,…``."""
    pattern, _, options = re.sub(r"(?<!\\),", "\n", section, count=1).partition("\n")
    pairs = [pair.partition("=") for pair in options.split(",") if pair.strip()]
    return _item({"pattern": pattern} | {key.strip(): text.strip() for key, _, text in pairs})


def _item(item: object) -> _Node:
    table = item if isinstance(item, Mapping) else {"pattern": item}
    unknown = sorted(set(table) - _KEYS)
    pattern = table.get("pattern")
    if unknown or not isinstance(pattern, str):
        what = f"{unknown[0]!r} is not known" if unknown else f"{pattern!r} is no pattern"
        _refuse(what, f"known: {', '.join(sorted(_KEYS))}")
    regex, fields = _compiled(pattern)
    scan = table.get("scan") or ""
    options = scan if isinstance(scan, Mapping) else {}
    scan = str(options.get("name", "")) if options else str(scan)
    if scan not in ("", "dicom", "filename"):
        _refuse(f"scan is {scan!r}; expected dicom or filename")
    by_name = None
    if scan == "filename":
        by_name = _item({"pattern": options.get("pattern")})
    return _Node(
        pattern,
        regex,
        fields,
        str(table.get("packfile_type") or ""),
        str(table.get("packfile_name") or ""),
        str(table.get("ignore", "")).lower() == "true",
        scan,
        by_name,
    )


def _compiled(pattern: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """A pattern's braces and named groups as groups of a regular expression."""
    fields: dict[str, str] = {}
    pieces: list[str] = []
    for match in _SYNTAX.finditer(pattern):
        name = match[1] if match[1] is not None else match[2]
        if name is None:
            if match[0] in ("{", "}"):
                _refuse(f"{pattern!r} has a brace without its other half")
            pieces.append(match[0])
        elif match[1] is not None and re.fullmatch(r"\d+(,\d*)?", name):
            pieces.append(match[0])
        else:
            group = f"f{len(fields)}"
            fields[group] = field_name(name)
            usual = _GROUP_ID if fields[group] == "group._id" else ".+"
            pieces.append(f"(?P<{group}>" + (f"{usual})" if match[1] is not None else ""))
    try:
        return re.compile("".join(pieces)), fields
    except re.error as error:
        raise UsageError(f"{pattern!r} is no regular expression ({error})") from error


def _refuse(why: str, hint: str = "") -> NoReturn:
    raise UsageError(why, hint=hint)
