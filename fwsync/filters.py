"""What takes part in a run: patterns in gitignore syntax, and bounds of size and age.

The one rule: a filter takes things out of scope, and says nothing else about them. What is
out is neither sent nor fetched nor deleted, on either side, and never read as gone.

Patterns come in three layers, and the first that has a word to say about a path decides:
the settings, then the ``.fwsyncignore`` files from the path's own folder upwards, then the
names that are left out by default. Within a layer the last pattern that matches decides.
"""

from __future__ import annotations

import json
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from fwsync.errors import UsageError
from fwsync.model import Decision, Empty, LocalEntry, Verb
from fwsync.selection import Missed

#: Files of this name hold patterns for their folder and all below it. They are never sent,
#: like all that begins with ``.fwsync``.
IGNORE_FILE = ".fwsyncignore"

_MOST_SHOWN = 5  # patterns

_AS_IT_IS = "close its bracket; one that is meant itself is written \\["

#: The pattern of hidden files.
HIDDEN = ".*"


@dataclass(frozen=True, slots=True)
class LeftOutBy:
    """What leaves a path out."""

    layer: str  #: "exclude", "ignore-file", "include" (it matches none of them), "default"
    path: str  #: of the file, or of the folder above it that is left out
    folder: str = ""  #: of the ``.fwsyncignore`` file
    number: int = 0  #: of the pattern in its list or file, from 1
    pattern: str = ""


