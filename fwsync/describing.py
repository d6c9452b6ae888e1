"""Reads what stands beside a file before it is sent: sidecars, BIDS JSON, tables.

Its rule: what cannot be read or understood is a problem about that very file, said once, and
the files that it speaks of are sent without it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Final, TypeVar

from fwsync import localfs
from fwsync.errors import FileProblem, FwsyncError
from fwsync.layout import Layout, name_of
from fwsync.metadata import bids, sidecars
from fwsync.metadata.describe import Beside, describe
from fwsync.metadata.rules import MetadataRules
from fwsync.metadata.shapes import Json, NotJson, clean_info
from fwsync.metadata.sidecars import BadSidecar
from fwsync.model import Address, Level, LocalEntry, Problem, RelPath, Stamp
from fwsync.sources import Describe, Said, say_nothing
from fwsync.threads import in_thread

T = TypeVar("T")

#: Files whose content is remembered for as long as they stay as they are: tables, and sidecars
#: of containers, which are asked for with each of the files that they speak of.
_REMEMBERED: Final = 64

_HINT: Final = "mend it or remove it; what it speaks of is sent without what it says"
_LEVELS: Final = list(Level)


@dataclass(frozen=True, slots=True)
class Speaking:
    """What is listened to, as the settings have it."""

    rules: MetadataRules
    sidecars: bool = False  #: ``*.flywheel.json``
    bids: bool = False  #: the JSON beside images; ``participants.tsv``, ``sessions.tsv``

    def __bool__(self) -> bool:
        return bool(self.rules) or self.sidecars or self.bids


class Describer:
    """Says what the server is told of a file. Its :meth:`describe` is a ``sources.Describe``.

    Args:
        root_fd: the root, open for as long as this is used.
        layout: how the folders below the root stand for containers.
        speaking: what is listened to.
        say: is told what could not be read.
        first: says what the layout knows of a file.
    """

    def __init__(
        self,
        root_fd: int,
        layout: Layout,
        speaking: Speaking,
        say: Callable[[Problem], None],
        first: Describe = say_nothing,
    ) -> None:
        self._root_fd = root_fd
        self._layout = layout
        self._speaking = speaking
        self._say = say
        self._first = first
        self._known: OrderedDict[RelPath, tuple[object, Stamp | None]] = OrderedDict()
        self._lock = Lock()
        self._said: set[tuple[str, str]] = set()

    async def describe(self, entry: LocalEntry) -> Said:
        """What to say of a file and of the containers above it."""
        said = await self._first(entry)
        on_disk = entry.path if entry.pack is not None else entry.indexed
        beside = await in_thread(self._beside, entry, on_disk)
        found = describe(
            on_disk,
            metadata=said.metadata,
            fields=said.fields,
            rules=self._speaking.rules,
            beside=beside,
        )
        for problem in found.problems:
            self._complain(problem)
        return Said(found.metadata, found.fields)

    # -- in a thread

    def _beside(self, entry: LocalEntry, on_disk: RelPath) -> Beside:
        sidecar: Json = {}
        containers: list[Json] = []
        if self._speaking.sidecars:
            sidecar = self._read(sidecars.of_file(on_disk), _file_metadata, {})
            if entry.source is None and entry.pack is None:
                containers = self._of_containers(on_disk)
        if not self._speaking.bids:
            return Beside(sidecar, containers=containers)
        image_json = bids.json_of(on_disk)
        info: Json = {} if image_json is None else self._read(image_json, _info, {})
        subject, session = _entities(on_disk)
        return Beside(
            sidecar,
            info,
            containers,
            self._row(RelPath(bids.PARTICIPANTS), "sub", subject),
            self._row(RelPath(f"{subject}/{subject}_{bids.SESSIONS}"), "ses", session),
        )

    def _of_containers(self, path: RelPath) -> list[Json]:
        """What the sidecars of the containers above a file say, from the top."""
        address = self._layout.address_of(path)
        if not isinstance(address, Address):
            return []
        found: list[Json] = []
        for count in range(2, len(address.labels) + 1):
            if count < self._layout.top:
                continue
            folder = self._layout.container_path(address.labels[:count])
            called = folder.rpartition("/")[2] or name_of(address.labels[count - 1])
            where = sidecars.of_folder(folder, called)
            level = _LEVELS[count - 1]
            # `a/a.flywheel.json` speaks of the folder, but where a file `a` stands beside it.
            if self._is_there(RelPath(where.removesuffix(sidecars.SUFFIX))):
                continue
            fields: Json = self._remembered(where, partial(_container_fields, level), {})
            if fields:
                found.append(fields)
        return found

    def _row(self, table: RelPath, entity: str, label: str) -> bids.Row:
        if not label:
            return {}
        rows: Mapping[str, bids.Row] = self._remembered(table, bids.read_table, {})
        return bids.row_of(rows, entity, label)

    def _remembered(self, path: RelPath, understand: Callable[[bytes], T], nothing: T) -> T:
        with self._lock:  # several files are described at a time, each in a thread
            stamp = self._stamp(path)
            value, of = self._known.get(path, (nothing, None))
            if stamp is None or of != stamp:
                value = self._read(path, understand, nothing)
            self._known[path] = value, stamp
            self._known.move_to_end(path)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            return value  # type: ignore[return-value]  # a path is read in one way

    def _stamp(self, path: RelPath) -> Stamp | None:
        """Of a file as it is now, before it is read; None: it is not there, or no file."""
        try:
            return localfs.look(self._root_fd, path)
        except FileProblem:
            return None

    def _read(self, path: RelPath, understand: Callable[[bytes], T], nothing: T) -> T:
        """What a file says; ``nothing`` where it is not there, or says nothing sensible."""
        try:
            if localfs.look(self._root_fd, path) is None:
                return nothing
            return understand(self._bytes(path))
        except BadSidecar as error:
            message = f"cannot be used as metadata: {error}"
        except FwsyncError as error:
            message = f"cannot be read as metadata: {error.message.removeprefix(f'{path}: ')}"
        self._complain(Problem(path, message, _HINT))
        return nothing

    def _bytes(self, path: RelPath) -> bytes:
        file_fd = localfs.open_regular(self._root_fd, path)
        with os.fdopen(file_fd, "rb") as file:
            try:
                return file.read(sidecars.MAX_SIDECAR + 1)
            except OSError as error:
                raise localfs.unreadable(path, error) from None

    def _is_there(self, path: RelPath) -> bool:
        try:
            return localfs.look(self._root_fd, path) is not None
        except FileProblem:  # a folder
            return False

    def _complain(self, problem: Problem) -> None:
        if (problem.path, problem.message) not in self._said:
            self._said.add((problem.path, problem.message))
            self._say(problem)


def _file_metadata(text: bytes) -> Json:
    return sidecars.file_metadata(sidecars.read_object(text))


def _container_fields(level: Level, text: bytes) -> Json:
    return sidecars.container_fields(level, sidecars.read_object(text))


def _info(text: bytes) -> Json:
    try:
        return clean_info(sidecars.read_object(text))
    except NotJson as error:
        raise BadSidecar(str(error)) from None


def _entities(path: RelPath) -> tuple[str, str]:
    """The folders of subject and session that a BIDS path begins with; empty: none."""
    subject, _, rest = path.partition("/")
    session = rest.partition("/")[0]
    if not subject.startswith("sub-") or not rest:
        return "", ""
    return subject, session if session.startswith("ses-") and "/" in rest else ""
