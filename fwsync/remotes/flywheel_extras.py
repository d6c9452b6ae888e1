"""What a listing says beside the files: their metadata as sidecars, and files of analyses.

Its rule: metadata come with the lists that are read anyway. Not one request is made for a
file, and one for a project.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from fwsync.errors import Garbled, RemoteError, Unavailable
from fwsync.extra import BESIDE, Extra, ExtraSink
from fwsync.layout import Layout, name_of
from fwsync.metadata import sidecars
from fwsync.model import RelPath, RemoteEntry, Unknown
from fwsync.remotes.chosen import Chosen
from fwsync.remotes.flywheel_analyses import Analyses, sidecar
from fwsync.remotes.flywheel_find import FEATURES
from fwsync.remotes.flywheel_tree import Container, Tree
from fwsync.remotes.flywheel_wire import Json, item_of, modified_of
from fwsync.remotes.http import Api, Params

#: Sidecars that are handed on together: at so many, or at so many bytes of them.
_COUNT: Final = 1000
_BYTES: Final = 8 << 20

#: Sidecars of containers that are asked back together: their sizes are not known.
_HELD: Final = 100

#: Bytes of one line of an export; records of the platform end at 16 MiB (MongoDB).
MOST_OF_A_LINE: Final = 64 << 20


class Beside:
    """What is wanted beside the files; one for all listings of a remote.

    Args:
        sink: takes it.
        metadata: sidecars of what is listed are wanted.
        analyses: files of analyses are.
    """

    def __init__(self, sink: ExtraSink, *, metadata: bool, analyses: bool) -> None:
        self.sink = sink
        self.metadata = metadata
        self.analyses = analyses

    @property
    def params(self) -> Params | None:
        """What a list is asked for besides, so that it says what is wanted."""
        return {"include_all_info": True} if self.metadata else None


async def begin(wanted: Beside | None) -> None:
    """A listing begins."""
    if wanted is not None:
        await wanted.sink.begin()


async def tell_unseen(wanted: Beside | None, page: Sequence[RemoteEntry | Unknown]) -> None:
    """Of what a listing could not see, nothing is known beside the files either."""
    if wanted is None:
        return
    for one in page:
        if isinstance(one, Unknown):
            await wanted.sink.unseen(one.scope, one.reason)


class BesideOne:
    """The same for one listing of one project; nothing is done where nothing is wanted."""

    def __init__(self, wanted: Beside | None, tree: Tree) -> None:
        self._wanted = wanted
        self._tree = tree
        #: Those that have no place yet, by id: when each was modified. The sink holds the rest.
        self._modified: dict[str, int] = {}
        self._ready: list[Extra] = []
        self._bytes = 0
        self._told: set[str] = set()  # projects
        #: What lists only hint at, each with the sidecar's name; of a container its own: "".
        self._slim: list[tuple[str, RemoteEntry]] = []
        self._owes = False  # some of that has gone to the sink

    @property
    def params(self) -> Params | None:
        """See :attr:`Beside.params`."""
        return None if self._wanted is None else self._wanted.params

    @property
    def wants_files(self) -> bool:
        """Does it matter what a list says of a file?"""
        return self._wanted is not None and self._wanted.metadata

    async def saw_containers(self, page: Sequence[Json]) -> None:
        """A page of a list of containers; they have a place by :meth:`hand_on`."""
        if self._wanted is None or not self._wanted.metadata:
            return
        texts: list[tuple[str, bytes]] = []
        for item in page:
            id_ = str(item.get("_id"))
            texts.append((id_, b"" if is_slim(item) else sidecars.exported(item)))
            self._modified[id_] = modified_of(item.get("modified"))
        await self._wanted.sink.hold(texts)

    def saw_file(self, item: Json, entry: RemoteEntry) -> None:
        """A file of a list, and where it lies."""
        if self._wanted is None or not self._wanted.metadata:
            return
        if is_slim(item):
            self._slim.append((f"{entry.name}{sidecars.SUFFIX}", entry))
        else:
            self._add(sidecar_of_file(item, entry))

    async def hand_on(self, *, all_: bool = True) -> None:
        """Give what has come to the sink.

        Args:
            all_: also where it is little.
        """
        if self._wanted is None:
            return
        placed = [id_ for id_ in self._modified if id_ in self._tree.by_id]
        for start in range(0, len(placed), _HELD):
            ids = placed[start : start + _HELD]
            texts = await self._wanted.sink.take_held(ids)
            for id_ in ids:
                of = entry_of(self._tree.by_id[id_], self._modified.pop(id_))
                if content := texts.get(id_):
                    self._add(sidecar_of_container(content, of))
                else:
                    self._slim.append(("", of))
            await self._hand_on_if(self._is_enough)
        await self._hand_on_if(all_ or self._is_enough)

    @property
    def _is_enough(self) -> bool:
        return max(len(self._ready), len(self._slim)) >= _COUNT or self._bytes >= _BYTES

    async def _hand_on_if(self, enough: bool) -> None:
        if not enough or self._wanted is None:
            return
        if self._ready:
            ready, self._ready, self._bytes = self._ready, [], 0
            await self._wanted.sink.take(ready)
        if self._slim:
            slim, self._slim, self._owes = self._slim, [], True
            await self._wanted.sink.owe(slim)

    def _add(self, extra: Extra) -> None:
        self._ready.append(extra)
        self._bytes += extra.entry.size

    async def finish(self, api: Api, within: Sequence[Container], chosen: Chosen) -> None:
        """The files were listed: now what is asked for by itself.

        What cannot be had is told to the sink, and is no error.

        Args:
            api: the site.
            within: what was listed of the project.
            chosen: what takes part.
        """
        wanted = self._wanted
        if wanted is None:
            return
        self._modified.clear()  # what has no place by now is below something that is hidden
        for above in within:
            try:
                await self._project_of(api, above)
                await self._fill_in(api, above)
                if wanted.analyses:
                    found = Analyses(api, self._tree, chosen, metadata=wanted.metadata)
                    async with aclosing(found.of(above)) as pages:
                        async for page in pages:
                            await wanted.sink.take(page)
            except RemoteError as error:
                if isinstance(error, Unavailable) and not error.status:
                    raise  # no answer at all says nothing about one list in particular
                await wanted.sink.unseen(above.folder, f"{BESIDE}: {error.message}")
                await self._end_owed(None)
        await self._end_owed(within)

    async def _end_owed(self, within: Sequence[Container] | None) -> None:
        """Say what the server has not given; None: it is said already."""
        if not self._owes or self._wanted is None:
            return
        self._owes = False
        count = await self._wanted.sink.end_owed()
        if count and within:
            reason = f"{BESIDE}: the server does not give the metadata of {count:,} of them"
            for above in within:
                await self._wanted.sink.unseen(above.folder, reason)

    async def _project_of(self, api: Api, above: Container) -> None:
        """The project's own sidecar; whichever of its parts was listed."""
        if self._wanted is None or not self._wanted.metadata:
            return
        id_ = self._tree.project_of(above)
        if id_ in self._told:
            return
        self._told.add(id_)
        what = f"the project {id_}"
        answer = await api.json("GET", ("projects", id_), features=FEATURES, what=what)
        await self.saw_containers([item_of(answer, what)])
        await self.hand_on()

    async def _fill_in(self, api: Api, above: Container) -> None:
        """Where lists leave ``info`` out: ask for all metadata at once, as an export does.

        Source: ``fw sync --metadata`` of flywheel-cli 18.5.1, observed.
        """
        if not self._owes:
            return
        few: list[tuple[tuple[str, str], Json]] = []
        async with aclosing(exported_below(api, above)) as told:
            async for line in told:
                is_own = not str(line.get("dst_path")).rpartition("/")[0].endswith("/FILES")
                name = "" if is_own else str(line.get("filename"))
                metadata = line.get("metadata")
                if isinstance(metadata, dict):
                    few.append(((str(line.get("container_id")), name), metadata))
                if len(few) >= _HELD:
                    await self._give(few)
                    few.clear()
        await self._give(few)
        await self.hand_on()

    async def _give(self, told: Sequence[tuple[tuple[str, str], Json]]) -> None:
        """What has come of what was owed, by the container's id and the name."""
        if self._wanted is None:
            return
        owed = await self._wanted.sink.take_owed([key for key, _ in told])
        for key, metadata in told:
            if (entry := owed.pop(key, None)) is None:
                continue
            if key[1]:
                self._add(sidecar_of_file(metadata, entry))
            else:
                self._add(sidecar_of_container(sidecars.exported(metadata), entry))
        await self.hand_on(all_=False)


