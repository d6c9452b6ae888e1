"""A selection at work in a listing: what of a project is asked for, and what is taken of it.

Its rule: what the server leaves out for us is left out by us too, but for its own filter
language; so a server that filters less than it is asked to costs time, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from fwsync.layout import Unmappable, name_of
from fwsync.model import BELOW_PROJECT, FILE_LEVELS, Level, RelPath
from fwsync.remotes.flywheel_tree import Container, Tree
from fwsync.remotes.flywheel_wire import Json, nanoseconds_of, tags_of, text_of, text_or_none
from fwsync.remotes.missed import Tally
from fwsync.selection import Facts, Marks, Missed, Reach, Selection

#: So many containers are asked for one by one, where only these are selected. More of them
#: may cost more requests than the whole project does.
FEW: Final = 10

#: Names that are spelled as they stand, whatever else is there: nearly all of them.
_PLAIN_NAME: Final = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,200}")

#: Values that mean themselves in the filter language, whatever is read into them: no number,
#: no date, no word with a meaning of its own, nothing that would have to be escaped.
_PLAIN_VALUE: Final = re.compile(r"(?!(?:null|true|false)$)[A-Za-z][A-Za-z _-]*[A-Za-z]")

#: Earliest and latest day that a filter can name, with a day to spare.
_DAYS: Final = (datetime(1900, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC))


@dataclass(slots=True)
class Chosen:
    """One selection, and the containers that a listing has found so far."""

    selection: Selection
    tree: Tree
    #: The filter language is understood here: the server does not know it.
    evaluates: bool = False
    #: Is told of the containers, and where the filter is understood here of the files, too.
    tally: Tally | None = None
    _marks: dict[str, Marks] = field(default_factory=dict)  # by container, where they are asked for
    _known: dict[str, bool] = field(default_factory=dict)  # by container: are its files taken?
    _folders: dict[str, bool] = field(default_factory=dict)  # by folder: would they have been?

    def saw(self, containers: Iterable[Json], what: str) -> None:
        """Containers, as they stand in a list; before they are asked about.

        Raises:
            Garbled: one has no id, or its tags are none.
        """
        if self.selection.asks_containers:
            for item in containers:
                marks = Marks(tags_of(item, what), text_or_none(item, "mlset", what))
                self._marks[text_of(item, "_id", what)] = marks
            if self.tally is not None:
                self.tally.marks.update(self._marks)

    def narrow(self, level: Level, within: Sequence[Container]) -> list[Container]:
        """What is to be asked for below, once the containers of a level are known.

        Args:
            level: whose containers are all known that lie below ``within``.
            within: what was asked for so far.

        Returns:
            The same, or the few containers of this level that are selected; none, where no
            file that is selected can lie anywhere.
        """
        place = self.selection.place
        if place is not None and level in BELOW_PROJECT[: len(place.ids)]:
            named = self.tree.by_id.get(place.ids[BELOW_PROJECT.index(level)])
            return [named] if named is not None and self._fits(named) else []
        if not self.selection.asks_for(level):
            return list(within)
        inside = {one.id for one in within}
        fitting = [
            one
            for one in self.tree.at(level)
            if self._fits(one) and not inside.isdisjoint(self._ids(one))
        ]
        return fitting if len(fitting) <= FEW else list(within)

    def needs(self, level: Level) -> bool:
        """False if the containers of this level say nothing of what is selected.

        Those right below a file's own container do: a folder may have the file's name.
        """
        place = self.selection.place
        if place is None or not place.name:
            return True
        levels = list(Level)
        return levels.index(level) <= levels.index(place.level) + 1

    def goes_into(self, container: Container) -> bool:
        """Can a file take part that lies in a container, or anywhere below it?"""
        place = self.selection.place
        if place is not None:
            ids, named = self._ids(container), place.ids[-1:]
            leads_there = container.id in place.ids or container.level is Level.PROJECT
            if not leads_there and not set(named).intersection(ids):
                return False
        return self._fits(container)

    def takes_container(self, container: Container) -> bool:
        """Do files take part that lie in this very container?"""
        known = self._known.get(container.id)
        if known is None:
            known = self._known[container.id] = self._is_taken(container)
        return known

    def takes(self, container: Container, item: Json, what: str) -> bool:
        """Does a file take part?

        Args:
            container: that holds it.
            item: the file, as it stands in a list.
            what: the list in words, for errors.

        Raises:
            Garbled: it has no name, or something of it is of another kind than it should be.
        """
        selection = self.selection
        if not selection.is_set:
            return True
        if self.evaluates and self.tally is not None:
            record = {**item, **self._place_of(container)}
            self.tally.saw(facts_of(item, what), record, selection)
        place = selection.place
        if not self.takes_container(container):
            return False
        if place is not None and place.name and item.get("name") != place.name:
            return False
        if not selection.takes(facts_of(item, what)):
            return False
        if selection.where is None or not self.evaluates:
            return True
        return selection.where.accepts({**item, **self._place_of(container)})

    def _place_of(self, container: Container) -> Json:
        """What a site of today says in a file's record of where it lies."""
        ids = self._ids(container)[::-1]
        levels = FILE_LEVELS
        parents = {level.value: id_ for level, id_ in zip(levels, ids, strict=False)}
        return {
            "parents": {"group": container.labels[0], **parents},
            "parent_ref": {"type": container.level.value, "id": container.id},
        }

    @property
    def filter(self) -> str:
        """What the server leaves out by itself, as clauses of its filter; may be empty."""
        selection = self.selection
        clauses: list[str] = []
        if len(selection.types) == 1 and _PLAIN_VALUE.fullmatch(selection.types[0]):
            clauses.append(f"type={selection.types[0]}")
        if len(selection.tags) == 1 and _PLAIN_VALUE.fullmatch(selection.tags[0]):
            clauses.append(f"tags={selection.tags[0]}")
        # A day to spare on both sides: we look again, at the very moment.
        if selection.after_ns is not None:
            clauses.append(f"modified>={_day(selection.after_ns, -1)}")
        if selection.before_ns is not None:
            clauses.append(f"modified<{_day(selection.before_ns, 2)}")
        if selection.where is not None:
            clauses.append(selection.where.text)
        return ",".join(clauses)

    def reach(self, missed: tuple[Missed, ...] = ()) -> Reach:
        """Which paths the listing would have had, now that it is complete.

        Args:
            missed: what of the selection nothing fits.
        """
        return Reach(None if self.selection.asks_the_server else self._covers, missed)

    def _covers(self, path: RelPath) -> bool:
        folder, _, name = path.rpartition("/")
        if _PLAIN_NAME.fullmatch(name) is None:  # it may be a twin's, or begin above
            return self._lies_at_place(path) and self._covers_slowly(path)
        fits = self._folders.get(folder)
        if fits is None:
            found = self.tree.place(path)
            fits = not isinstance(found, Unmappable) and self.selection.takes_labels(
                (*found.container.labels, *found.missing)
            )
            self._folders[folder] = fits
        return fits and self.selection.takes_name(name) and self._lies_at_place(path)

    def _covers_slowly(self, path: RelPath) -> bool:
        found = self.tree.place(path)
        if isinstance(found, Unmappable):
            return False
        labels = (*found.container.labels, *found.missing)
        return self.selection.takes_name(found.name) and self.selection.takes_labels(labels)

    def _lies_at_place(self, path: RelPath) -> bool:
        place = self.selection.place
        if place is None:
            return True
        if place.ids:
            named = self.tree.by_id.get(place.ids[-1])
        else:
            named = next((one for one in self.tree.at(Level.PROJECT)), None)
        if named is None:  # gone, or never listed: nothing follows for what lay there
            return False
        if place.name:
            return path == self.tree.layout.join(named.folder, name_of(place.name))
        return not named.folder or path.startswith(f"{named.folder}/")

    def _is_taken(self, container: Container) -> bool:
        place = self.selection.place
        if place is not None:
            ids = self._ids(container)
            above = place.ids[-1] if place.ids else ids[-1]
            if above not in ids or (place.name and container.id != above):
                return False
        selection = self.selection
        return selection.takes_labels(container.labels) and (
            not selection.asks_containers or selection.takes_marks(self._marks_of(container))
        )

    def _fits(self, container: Container) -> bool:
        """Can what lies in a container, or below it, take part by what is known so far?"""
        selection = self.selection
        return selection.takes_labels_so_far(container.labels) and (
            not selection.asks_containers
            or selection.takes_marks(self._marks_of(container), so_far=True)
        )

    def _marks_of(self, container: Container) -> dict[Level, Marks]:
        found: dict[Level, Marks] = {}
        for id_ in self._ids(container):
            if id_ in self._marks:
                found[self.tree.by_id[id_].level] = self._marks[id_]
        return found

    def _ids(self, container: Container) -> list[str]:
        """Of a container and all above it, the project's last."""
        ids: list[str] = []
        above: Container | None = container
        while above is not None:
            ids.append(above.id)
            above = self.tree.by_id.get(above.parent_id)
        return ids


def facts_of(item: Json, what: str) -> Facts:
    """What a list says of a file.

    Raises:
        Garbled: it has no name, or its type or tags are none.
    """
    return Facts(
        text_of(item, "name", what),
        text_or_none(item, "type", what),
        tags_of(item, what),
        nanoseconds_of(item.get("modified")),
    )


def _day(moment_ns: int, days: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_ns // 1000)
    return f"{min(max(moment, _DAYS[0]), _DAYS[1]) + timedelta(days=days):%Y-%m-%d}"
