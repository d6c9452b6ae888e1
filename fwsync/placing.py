"""Where the files of a root go, for layouts other than the plain one.

The one rule: nothing is guessed. A file that no rule fits is a problem, two files that would
be one are left alone, and what could not be read is not known, never gone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath

from fwsync.digest import LocalTag
from fwsync.errors import FileProblem, FwsyncError
from fwsync.landing import Target
from fwsync.layout import Layout, Unmappable, name_of
from fwsync.mapping import twins
from fwsync.mapping.curated import IGNORED, NOT_CURATED, SOURCE_DATA, belongs_at_top
from fwsync.mapping.placing import Fields, Header, Mapping, Placed
from fwsync.mapping.series import Seen, SeriesLabels, merged
from fwsync.model import Address, Decision, Level, LocalEntry, Problem, RelPath, Unknown, Verb
from fwsync.progress import plural
from fwsync.sources import Said
from fwsync.state import Clash, PlacedFile, State, StateThread
from fwsync.state_told import Elsewhere
from fwsync.zones import zone_if_true, zoned

#: A name that any container may hold: for asking where its folder is.
_ANY_NAME = "x"

#: Files that are placed, and whose headers are read, at a time.
PAGE = 2000


@dataclass(frozen=True, slots=True)
class HeaderRead:
    """What came of reading a file's header."""

    entry: LocalEntry
    text: str = ""  #: to be kept; empty: it has none
    read_at_ns: int = 0  #: wall clock just before the file was last seen as ``entry`` has it
    problem: Problem | None = None  #: it could not be read: nothing is known of it


@dataclass(frozen=True, slots=True)
class HeaderReader:
    """How headers are read, and what a kept one says."""

    read: Callable[[Sequence[LocalEntry]], Awaitable[Sequence[HeaderRead]]]
    parse: Callable[[str], Header | None]
    sign: str  #: changes with what is read: headers that were kept by another are no use


@dataclass(frozen=True, slots=True)
class Placement:
    """How files are placed that do not lie where the plain layout has them."""

    mapping: Mapping
    headers: HeaderReader | None = None  #: for mappings that read labels from headers
    #: Reads a file for its tag, for telling two equal files for one place from two different
    #: ones; gives the entry with it, and when the file was last seen so. None: all are different.
    hashed: Callable[[LocalEntry], Awaitable[tuple[LocalEntry, int]]] | None = None
    zone: str = ""  #: of times that name none; empty: they are not told
    by_folders: bool = False  #: the first two folders of every path are group and project
    #: What the server tells of places goes before what the mapping says (``info.BIDS``).
    is_told: bool = False


@dataclass(frozen=True, slots=True)
class _Told:
    """What the server tells of a file's place."""

    disk: str = ""  #: empty: it tells of none
    why: str = ""  #: it has none
    others: bool = False  #: other files are told to have one


class _LeftOut(FileProblem):
    """The server's curation leaves a file out: nothing is wrong with it."""


@dataclass(slots=True)
class Placing:
    """What came of placing all files, beside the rows that are in the state."""

    problems: list[Problem] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)  #: by the paths of the server

    def add(self, other: Placing) -> None:
        """Take what another part brought."""
        self.problems += other.problems
        self.unknown += other.unknown