class Filters:
    """Says which paths are out of scope: ``filters(path, is_folder)`` -> True.

    A folder that is out of scope is not entered, so that nothing below it can be brought
    back. Used by one thread: a scan gives it what the ``.fwsyncignore`` files say.

    Args:
        exclude: what matches is out of scope; the last pattern that matches decides, and
            ``!pattern`` brings back.
        include: if any, files that match none are out of scope too. Folders are entered.
        defaults: like ``exclude``, where nothing else has a word to say.

    Raises:
        UsageError: a pattern is not valid.
    """

    def __init__(
        self,
        exclude: Sequence[str] = (),
        include: Sequence[str] = (),
        *,
        defaults: Sequence[str] = (),
    ) -> None:
        self._exclude, self._include = _spec(exclude), _spec(include)
        self._defaults = _spec(defaults)
        self._texts = {"exclude": tuple(exclude), "default": tuple(defaults)}
        shown = " or ".join(map(repr, include[:_MOST_SHOWN]))
        #: What is to be said where nothing that is listed fits what is asked for.
        self.missed = (Missed("--include", f"no file on the server fits {shown}"),) * bool(include)
        self.begin()

    def begin(self) -> None:
        """A scan begins: forget what the files of the last one said."""
        self._rules: dict[str, GitIgnoreSpec] = {}
        self._rule_texts: dict[str, tuple[str, ...]] = {}
        self._last: tuple[str, list[tuple[int, GitIgnoreSpec]]] = ("", [])
        self._last_out: tuple[str, bool] = ("", False)
        #: True while nothing is out of scope, so that nobody need ask.
        self.idle = self._exclude is self._include is self._defaults is None

    def take(self, folder: str, patterns: Sequence[str]) -> None:
        """A folder's own patterns; it comes before anything in that folder is asked about.

        Raises:
            UsageError: a pattern is not valid.
        """
        spec = _spec(patterns)
        if spec is not None:
            self._rules[folder] = spec
            self._rule_texts[folder] = tuple(patterns)
            self._last, self._last_out = ("", self._rules_in("")), ("", False)
            self.idle = False

    def __call__(self, path: str, is_folder: bool) -> bool:
        """True if a path is out of scope; what is above it is not asked about."""
        if self.idle:
            return False
        subject = f"{path}/" if is_folder else path
        if self._says(path, subject):
            return True
        return self._include is not None and not is_folder and not self._include.match_file(path)

    def _says(self, path: str, subject: str) -> bool:
        """What the first layer says that has a word to say."""
        if self._exclude is not None:
            said = self._exclude.check_file(subject).include
            if said is not None:
                return said
        if self._rules:
            folder = path.rpartition("/")[0]
            if folder != self._last[0]:
                self._last = (folder, self._rules_in(folder))
            for start, spec in self._last[1]:
                said = spec.check_file(subject[start:]).include
                if said is not None:
                    return said
        return self._defaults is not None and self._defaults.match_file(subject)

    def _rules_in(self, folder: str) -> list[tuple[int, GitIgnoreSpec]]:
        """The rules that hold in a folder, the deepest first, each with where its paths begin."""
        found = []
        while True:
            if folder in self._rules:
                found.append((len(folder) + 1 if folder else 0, self._rules[folder]))
            if not folder:
                return found
            folder = folder.rpartition("/")[0]

    @property
    def excluding(self) -> str:
        """What leaves paths out for good, for :meth:`as_excluding`; empty: nothing does.

        What a run asks for alone (``include``) is none of it. For after a whole scan.
        """
        if self._exclude is self._defaults is None and not self._rules:
            return ""
        return json.dumps([self._texts, self._rule_texts], sort_keys=True)

    @classmethod
    def as_excluding(cls, text: str) -> Filters:
        """Filters that leave out what others have left out; not for a scan, which begins anew."""
        if not text:
            return cls()
        texts, rules = json.loads(text)
        filters = cls(texts["exclude"], defaults=texts["default"])
        for folder, patterns in rules.items():
            filters.take(folder, patterns)
        return filters

    def asks_for_any(self, paths: Iterable[str]) -> bool:
        """True if one of these files is asked for; where nothing is, all are."""
        return self._include is None or any(map(self._include.match_file, paths))

    def is_in(self, path: str) -> bool:
        """True if a file takes part, which also depends on all folders above it.

        Asked about paths of either side, and of files that are gone, after a whole scan.
        """
        if self.idle:
            return True
        folder = path.rpartition("/")[0]
        if folder != self._last_out[0]:
            self._last_out = (folder, self._is_below_out(folder))
        return not (self._last_out[1] or self(path, False))

    def why_out(self, path: str) -> LeftOutBy | None:
        """What leaves a file out, if anything does; asked as :meth:`is_in` is, which agrees."""
        above = self.why_folder_out(path.rpartition("/")[0])
        return above or (self._why(path, path) if self(path, False) else None)

    def why_folder_out(self, path: str) -> LeftOutBy | None:
        """What leaves a whole folder out, if anything does; the root itself never is."""
        ends = [end for end, character in enumerate(path) if character == "/"]
        for folder in [*(path[:end] for end in ends), path]:
            if folder and self(folder, True):
                return self._why(folder, f"{folder}/")
        return None

    def _why(self, path: str, subject: str) -> LeftOutBy:
        """Which pattern it is that leaves this very path out."""
        layers = [("exclude", "", 0, self._exclude, self._texts["exclude"])]
        folder = path.rpartition("/")[0]
        for start, spec in self._rules_in(folder):
            at = folder[: max(0, start - 1)]
            layers.append(("ignore-file", at, start, spec, self._rule_texts[at]))
        layers.append(("default", "", 0, self._defaults, self._texts["default"]))
        for layer, at, start, layer_spec, texts in layers:
            if layer_spec is None:
                continue
            said = layer_spec.check_file(subject[start:])
            if said.include and said.index is not None:
                number, pattern = _lines(texts)[said.index]
                return LeftOutBy(layer, path, at, number, pattern)
            if said.include is not None and layer != "default":
                break  # it brings the path back, so that only `include` is left
        return LeftOutBy("include", path)

    def _is_below_out(self, folder: str) -> bool:
        end = folder.find("/")
        while end >= 0:
            if self(folder[:end], True):
                return True
            end = folder.find("/", end + 1)
        return bool(folder) and self(folder, True)


