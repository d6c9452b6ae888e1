"""What is about to be sent and would be there twice: found, said, and left where that is asked.

The one rule: it compares, and guesses nothing. What has no header, or no uid in it, is only
looked at by its name and its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

from fwsync.errors import NotFound
from fwsync.layout import Layout, Unmappable
from fwsync.mapping.duplicates import Code, Finding, Row, findings
from fwsync.mapping.placing import Header, Placed
from fwsync.model import Address, Decision, Level, LocalEntry, Problem, RelPath, Verb
from fwsync.placing import PAGE, HeaderReader
from fwsync.plan import Plan, without
from fwsync.remotes.uids import Homes
from fwsync.state import State, StateThread

#: Findings that are told one by one; of more there is only the number.
MOST_TOLD = 100

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

#: Where each kind of uid is kept on the server.
_LEVELS = ((0, Level.SESSION, Code.STUDY_ELSEWHERE), (1, Level.ACQUISITION, Code.SERIES_ELSEWHERE))


class FindUids(Protocol):
    """Asks the server where uids are."""

    async def __call__(self, level: Level, uids: Collection[str]) -> Homes:
        """The labels of what has them.

        Raises:
            NotFound: it has no such question.
        """


@dataclass(slots=True)
class Doubles:
    """Looks at a plan before it is carried out.

    Args:
        state: keeps the headers that were read.
        layout: what the plan's paths mean.
        reader: of headers.
        find: asks the server for uids.
        codes: what to look for.
        leave: True: what is double is left here, as a problem.
        as_problems: True: each finding is a problem, as a plan shows it.
        tell: is told what was found.
    """

    state: StateThread
    layout: Layout
    reader: HeaderReader
    find: FindUids
    tell: Callable[[str], None]
    codes: Collection[Code] = frozenset(Code)
    leave: bool = False
    as_problems: bool = False
    _young: dict[RelPath, str] = field(default_factory=dict)  # too young to be kept

    async def __call__(self, plan: Plan) -> tuple[Plan, list[Problem]]:
        """The plan without what is left, and what is wrong with the rest of it."""
        uploads = [one for one in plan.carry_out if one.verb is Verb.UPLOAD]
        if not uploads:
            return plan, []
        self._young = {}
        await self._read_headers(uploads)
        homes = await self._homes(uploads)
        found = await self.state.call(self._find, uploads, homes)
        self._tell(found)
        if not self.leave:
            problems = [Problem(one.path, _said(one)) for one in found if self.as_problems]
            return plan, problems
        return _without(plan, found)

    async def _read_headers(self, uploads: Sequence[Decision]) -> None:
        """Read the headers of what is sent, but for those that were read before."""
        sign = self.reader.sign
        await self.state.call(lambda state: state.places.expect_headers(sign))
        files = (entry for one in uploads for _, entry in _files_of(one))
        while page := list(islice(files, PAGE)):
            self._young |= await self._read_page(page)

    async def _read_page(self, page: Sequence[LocalEntry]) -> dict[RelPath, str]:
        """Read the headers of some files; those that are too young to be kept come back."""
        missing = await self.state.call(lambda state: state.places.without_header(page))
        read = [one for one in await self.reader.read(missing) if one.problem is None]
        fresh = [(one.entry, one.read_at_ns, one.text) for one in read]
        await self.state.call(lambda state: state.places.remember_headers(fresh))
        paths = [one.entry.path for one in read]
        kept = await self.state.call(lambda state: state.places.headers(paths))
        return {one.entry.path: one.text for one in read if one.entry.path not in kept}

    async def _homes(self, uploads: Sequence[Decision]) -> dict[Level, Homes]:
        """Where the uids of what is sent are on the server."""
        homes: dict[Level, Homes] = {}
        for at, level, code in _LEVELS:
            if code not in self.codes:
                continue
            uids = await self.state.call(self._uids, uploads, at)
            try:
                homes[level] = await self.find(level, uids) if uids else {}
            except NotFound:
                self.tell("this site cannot be asked for uids: they are compared here only")
                break
        return homes

    def _uids(self, state: State, uploads: Sequence[Decision], at: int) -> set[str]:
        return {uids[at] for _, _, uids in self._rows(state, uploads)} - {""}

    def _find(
        self, state: State, uploads: Sequence[Decision], homes: Mapping[Level, Homes]
    ) -> list[Finding]:
        def rows() -> Iterator[Row]:
            for decision, (member, entry), uids in self._rows(state, uploads):
                address = self.layout.address_of(decision.path)
                if isinstance(address, Unmappable):
                    continue
                local = decision.local
                sent = local.digest if member and local is not None else None
                yield Row(
                    entry.path,
                    Placed(address, decision.rule, member),
                    *uids,
                    content=str(entry.digest or ""),
                    sent=str(sent or ""),
                )

        server = _Server(self.layout, uploads, homes)
        found = findings(rows, server, self.codes)
        return [one for one in found if not one.harmless]

    def _rows(
        self, state: State, uploads: Sequence[Decision]
    ) -> Iterator[tuple[Decision, tuple[str, LocalEntry], tuple[str, str, str]]]:
        """Every file that is sent, with the decision that sends it, and its uids."""
        every = ((one, file) for one in uploads for file in _files_of(one))
        while page := list(islice(every, PAGE)):
            texts = state.places.headers([entry.path for _, (_, entry) in page])
            for decision, file in page:
                path = file[1].path
                text = texts.get(path) or self._young.get(path, "")
                yield decision, file, _uids_in(self.reader.parse(text) if text else None)

    def _tell(self, found: Sequence[Finding]) -> None:
        for one in found[:MOST_TOLD]:
            self.tell(f"double: {_said(one)}")
        if len(found) > MOST_TOLD:
            self.tell(f"double: and {len(found) - MOST_TOLD:,} more findings")


class _Server:
    """What the listing and the answers about uids say, for the comparison."""

    def __init__(
        self, layout: Layout, uploads: Sequence[Decision], homes: Mapping[Level, Homes]
    ) -> None:
        self._homes = homes
        self._contents: dict[Address, str] = {}
        for one in uploads:
            address = layout.address_of(one.path) if one.remote is not None else None
            if one.remote is not None and isinstance(address, Address):
                self._contents[address] = str(one.remote.digest or "")

    def content_of(self, address: Address) -> str | None:
        """What compares with a row's content."""
        return self._contents.get(address)

    def homes_of(self, level: Level, uid: str) -> Collection[tuple[str, ...]]:
        """The labels of what has the uid."""
        return self._homes.get(level, {}).get(uid, ())


def _files_of(decision: Decision) -> Iterator[tuple[str, LocalEntry]]:
    """The files that a decision sends, as the index has them, each with its name in the pack."""
    local = decision.local
    if local is None:
        return
    if local.pack is not None:
        yield from ((one.name, one.entry) for one in local.pack.members)
    else:
        yield "", replace(local, path=local.indexed, source=None)


def _uids_in(header: Header | None) -> tuple[str, str, str]:
    study, series, image = (str((header or {}).get(name) or "") for name in _UIDS)
    return study, series, image


def _said(one: Finding) -> str:
    return f"{one.text} ({one.code}, {one.dd})"


def _without(plan: Plan, found: Sequence[Finding]) -> tuple[Plan, list[Problem]]:
    """The plan without the files that are double."""
    texts = {one.path: _said(one) for one in reversed(found)}
    problems: list[Problem] = []
    hint = "--duplicates report sends it all the same"
    for one in plan.carry_out:
        sends = _files_of(one) if one.verb is Verb.UPLOAD else ()
        text = next((texts[entry.path] for _, entry in sends if entry.path in texts), "")
        if text:
            problems.append(Problem(one.path, f"was left: {text}", hint))
    return without(plan, {one.path for one in problems}), problems