class Placer:
    """Puts the index's files where a mapping says.

    Args:
        state: whose index is placed, by :attr:`fwsync.state.State.places`.
        placement: says where.
        layout: how places are spelled as paths, here and in all comparisons.
    """

    def __init__(self, state: StateThread, placement: Placement, layout: Layout) -> None:
        self._state = state
        self._mapping = placement.mapping
        self._headers = placement.headers
        self._zone = placement.zone
        self._hashed = placement.hashed
        self._is_told = placement.is_told
        #: Files of the server that its curation leaves out, since :meth:`begin_plan`: why, how
        #: many, and the first of them.
        self.left_out: dict[str, tuple[int, RelPath]] = {}
        self._without_place: frozenset[RelPath] = frozenset()  # another file has it, as was said
        self._told_left_out: dict[str, tuple[int, RelPath]] = {}
        self._uncurated: tuple[int, RelPath] = (0, RelPath(""))  # as in `left_out`
        self._layout = layout
        #: The labels of the last place, and their folder: the next file mostly has the same.
        self._folder: tuple[tuple[str, ...], RelPath | Unmappable] = ((), RelPath(""))

    async def place(self, unknown: Sequence[Unknown]) -> Placing:
        """Place every file of the index anew.

        Args:
            unknown: what the scan could not see, by paths of this disk.
        """
        series = SeriesLabels()
        if self._headers is not None:
            sign = self._headers.sign
            await self._state.call(lambda state: state.places.expect_headers(sign))
            series = SeriesLabels(await self._state.call(lambda state: state.places.uid_labels()))
        unread: dict[RelPath, Problem] = {}
        elsewhere = await self._state.call(lambda state: state.told.settle())
        self._without_place = frozenset(one.path for one in elsewhere if one.taken_by)
        placing, clashes = await self._place_all(series, unread)
        if not series.settle():  # what came later has a say in what came before
            placing, clashes = await self._place_all(series, unread)
        if new := series.new():
            await self._state.call(lambda state: state.places.keep_uid_labels(new))
        real = [clash for clash in clashes if not await self._is_copy(clash)]
        for clash in real:
            placing.add(_both_left(clash))
        for path in sorted({clash.path for clash in real}):
            placing.problems += await self._waiting(path, real)
        placing.problems[:0] = unread.values()
        await self._state.call(lambda state: state.places.finish())
        placing.unknown += await self._state.call(
            lambda state: state.places.concerned([*unknown, *_lost(placing.problems)])
        )
        placing.problems = _of_what_was_seen(placing.problems, unknown)
        placing.problems[:0] = map(_of_elsewhere, elsewhere)  # of files there, not here
        return placing

    async def _place_all(
        self, series: SeriesLabels, unread: dict[RelPath, Problem]
    ) -> tuple[Placing, list[Clash]]:
        """Place all files by the labels that their series have so far.

        Args:
            unread: takes what files could not be read; they get no place. Once all series
                are settled, no header is read again.
        """
        await self._state.call(lambda state: state.places.start())
        placing = Placing()
        clashes: list[Clash] = []
        async for entries in self._pages():
            wanted = self._wanted(entries)
            if wanted and not series.is_settled:
                unread |= await self._read_headers(wanted)
            paths = [one.path for one in wanted]
            page = [one for one in entries if one.path not in unread]
            placed = await self._state.call(self._place_page, page, paths, series, clashes)
            placing.add(placed)
        return placing, clashes

    async def _pages(self) -> AsyncIterator[list[LocalEntry]]:
        """The index, some files at a time."""
        after = ""
        while entries := await self._state.call(_page, after):
            yield entries
            after = entries[-1].path

    async def _read_headers(self, wanted: Sequence[LocalEntry]) -> dict[RelPath, Problem]:
        """Read the headers that are not known; what came of those that could not be read."""
        assert self._headers is not None
        missing = await self._state.call(lambda state: state.places.without_header(wanted))
        read = await self._headers.read(missing)
        fresh = [(one.entry, one.read_at_ns, one.text) for one in read if one.problem is None]
        await self._state.call(lambda state: state.places.remember_headers(fresh))
        return {one.entry.path: one.problem for one in read if one.problem is not None}

    def _wanted(self, entries: Sequence[LocalEntry]) -> list[LocalEntry]:
        """Those whose header says, or may say, where they go."""
        if self._headers is None:
            return []
        return [one for one in entries if self._mapping.wants_header(one.path, one.stamp)]

    def _mapping_of(self, entry: LocalEntry, text: str) -> Placed | Unmappable:
        header = self._headers.parse(text) if self._headers is not None and text else None
        path = twins.as_label(entry.path) if self._is_twins(entry.path) else entry.path
        return self._mapping.place(path, header, entry.stamp)

    def _is_twins(self, path: str) -> bool:
        return self._mapping.two_way and twins.names_twin(path)

    async def describe(self, entry: LocalEntry) -> Said:
        """What the rule that placed a file knows of it, for the server."""
        # Not on the event loop: a zone is read from disk, and a pack may be of many files.
        return await self._state.call(self._said, entry)

    def _said(self, state: State, entry: LocalEntry) -> Said:
        known = state.places.known(entry.path)
        metadata: dict[str, object] = {}
        if known and known[0].kind:
            metadata["type"] = known[0].kind
        if entry.pack is not None:
            metadata["zip_member_count"] = len(entry.pack.members)
        return Said(metadata, _with_zone(merged(one.fields for one in known), self._zone))

    def begin_plan(self) -> None:
        """A plan is made anew."""
        self.left_out = {}
        self._uncurated = (0, RelPath(""))

    def takes(self, state: State, decision: Decision, problems: list[Problem]) -> bool:
        """Is there a place for what a plan would bring? Before the first byte of it comes.

        Args:
            state: for its thread.
            decision: a step of the plan.
            problems: takes what is wrong, unless the server's own curation leaves the file out.
        """
        if decision.verb is not Verb.DOWNLOAD or decision.local is not None:
            return True
        if decision.path in self._without_place:
            return False
        told = self._told(state, decision.path)
        try:
            self._where_told(decision, told)
        except _LeftOut as error:
            self.left_out[error.message] = _one_more(self.left_out.get(error.message), decision)
        except FileProblem as error:
            if told.why == NOT_CURATED and not told.others:
                self._uncurated = _one_more(self._uncurated, decision)
            else:
                problems.append(Problem.of(decision.path, error))
        else:
            return True
        return False

    def end_plan(self, state: State) -> list[Problem]:
        """What is one and the same about many files of a plan, once all of them were asked for."""
        number, first = self._uncurated
        if not number:
            return []
        lacking, listed = state.told.uncurated()
        those = "it has" if number == 1 else f"it and {plural(number - 1, 'more file')} have"
        why = (
            f"{those} no place in BIDS: the project is not curated; "
            f"{lacking:,} of {plural(listed, 'file')} lack info.BIDS"
        )
        hint = "have it curated there, by a gear such as curate-bids; or leave out the layout bids"
        return [Problem(first, why, hint)]

    def tell_left_out(self, tell: Callable[[str], None]) -> None:
        """Say what the last plan left out; once, as long as it is the same."""
        if self.left_out != self._told_left_out:
            for why, (number, first) in sorted(self.left_out.items()):
                more = f", and {number - 1:,} more" if number > 1 else ""
                tell(f"left out, {why}: {first}{more}")
        self._told_left_out = self.left_out

    def _told(self, state: State, path: RelPath) -> _Told:
        if not self._is_told:
            return _Told()
        return _Told(*state.told.place_of(path), state.told.curated)

    def where(self, decision: Decision) -> Target:
        """Where a file of the server comes down. Not for the state's thread.

        Raises:
            FileProblem: the layout has no place for it.
        """
        if decision.local is not None or not self._is_told:
            return self._where_twin(decision)
        return self._where_told(decision, self._state.ask(self._told, decision.path))

    def _where_told(self, decision: Decision, told: _Told) -> Target:
        """Where the server tells that it lies, or else by its labels."""
        path, why = decision.path, told.why
        if told.disk:
            return Target(told.disk)
        if why in (IGNORED, SOURCE_DATA):
            raise _LeftOut(why)
        if why and why != NOT_CURATED:
            raise FileProblem(f"{path}: {why}", hint="see to its curation, info.BIDS, there")
        if why and told.others and "/" not in path and not belongs_at_top(path):
            raise _LeftOut(why)
        try:
            return self._where_twin(decision)
        except FileProblem:
            if why and told.others:
                raise _LeftOut(why) from None
            raise

    def _where_twin(self, decision: Decision) -> Target:
        if twins.names_twin(decision.path):
            found = self._where(replace(decision, path=twins.as_label(decision.path)))
            on_disk, as_zip = twins.as_twin(found.on_disk), twins.as_twin(found.as_zip)
            return replace(found, on_disk=on_disk, as_zip=as_zip)
        return self._where(decision)

    def _where(self, decision: Decision) -> Target:
        local = decision.local
        address = self._layout.address_of(decision.path)
        if isinstance(address, Unmappable):
            raise FileProblem(f"{decision.path}: {address.reason}", hint=address.hint)
        kind = local.pack.kind if local and local.pack else ""
        if local is not None and not kind:
            return Target(local.on_disk)
        kind = kind or self._mapping.pack_kind(address)
        folder = self._folder_of(address) if kind else None
        if folder is None:
            return Target(self._home(decision, address))

        def takes(member: str) -> bool:
            return self._mapping.disk_path(address, member) == Layout.join(folder, member)

        home = self._mapping.disk_path(address)
        as_zip = "" if isinstance(home, Unmappable) else home
        return Target(folder, kind, takes, as_zip, any_zip=self._mapping.unpacks)

    def _home(self, decision: Decision, address: Address) -> RelPath:
        path = self._mapping.disk_path(address)
        if isinstance(path, Unmappable):
            raise FileProblem(f"{decision.path}: {path.reason}", hint=path.hint)
        return path

    def _folder_of(self, address: Address) -> RelPath | None:
        """The folder that a pack's members belong to; None: they belong nowhere."""
        home = self._mapping.disk_path(address, _ANY_NAME)
        if isinstance(home, Unmappable):  # packed by their names, beside other files
            home = self._mapping.disk_path(replace(address, name=_ANY_NAME))
        if isinstance(home, Unmappable):
            return None
        return RelPath(home.rpartition("/")[0])

    def _place_page(
        self,
        state: State,
        entries: Sequence[LocalEntry],
        wanted: Sequence[RelPath],
        series: SeriesLabels,
        clashes: list[Clash],
    ) -> Placing:
        texts = state.places.headers(wanted)
        told = state.told.paths_at(one.path for one in entries) if self._is_told else {}
        placing = Placing()
        placed: list[PlacedFile] = []
        for entry in entries:
            if entry.path in told:
                placed.append(PlacedFile(entry.path, told[entry.path], rule="as the server tells"))
                continue
            text = texts.get(entry.path, "")
            place = self._mapping_of(entry, text)
            if self._headers is not None:
                place = _relabelled(place, series, by_header=text != "")
            path = self._path_of(place)
            if self._is_twins(entry.path) and not isinstance(path, Unmappable):
                path = twins.as_twin(path)
            if isinstance(place, Unmappable) or isinstance(path, Unmappable):
                why = place if isinstance(place, Unmappable) else path
                assert isinstance(why, Unmappable)
                placing.problems.append(Problem(entry.path, why.reason, why.hint))
                continue
            placed.append(
                PlacedFile(entry.path, path, place.member, place.kind, place.rule, place.fields)
            )
        clashes += state.places.put(placed)
        return placing

    async def _is_copy(self, clash: Clash) -> bool:
        """True if both files hold the same bytes: then the first stands for both."""
        entries = [
            await self._state.call(State.file_at, one) for one in (clash.first, clash.second)
        ]
        tags: list[LocalTag | None] = []
        for entry in entries:
            if entry is None or self._hashed is None or entry.size != _size_of(entries[0]):
                return False
            if entry.etag is not None:
                tags.append(entry.etag)
                continue
            try:
                hashed, at_ns = await self._hashed(entry)
            except FwsyncError:
                return False  # read again when its pack is; what is wrong with it is said then
            await self._state.call(State.remember, [(hashed, at_ns)])
            tags.append(hashed.etag)
        return tags[0] == tags[1]

    async def _waiting(self, path: RelPath, clashes: Iterable[Clash]) -> list[Problem]:
        """What a pack holds besides files that clash waits with them: that is said, too."""
        named = {clash.first for clash in clashes if clash.path == path}
        others = await self._state.call(lambda state: state.places.placed_count(path)) - len(named)
        if not others:
            return []
        why = f"{plural(others, 'more file')} of this pack {'waits' if others == 1 else 'wait'}"
        hint = "half a series is not sent: say first which of the others are meant"
        return [Problem(path, why, hint)]

    def _path_of(self, place: Placed | Unmappable) -> RelPath | Unmappable:
        if isinstance(place, Unmappable):
            return place
        labels, folder = self._folder
        if labels != place.address.labels:
            labels = place.address.labels
            folder = self._layout.folder_of(labels)
            self._folder = (labels, folder)
        if isinstance(folder, Unmappable):
            return folder
        return self._layout.join(folder, name_of(place.address.name))


