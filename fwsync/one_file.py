"""One file by itself, or files in a zip: nothing is listed, and no state is kept.

The one rule: what was written is what the server promised, or the exit code says that it is
not. Into a folder nothing comes under its name before that is known, and nothing is replaced:
what is there with the same bytes is as good as fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fwsync import localfs, renaming, roots
from fwsync.config import environment, flag_of
from fwsync.digest import ContentHasher, Digest
from fwsync.errors import Exit, FileProblem, IntegrityError, LocalError, Unavailable, UsageError
from fwsync.keys import find_key
from fwsync.layout import name_of
from fwsync.model import Verb
from fwsync.progress import JsonLines, LogProgress, plural, printable, say, size_text
from fwsync.remotes.connect import connect
from fwsync.remotes.naming import segments_of
from fwsync.remotes.one_file import OneFile, ZipMember
from fwsync.roots import RESERVED, part_name
from fwsync.sessions import open_api, settings_of
from fwsync.threads import in_thread

#: Bytes of a file here that are read at a time.
_BLOCK = 1 << 20

#: Tries of a stream that breaks before it has brought anything more.
TRIES = 3

#: What may be said beside the file: the rest is about the files of a whole project.
_FLAGS = frozenset({"api_key_file", "patience", "bwlimit"})

#: The word of a path after which an analysis and its files come. Source: SDK 23.
_ANALYSES = "analyses"

Flags = Mapping[str, object]

#: Takes the next bytes of a file; blocks.
Write = Callable[[bytes], None]


def is_of_analysis(path: str) -> bool:
    """Does a path name a file of an analysis, ``GROUP/PROJECT/…/analyses/LABEL/FILE``?"""
    names = segments_of(path)
    return _ANALYSES in names[2:-2]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of one file is asked for."""

    path: str  #: as ``fwsync ls`` has it
    members: tuple[str, ...] = ()  #: of it, where it is a zip; none: the file itself
    destination: Path | None = None  #: a folder; None: standard output

    def check(self, flags: Flags, *, to_stdout: bool, as_json: bool, dry_run: bool) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: with the reason.
        """
        if not self.path:
            raise UsageError("no file is named", hint="give it as GROUP/PROJECT/…/NAME")
        option = "--to-stdout" if to_stdout else "--member" if self.members else self.path
        own = set() if self.members or to_stdout else {_ANALYSES}
        others = sorted(flags.keys() - _FLAGS - own)
        if others or dry_run:
            other = flag_of(others[0] if others else "dry_run")
            raise UsageError(f"{option}: is about one file; {other} is about a whole project's")
        if to_stdout and self.destination is not None:
            raise UsageError(f"--to-stdout: writes no file; {self.destination} is one too many")
        if to_stdout and len(self.members) > 1:
            raise UsageError("--to-stdout: writes one member; several would run into each other")
        if to_stdout and as_json:
            raise UsageError("--to-stdout: writes the file's bytes there, and no JSON beside them")


def pull(wanted: Wanted, flags: Flags, config: Path | None, *, as_json: bool) -> Exit:
    """Bring one file, or members of a zip, to standard output or into a folder.

    Raises:
        UsageError: there is no such file or member, or something is in the way.
        IntegrityError: the bytes are not those of the listing. On standard output they have
            been written by then.
        LocalError: they cannot be written. BrokenPipeError: nobody reads any more.
    """

    async def bring() -> None:
        async with _opened(wanted.path, flags, config) as file:
            folder = wanted.destination
            if not wanted.members:
                if folder is None:
                    await _copy(file)
                else:
                    await _one_into(folder, file, as_json=as_json)
                return
            members = _chosen(file, await file.members(), wanted.members)
            if folder is None:
                await _copy_member(file, members[0], _write_out)
                return
            for member in members:
                _check_name(member.path)
            await in_thread(folder.mkdir, parents=True, exist_ok=True)
            for member in members:
                comes = _Comes(member.path, member.size, partial(_copy_member, file, member))
                is_new = await _into(folder, comes)
                _tell("member", comes, folder, is_new=is_new, as_json=as_json)

    with localfs.disk_errors():
        try:
            asyncio.run(bring())
        except BrokenPipeError as error:
            gone = error
        else:
            return Exit.IN_STEP
    raise gone


def list_members(path: str, flags: Flags, config: Path | None, *, as_json: bool) -> Exit:
    """Print what is in a zip, which stays where it is.

    Raises:
        UsageError: there is no such file, or it is no zip.
    """

    async def ask() -> list[ZipMember]:
        async with _opened(path, flags, config) as file:
            return await file.members()

    lines = JsonLines(sys.stdout)
    for member in asyncio.run(ask()):
        if as_json:
            lines.write("member", path=member.path, size=member.size)
        else:
            say(f"{size_text(member.size):>9}  {printable(member.path)}")
    return Exit.IN_STEP


@asynccontextmanager
async def _opened(path: str, flags: Flags, config: Path | None) -> AsyncIterator[OneFile]:
    settings = settings_of(flags, config)
    found = find_key(key_file=settings.api_key_file, env=environment())
    if found.warning:
        _note(f"warning: {found.warning}")
    async with open_api(found.key, settings, tell=_note) as api:
        yield await (await connect(api)).file_at(path)


def _note(text: str) -> None:
    """A line on stderr: stdout is the file's."""
    LogProgress(sys.stderr).note(text)


