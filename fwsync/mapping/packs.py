"""Packs: files of one container that become one file on the platform.

A series of DICOM slices is one zip there. Which files, the settings say; what the pack
is called follows from the container's label and the pack's kind, and from nothing else,
so a late slice finds its pack again and no list of the folder is needed.

Source of ``T1w.dicom.zip`` and of the folder ``dicom``: flywheel-cli 18.5.1, observed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from fwsync.errors import UsageError, naming
from fwsync.filters import gitignore
from fwsync.layout import label_of, name_of
from fwsync.mapping.forms import Pack, names_in
from fwsync.mapping.names import pack_stem
from fwsync.model import Level

#: Kinds whose pack is just a zip: the platform calls the file type of any zip ``archive``.
PLAIN_KINDS = ("archive", "zip")

DEFAULT_NAME = "{label}.{kind}.zip"

#: What the name of an unpacked zip ends with, before ``.zip``, and its type. Source: the
#: platform's file types, core18 and flywheel-sdk 23.
UNPACKED = (".dicom", ".dcm")

_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9_ -]*")
_ZIP, _DICOM = ".zip", "dicom"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_PLACES = ("label", "kind", *(level.value for level in Level))


@dataclass(frozen=True, slots=True)
class _Source:
    """One way into a pack."""

    kind: str
    why: str
    spec: GitIgnoreSpec | None = None  #: None: everything, in ``folder``
    folder: str = ""

    @property
    def sorts(self) -> bool:
        """False if it takes everything, which is for acquisitions only."""
        return self.spec is not None or bool(self.folder)

    def takes(self, rest: str) -> bool:
        if self.spec is not None:
            # By its one pattern; the whole machinery of many takes most of a run's time.
            return self.spec.patterns[0].match_file(rest) is not None
        return not self.folder or rest.startswith(f"{self.folder}/")


class Packs:
    """What is packed, for one rule.

    Args:
        patterns: in gitignore syntax, relative to the container's folder, and the kind of
            pack that the files go to. The first that matches decides.
        folders: names of folders right below the container's, and their kind.
        everything: the kind for all other files of an acquisition; empty: they stay files.
        name: with ``{label}`` (the container's), ``{kind}``, ``{subject}``, ``{session}``, ….
        zip_single: False: the only member of a pack is sent as a file; the caller counts.
        unpack: a folder of a container whose name ends like one of :data:`UNPACKED` is the zip
            of that name; for what no source before it takes.
        called: how whoever set them wrote one of the keys, for what is refused.

    Raises:
        UsageError: a pattern, kind or name is not usable.
    """

    def __init__(
        self,
        patterns: Mapping[str, str] | None = None,
        *,
        folders: Mapping[str, str] | None = None,
        everything: str = "",
        name: str = "",
        zip_single: bool = True,
        unpack: bool = False,
        called: Callable[[str], str] = str,
    ) -> None:
        self._sources: list[_Source] = []
        with naming(called("pack")):
            self._sources += [_pattern(*one) for one in (patterns or {}).items()]
        with naming(called("pack_folders")):
            self._sources += [_folder(*one) for one in (folders or {}).items()]
        with naming(called("pack_acquisitions")):
            if everything:
                self._sources.append(_Source(_checked(everything), f"all of it as {everything}"))
        self.kinds = list(dict.fromkeys(source.kind for source in self._sources))
        self.zip_single = zip_single
        self.unpack = unpack
        with naming(called("pack_name")):
            self._name = _name_checked(name or DEFAULT_NAME)
        # Where nothing but one folder leads into a pack, the folder's name is no news.
        self._bare = {
            kind
            for kind in self.kinds
            if [source.folder != "" for source in self._sources if source.kind == kind] == [True]
        }
        self._tells_kinds_apart = "{kind}" in self._name
        self._ending = self._name.rpartition("}")[2]
        self._last: tuple[tuple[str, ...], str, str] | None = None

    def __bool__(self) -> bool:
        return bool(self._sources) or self.unpack

    def pack_of(self, labels: tuple[str, ...], rest: str) -> Pack | None:
        """The pack that a file is a member of, or None.

        Args:
            labels: of the container, from the group down.
            rest: the file's path below the container's folder.
        """
        for source in self._sources:
            if source.takes(rest) and (source.sorts or len(labels) == len(Level)):
                bare = source.kind in self._bare
                member = rest[len(source.folder) + 1 :] if bare else rest
                return Pack(self.name_of(labels, source.kind), member, source.kind, source.why)
        return _unpacked(rest) if self.unpack else None

    def rests_of(self, labels: tuple[str, ...], name: str, member: str) -> Iterator[str]:
        """The paths below a container's folder that may be this member of this pack."""
        for source in self._sources:
            if self.name_of(labels, source.kind) == name:
                yield f"{source.folder}/{member}" if source.kind in self._bare else member
        if self.unpack and _unpacks(name):
            yield f"{name_of(name.removesuffix(_ZIP))}/{member}"

    def kind_of(self, labels: tuple[str, ...], name: str) -> str:
        """The kind of the pack of that container that is called so; empty: none is."""
        kind = ""
        if name.endswith(self._ending):
            kind = next((one for one in self.kinds if self.name_of(labels, one) == name), "")
        return kind or (_DICOM if self.unpack and _unpacks(name) else "")

    def name_of(self, labels: tuple[str, ...], kind: str) -> str:
        """What the pack of a container and a kind is called."""
        last = self._last
        if last is not None and last[0] is labels and last[1] == kind:
            return last[2]
        name = self._named(labels, kind)
        self._last = (labels, kind, name)
        return name

    def _named(self, labels: tuple[str, ...], kind: str) -> str:
        texts = {"label": labels[-1]} | dict(zip(Level, labels, strict=False))
        texts = {place: pack_stem(text) for place, text in texts.items()}
        text = self._name
        if kind in PLAIN_KINDS:
            text = text.replace(".{kind}", "")
        name = _PLACEHOLDER.sub(lambda found: {"kind": kind, **texts}.get(found[1], ""), text)
        if self._tells_kinds_apart or kind in self.kinds[:1] or not self.kinds:
            return name
        stem, dot, ending = name.rpartition(".")
        return f"{stem}_{kind}{dot}{ending}" if dot else f"{name}_{kind}"


def _unpacks(name: str) -> bool:
    stem = name.removesuffix(_ZIP)
    return stem != name and stem.endswith(UNPACKED) and stem not in UNPACKED


def _unpacked(rest: str) -> Pack | None:
    """The zip that the first folder of a path stands for; None: it is no folder of a zip."""
    folder, *deeper = names_in(rest)
    stem = label_of(folder)
    if not deeper or stem is None or not _unpacks(name := f"{stem}{_ZIP}"):
        return None
    return Pack(name, "/".join(deeper), _DICOM, f"of the zip {name!r}, by unpack")


def _pattern(pattern: str, kind: str) -> _Source:
    spec = gitignore(pattern)
    if not any(one.include for one in spec.patterns):
        raise UsageError(
            f"{pattern!r} matches nothing",
            hint="check the pattern; one that begins with ! takes nothing into a pack",
        )
    return _Source(_checked(kind), f"packed as {kind} by {pattern!r}", spec)


def _folder(folder: str, kind: str) -> _Source:
    if "/" in folder or folder in {"", ".", ".."}:
        raise UsageError(
            f"{folder!r} is not the name of a folder",
            hint='for a deeper one, use a pattern: pack = { "raw/dicom/" = "dicom" }',
        )
    return _Source(_checked(kind), f"packed as {kind} by its folder {folder!r}", None, folder)


def _checked(kind: str) -> str:
    if not _KIND.fullmatch(kind):
        hint = 'name one, such as "dicom" or "archive"; on the command line after a ='
        raise UsageError(f"{kind!r} is not a file type", hint=hint)
    return kind


def _name_checked(name: str) -> str:
    unknown = [found for found in _PLACEHOLDER.findall(name) if found not in _PLACES]
    if unknown or "/" in name or _PLACEHOLDER.sub("", name).strip("{}") == "":
        raise UsageError(
            f"{name!r} is not the name of a file",
            hint=f"it may hold {', '.join(f'{{{place}}}' for place in _PLACES)}",
        )
    return name
