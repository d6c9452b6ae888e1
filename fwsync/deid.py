"""Files on their way up that are de-identified first, by a profile that the user names.

The one rule: of a file under a profile no byte leaves but what the profile made of it, and a file
that it cannot change, or says nothing about, is a problem and is not sent. That holds for what is
read from headers as well: labels and metadata come of the changed header.

What both sides agree on has two digests, therefore. The local tag is that of the file as it is
here, so that a second run finds nothing to do; the digest in the base is that of the bytes that
were sent. The two are never compared.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fwsync import headers, localfs
from fwsync.deid_pool import WORKERS, Changed, Pool, check_size, not_covered
from fwsync.digest import ContentHasher, Digest, short_name
from fwsync.elements import Source as Elements
from fwsync.errors import FileProblem, SourceChanged, Unreadable, UsageError
from fwsync.headers import Look
from fwsync.model import LocalEntry, Problem, RelPath
from fwsync.ports import Upload
from fwsync.sources import BLOCK, Source
from fwsync.threads import in_thread, workers
from fwsync.told import Advanced, Told
from fwsync.values import Wanted

#: Bytes of changed files that wait in memory to be sent; a larger file waits alone.
IN_MEMORY: Final = 64 << 20

#: A profile is written by hand: what is larger is something else.
LARGEST_PROFILE: Final = 1 << 20


class Deid:
    """The hook: what becomes of the bytes of a file before they are sent.

    Args:
        pool: open for as long as this is used.
        profile: as its file says it.
        sends_others: files that the profile says nothing about go as they are.
    """

    def __init__(self, pool: Pool, profile: object, *, sends_others: bool) -> None:
        self._pool = pool
        self._sends_others = sends_others
        self._room = _Room(IN_MEMORY)
        self._turns = asyncio.Semaphore(WORKERS)
        #: Changes with the profile: what was read of headers under another one is no use.
        self.sign: str = short_name(json.dumps([profile, sends_others], sort_keys=True))

    def __call__(self, path: str, size: int, blocks: Iterable[bytes]) -> bytes:
        """The bytes to send in place of these; blocks, to be called in a thread.

        Raises:
            FileProblem: there are none; the message does not begin with the path.
        """
        return self.change(path, size, blocks).content

    def change(
        self, path: str, size: int, blocks: Iterable[bytes], *, tell: bool = False
    ) -> Changed:
        """As a call, with what was changed if ``tell``."""
        check_size(size)
        content, name = list(blocks), path.rpartition("/")[2]
        changed = self._pool.change(name, content, tell=tell)
        if changed is not None:
            return changed
        if not self._sends_others:
            raise not_covered(name)
        return Changed(b"".join(content))

    def room(self, size: int) -> _Held:
        """Room in memory for so many bytes of changed files, for as long as they are sent."""
        return _Held(self._room, size)

    async def read(
        self, root_fd: int, entry: LocalEntry, *, tell: bool = False
    ) -> tuple[Changed, Source]:
        """A file of the root after the profile, and what was read for it, complete.

        Raises:
            FileProblem: it changed, cannot be read, or cannot be de-identified.
        """
        source = Source(root_fd, entry, _nobody)
        async with self._turns:
            try:
                check_size(entry.size)
                blocks = [block async for block in source.read()]
                made = await in_thread(self.change, entry.on_disk, entry.size, blocks, tell=tell)
            except (SourceChanged, Unreadable):
                raise
            except FileProblem as error:
                raise FileProblem(f"{entry.path}: {error.message}", hint=error.hint) from None
        return made, source

    async def read_headers(
        self, root: Path, entries: Sequence[LocalEntry], elements: Wanted
    ) -> list[Look]:
        """What headers say after the profile; as :func:`fwsync.headers.read_headers`."""
        left = iter(enumerate(entries))
        found: dict[int, Look] = {}
        with localfs.root_descriptor(root) as root_fd:

            async def worker() -> None:
                for index, entry in left:
                    found[index] = await self._look(root_fd, entry, elements)

            async with workers() as crew:
                for _ in range(WORKERS):
                    crew.create_task(worker())
        return [found[index] for index in range(len(entries))]

    async def _look(self, root_fd: int, entry: LocalEntry, elements: Wanted) -> Look:
        try:
            made, source = await self.read(root_fd, entry)
        except FileProblem as error:
            return Look(entry, problem=Problem.of(entry.path, error))
        reading = await in_thread(headers.reading_of, Elements.of(made.content), elements)
        if reading.kind is headers.Kind.BROKEN:
            problem = Problem(entry.path, reading.why, "look at what the profile makes of it")
            return Look(entry, reading, problem, source.hashed_at_ns)
        return Look(entry, reading, None, source.hashed_at_ns)


class DeidSource:
    """One local file on its way up, as the profile changes it.

    Implements :class:`fwsync.ports.Upload`; :meth:`prepare` comes before all else. It has no
    stamp: an upload of it is never taken up by a later run, for which another version of the
    library may make other bytes.

    Args:
        deid: the hook.
        root_fd: the root, open until :meth:`prepare` is over.
        entry: as the scan saw the file.
        advanced: told of every piece that has left us: path and bytes, negative when they
            have to be sent again.
        told: bytes of this file that an earlier try has counted.
        metadata: what to say of the file.
        fields: what is known of the containers above it.
    """

    def __init__(
        self,
        deid: Deid,
        root_fd: int,
        entry: LocalEntry,
        advanced: Advanced,
        told: int = 0,
        metadata: Mapping[str, object] | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        self.metadata: Mapping[str, object] = metadata or {}
        self.fields: Mapping[str, object] = fields or {}
        self.members: Sequence[Upload] = ()
        self.hashed_at_ns = 0  #: wall clock just before the last look at the file
        self._deid = deid
        self._root_fd = root_fd
        self._entry = entry
        self._content: bytes | None = None
        self._digest: Digest | None = None
        self._complete = False
        self._told = Told(entry.path, advanced, told)

    @property
    def path(self) -> RelPath:
        """Where it belongs."""
        return self._entry.path

    @property
    def size(self) -> int:
        """Bytes to be sent."""
        return len(self._made)

    @property
    def digest(self) -> Digest | None:
        """Of what is sent, once all of it was read in one go."""
        return self._digest if self._complete else None

    @property
    def seen(self) -> LocalEntry | None:
        """The file as it is here, with its tag and no digest, once all of it was read."""
        return replace(self._entry, digest=None) if self._complete else None

    @property
    def told(self) -> int:
        """Bytes that were counted as progress."""
        return self._told.total

    async def prepare(self) -> None:
        """Read the file, and let the profile change it.

        Raises:
            FileProblem: it changed, cannot be read, or cannot be de-identified.
        """
        made, source = await self._deid.read(self._root_fd, self._entry)
        assert source.seen is not None, f"{self.path}: was not read to its end"
        self._entry, self.hashed_at_ns = source.seen, source.hashed_at_ns
        self._digest = await in_thread(_digest_of, made.content)
        self._content = made.content

    async def read(self, offset: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        """See :meth:`fwsync.ports.Upload.read`."""
        content = self._made
        end = len(content) if size is None else offset + size
        self._told.begin(offset)
        whole = offset == 0 and end == len(content)
        for start in range(offset, end, BLOCK):
            block = content[start : min(start + BLOCK, end)]
            self._complete |= whole and start + len(block) == end
            yield block
            self._told.more(offset, len(block))
        self._complete |= whole

    async def examine(self) -> None:
        """See :meth:`fwsync.ports.Upload.examine`."""
        self._complete = True

    @property
    def _made(self) -> bytes:
        assert self._content is not None, f"{self.path}: prepare() comes first"
        return self._content


@dataclass(slots=True)
class Summary:
    """What a profile would change, in how many files; nothing of what stands there."""

    files: int = 0
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, made: Changed) -> None:
        """Count one file."""
        self.files += 1
        self.changed.update(set(made.fields))

    def lines(self) -> list[str]:
        """For people, one line for each field, those that are met most often first."""
        of = f"of {self.files:,} file{'s' * (self.files != 1)}"
        return [
            f"de-identification: {name}: {action} in {count:,} {of}"
            for (name, action), count in sorted(
                self.changed.items(), key=lambda item: (-item[1], item[0])
            )
        ]


class _Room:
    """So many bytes; who wants more than there are in all waits until there is nothing else."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._changed = asyncio.Condition()

    async def take(self, size: int) -> int:
        """Wait for room; how much was taken."""
        size = min(size, self._size)
        async with self._changed:
            await self._changed.wait_for(lambda: self._used + size <= self._size)
            self._used += size
        return size

    async def give(self, size: int) -> None:
        """Give back what was taken."""
        async with self._changed:
            self._used -= size
            self._changed.notify_all()


