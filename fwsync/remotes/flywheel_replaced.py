"""What the server says of a file that is about to be replaced, so that nothing of it is lost.

Its rule: tags are added to, and of ``info`` and ``classification`` only the keys that we name
are changed. ``preserve_metadata`` keeps what an upload does not speak of; what it does speak
of, a server may take as the whole.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from fwsync.errors import NotFound
from fwsync.model import RelPath
from fwsync.ports import Upload
from fwsync.remotes.flywheel_tree import Container
from fwsync.remotes.flywheel_wire import PLURAL, Json, item_of
from fwsync.remotes.http import Api

JOINED: Final = ("info", "classification", "tags")

#: Paths that were looked at lately: whoever replaces a file has looked just before.
_REMEMBERED: Final = 10_000

_NOTHING: Final[Json] = {}


class Replaced:
    """Remembers which files are there, and reads what is said of those that are replaced.

    Args:
        api: open for as long as this is used.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._there: OrderedDict[RelPath, None] = OrderedDict()

    def saw(self, path: RelPath) -> None:
        """A look has found a file there."""
        self._there[path] = None
        self._there.move_to_end(path)
        if len(self._there) > _REMEMBERED:
            self._there.popitem(last=False)

    async def kept(self, upload: Upload, container: Container, name: str) -> Json:
        """What is said of the file that an upload replaces, as far as the upload speaks of it.

        Nothing is asked for a file that was not seen there, or of which nothing is said.

        Raises:
            RemoteError: the question was not answered.
        """
        wanted = [key for key in JOINED if upload.metadata.get(key)]
        if not wanted or upload.path not in self._there:
            return _NOTHING
        address = (PLURAL[container.level], container.id, "files", name, "info")
        try:
            answer = await self._api.json("GET", address, what=upload.path)
        except NotFound:
            return _NOTHING
        item = item_of(answer, upload.path)
        return {key: item[key] for key in wanted if item.get(key)}
