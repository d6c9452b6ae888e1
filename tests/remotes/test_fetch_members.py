"""What an archive brings: what was asked for, once; all else is told apart and counted."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.errors import Garbled
from fwsync.model import ContainerRef, Level, RelPath, RemoteEntry
from fwsync.remotes.flywheel_fetch import Fetch, Ticket, ticket_of
from fwsync.remotes.strays import SAMPLE, Oddity, Strays, leads_out
from fwsync.remotes.tarstream import Cut
from tests.remotes.archives import END, header, in_pieces, member

A, B = "a" * 24, "b" * 24
AT = f"acquisition/{A}".encode()
GIB = 1 << 30


def entry(name: str, size: int, container: str = A) -> RemoteEntry:
    at = ContainerRef(Level.ACQUISITION, container)
    return RemoteEntry(RelPath(f"{container[0]}/{name}"), size, "etag", None, at, name)


ONE, TWO = entry("one", 3), entry("two", 5)
GOOD = member(AT + b"/one", b"111") + member(AT + b"/two", b"22222")


async def fetched(
    archive: bytes, wanted: Sequence[RemoteEntry] = (ONE, TWO), ticket: Ticket | None = None
) -> tuple[list[tuple[str, bytes]], Strays]:
    """What came, in its order, and what was odd."""
    fetch = Fetch(wanted, in_pieces(archive), ticket)
    got = [(one.entry.name, b"".join([chunk async for chunk in one.chunks])) async for one in fetch]
    return got, fetch.strays


BOTH = [("one", b"111"), ("two", b"22222")]


async def test_what_was_asked_for_comes_and_nothing_is_odd() -> None:
    assert (BOTH, {}) == tuple_of(await fetched(GOOD + END, ticket=Ticket("t", 2, 8)))


def tuple_of(
    found: tuple[list[tuple[str, bytes]], Strays],
) -> tuple[list[tuple[str, bytes]], Counter[Oddity]]:
    return found[0], found[1].counts


ODD = {
    "dotdot": (member(b"../../one", b"x"), Oddity.LEADS_OUT),
    "dotdot within": (member(AT + b"/../" + AT + b"/one", b"x"), Oddity.LEADS_OUT),
    "a/../../x": (member(b"a/../../x", b"x"), Oddity.LEADS_OUT),
    "absolute": (member(b"/etc/passwd", b"x"), Oddity.LEADS_OUT),
    "absolute, as asked": (member(b"/" + AT + b"/one", b"x"), Oddity.LEADS_OUT),
    "drive": (member(b"C:\\x", b"x"), Oddity.LEADS_OUT),
    "drive, relative": (member(b"c:x", b"x"), Oddity.LEADS_OUT),
    "backslashes": (member(b"..\\..\\x", b"x"), Oddity.LEADS_OUT),
    "share": (member(b"\\\\host\\share", b"x"), Oddity.LEADS_OUT),
    "symbolic link": (member(b"link", kind=tarfile.SYMTYPE), Oddity.LINK),
    "symbolic link, as asked": (member(AT + b"/one", kind=tarfile.SYMTYPE), Oddity.LINK),
    "hard link": (member(AT + b"/one", kind=tarfile.LNKTYPE), Oddity.LINK),
    "device": (member(AT + b"/one", kind=tarfile.CHRTYPE), Oddity.DEVICE),
    "block device": (member(AT + b"/one", kind=tarfile.BLKTYPE), Oddity.DEVICE),
    "pipe": (member(AT + b"/one", kind=tarfile.FIFOTYPE), Oddity.DEVICE),
    "sparse": (member(AT + b"/one", b"111", tarfile.GNUTYPE_SPARSE), Oddity.SPARSE),
    "no type that there is": (member(AT + b"/one", b"111", b"Z"), Oddity.UNKNOWN),
    "not asked for": (member(b"notes.txt", b"x"), Oddity.EXTRA),
    "of another container": (member(f"acquisition/{B}/one".encode(), b"x"), Oddity.EXTRA),
    "at no level": (member(f"collection/{A}/one".encode(), b"x"), Oddity.EXTRA),
    "another name": (member(AT + b"/one_0", b"111"), Oddity.RENAMED),
    "below the name": (member(AT + b"/one/one", b"111"), Oddity.RENAMED),
    "unreadable": (member(AT + b"/two.MISSING"), Oddity.UNREADABLE),
}


@pytest.mark.parametrize("which", ODD)
async def test_what_is_odd_is_told_apart_and_the_rest_comes(which: str) -> None:
    odd, oddity = ODD[which]

    assert (BOTH, {oddity: 1}) == tuple_of(await fetched(odd + GOOD + END))


@pytest.mark.parametrize("which", [one for one in ODD if one != "unreadable"])
async def test_it_is_told_apart_behind_the_others_too(which: str) -> None:
    odd, oddity = ODD[which]

    assert (BOTH, {oddity: 1}) == tuple_of(await fetched(GOOD + odd + END))


async def test_a_folder_is_worth_no_word() -> None:
    folders = member(b"acquisition/", kind=tarfile.DIRTYPE) + member(AT, kind=tarfile.DIRTYPE)

    assert (BOTH, {}) == tuple_of(await fetched(folders + GOOD + END))


async def test_a_folder_outside_is() -> None:
    odd = member(b"../", kind=tarfile.DIRTYPE)

    assert (BOTH, {Oddity.LEADS_OUT: 1}) == tuple_of(await fetched(odd + GOOD + END))


async def test_the_second_of_one_name_is_left() -> None:
    again = member(AT + b"/one", b"999")

    assert (BOTH, {Oddity.DOUBLED: 1}) == tuple_of(await fetched(GOOD + again + END))


async def test_what_was_left_out_is_told_of_by_its_path() -> None:
    got, strays = await fetched(member(AT + b"/two", b"22222") + END)

    assert [("two", b"22222")] == got
    assert {Oddity.WITHHELD: 1} == strays.counts
    assert strays.notes[0].endswith(": a/one")


async def test_no_ticket_is_an_archive_without_any() -> None:
    fetch = Fetch((ONE, TWO), None)

    assert [] == [one async for one in fetch]
    assert {Oddity.WITHHELD: 2} == fetch.strays.counts


@pytest.mark.parametrize(
    ("content", "oddity"), [(b"1111", Oddity.TOO_LARGE), (b"11", Oddity.TOO_SMALL)]
)
async def test_another_size_than_listed_is_told_of_and_handed_on(
    content: bytes, oddity: Oddity
) -> None:
    got, strays = await fetched(member(AT + b"/one", content) + END, [ONE])

    assert [("one", content)] == got  # to be refused by who asked
    assert {oddity: 1} == strays.counts


async def test_a_mode_is_not_even_read() -> None:
    setuid = member(AT + b"/one", b"111", mode=0o6777)

    assert ([("one", b"111")], {}) == tuple_of(await fetched(setuid + END, [ONE]))


# ------------------------------------------------------------------- files called `.MISSING`


async def test_a_file_may_be_called_missing() -> None:
    named = entry("one.MISSING", 2)

    assert ([("one.MISSING", b"22")], {}) == tuple_of(
        await fetched(member(AT + b"/one.MISSING", b"22") + END, [named])
    )


async def test_both_may_be_there() -> None:
    named = entry("one.MISSING", 2)
    files = member(AT + b"/one.MISSING", b"22") + member(AT + b"/one", b"111")

    assert ([("one.MISSING", b"22"), ("one", b"111")], {}) == tuple_of(
        await fetched(files + END, [ONE, named])
    )


async def test_the_mark_is_not_taken_for_the_file_of_its_name() -> None:
    named = entry("one.MISSING", 2)
    files = member(AT + b"/one.MISSING") + member(AT + b"/one.MISSING", b"22")

    assert ([("one.MISSING", b"22")], {Oddity.UNREADABLE: 1, Oddity.WITHHELD: 1}) == tuple_of(
        await fetched(files + END, [ONE, named])
    )


# -------------------------------------------------------------------------------- the ticket


@pytest.mark.parametrize("ticket", [Ticket("t", 3, 8), Ticket("t", 2, 9), Ticket("t", None, 9)])
async def test_a_ticket_that_promised_something_else_is_told_of(ticket: Ticket) -> None:
    assert (BOTH, {Oddity.MISCOUNTED: 1}) == tuple_of(await fetched(GOOD + END, ticket=ticket))


async def test_a_ticket_that_promises_nothing_is_kept() -> None:
    assert (BOTH, {}) == tuple_of(await fetched(GOOD + END, ticket=Ticket("t")))


@pytest.mark.parametrize("said", [None, "2", 2.0, True, -1, [2]])
def test_a_number_that_makes_no_sense_is_none(said: object) -> None:
    answer = {"ticket": "t", "file_cnt": said, "size": said}

    assert Ticket("t") == ticket_of(answer, "a ticket")


@pytest.mark.parametrize("answer", [None, [], "t", {}, {"ticket": ""}, {"ticket": 7}])
def test_a_ticket_that_is_none_is_garbled(answer: object) -> None:
    with pytest.raises(Garbled):
        ticket_of(answer, "a ticket")


# ---------------------------------------------------------------------------- what has no end


class Tap:
    """A stream that has no end, and counts what was drawn."""

    def __init__(self, begin: bytes, then: bytes = bytes(1 << 16)) -> None:
        self.drawn = 0
        self._begin, self._then = begin, then

    async def __aiter__(self) -> AsyncIterator[bytes]:
        piece = self._begin
        while True:
            self.drawn += len(piece)
            yield piece
            piece = self._then


async def drawn_from(tap: Tap) -> Strays:
    """Read until it is refused; what had come by then was asked for."""
    fetch = Fetch((ONE, TWO), aiter(tap))

    async def read() -> None:
        async for one in fetch:
            assert one.entry in (ONE, TWO)

    with pytest.raises(Garbled):
        await read()
    return fetch.strays


@pytest.mark.parametrize("size", [1 << 62, 1 << 40, 65 << 20])
async def test_a_member_without_end_is_refused_before_it_is_read(size: int) -> None:
    tap = Tap(member(AT + b"/one", b"111") + header(b"endless", size))

    assert {Oddity.ENDLESS: 1} == (await drawn_from(tap)).counts
    assert tap.drawn <= 4096


async def test_a_file_that_is_far_larger_than_listed_is_refused_before_it_is_read() -> None:
    tap = Tap(header(AT + b"/one", GIB))

    assert {Oddity.TOO_LARGE: 1} == (await drawn_from(tap)).counts
    assert tap.drawn <= 4096


async def test_members_without_number_are_read_past_for_a_while_only() -> None:
    tap = Tap(b"", member(b"many") * 100)

    strays = await drawn_from(tap)

    assert tap.drawn <= (64 << 20) + (1 << 20)
    assert strays.counts[Oddity.EXTRA] == strays.counts.total() <= (64 << 20) // 512 + 1
    assert f"many, many, many and {strays.counts[Oddity.EXTRA] - SAMPLE:,} more" in strays.notes[0]


async def test_an_archive_that_breaks_off_says_nothing_of_what_is_missing() -> None:
    """It is asked for again, and no fault of the server's."""
    fetch = Fetch((ONE, TWO), in_pieces(member(AT + b"/one", b"111")))

    with pytest.raises(Cut):
        [None async for _ in fetch]

    assert {} == fetch.strays.counts


