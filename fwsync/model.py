"""The nouns. Values without behaviour beyond what follows from their fields.

Every path is a :data:`RelPath`: relative to the root, POSIX, NFC. A listing is an
iterator of entries sorted by path as Python sorts strings, each path once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NamedTuple, NewType

from fwsync.digest import Digest, LocalTag
from fwsync.errors import Exit, FwsyncError

#: Relative, POSIX, NFC, no empty, ``.`` or ``..`` component.
RelPath = NewType("RelPath", str)


class Level(StrEnum):
    """Where in Flywheel's hierarchy a container stands, from the top."""

    GROUP = "group"
    PROJECT = "project"
    SUBJECT = "subject"
    SESSION = "session"
    ACQUISITION = "acquisition"


#: The levels that can hold files, from the top.
FILE_LEVELS = (Level.PROJECT, Level.SUBJECT, Level.SESSION, Level.ACQUISITION)

#: The levels below a project.
BELOW_PROJECT = FILE_LEVELS[1:]


class Holder(StrEnum):
    """What holds files and is no level of the hierarchy."""

    ANALYSIS = "analysis"


@dataclass(frozen=True, slots=True)
class Address:
    """A file's place on the platform, by labels.

    ``labels`` runs from the group down without gaps, so its length gives the level:
    two for a file of a project, five for one of an acquisition.
    """

    labels: tuple[str, ...]
    name: str

    @property
    def level(self) -> Level:
        """The level of the container that holds the file."""
        return list(Level)[len(self.labels) - 1]


class Stamp(NamedTuple):
    """What ``stat`` said. Two equal stamps are taken for an untouched file.

    (But for the racy rule in the state's index: a file written within one clock
    tick of being hashed can change without its stamp changing.) A tuple, since one is made
    for every file of a scan.
    """

    size: int  #: bytes
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int


#: A regular file as the scan hands it on: path, the five of its :class:`Stamp`, and its name on
#: disk where that is not the path. Of a million files that nobody has touched no more is made.
SeenRow = tuple[RelPath, int, int, int, int, int, str | None]


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """A regular file below the root, as the scan saw it."""

    path: RelPath
    stamp: Stamp
    etag: LocalTag | None = None  #: None: the content has not been read
    digest: Digest | None = None  #: None: not known, only the tag may be
    disk_path: str | None = None  #: the name on disk where it is not ``path`` (NFD)
    source: RelPath | None = None  #: where the index of the disk has it, if not at ``path``
    pack: Pack | None = None  #: the files that are one on the server; None: a file like any other

    @classmethod
    def of(cls, row: SeenRow) -> LocalEntry:
        """The entry of what a scan has seen."""
        path, size, mtime_ns, ctime_ns, device, inode, disk = row
        return cls(path, Stamp(size, mtime_ns, ctime_ns, device, inode), disk_path=disk)

    @property
    def size(self) -> int:
        """Bytes; of a pack, those of its zip."""
        return self.stamp.size

    @property
    def indexed(self) -> RelPath:
        """Where the index of the disk has it: a layout may put it elsewhere."""
        return self.path if self.source is None else self.source

    @property
    def on_disk(self) -> str:
        """Relative path to open: as the file system spells it."""
        return self.indexed if self.disk_path is None else self.disk_path


@dataclass(frozen=True, slots=True)
class PackMember:
    """One file of a pack."""

    name: str  #: in the zip: relative, POSIX
    entry: LocalEntry


@dataclass(frozen=True, slots=True)
class Pack:
    """Local files that are one file on the server, a zip of them."""

    kind: str  #: what the server is told that it is: "dicom", …
    members: tuple[PackMember, ...]  #: sorted by name, each name once
    #: The zip that is sent, or that the entry's digest is of, is compressed. Its size is not
    #: the entry's, which is that of the zip with all members stored.
    deflated: bool = False


@dataclass(frozen=True, slots=True)
class ContainerRef:
    """A container on the server."""

    level: Level | Holder
    id: str


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """A file on the server, as a listing or an upload's answer gave it."""

    path: RelPath
    size: int  #: bytes
    etag: str  #: the server side's own tag: changes when the bytes may have changed
    digest: Digest | None  #: None where the server gives no hash
    container: ContainerRef
    name: str
    file_id: str = ""
    version: int = 1
    modified_ns: int = 0  #: the server's clock; never compared with ours


@dataclass(frozen=True, slots=True)
class Unknown:
    """A part of a listing that could not be seen. Nothing below it is deleted or replaced."""

    scope: RelPath  #: a folder's path, or a file's; empty: everything
    reason: str
    expected: bool = False  #: left out on purpose (a symbolic link, not settled yet): no problem
    hint: str = ""  #: what to do about it
    hides: bool = False  #: an error is why: anything may be there, so what is gone elsewhere


