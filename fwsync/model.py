"""The nouns. Values without behaviour beyond what follows from their fields.

Every path is a :data:`RelPath`: relative to the root, POSIX, NFC. A listing is an
iterator of entries sorted by path as Python sorts strings, each path once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NewType

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


@dataclass(frozen=True, slots=True)
class Stamp:
    """What ``stat`` said. Two equal stamps are taken for an untouched file.

    (But for the racy rule in the state's index: a file written within one clock
    tick of being hashed can change without its stamp changing.)
    """

    size: int  #: bytes
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """A regular file below the root, as the scan saw it."""

    path: RelPath
    stamp: Stamp
    etag: LocalTag | None = None  #: None: the content has not been read
    digest: Digest | None = None  #: None: not known, only the tag may be
    disk_path: str | None = None  #: the name on disk where it is not ``path`` (NFD)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stamp.size

    @property
    def on_disk(self) -> str:
        """Relative path to open: as the file system spells it."""
        return self.path if self.disk_path is None else self.disk_path


@dataclass(frozen=True, slots=True)
class ContainerRef:
    """A container on the server."""

    level: Level
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


@dataclass(frozen=True, slots=True)
class BaseEntry:
    """What both sides last agreed on, each with its own tag."""

    path: RelPath
    size: int
    local_etag: LocalTag
    remote_etag: str
    digest: Digest | None = None
    held: str = ""  #: "local" or "remote": a deletion seen on that side, not propagated


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


class ConflictPolicy(StrEnum):
    """What a conflict becomes."""

    KEEP_BOTH = "keep-both"
    LOCAL = "local"
    REMOTE = "remote"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and what it was made from; the entries double as its preconditions."""

    verb: Verb
    path: RelPath
    local: LocalEntry | None = None
    remote: RemoteEntry | None = None
    base: BaseEntry | None = None
    reason: str = ""  #: for people: "new here", "changed on the server", …

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
    adopted: int = 0
    held: int = 0  #: deletions seen in this run and not passed on
    skipped: int = 0
    conflicts: int = 0
    bytes: int = 0
    requests: int = 0
    seconds: float = 0.0
    peak_memory: int = 0  #: bytes of this process, at most
    files: int = 0  #: files looked at, both sides together
    halted: str = ""  #: why a guard holds the plan, or empty
    plan_id: str = ""
    deferred: int = 0  #: folders seen, not settled yet
    difference_list: list[Problem] = field(default_factory=list)  #: left alone on purpose
    problem_list: list[Problem] = field(default_factory=list)
    conflict_list: list[RelPath] = field(default_factory=list)
    copies: dict[RelPath, RelPath] = field(default_factory=dict)  #: of conflicts kept both ways

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
        left = self.problem_list or self.difference_list or self.conflicts
        return not (left or self.halted)