def _one_more(known: tuple[int, RelPath] | None, decision: Decision) -> tuple[int, RelPath]:
    """How many there are, and the first of them."""
    number, first = known or (0, decision.path)
    return number + 1, min(first, decision.path) if number else decision.path


def _of_elsewhere(one: Elsewhere) -> Problem:
    if one.taken_by:
        why = f"both it and {one.taken_by!r} would be {one.told!r} here"
        return Problem(one.path, why, "give one of them another place in its curation, info.BIDS")
    why = f"its place is {one.told!r} now, and it lies at {one.lies_at!r}"
    return Problem(one.path, why, "move it there; it is not sent or fetched again for that")


def _size_of(entry: LocalEntry | None) -> int:
    return -1 if entry is None else entry.size


def _both_left(clash: Clash) -> Placing:
    """Neither is chosen: that would report a change that nobody made."""
    why = f"both {clash.first!r} and {clash.second!r} would be this file on the server"
    hint = "remove one, or give them different places by the layout"
    return Placing([Problem(clash.path, why, hint)], [Unknown(clash.path, why)])


def _page(state: State, after: str) -> list[LocalEntry]:
    return state.files_after(after, PAGE)


def _series_of(place: Placed | Unmappable) -> Seen | None:
    """The series that a header names; None: it names none."""
    if isinstance(place, Unmappable) or len(place.address.labels) != len(Level):
        return None
    study, series = place.fields.get("session.uid"), place.fields.get("acquisition.uid")
    if not isinstance(study, str) or not isinstance(series, str):
        return None
    return Seen(place.address.labels, study, series)