def _lines(texts: Sequence[str]) -> list[tuple[int, str]]:
    """The lines that are patterns to the library, each with its number: empty ones are none."""
    return [(number, text) for number, text in enumerate(texts, start=1) if text]


def ignore_rules(exclude: Sequence[str], include: Sequence[str] = ()) -> Filters:
    """Filters of patterns alone, see :class:`Filters`."""
    return Filters(exclude, include)


def gitignore(pattern: str) -> GitIgnoreSpec:
    """One line in gitignore syntax; an empty one or a comment matches nothing, and may.

    Raises:
        UsageError: it is no such pattern, or one that git itself takes and that never matches.
    """
    try:
        with warnings.catch_warnings():
            # Python's expressions have no classes such as [[:digit:]], and warn of them.
            warnings.simplefilter("error", FutureWarning)
            spec = GitIgnoreSpec.from_lines([pattern])
    except (ValueError, FutureWarning):
        raise UsageError(
            f"{pattern!r} is not a pattern in gitignore syntax", hint=_AS_IT_IS
        ) from None
    text = pattern.strip()
    if text and not text.startswith("#") and all(one.include is None for one in spec.patterns):
        raise UsageError(f"{pattern!r} is a pattern that matches no name", hint=_AS_IT_IS)
    return spec


def _spec(patterns: Sequence[str]) -> GitIgnoreSpec | None:
    """The patterns as one; None: there are none."""
    composed = [unicodedata.normalize("NFC", pattern) for pattern in patterns]
    for pattern in composed:
        gitignore(pattern)
    spec = GitIgnoreSpec.from_lines(composed)
    return spec if any(pattern.include is not None for pattern in spec.patterns) else None


# ------------------------------------------------------------------------ sizes and ages


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which files take part, by their size and age. Either side's size can put a file out.

    The age is that of the local file, by its modification time. Only a file that is not
    here has the age that the server's time of its last change gives, by our clock.
    """

    min_size: int | None = None  #: bytes
    max_size: int | None = None  #: bytes
    min_age_s: float | None = None
    max_age_s: float | None = None
    empty: Empty = Empty.SEND

    @property
    def are_set(self) -> bool:
        """False if every file takes part."""
        return self != Bounds()

    def leave_out(self, decision: Decision, now_ns: int) -> bool:
        """True if nothing is to be done about a path, whatever was decided.

        Args:
            decision: with the entries that it was made from.
            now_ns: the wall clock.
        """
        local, remote = decision.local, decision.remote
        if local is not None:
            return self.leave_out_file(local, now_ns) or (
                remote is not None and not self._fits(remote.size)
            )
        if remote is None:
            return False
        if decision.verb in (Verb.DELETE_REMOTE, Verb.HOLD) and self._are_of_age:
            return True  # nothing says how old the file was that is gone
        return not self._fits(remote.size) or not self._is_of_age(remote.modified_ns, now_ns)

    def leave_out_file(self, local: LocalEntry, now_ns: int) -> bool:
        """True if this file takes no part, whatever the server has."""
        return not self._fits(local.size) or not self._is_of_age(local.stamp.mtime_ns, now_ns)

    def reports(self, decision: Decision) -> bool:
        """True if this path is left out for being empty, and the user wants to know."""
        sizes = [one.size for one in (decision.local, decision.remote) if one is not None]
        return self.empty is Empty.REPORT and 0 in sizes

    def _fits(self, size: int) -> bool:
        return not (
            (size == 0 and self.empty is not Empty.SEND)
            or (self.min_size is not None and size < self.min_size)
            or (self.max_size is not None and size > self.max_size)
        )

    @property
    def _are_of_age(self) -> bool:
        return self.min_age_s is not None or self.max_age_s is not None

    def _is_of_age(self, changed_ns: int, now_ns: int) -> bool:
        age_s = (now_ns - changed_ns) / 1e9
        return (self.min_age_s is None or age_s >= self.min_age_s) and (
            self.max_age_s is None or age_s <= self.max_age_s
        )
