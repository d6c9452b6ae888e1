"""Where a file belongs: the two-way mapping between paths below the root and addresses.

One rule: what is written is read back. For every label, whatever it holds,
``address_of(path_of(a)) == a``, and for every path ``address_of`` either gives an
address whose path it is, or says why there is none.

A label is spelled as it stands wherever a Linux file system can hold it. Otherwise
some of its characters are escaped as ``%XX``, the upper-case hex of their UTF-8:

====================================  =====================================================
label                                 name
====================================  =====================================================
``a/b``, control characters, lone     escaped, one by one
surrogates, line separators
``.``, ``..``, ``.fwsync…``           the leading dot is escaped
not in normal form C                  every character that is not ASCII is escaped
empty                                 ``%empty``
over 255 bytes                        several components: ``first%+``, ``%+next%+``, ``%+last``
like one of these names               the ``%`` that makes it so is escaped
the second of two that look alike     ``name%id=…``
analyses of a container               in ``%analyses`` in its folder: no label's spelling
====================================  =====================================================

So ``50%``, ``100%25`` and ``a%41b`` stay as they are: no label is spelled that way but
themselves. ``a%2Fb`` does not, being how ``a/b`` is spelled: it becomes ``a%252Fb``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from fwsync.errors import UsageError
from fwsync.model import Address, Level, RelPath

#: The template of a tree that mirrors one project.
DEFAULT_TEMPLATE = "{subject}/{session}/{acquisition}/{file}"

#: How a layout begins whose first folders say which groups and projects there are.
PROJECT_FOLDERS = "{group}/{project}/"

#: Bytes of UTF-8 in one component. Source: NAME_MAX of the Linux file systems in use.
MAX_COMPONENT = 255

#: What fwsync's own names begin with, at every depth; no label is ever spelled so.
RESERVED_PREFIX = ".fwsync"

#: The folder, in that of a container, in which its analyses lie; no label is ever spelled so.
ANALYSES = "%analyses"

_EMPTY = "%empty"
_MORE = "%+"  # "the name goes on in the next component", and "it began in the one before"
_TWIN = "%id="

# What no component may hold, or no terminal should be sent: `/`, C0, DEL, C1, the two
# Unicode line ends, and lone surrogates, which have no UTF-8.
_BAD = "/\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"

# What may stand after the `%` of an escape that the encoder writes: a C0 character, `%`,
# `/` or DEL, or the whole UTF-8 of one character that is not ASCII (surrogates included).
_CONT = "%[89AB][0-9A-F]"
_ESCAPE_REST = (
    "(?:[01][0-9A-F]|25|2F|7F"
    f"|(?:C[2-9A-F]|D[0-9A-F]){_CONT}"
    f"|(?:E0%[AB][0-9A-F]|E[1-9A-F]{_CONT}){_CONT}"
    f"|(?:F0%[9AB][0-9A-F]|F[1-3]{_CONT}|F4%8[0-9A-F]){_CONT}{_CONT})"
)
_ESCAPE = re.compile(rf"%{_ESCAPE_REST}|\A%2E")
_ATOM = re.compile(rf"%{_ESCAPE_REST}|.", re.DOTALL)

# A `%` that would make a label look like one of the spellings with a meaning of their own.
_MARK = rf"%(?={_TWIN[1:]}|\+\Z)|\A%(?=\+|(?:{_EMPTY[1:]}|{ANALYSES[1:]})\Z)"
_NEVER_PLAIN = re.compile(rf"[{_BAD}]|{_MARK}")
_TO_ESCAPE = re.compile(rf"[{_BAD}]|{_MARK}|%(?={_ESCAPE_REST})|\A%(?=2E)")
_TO_ESCAPE_ASCII = re.compile(rf"[^\x00-\x7f]|{_TO_ESCAPE.pattern}")
_NOT_ID = re.compile(r"[^0-9A-Za-z_-]")

# Text that is its own name, by one look: most labels and names are of this kind.
_PLAIN_NAME = r"[ -$&-\-0-~][ -$&-.0-~]{0,254}"
_PLAIN = re.compile(_PLAIN_NAME)
_PLAIN_PATH = re.compile(rf"{_PLAIN_NAME}(?:/{_PLAIN_NAME})*")


@dataclass(frozen=True, slots=True)
class Unmappable:
    """Why a path has no address, or an address no path."""

    reason: str  #: what is wrong, as the end of a sentence: "it lies too deep"
    hint: str = ""  #: what to do about it


# ---------------------------------------------------------------------- one label, one name


def name_of(label: str) -> str:
    """How a label is spelled below the root: one component, or more joined by ``/``.

    Total and injective: every text has a name, and no two have the same.
    """
    if _PLAIN.fullmatch(label):
        return label
    return "/".join(_split(_spell(label)))


def label_of(name: str) -> str | None:
    """The label that is spelled so, or None if there is none. Undoes :func:`name_of`."""
    if _PLAIN.fullmatch(name):
        return name
    text = _join(name.split("/"))
    if text is None:
        return None
    label = _read(text)
    return label if name_of(label) == name else None


def is_plain(text: str) -> bool:
    """True of most labels: surely spelled as it is. False says nothing."""
    return _PLAIN.fullmatch(text) is not None


def _spell(label: str) -> str:
    """A label's name before it is cut to length."""
    if not label:
        return _EMPTY
    if _is_plain(label) and not _reads_as_escaped(label):
        return label
    return _escape(label)


