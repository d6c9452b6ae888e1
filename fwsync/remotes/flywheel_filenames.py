"""Under which name a file is sent, and what to do where the server does not keep it.

Its rule: a name that the server may alter is looked for under the altered one first, so that
no file is ever sent over another one of ours.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from fwsync.errors import FileProblem, FwsyncError
from fwsync.mapping.names import platform_name
from fwsync.model import RelPath, RemoteEntry
from fwsync.ports import Sent, Upload
from fwsync.remotes.flywheel_looks import Looks
from fwsync.remotes.flywheel_names import Kind, Names, clash, is_refusal_of_a_name, no_server_takes
from fwsync.remotes.flywheel_tree import Container, Place, Tree
from fwsync.remotes.flywheel_wire import WireFile
from fwsync.remotes.routes.parcel import Parcel, Route


@dataclass(frozen=True, slots=True)
class Named:
    """A name for a file: sent under it, and perhaps stored under the other one."""

    name: str
    or_name: str = ""


@dataclass(slots=True)
class FileNames:
    """Names for the files of a run.

    Args:
        looks: finds files by name.
        tree: gives what is known of containers and names now.
        alone: takes the files whose names the server may not keep, one by one.
    """

    looks: Looks
    tree: Callable[[], Tree]
    alone: Route
    #: Names on their way, as the server may have them: container and name → our path.
    _going: dict[tuple[str, str], RelPath] = field(default_factory=dict)

    @property
    def _names(self) -> Names:
        return self.tree().names

    async def choose(
        self, upload: Upload, place: Place, container: Container, *, unlisted: bool = False
    ) -> Named | RemoteEntry:
        """The name to send a file under; or the file itself, which is there under another name.

        Args:
            upload: the file.
            place: where it belongs.
            container: of that place.
            unlisted: what is in the container was not compared with what is here.

        Raises:
            FileProblem: no server takes the name, or it would be one with another of ours.
            RemoteError: the server was asked, and did not answer.
        """
        name, path, names = place.name, upload.path, self._names
        if place.is_twin:
            return Named(name)
        theirs = names.theirs(container.id, Kind.FILE, name)
        if theirs is None:
            await self._release(container, name, path)
            theirs = name
        await self._check_twin(container, theirs, path)
        if unlisted and (there := await self.looks.look(container, theirs, path)) is not None:
            return await self._if_equal(upload, container, there)
        if theirs != name:
            return Named(theirs)
        if no_server_takes(name) and not names.beforehand:
            raise FileProblem(
                f"{path}: {name!r} cannot be the name of a file on the server",
                hint="rename it, or set names to platform to have it altered",
            )
        if not names.may_differ(name):
            return Named(name)
        wanted = platform_name(name)
        there = await self.looks.look(container, wanted, path)
        if there is not None:
            return await self._take_for_ours(upload, name, container, there)
        if names.beforehand:
            await names.claim(container.id, Kind.FILE, name, wanted, path)
            return Named(wanted)
        return Named(name, or_name=wanted)

    async def _check_twin(self, container: Container, name: str, path: RelPath) -> None:
        """A file of this name may be here under that of a twin: it is not to be replaced.

        Raises:
            FileProblem: it is still there.
        """
        twin = self.tree().twins_named.get((container.id, name))
        if twin is not None and await self.looks.look(container, name, path) is not None:
            raise FileProblem(
                f"{path}: the server has another file of this name, which is {twin!r} here",
                hint="rename one of the two",
            )

    async def _release(self, container: Container, name: str, path: RelPath) -> None:
        """Another of ours had this name on the server: is it still there?

        Raises:
            FileProblem: it is, or it is on its way.
        """
        on_its_way = (container.id, name) in self._going
        if on_its_way or await self.looks.look(container, name, path) is not None:
            raise clash(path, name, name)
        await self._names.release(container.id, Kind.FILE, name)

    async def _take_for_ours(
        self, upload: Upload, name: str, container: Container, there: WireFile
    ) -> RemoteEntry:
        """A file of the altered name is there: ours, from a run that was killed, if it is equal."""
        entry = there.entry(upload.path, container.ref)
        if not await _is_equal(upload, entry):
            raise clash(upload.path, name, there.name)
        lies_at = self.tree().path_of_file(container, there.name, there.file_id)
        await self._names.claim(
            container.id, Kind.FILE, name, there.name, upload.path, taken_at=lies_at
        )
        return entry

    async def _if_equal(self, upload: Upload, container: Container, there: WireFile) -> RemoteEntry:
        """The file that is there, if it is the one that is to be sent."""
        entry = there.entry(upload.path, container.ref)
        if await _is_equal(upload, entry):
            return entry
        problem = FileProblem(
            f"{upload.path}: the server has another file of this name, which was listed under "
            "the folder's altered name",
            hint="the next run compares the two",
        )
        problem.retryable = True
        raise problem

    def begin(self, parcel: Parcel) -> None:
        """It is on its way from now on; :meth:`end` says when it is no more.

        Raises:
            FileProblem: another of ours goes under what may be the same name.
        """
        key = (parcel.container.id, parcel.or_name or parcel.name)
        if self._going.setdefault(key, parcel.upload.path) != parcel.upload.path:
            raise clash(parcel.upload.path, parcel.name, key[1])

    def end(self, parcel: Parcel) -> None:
        """It is through, or it is not."""
        self._going.pop((parcel.container.id, parcel.or_name or parcel.name), None)

    async def send(self, parcel: Parcel, others: Route) -> AsyncIterator[Sent]:
        """Send a file whose name the server may not keep; once more, if it refuses the name.

        Args:
            others: takes it under the altered name.
        """
        async for sent in self.alone.send([parcel]):
            try:
                again = await self._learn(parcel, sent)
            except FwsyncError as error:
                yield Sent(parcel.upload.path, error=error, route=sent.route)
                return
            if not again:
                yield sent
                return
        async for sent in others.send([replace(parcel, name=parcel.or_name, or_name="")]):
            if is_refusal_of_a_name(sent.error):  # so it was not the name
                await self._names.withdraw(parcel.container.id, Kind.FILE, parcel.name)
            yield sent

    async def _learn(self, parcel: Parcel, sent: Sent) -> bool:
        """What the server made of the name; True: it refused it, so the other one is to be sent."""
        names, theirs = self._names, sent.entry.name if sent.entry else parcel.or_name
        if sent.entry is not None and theirs == parcel.name:
            names.seen(theirs)
            return False
        if sent.entry is None and not is_refusal_of_a_name(sent.error):
            return False
        ours, path = parcel.name, parcel.upload.path
        await names.claim(parcel.container.id, Kind.FILE, ours, theirs, path)
        return sent.entry is None


async def _is_equal(upload: Upload, entry: RemoteEntry) -> bool:
    """The same bytes; read only where the size is the same, and the server gives a hash."""
    if entry.digest is None or entry.size != upload.size:
        return False
    await upload.examine()
    return entry.digest == upload.digest
