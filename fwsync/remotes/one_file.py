"""One file that is named by its path, with nothing listed but the way to it.

Its rule: a path is that of ``fwsync ls``, labels as the server has them; where two containers
have one label, the older is meant, and ``<id:…>`` names the other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from fwsync.errors import Garbled, IntegrityError, NotFound, Refused, UsageError
from fwsync.model import FILE_LEVELS, ContainerRef, Holder, Level, RelPath, RemoteEntry
from fwsync.remotes.flywheel_fetch import reading
from fwsync.remotes.flywheel_find import FEATURES
from fwsync.remotes.flywheel_wire import PLURAL, file_of, item_of, number_of, page_of, text_of
from fwsync.remotes.http import Answer, Api, Params
from fwsync.remotes.naming import Child, segments_of
from fwsync.remotes.places import FILES

_HOLDERS: dict[str, Level | Holder] = {one.value: one for one in (*FILE_LEVELS, Holder.ANALYSIS)}


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file in a zip on the server."""

    path: str  #: as the zip has it
    size: int  #: bytes


@dataclass(frozen=True, slots=True)
class OneFile:
    """A file on the server, as it was when it was looked for.

    Args:
        api: open for as long as this is used.
        entry: the file.
        params: of the query, with every request.
        closed: see :func:`fwsync.remotes.flywheel_fetch.reading`.
    """

    api: Api
    entry: RemoteEntry
    params: Params
    closed: bool = False

    def open(self, offset: int = 0) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Its bytes from ``offset`` on.

        Raises:
            IntegrityError: it is not as long as it was.
            RemoteError, AuthError: as :meth:`fwsync.remotes.http.Api.stream`.
        """
        params = {**self.params, "view": True} if self.closed else self.params
        return reading(self.api, self.entry, offset, closed=self.closed, params=params)

    async def members(self) -> list[ZipMember]:
        """What is in it, by the server's own look into it: the zip does not come here.

        Raises:
            UsageError: it is no zip.
        """
        what = f"the files in {self.entry.path}"
        try:
            answer = await self.api.json("GET", self._address, params=self._asking(), what=what)
        except Refused as error:
            if error.status != 400:
                raise
            raise UsageError(
                f"{self.entry.path}: the server finds no zip in it, and so no files that could be "
                "fetched or listed by themselves",
                hint="leave out --member or --members: the file itself is fetched as it is",
            ) from None
        return [
            ZipMember(text_of(item, "path", what), number_of(item, "size", what) or 0)
            for item in page_of(item_of(answer, what).get("members"), what).items
        ]

    @asynccontextmanager
    async def open_member(self, member: ZipMember) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of one of its members: exactly as many as were listed.

        Raises:
            UsageError: it is not in it.
            IntegrityError: it is longer or shorter than was listed.
        """
        what = f"{member.path} in {self.entry.path}"
        try:
            async with self.api.stream(
                self._address, params=self._asking(member.path), what=what
            ) as answer:
                chunks = _as_long_as_listed(answer, member, what)
                try:
                    yield chunks
                finally:
                    await chunks.aclose()
        except Refused as error:
            if error.status != 400:
                raise
            raise UsageError(f"{what}: the server does not find it") from None

    @property
    def _address(self) -> Sequence[str]:
        entry = self.entry
        return (PLURAL[entry.container.level], entry.container.id, "files", entry.name)

    def _asking(self, member: str | None = None) -> Params:
        version = self.entry.version if self.entry.file_id else None
        question: Params = {"info": True} if member is None else {"member": member}
        return {**self.params, "version": version, **question}


async def _as_long_as_listed(
    answer: Answer, member: ZipMember, what: str
) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in answer.chunks():
        size += len(chunk)
        if size > member.size:
            raise IntegrityError(f"{what}: more than the {member.size} bytes that were listed")
        yield chunk
    if size != member.size:
        raise IntegrityError(f"{what}: ended after {size} bytes of {member.size}")


def steps_to(path: str) -> tuple[list[str], str]:
    """The labels from the group down to the container, and the file's name.

    Raises:
        UsageError: the path is too short to be a file's.
    """
    *above, name = segments_of(path) or [""]
    if len(above) > 2 and above[-1] == FILES:
        above.pop()
    if len(above) < 2:
        raise UsageError(
            f"{path}: is no path of a file", hint="give it as GROUP/PROJECT/…/NAME; see `fwsync ls`"
        )
    return above, name


async def file_at(api: Api, path: str, ls: Callable[[str], Awaitable[list[Child]]]) -> OneFile:
    """Look a file up at a site of today.

    Args:
        api: the site.
        path: labels joined by ``/``, and the name.
        ls: of the site; is asked what to say where nothing is found.

    Raises:
        UsageError: there is no such file.
    """
    above, name = steps_to(path)
    try:
        answer = await api.json(
            "POST",
            ("lookup",),
            body={"path": above},
            repeatable=True,
            features=FEATURES,
            what=path,
        )
        holder = item_of(answer, path)
        level = _HOLDERS.get(str(holder.get("container_type") or holder.get("node_type")))
        if level is None:
            raise NotFound(f"{path}: what is above it holds no files", status=404)
        ref = ContainerRef(level, text_of(holder, "_id", path))
        address = (PLURAL[level], ref.id, "files", name, "info")
        wire = file_of(item_of(await api.json("GET", address, what=path), path), path)
    except NotFound as error:
        raise await not_found(path, ls, error) from None
    if wire.name != name:
        raise Garbled(f"{path}: asked for {name!r}, got {wire.name!r}")
    if wire.deleted:
        raise await not_found(path, ls, NotFound(f"{path}: was deleted", status=404))
    return OneFile(api, wire.entry(RelPath(path), ref), {})


async def not_found(
    path: str, ls: Callable[[str], Awaitable[list[Child]]], error: NotFound
) -> UsageError:
    """What to say of a path at which no file was found."""
    try:
        there = await ls(path)
    except UsageError as told:
        return told  # it names what is there
    if any(one.kind == "file" for one in there) and len(there) == 1:
        return UsageError(error.message)
    return UsageError(f"{path}: is no file", hint="`fwsync ls` shows what is in it")