def _tell(event: str, comes: _Comes, folder: Path, *, is_new: bool, as_json: bool) -> None:
    if as_json:
        file = str(folder / comes.path)
        verb = Verb.DOWNLOAD if is_new else Verb.ADOPT
        fields = {"path": comes.path, "verb": verb.value, "size": comes.size, "file": file}
        JsonLines(sys.stdout).write(event, **fields, moved=comes.size if is_new else 0, ok=True)
    else:
        what = "fetched" if is_new else "there already"
        say(f"{printable(comes.path)}: {what}, {size_text(comes.size)}")


def _chosen(file: OneFile, there: Sequence[ZipMember], names: Sequence[str]) -> list[ZipMember]:
    """The members that were asked for.

    Raises:
        UsageError: one of them is not there, or there twice: the server would choose.
    """
    by_name: dict[str, list[ZipMember]] = {}
    for one in there:
        by_name.setdefault(one.path, []).append(one)
    for name in names:
        if len(by_name.get(name, ())) != 1:
            what = "is in it more than once" if name in by_name else "is not in it"
            raise UsageError(
                f"{file.entry.path}: {name!r} {what}; it has {plural(len(there), 'file')}",
                hint="`fwsync ls PATH --members` lists them",
            )
    return [by_name[name][0] for name in names]


# ------------------------------------------------------------------------- standard output


async def _copy(file: OneFile) -> None:
    """All of a file to standard output."""
    await _bring(
        file, _write_out, "what was written is not the file: throw it away, and fetch it again"
    )


async def _bring(file: OneFile, write: Write, hint: str) -> None:
    """All of a file, proved; a stream that breaks goes on where it was.

    Raises:
        IntegrityError: it is another one, with this hint; all of it was written by then.
    """
    entry, hasher = file.entry, ContentHasher()

    def take(block: bytes) -> None:
        hasher.update(block)
        write(block)

    def done() -> int:
        return hasher.size

    await _persistently(file.open, done, take)
    if hasher.size != entry.size or entry.digest not in (None, hasher.digest):
        raise IntegrityError(
            f"{entry.path}: got {hasher.size} bytes, {hasher.digest}; "
            f"expected {entry.size}, {entry.digest}",
            hint=hint,
        )
    if entry.digest is None:
        _note(f"{entry.path}: the server tells no hash of it; only its size was checked")


async def _copy_member(file: OneFile, member: ZipMember, write: Write) -> None:
    """A member; nothing says where to go on in one, so that a break ends it."""
    async with file.open_member(member) as chunks:
        async for block in chunks:
            await in_thread(write, block)


async def _persistently(
    opening: Callable[[int], AbstractAsyncContextManager[AsyncIterator[bytes]]],
    done: Callable[[], int],
    take: Callable[[bytes], None],
) -> None:
    """Read to the end, as often as it takes; while it gets on, it may break at will."""
    tries = 0
    while True:
        before = done()
        try:
            async with opening(before) as chunks:
                async for block in chunks:
                    await in_thread(take, block)
            return
        except (Unavailable, IntegrityError):
            tries = 1 if done() > before else tries + 1
            if tries >= TRIES:
                raise


