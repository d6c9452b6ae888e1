"""The small language of the golden files: read, and written back for comparison.

README.md says what it means; here is only its form. A file is read whole or refused with the
number of the line, so that no scenario says less than its author thought.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: One step of a path: a name on disk or a label; may hold anything, also a slash.
Steps = tuple[str, ...]

#: What is told of the sides in an ``expect``, beside counts.
TREES = ("local", "remote", "both", "trash")

_EACH = re.compile(r"each (\d+)\.\.(\d+) (.*)", re.DOTALL)
_BLOCKS = ("initial", "local", "remote", "faults", "during", "run", "expect", "again")
_HEADS = ("settings", "needs", "may-go", "engine-only", "command-only")


class Unreadable(Exception):
    """A golden file that says something that there is not."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a block: its words, with all escapes still in them."""

    number: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """An ``expect`` or ``again``: what is said of a run, and of the sides after it."""

    lines: tuple[Line, ...] = ()
    trees: dict[str, tuple[Line, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One block: what it is, what stands beside its name, and its lines."""

    kind: str
    words: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A golden file."""

    name: str  #: S29
    title: str
    settings: tuple[str, ...]  #: options of every run
    needs: tuple[str, ...]  #: what the root must lie on
    may_go: frozenset[str]  #: contents whose loss was agreed on
    only: str  #: "engine" or "command", or empty
    why_only: str
    steps: tuple[Step, ...]
    again: Told | None


# ------------------------------------------------------------------------------------- reading


def read(file: Path) -> Scenario:
    """Read a golden file.

    Raises:
        Unreadable: it says something that there is not, and where.
    """
    try:
        return _Reader(file.stem).read(file.read_text())
    except Unreadable as error:
        raise Unreadable(f"{file.name}:{error}") from None


def read_table(file: Path) -> list[Line]:
    """The lines of a table, without comments."""
    lines = enumerate(file.read_text().splitlines(), 1)
    return [Line(number, tuple(line.split())) for number, line in lines if _says(line)]


class _Reader:
    """Gathers the blocks of one file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._title = ""
        self._heads: dict[str, list[str]] = {}
        self._steps: list[Step] = []
        self._again: Told | None = None
        self._may_run = True  #: something may have happened that no run has seen

    def read(self, text: str) -> Scenario:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if _says(line)]
        if not lines:
            raise Unreadable("1: is empty")
        self._take_title(*lines[0])
        at = 1
        while at < len(lines):
            number, head = lines[at]
            if head.startswith(" "):
                raise Unreadable(f"{number}: belongs to no block")
            end = at + 1
            while end < len(lines) and lines[end][1].startswith(" "):
                end += 1
            self._take(number, tuple(head.split()), lines[at + 1 : end])
            at = end
        return self._whole()

    def _take_title(self, number: int, line: str) -> None:
        name, colon, title = line.partition(":")
        if not colon or name != self._name:
            raise Unreadable(f"{number}: must begin with {self._name}: and a title")
        self._title = title.strip()

    def _take(self, number: int, head: tuple[str, ...], body: list[tuple[int, str]]) -> None:
        kind, words = head[0], head[1:]
        if kind in _HEADS:
            self._heads.setdefault(kind, []).extend(words)
        elif kind == "again":
            self._again = _told(body)
        elif kind == "expect":
            if self._may_run:
                self._steps.append(Step("run", ("sync",)))
            self._may_run = True
            self._steps.append(Step(kind, told=_told(body)))
        elif kind == "run":
            self._steps.append(Step(kind, words))
            self._may_run = False
        elif kind in _BLOCKS:
            self._may_run = True
            self._steps.append(Step(kind, words, tuple(_lines(body))))
        else:
            raise Unreadable(f"{number}: there is no {kind!r}")

    def _whole(self) -> Scenario:
        only = [one for one in ("engine-only", "command-only") if one in self._heads]
        return Scenario(
            self._name,
            self._title,
            tuple(self._heads.get("settings", ["--delete"])),
            tuple(self._heads.get("needs", [])),
            frozenset(self._heads.get("may-go", [])),
            only[0].partition("-")[0] if only else "",
            " ".join(self._heads[only[0]]) if only else "",
            tuple(self._steps),
            self._again,
        )


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _lines(body: list[tuple[int, str]]) -> Iterator[Line]:
    for number, text in body:
        said = text.strip()
        found = _EACH.fullmatch(said)
        if found is None:
            yield Line(number, tuple(said.split()))
            continue
        first, last, pattern = int(found[1]), int(found[2]), found[3]
        for one in range(first, last + 1):
            yield Line(number, tuple(pattern.replace("{}", str(one)).split()))


def _told(body: list[tuple[int, str]]) -> Told:
    lines: list[tuple[int, str]] = []
    trees: dict[str, list[tuple[int, str]]] = {}
    into, depth = lines, 0
    for number, text in body:
        indent = len(text) - len(text.lstrip())
        if indent <= depth or not depth:
            name = text.strip()
            into, depth = lines, 0
            if name.removesuffix(":") in TREES and name.endswith(":"):
                into, depth = trees.setdefault(name[:-1], []), indent
                continue
        into.append((number, text))
    return Told(tuple(_lines(lines)), {name: tuple(_lines(found)) for name, found in trees.items()})


# --------------------------------------------------------------------------------------- paths

_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|\{(.+?)\*(\d+)\}|(.))", re.DOTALL)
_PLAIN = {"s": " ", "n": "\n", "t": "\t", "/": "/", "\\": "\\", "e": "\x1b", "0": ""}


def steps(text: str) -> Steps:
    """A path as it is written, in its steps: see README.md for the escapes."""
    found, at = [""], 0
    while at < len(text):
        if text[at] == "/":
            found.append("")
            at += 1
            continue
        escape = _ESCAPE.match(text, at)
        if escape is None:
            found[-1] += text[at]
            at += 1
            continue
        found[-1] += _meant(escape)
        at = escape.end()
    return tuple(found)


def _meant(escape: re.Match[str]) -> str:
    byte, point, repeated, times, plain = escape.groups()
    if byte is not None:
        return bytes([int(byte, 16)]).decode("utf-8", "surrogateescape")
    if point is not None:
        return chr(int(point, 16))
    if repeated is not None:
        return str(repeated) * int(times)
    return _PLAIN[plain]


def spell(path: Steps) -> str:
    """A path as it would be written, so that two spellings of one compare as equal."""
    return "/".join("".join(map(_spelled, step)) or "\\0" for step in path)


def _spelled(char: str) -> str:
    for escape, meant in _PLAIN.items():
        if meant and char == meant:
            return f"\\{escape}"
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    if not char.isprintable() or not char.isascii():
        return f"\\u{ord(char):04x}"
    return char


# ------------------------------------------------------------------------------------- contents

_TIMES = re.compile(r"(.+)\*(\d+)")
_ZIP = re.compile(r"zip\((.*)\)")


def content(word: str) -> bytes:
    """The bytes that a word stands for: the same word, the same bytes."""
    if word == "empty":
        return b""
    if found := _ZIP.fullmatch(word):
        return _zipped(found[1])
    if found := _TIMES.fullmatch(word):
        return found[1].encode() * int(found[2])
    return word.encode()


def _zipped(members: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for member in members.split(","):
            name, _, word = member.partition("=")
            archive.writestr(zipfile.ZipInfo(name), content(word))
    return made.getvalue()


def word(data: bytes) -> str:
    """The word that bytes are of; a zip is told by its members."""
    if not data:
        return "empty"
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [f"{name}={word(archive.read(name))}" for name in sorted(archive.namelist())]
        return f"zip({','.join(members)})"
    text = data.decode("utf-8", "backslashreplace")
    half = re.fullmatch(r"(.+?)\1{9,}", text, re.DOTALL)
    return f"{half[1]}*{len(text) // len(half[1])}" if half else text


def same_word(text: str) -> str:
    """A word as :func:`word` would give it."""
    return word(content(text))