@dataclass(frozen=True, slots=True)
class BaseEntry:
    """What both sides last agreed on, each with its own tag."""

    path: RelPath
    size: int
    local_etag: LocalTag
    remote_etag: str
    digest: Digest | None = None
    held: str = ""  #: "local" or "remote": a deletion seen on that side, not propagated
    container_id: str = ""  #: on the server, of what held it then
    file_id: str = ""  #: likewise; empty: the server gives none
    version: int = 0  #: likewise; 0: not known


class Delta(Enum):
    """What one side did since the base."""

    SAME = "same"
    CHANGED = "changed"
    CREATED = "created"
    DELETED = "deleted"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Verb(StrEnum):
    """The verdict on one path."""

    NOTHING = "nothing"
    ADOPT = "adopt"  #: both hold the same bytes: record agreement, move nothing
    UPLOAD = "upload"
    DOWNLOAD = "download"
    RENAME = "rename"  #: moved on the server, with nothing changed in it: it moves here, too
    RENAME_REMOTE = "rename-remote"  #: the same the other way: moved here, it moves there, too
    DELETE_LOCAL = "delete-local"
    DELETE_REMOTE = "delete-remote"
    HOLD = "hold"  #: a deletion that is not propagated: remember it
    FORGET = "forget"  #: gone on both sides: drop the row
    CONFLICT = "conflict"  #: nobody may choose
    REPORT = "report"  #: left alone on purpose, and the user should know


class Mode(StrEnum):
    """Direction of a run."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


class NamePolicy(StrEnum):
    """Under which names files and containers are sent."""

    AS_THEY_ARE = "as-they-are"  #: the platform's rule only where the server refuses or alters one
    PLATFORM = "platform"  #: by the platform's rule, beforehand


class ConflictPolicy(StrEnum):
    """What a conflict becomes."""

    KEEP_BOTH = "keep-both"
    LOCAL = "local"
    REMOTE = "remote"
    SKIP = "skip"
    FAIL = "fail"


class Links(StrEnum):
    """What becomes of symbolic links."""

    SKIP = "skip"  #: they are left alone, and reported once
    FOLLOW = "follow"  #: those that lead to something below the root stand for it


class Duplicates(StrEnum):
    """What becomes of files that would be there twice."""

    REPORT = "report"  #: they are sent, and it is said
    SKIP = "skip"  #: they are left, and each is a problem


class Others(StrEnum):
    """What becomes of files that a profile for de-identification says nothing about."""

    REFUSE = "refuse"  #: they are left, and each is a problem
    SEND = "send"  #: they go as they are; not if they are DICOM


class Empty(StrEnum):
    """What becomes of files without content."""

    SEND = "send"  #: they are files like others
    SKIP = "skip"  #: they take no part
    REPORT = "report"  #: they take no part, and each that would have is a problem


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person says of a conflict: of this file here, and that one there, and no others."""

    policy: ConflictPolicy
    stamp: Stamp  #: of the file here
    remote_etag: str

    def is_of(self, local: LocalEntry | None, remote: RemoteEntry | None) -> bool:
        """True if these two files are those that were meant."""
        if local is None or remote is None:
            return False
        return local.stamp == self.stamp and remote.etag == self.remote_etag


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and what it was made from; the entries double as its preconditions."""

    verb: Verb
    path: RelPath
    local: LocalEntry | None = None
    remote: RemoteEntry | None = None
    base: BaseEntry | None = None
    reason: str = ""  #: for people: "new here", "changed on the server", …
    rule: str = ""  #: for people: why it belongs there, where a rule says so
    replaces: LocalEntry | None = None  #: of a RENAME: what has the name here; it goes to the trash
    is_conflict: bool = False  #: both sides moved, to different bytes, whatever becomes of it
    is_chosen: bool = False  #: a person has said what becomes of it
    copy: RelPath | None = None  #: of a conflict: the second name that the local bytes have by now

    @property
    def size(self) -> int:
        """Bytes this decision moves."""
        if self.verb is Verb.UPLOAD and self.local is not None:
            return self.local.size
        if self.verb is Verb.DOWNLOAD and self.remote is not None:
            return self.remote.size
        return 0


@dataclass(frozen=True, slots=True)
class Problem:
    """What failed about one path, as a value: reported, counted, never raised."""

    path: str
    message: str  #: what happened, and what was expected
    hint: str = ""
    retryable: bool = False
    exit_code: Exit = Exit.DIFFERENCES  #: of a run that got nowhere because of such problems

    @classmethod
    def of(cls, path: str, error: FwsyncError) -> Problem:
        """The problem that an error about this path is."""
        message = error.message.removeprefix(f"{path}: ")
        return cls(path, message, error.hint, error.retryable, error.exit_code)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a decision: what is now recorded, or why not."""

    decision: Decision
    local: LocalEntry | None = None  #: as it is now, with both digests where bytes moved
    remote: RemoteEntry | None = None  #: as the server answered
    problem: Problem | None = None
    moved: int = 0  #: bytes that crossed the wire for it
    conflict_copy: RelPath | None = None  #: where the local bytes of a conflict went
    hashed_at_ns: int = 0  #: wall clock when ``local`` was last seen with these digests
    route: str = ""  #: the way that bytes went up; empty: none did
    tries: int = 0  #: how often they were sent
    began_ns: int = 0  #: wall clock when its batch was begun; 0: it was in none