def sidecar_of_file(item: Json, entry: RemoteEntry) -> Extra:
    """The sidecar of a file.

    Args:
        item: as a list has it.
        entry: what came of it.
    """
    content = sidecars.exported(item)
    key = entry.file_id or f"{entry.container.id}/{entry.name}"
    return sidecar(content, entry, about=entry.path, key=key, of_file=True)


def sidecar_of_container(content: bytes, of: RemoteEntry) -> Extra:
    """The sidecar of a container, in its folder.

    Args:
        content: of the sidecar.
        of: the container, by :func:`entry_of`.
    """
    folder = RelPath(of.path.rpartition("/")[0])
    return sidecar(content, of, about=folder, key=of.file_id)


def entry_of(container: Container, modified_ns: int) -> RemoteEntry:
    """A container as if it were a file of its own folder, and its sidecar beside that."""
    folder = container.folder
    called = folder.rpartition("/")[2] or name_of(container.ours[-1]).rpartition("/")[2]
    path, ref = Layout.join(folder, called), container.ref
    label, id_ = container.label, container.id
    return RemoteEntry(path, 0, "", None, ref, label, id_, modified_ns=modified_ns)


def is_slim(item: Json) -> bool:
    """Does an entry of a list say no more of ``info`` than that there is some?"""
    return bool(item.get("info_exists")) and not item.get("info")


async def exported_below(api: Api, above: Container) -> AsyncGenerator[Json, None]:
    """The sidecars of the platform's own export, of a container and all below it.

    Raises:
        RemoteError: the server does not give them.
    """
    what = f"the metadata of {above.level} {above.label!r}"
    nodes = {"nodes": [{"level": above.level.value, "_id": above.id}]}
    params: Params = {"type": "full", "metadata": True, "prefix": ""}
    address = ("download", "targets")
    asked = api.stream(address, method="POST", params=params, question=nodes, what=what)
    async with asked as answer:
        rest = b""
        async for chunk in answer.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MOST_OF_A_LINE:
                raise Garbled(f"{what}: a line without an end")
            for line in lines:
                told = _line(line, what)
                if told.get("download_type") == "metadata_sidecar":
                    yield told
        if rest.strip():
            raise Garbled(f"{what}: ends in the middle of a line")


def _line(line: bytes, what: str) -> Json:
    try:
        return item_of(json.loads(line), what)
    except ValueError:
        raise Garbled(f"{what}: a line that is not JSON") from None
