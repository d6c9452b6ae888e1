"""What a listing tells of where files belong by the server's own curation.

Its rule: it comes with the lists that are read anyway, and one request for a project.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fwsync.mapping.curated import (
    IGNORED,
    curation_of,
    description_of,
    is_ignored,
    place_of,
)
from fwsync.model import RemoteEntry
from fwsync.ports import ToldPlace, ToldSink
from fwsync.remotes.flywheel_wire import Json, item_of, mapping_of
from fwsync.remotes.http import Api, Params

#: What a list is asked for besides. Source: flywheel-sdk 23.
PARAMS: Final[Params] = {"include_all_info": True}


class Curated:
    """One listing of one project; nothing is done where nobody wants to know.

    Args:
        sink: is told.
    """

    def __init__(self, sink: ToldSink | None) -> None:
        self._sink = sink
        self._ignored: set[str] = set()  # ids of containers that are left out, with all below
        self._ready: list[ToldPlace] = []

    @property
    def wants_files(self) -> bool:
        """Does it matter what a list says of a file?"""
        return self._sink is not None

    def with_params(self, params: Params | None) -> Params | None:
        """What a list is asked for, this included."""
        return params if self._sink is None else {**(params or {}), **PARAMS}

    def saw_containers(self, page: Sequence[Json]) -> None:
        """A page of a list of containers."""
        if self._sink is not None:
            ignored = (item for item in page if is_ignored(curation_of(item)))
            self._ignored |= {str(item.get("_id")) for item in ignored}

    def saw_file(self, item: Json, entry: RemoteEntry) -> None:
        """A file of a list."""
        if self._sink is None:
            return
        disk, why = place_of(curation_of(item), entry.name)
        above = mapping_of(item, "parents", entry.path).values()
        if self._ignored and not self._ignored.isdisjoint([*above, entry.container.id]):
            disk, why = "", IGNORED
        self._ready.append(ToldPlace(entry.path, disk, why))

    async def finish(self, api: Api, project_id: str) -> None:
        """The files were listed: what does the project say of itself?

        Raises:
            RemoteError: it could not be asked.
        """
        if self._sink is None:
            return
        what = f"the project {project_id}"
        answer = await api.json("GET", ("projects", project_id), what=what)
        content = description_of(curation_of(item_of(answer, what)))
        if content is not None:
            await self._sink.describe(content)

    async def hand_on(self) -> None:
        """Tell what has come since the last time."""
        if self._sink is not None and self._ready:
            ready, self._ready = self._ready, []
            await self._sink.take(ready)