# ------------------------------------------------------------------------------------ in words


def test_a_hostile_member_is_a_problem_and_others_are_notes() -> None:
    strays = Strays()
    for oddity in Oddity:
        strays.add(oddity, oddity.name)

    assert {one.path for one in strays.problems} == {
        "LEADS_OUT", "LINK", "DEVICE", "SPARSE", "UNKNOWN", "ENDLESS",
    }  # fmt: skip
    assert len(Oddity) == len(strays.problems) + len(strays.notes)


def test_a_sample_is_given_and_the_rest_is_counted() -> None:
    strays = Strays()
    for number in range(1234):
        strays.add(Oddity.EXTRA, f"f{number}")
    strays.add(Oddity.REFUSED, "404")
    strays.add(Oddity.LINK, "\udcff" + "x" * 5000)

    assert [
        "1,234 members of archives that nobody asked for: f0, f1, f2 and 1,231 more",
        "an archive whose ticket was refused, its files were asked for one by one: 404",
    ] == strays.notes
    [link] = strays.problems
    assert link.path.startswith("\\udcffx")
    assert len(link.path) == 120
    strays.clear()
    assert ([], []) == (strays.notes, strays.problems)


@pytest.mark.parametrize("name", ["a", "a..b/..c", "...", "a/b\\c", "-rf", "1:x", "é:x"])
def test_a_name_that_stays_where_it_is_put(name: str) -> None:
    assert not leads_out(name)


# ---------------------------------------------------------------------------------- any archive

_POOL = [*(odd for odd, _ in ODD.values()), *([GOOD[:1024], GOOD[1024:]] * 4)]


@given(st.lists(st.sampled_from(_POOL), max_size=12), st.integers(1, 5000))
async def test_only_what_was_asked_for_comes_and_once(parts: list[bytes], step: int) -> None:
    fetch = Fetch((ONE, TWO), in_pieces(b"".join(parts) + END, step))
    got = {
        one.entry: b"".join([chunk async for chunk in one.chunks]) async for one in fetch
    }  # a second one of an entry would be another content

    assert {ONE: b"111", TWO: b"22222"} | got == {ONE: b"111", TWO: b"22222"}
    counts = fetch.strays.counts
    assert len(parts) + counts[Oddity.WITHHELD] == len(got) + counts.total()
    assert 2 == len(got) + counts[Oddity.WITHHELD]