#: How many paths of one kind a report names, where it counts the rest.
_FIRST = 10


@dataclass(slots=True)
class Report:
    """What a run did, for the library's callers, the summary line and the exit code."""

    command: str = ""
    root: str = ""
    remote: str = ""
    uploaded: int = 0
    downloaded: int = 0
    deleted: int = 0
    renamed: int = 0
    sidecars: int = 0  #: files of metadata, written here
    adopted: int = 0
    held: int = 0  #: deletions seen in this run and not passed on
    skipped: int = 0
    conflicts: int = 0
    bytes: int = 0
    requests: int = 0
    seconds: float = 0.0
    peak_memory: int = 0  #: bytes of this process, at most
    files: int = 0  #: files here: those that were seen and came, without those that went
    halted: str = ""  #: why a guard holds the plan, or empty
    guards: list[str] = field(default_factory=list)  #: those that hold it, for machines
    waiting: list[Decision] = field(default_factory=list)  #: what they hold
    plan_id: str = ""
    deferred: int = 0  #: folders seen, not settled yet
    left: int = 0  #: steps for the next run: this one has moved, or lasted, as much as it may
    left_why: str = ""  #: the option that set the limit
    difference_list: list[Problem] = field(default_factory=list)  #: left alone on purpose
    problem_list: list[Problem] = field(default_factory=list)
    conflict_list: list[RelPath] = field(default_factory=list)
    copies: dict[RelPath, RelPath] = field(default_factory=dict)  #: of conflicts kept both ways
    conflicts_open: int = 0  #: conflicts that wait for a person, those of earlier runs included
    notes: list[str] = field(default_factory=list)  #: worth a word, and no failure
    trashed: int = 0  #: files that went to the trash here, for they are gone there
    trashed_first: list[str] = field(default_factory=list)  #: the first of them, by their paths
    trash_run: str = ""  #: what names these in the trash; empty: nothing did, or several do
    deleted_there: list[str] = field(default_factory=list)  #: the first that the server lost
    #: The first that have another path, of those that were renamed here, and there: new and old.
    renamed_here: list[tuple[str, str]] = field(default_factory=list)
    renamed_there: list[tuple[str, str]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)  #: projects that were made
    where: tuple[str, ...] = ()  #: words that name root and state to another command

    def to_trash(self, path: str, run: str) -> None:
        """Count a file that went to the trash of a run."""
        self.deleted += 1
        self.trash_run = run if not self.trashed or run == self.trash_run else ""
        self.trashed += 1
        if len(self.trashed_first) < _FIRST:
            self.trashed_first.append(path)

    def deleted_on_server(self, path: str) -> None:
        """Count a file that was deleted there."""
        self.deleted += 1
        if len(self.deleted_there) < _FIRST:
            self.deleted_there.append(path)

    def has_renamed(self, new: str, old: str, *, there: bool = False) -> None:
        """Count a file that has another path now."""
        self.renamed += 1
        if len(self.renamed_here) + len(self.renamed_there) < _FIRST:
            (self.renamed_there if there else self.renamed_here).append((new, old))

    @property
    def problems(self) -> int:
        """How many paths failed."""
        return len(self.problem_list)

    @property
    def exit_code(self) -> Exit:
        """What the command's exit code says of the run."""
        if self.halted:
            return Exit.HALTED
        codes = {one.exit_code for one in self.problem_list}
        if codes == {Exit.AUTH} and not (self.uploaded or self.downloaded or self.deleted):
            return Exit.AUTH  # all that was tried was refused: ask for the permission
        return Exit.IN_STEP if self.ok else Exit.DIFFERENCES

    @property
    def ok(self) -> bool:
        """True if the two sides are in step as far as the mode asks."""
        open_ends = self.problem_list or self.difference_list or self.conflicts or self.left
        return not (open_ends or self.halted)