def _relabelled(
    place: Placed | Unmappable, series: SeriesLabels, *, by_header: bool
) -> Placed | Unmappable:
    seen = _series_of(place)
    if seen is None or isinstance(place, Unmappable):
        return place
    labels = series.of(seen, by_header=by_header)
    if labels == place.address.labels:
        return place
    return replace(place, address=Address(labels, place.address.name))


def _with_zone(fields: Fields, zone: str) -> dict[str, object]:
    """The fields, with each time in a zone: a server takes no other."""
    told = dict[str, object](fields)
    for name, value in fields.items():
        level, _, what = name.partition(".")
        if what != "timestamp" or not isinstance(value, str):
            continue
        try:
            named = zone_if_true(value, zone) if zone else ""
            if not named and not _has_offset(value):
                del told[name]
                continue
            told[name] = zoned(value, zone) if named else value
        except ValueError:
            del told[name]
            continue
        if named:
            told.setdefault(f"{level}.timezone", named)
    return told


def _has_offset(moment: str) -> bool:
    return datetime.fromisoformat(moment).tzinfo is not None


def _of_what_was_seen(problems: Sequence[Problem], unknown: Sequence[Unknown]) -> list[Problem]:
    """Without those of files that the scan did not see: half of one may be written so far."""
    scopes = {one.scope for one in unknown}
    if not scopes:
        return list(problems)
    return [
        one
        for one in problems
        if one.path not in scopes
        and not any(str(up) in scopes for up in PurePosixPath(one.path).parents)
    ]


def _lost(problems: Sequence[Problem]) -> list[Unknown]:
    """A file that has no place now may have been part of one that was agreed on."""
    return [Unknown(RelPath(one.path), one.message) for one in problems]