def _write_out(block: bytes) -> None:
    """Write to standard output, past every buffer."""
    view = memoryview(block)
    try:
        while view:
            view = view[os.write(1, view) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LocalError(f"standard output: cannot be written ({error.strerror})") from None


# ------------------------------------------------------------------------------ a folder


@dataclass(frozen=True, slots=True)
class _Comes:
    """What comes into a folder."""

    path: str  #: below the folder
    size: int  #: bytes
    write_to: Callable[[Write], Awaitable[None]]  #: brings its bytes, and proves them
    digest: Digest | None = None  #: None: not known before the bytes are here
    modified_ns: int = 0  #: when it was changed on the server; 0: not known


async def _one_into(folder: Path, file: OneFile, *, as_json: bool) -> None:
    """A file under its own name in a folder that is none that is kept in step.

    Raises:
        UsageError: it is, and the next push would send the file.
    """
    entry = file.entry
    if await in_thread(_is_kept, folder):
        raise UsageError(
            f"{folder}: is kept in step with a project; a file of an analysis would be sent there",
            hint="name another folder; or `--analyses` brings the files of all analyses here",
        )
    bring = partial(_bring, file, hint="it was not kept; fetch it again")
    comes = _Comes(name_of(entry.name), entry.size, bring, entry.digest, entry.modified_ns)
    _check_name(comes.path)
    await in_thread(folder.mkdir, parents=True, exist_ok=True)
    is_new = await _into(folder, comes)
    _tell("file", comes, folder, is_new=is_new, as_json=as_json)


def _is_kept(folder: Path) -> bool:
    """Is it, or what it is in, kept in step with a project?"""
    real = Path(os.path.realpath(folder))
    return any(roots.root_id(one) is not None for one in (real, *real.parents))


async def _into(folder: Path, comes: _Comes) -> bool:
    """Something under its own name below a folder: written aside, made durable, named.

    Returns:
        False if it was there already.

    Raises:
        UsageError: something else is.
    """
    root_fd = await in_thread(localfs.open_root, folder)
    try:
        if not await in_thread(localfs.is_free, root_fd, comes.path):
            await _check_same(root_fd, comes)
            return False
        part = f".fwsync-{part_name(comes.path)}"
        part_fd = await in_thread(_create, root_fd, part)
        try:
            await comes.write_to(partial(_append, part_fd, comes.path))
            await in_thread(_name, root_fd, part_fd, part, comes)
        finally:
            os.close(part_fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=root_fd)
    finally:
        os.close(root_fd)
    return True


async def _check_same(root_fd: int, comes: _Comes) -> None:
    """See that what has the name holds the same bytes; they come again where no hash is told.

    Raises:
        UsageError: it is something else.
    """
    here = await in_thread(_digest_of, root_fd, comes)
    there = comes.digest
    if here is not None and there is None:
        hasher = ContentHasher()
        await comes.write_to(hasher.update)
        there = hasher.digest
    if here is None or here != there:
        raise UsageError(
            f"{comes.path}: something else is there already; nothing is replaced",
            hint="name another folder, or move it away",
        )


def _digest_of(root_fd: int, comes: _Comes) -> Digest | None:
    """Of what has the name here; None: it is no file of this size that can be read."""
    try:
        file_fd = localfs.open_regular(root_fd, comes.path)
    except FileProblem:
        return None
    with os.fdopen(file_fd, "rb", buffering=0) as file:
        if os.fstat(file_fd).st_size != comes.size:
            return None
        hasher = ContentHasher()
        while block := file.read(_BLOCK):
            hasher.update(block)
    return hasher.digest


def _check_name(path: str) -> None:
    """Refuse a name that leads out of the folder, or is ours.

    Raises:
        UsageError: it is ours. FileProblem: it is no name.
    """
    names = path.split("/")
    if names[0] == RESERVED:
        raise UsageError(f"{path}: {RESERVED} is for fwsync's own files")
    if any(name in ("", ".", "..") for name in names):
        raise FileProblem(f"{path}: leads out of the folder, or nowhere; it is not fetched")


def _create(root_fd: int, part: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(part, flags, 0o666, dir_fd=root_fd)


def _append(part_fd: int, path: str, block: bytes) -> None:
    view = memoryview(block)
    try:
        while view:
            view = view[os.write(part_fd, view) :]
    except OSError as error:
        raise localfs.local_problem(path, "cannot be written", error) from None


def _name(root_fd: int, part_fd: int, part: str, comes: _Comes) -> None:
    if comes.modified_ns:
        os.utime(part_fd, ns=(comes.modified_ns, comes.modified_ns))
    os.fsync(part_fd)
    renaming.publish(root_fd, renaming.Arrival(part, comes.path, None), trash=RESERVED)
    localfs.sync_folder(root_fd, comes.path.rpartition("/")[0])