def _read(text: str) -> str:
    """The label whose :func:`_spell` could be ``text``; the caller checks that it is."""
    if text == _EMPTY:
        return ""
    return _unescape(text) if _reads_as_escaped(text) else text


def _is_plain(label: str) -> bool:
    """True if nothing but the look of an escape stands against using it as it is."""
    return (
        not _NEVER_PLAIN.search(label)
        and not _needs_dot_escaped(label)
        and unicodedata.is_normalized("NFC", label)
    )


def _reads_as_escaped(text: str) -> bool:
    """True if ``text`` is what some other label looks like once it is escaped."""
    if "%" not in text:
        return False
    label = _unescape(text)
    return label != text and _escape(label) == text


def _needs_dot_escaped(label: str) -> bool:
    # Case folded: on a file system that ignores case, `.FWSYNC` is our own folder too.
    return label.startswith(".") and (
        label in {".", ".."} or label.casefold().startswith(RESERVED_PREFIX)
    )


def _escape(label: str) -> str:
    """Escape what must be, and every ``%`` that :func:`_unescape` would stumble over."""
    light = _escape_all(_TO_ESCAPE, label)
    # The test is made on the result, not on the label: the `A` of an escape `%1A` and a
    # combining accent after it would melt into one letter on the way through NFC.
    if unicodedata.is_normalized("NFC", light):
        return light
    return _escape_all(_TO_ESCAPE_ASCII, label)


def _escape_all(what: re.Pattern[str], label: str) -> str:
    # The dot is done first and joined last, so that `what` still sees where the label begins.
    escaped = what.sub(lambda match: _percent(match[0]), label)
    return "%2E" + escaped[1:] if _needs_dot_escaped(label) else escaped


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in _utf8(text))


def _unescape(text: str) -> str:
    return _ESCAPE.sub(
        lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "surrogatepass"),
        text,
    )


def _any_unescape(text: str) -> str:
    """Undo :func:`_percent` where any character at all may have been escaped."""
    raw = re.sub(b"%([0-9A-F]{2})", lambda m: bytes.fromhex(m[1].decode()), _utf8(text))
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return text


def _split(text: str) -> Iterator[str]:
    """Cut a name into components that fit, between characters and between escapes."""
    if len(_utf8(text)) <= MAX_COMPONENT:
        yield text
        return
    piece, size = "", 0
    for match in _ATOM.finditer(text):
        atom = match[0]
        length = len(_utf8(atom))
        if size + length > MAX_COMPONENT - len(_MORE):
            yield piece + _MORE
            # Marked in front as well: a rest of `..` or `.fwsync` is then an ordinary name.
            piece, size = _MORE, len(_MORE)
        piece, size = piece + atom, size + length
    yield piece


def _join(components: Iterable[str]) -> str | None:
    """Undo :func:`_split` for the components of one name; None if they are not one."""
    names = _names(components)
    return names[0] if names is not None and len(names) == 1 else None


