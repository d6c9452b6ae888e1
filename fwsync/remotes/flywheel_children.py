"""Which containers of a label lie in another one, asked of the server: for many labels at once.

Its rule: :meth:`Children.ids` answers for a moment after it was asked, so that whoever has just
made a container learns of every one of its label that was made before. Only "there is none" is
believed a little longer, before one is made: the look afterwards is certain.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from fwsync.remotes.flywheel_listing import pages
from fwsync.remotes.flywheel_tree import LEVELS, Container
from fwsync.remotes.flywheel_wire import PLURAL, container_of
from fwsync.remotes.http import Api
from fwsync.remotes.rounds import Rounds

#: Labels of one parent from which on all its children are listed instead; and those that each
#: page of the list has to spare.
LISTED_FROM: Final = 3

#: Seconds that "there is none" is believed before one is made.
FRESH_S: Final = 10.0

#: Seconds that a question waits, at most, for containers that are just being made beside: whoever
#: makes them has the same to ask.
GATHER_S: Final = 0.5

_REMEMBERED: Final = 64  # parents
_UNSAFE_IN_FILTER: Final = set('"\\,\r\n')


@dataclass(slots=True)
class _Known:
    """What was said of a parent's children lately."""

    at: float  # when it was asked, by the loop's clock
    labels: frozenset[str] | None  # all of them; None: they are not known
    longer: int = 0  # its list has more pages than these


class Children:
    """Asks for the children of containers.

    Args:
        api: open for as long as this is used.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._rounds: Rounds[Container, str, list[str]] = Rounds(self._listed, self._gathered)
        self._lists: Rounds[Container, str, list[str]] = Rounds(partial(self._listed, first=False))
        self._making: dict[str, set[asyncio.Future[None]]] = {}
        self._known: OrderedDict[str, _Known] = OrderedDict()

    @contextmanager
    def making(self, parent: Container) -> Iterator[None]:
        """A child is made in the block, and asked for right after it."""
        under_way = self._making.setdefault(parent.id, set())
        over = asyncio.get_running_loop().create_future()
        under_way.add(over)
        try:
            yield
        finally:
            over.set_result(None)
            under_way.discard(over)
            if not under_way:
                self._making.pop(parent.id, None)

    async def ids(self, parent: Container, label: str) -> list[str]:
        """The children of this very label, as they are now.

        Raises:
            RemoteError: the question was not answered.
        """
        told = await self._rounds.ask(parent, label)
        return told[label] if label in told else await self._of_label(parent, label)

    async def ids_lately(self, parent: Container, label: str) -> list[str]:
        """The same; that there is none may be :data:`FRESH_S` old.

        Raises:
            RemoteError: as :meth:`ids`.
        """
        known = self._known.get(parent.id)
        if known is None or _now() - known.at >= FRESH_S:
            return await self.ids(parent, label)
        if known.labels is None:  # the second question: there will be more
            told = await self._lists.ask(parent, label)
            return told[label] if label in told else await self._of_label(parent, label)
        return await self.ids(parent, label) if label in known.labels else []

    async def _gathered(self, parent: Container) -> None:
        await asyncio.sleep(0)
        under_way = self._making.get(parent.id)
        if under_way:
            await asyncio.wait(set(under_way), timeout=GATHER_S)

    async def _of_label(self, parent: Container, label: str) -> list[str]:
        at = _now()
        plain = bool(label) and not _UNSAFE_IN_FILTER & set(label) and label.isprintable()
        found, _ = await self._asked(parent, repr(label), f'label="{label}"' if plain else None)
        known = self._known.get(parent.id)
        if known is None or at - known.at >= FRESH_S:
            self._remember(parent, _Known(at, None, known.longer if known else 0))
        return found.get(label, [])

    async def _listed(
        self, parent: Container, labels: Sequence[str], *, first: bool = True
    ) -> Mapping[str, list[str]]:
        """The children of these labels; nothing where a list is not worth it, or too long."""
        if first and len(labels) < LISTED_FROM:
            return {}
        at = _now()
        most = max(1, len(labels) // LISTED_FROM)
        known = self._known.get(parent.id)
        if known is not None and known.longer >= most:
            return {}
        found, whole = await self._asked(parent, f"below {parent.label!r}", None, most)
        if not whole:
            self._remember(parent, _Known(at, None, most))
            return {}
        self._remember(parent, _Known(at, frozenset(found)))
        return {label: found.get(label, []) for label in labels}

    async def _asked(
        self, parent: Container, what: str, filter_: str | None, most_pages: int | None = None
    ) -> tuple[dict[str, list[str]], bool]:
        """Ids by label, and whether that is all of the list."""
        level = LEVELS[LEVELS.index(parent.level) + 1]
        path = (PLURAL[parent.level], parent.id, PLURAL[level])
        what = f"{level} {what}"
        found: dict[str, list[str]] = {}
        asked = 0
        async with aclosing(pages(self._api, path, what=what, filter_=filter_)) as children:
            async for page in children:
                if asked == most_pages:
                    return found, False
                asked += 1
                for one in (container_of(item, level, what) for item in page):
                    if one.parent_id == parent.id:
                        found.setdefault(one.label, []).append(one.id)
        return found, True

    def _remember(self, parent: Container, known: _Known) -> None:
        self._known[parent.id] = known
        self._known.move_to_end(parent.id)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _now() -> float:
    return asyncio.get_running_loop().time()