class _Held:
    """Room in memory, taken while this is entered."""

    def __init__(self, room: _Room, size: int) -> None:
        self._room = room
        self._size = size

    async def __aenter__(self) -> None:
        self._size = await self._room.take(self._size)

    async def __aexit__(self, *_: object) -> None:
        await self._room.give(self._size)


@asynccontextmanager
async def open_deid(file: Path, *, sends_others: bool) -> AsyncIterator[Deid]:
    """The hook for a profile, with its processes.

    Args:
        file: in the format of flywheel-migration, YAML or JSON.
        sends_others: files that the profile says nothing about go as they are.

    Raises:
        UsageError: it is no profile that can be used, or the library is not there.
    """
    profile = await in_thread(_read, file)
    pool = Pool(profile, str(file))
    try:
        await in_thread(pool.open)
        yield Deid(pool, profile, sends_others=sends_others)
    finally:
        await in_thread(pool.close)


def _read(file: Path) -> Any:
    """A profile; what YAML has and JSON has not (dates) becomes text."""
    import yaml

    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST_PROFILE + 1)
        if len(data) > LARGEST_PROFILE:
            raise UsageError(f"{file}: is too large for a profile")
        return json.loads(json.dumps(yaml.safe_load(data), default=str))
    except OSError as error:
        raise UsageError(f"{file}: the profile cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{file}{line}: the profile is not YAML or JSON") from None


def _digest_of(content: bytes) -> Digest:
    hasher = ContentHasher()
    hasher.update(content)
    return hasher.digest


def _nobody(_path: RelPath, _count: int) -> None:
    """Reading a file here is no progress: what is sent is."""