def _names(components: Iterable[str]) -> list[str] | None:
    """Put the components of a path together to names; None if a piece is missing."""
    names: list[str] = []
    goes_on = False
    for component in components:
        if component.startswith(_MORE) != goes_on:
            return None
        piece = component.removeprefix(_MORE) if goes_on else component
        piece_goes_on = piece.endswith(_MORE)
        piece = piece.removesuffix(_MORE)
        if goes_on:
            names[-1] += piece
        else:
            names.append(piece)
        goes_on = piece_goes_on
    return None if goes_on else names


# ------------------------------------------------------------------------- the whole path


@dataclass(frozen=True, slots=True)
class Layout:
    """How the folders below the root stand for the levels of the platform.

    Built by :meth:`parse`. Where a group or project is given and the template names
    that level too, only this one is mapped: a stray folder never reaches another project.
    """

    top: int  #: levels above the root: 0 (the root holds groups), 1 (projects), 2 (subjects)
    group: str | None = None
    project: str | None = None

    @classmethod
    def parse(
        cls,
        template: str = DEFAULT_TEMPLATE,
        *,
        group: str | None = None,
        project: str | None = None,
    ) -> Layout:
        """The layout that a template describes.

        Args:
            template: ``{group}/{project}/{subject}/{session}/{acquisition}/{file}``,
                or its end from ``{project}`` or ``{subject}`` on.
            group: must be given if the template does not name it.
            project: must be given if the template does not name it.

        Raises:
            UsageError: it is another template, or a level is missing.
        """
        known = {_template(top): top for top in range(3)}
        if template not in known:
            raise UsageError(
                f"layout: {template!r} is not a layout; expected one of {', '.join(known)}",
                hint=f"leave it out for {DEFAULT_TEMPLATE}",
            )
        top = known[template]
        if top >= 1 and not group:
            _refuse(f"{template!r} does not name the group, and none is given")
        if top >= 2 and not project:
            _refuse(f"{template!r} does not name the project, and none is given")
        return cls(top, group, project)

    @property
    def template(self) -> str:
        """What :meth:`parse` was given."""
        return _template(self.top)

    def path_of(self, address: Address) -> RelPath | Unmappable:
        """Where the file at ``address`` lies below the root."""
        folder = self.folder_of(address.labels)
        return (
            folder if isinstance(folder, Unmappable) else self.join(folder, name_of(address.name))
        )

    def folder_of(self, labels: tuple[str, ...]) -> RelPath | Unmappable:
        """The folder of the files of a container; Unmappable: none of ours can be there.

        Args:
            labels: from the group down.
        """
        wrong = self._not_ours(labels)
        return self.container_path(labels) if wrong is None else wrong

    def address_of(self, path: RelPath) -> Address | Unmappable:
        """What the file at ``path`` is called on the platform."""
        if _PLAIN_PATH.fullmatch(path):  # most are: every name in it stands for itself
            *labels, name = path.split("/")
            address = Address((*self._above(), *labels), name)
            return self._not_ours(address.labels) or address
        names = _names(path.split("/"))
        if names is None:
            return Unmappable(
                f"a name in it ends or begins with {_MORE!r}, which marks a name cut in pieces",
                "rename it, or put the missing piece back",
            )
        if any(_TWIN in name for name in names[:-1]):
            return Unmappable(
                "its folder is a twin's: two containers have that name on the server",
                "give one of the two another label on the server; the folder is renamed here then, "
                "and what is new in it is sent",
            )
        if _TWIN in names[-1]:
            return Unmappable(
                "it names a twin by its id",
                f"rename it without {_TWIN!r}, or change the file on the server",
            )
        if ANALYSES in names:
            return Unmappable(
                f"{ANALYSES} is where fwsync puts analyses, which it never sends",
                "move it elsewhere",
            )
        *labels, name = map(_read, names)
        address = Address((*self._above(), *labels), name)
        back = self.path_of(address)
        if isinstance(back, Unmappable):
            return back
        return address if back == path else _misspelled(path, names)

    def container_path(self, labels: tuple[str, ...]) -> RelPath:
        """The folder of a container; empty for the root and for what is above it.

        Args:
            labels: from the group down, of a container that this layout covers.
        """
        return RelPath("/".join(map(name_of, labels[self.top :])))

    def project_of(self, path: RelPath) -> tuple[str, str] | None:
        """Group and project of what lies at a path, whatever stands after them; None: of nothing.

        :meth:`container_path` of them is a folder above the path.
        """
        if self.top == 2:
            return self.group or "", self.project or ""
        names = _names(path.split("/")) or []
        group, project = [*self._above(), *map(_read, names[: 2 - self.top]), "", ""][:2]
        inside = f"{self.container_path((group, project))}/"
        if not group or not project or not path.startswith(inside):
            return None
        return group, project

    @staticmethod
    def join(folder: RelPath, name: str) -> RelPath:
        """The path of a name (:func:`name_of`, :meth:`twin_name`) in a folder or the root."""
        return RelPath(f"{folder}/{name}" if folder else name)

    @staticmethod
    def twin_name(label: str, id: str) -> str:
        """The name of the younger of two siblings with one label.

        Depends on nothing but the two arguments, so it stays when the other one goes or a
        third one comes; no label's ordinary name looks like it.
        """
        tail = _NOT_ID.sub(lambda match: _percent(match[0]), id)
        return "/".join(_split(f"{_spell(label)}{_TWIN}{tail}"))

    @staticmethod
    def split_twin(name: str) -> tuple[str, str | None]:
        """Undo :meth:`twin_name`: the ordinary name and the id, or the name and None."""
        text = _join(name.split("/"))
        if text is None or _TWIN not in text:
            return name, None
        ordinary, _, tail = text.partition(_TWIN)
        label, id = _read(ordinary), _any_unescape(tail)
        # Only what twin_name gives is a twin; anything else merely looks like one.
        return (name_of(label), id) if Layout.twin_name(label, id) == name else (name, None)

    def _above(self) -> tuple[str, ...]:
        """Labels of the levels above the root."""
        return tuple(label or "" for label in (self.group, self.project)[: self.top])

    def _not_ours(self, labels: tuple[str, ...]) -> Unmappable | None:
        """Why no file of this layout can lie in such a container, or None."""
        if len(labels) < 2:
            return Unmappable(
                "files cannot lie above a project",
                f"move it into a project's folder; the layout is {self.template}",
            )
        if len(labels) > len(Level):
            return Unmappable(
                "it lies deeper than an acquisition",
                f"move it up, or pack the folder; the layout is {self.template}",
            )
        if self.group in (None, labels[0]) and self.project in (None, labels[1]):
            return None
        for level, ours, label in zip(Level, (self.group, self.project), labels, strict=False):
            if ours is not None and label != ours:
                return Unmappable(
                    f"it belongs to the {level} {label!r}, and only {ours!r} is kept in step",
                    "move it, or run fwsync for the other one",
                )
        return None


def _template(top: int) -> str:
    return "/".join(f"{{{level}}}" for level in [*list(Level)[top:], "file"])


def _refuse(why: str) -> NoReturn:
    raise UsageError(
        f"layout: {why}",
        hint="give GROUP/PROJECT, or set layout to a template that names them",
    )


def _misspelled(path: RelPath, names: list[str]) -> Unmappable:
    """Say which part of a path is no name that :func:`name_of` would give."""
    if re.search("[\ud800-\udfff]", path):
        return Unmappable("its name is not valid UTF-8", "rename it")
    for name in names:
        if name in {"", ".", ".."}:
            return Unmappable(f"{name!r} is no name of a file or folder")
        if name.casefold().startswith(RESERVED_PREFIX):
            return Unmappable(f"names that begin with {RESERVED_PREFIX} are fwsync's own")
        if re.search(f"[{_BAD}]", name):
            return Unmappable("its name holds a control character or line end", "rename it")
        if name_of(_read(name)) != name:
            return Unmappable(
                f"{name!r} is spelled with escapes, but not as fwsync would",
                f"rename it to {name_of(name)!r} to keep these characters",
            )
    return Unmappable("it is not spelled as fwsync would spell it", "rename it")
