"""The tar reader, and what is built on it, under atheris: ``make torture`` runs it for a while.

``fuzz_tar.py CORPUS [--plant] [libFuzzer's options]``, by the interpreter of the environment
``fuzz`` (tests/conformance/environments.py). Three promises are held against every archive:

- Only :class:`Cut` and :class:`Damaged` come out, and never more bytes than went in.
- What is read to its end is read alike by Python's own reader.
- Of a ticket only what was asked for comes, each file at most once, and all else is counted.

Every block that looks like a header gets the right checksum first: otherwise hardly one in a
million archives would be read any further than that.

``--plant`` breaks a fourth promise on purpose, that every member has a type that there is. A
fuzzer that does not find this out within seconds is not at work.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import atheris  # type: ignore[import-untyped, unused-ignore]  # in an environment of its own

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

_READ = [f"fwsync.remotes.{room}" for room in ("tarstream", "strays", "flywheel_fetch")]
with atheris.instrument_imports(include=_READ):
    from fwsync.remotes import tarstream
    from fwsync.remotes.flywheel_fetch import Fetch
    from fwsync.remotes.strays import Oddity
from fwsync.errors import Garbled  # noqa: E402
from fwsync.model import ContainerRef, Level, RelPath, RemoteEntry  # noqa: E402
from tests.remotes import archives, readers  # noqa: E402

T = TypeVar("T")

PLANTED = "the planted mistake was found"
ID = "a" * 24
ENTRIES = [
    RemoteEntry(RelPath(name), 3, "etag", None, ContainerRef(Level.ACQUISITION, ID), name)
    for name in ("one", "one.MISSING", "two")
]
_NOW = 4096  # bytes that come at once


def now(work: Coroutine[Any, Any, T]) -> T:
    """The result of something that never has to wait."""
    try:
        while True:
            work.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result


def mended(data: bytes) -> bytes:
    """The archive with the checksums that its headers should have."""
    blocks = bytearray(data)
    for at in range(0, len(blocks) - 511, 512):
        if blocks[at + 257 : at + 262] == b"ustar":
            blocks[at : at + 512] = archives.summed(blocks[at : at + 512])
    return bytes(blocks)


def check_reader(data: bytes) -> list[tarstream.Kind]:
    """The first two promises; the kinds that were seen."""
    seen, error = now(readers.ours(data))
    assert sum(len(content or b"") for *_, content in seen) <= len(data), "more than went in"
    if error is None and readers.is_read_alike(data):
        theirs = readers.pythons(data)
        other = tarstream.Kind.OTHER
        alike = [one for one in seen[: len(theirs)] if one[1] is not other]
        assert [one for one in theirs if one[1] is not other] == alike, (theirs, seen)
    return [kind for _, kind, _ in seen]


async def check_fetch(data: bytes) -> None:
    """The third one."""
    fetch = Fetch(ENTRIES, archives.in_pieces(data, _NOW))
    came: list[RemoteEntry] = []
    is_over = False
    try:
        async for one in fetch:
            came.append(one.entry)
            assert one.size == sum([len(chunk) async for chunk in one.chunks])
        is_over = True
    except (tarstream.Cut, Garbled):
        pass
    assert len(came) == len(set(came)), "a file came twice"
    assert set(came) <= set(ENTRIES), "a file came that nobody asked for"
    if is_over:
        left_out = fetch.strays.counts[Oddity.WITHHELD]
        assert len(ENTRIES) == len(came) + left_out, "a file is neither here nor missed"


def feed(data: bytes, *, is_planted: bool = False) -> None:
    """One archive."""
    for archive in (data, mended(data)):
        kinds = check_reader(archive)
        if is_planted and tarstream.Kind.OTHER in kinds:
            raise AssertionError(PLANTED)
        now(check_fetch(archive))


def sow(corpus: Path) -> None:
    """Archives to begin with, one of each form, each with what is asked for."""
    name = f"acquisition/{ID}/"
    files = [(f"{name}one", b"111"), (f"{name}one.MISSING", b""), (f"{name}two", b"22")]
    long = [(name + "n" * 120, b"x" * 600)]
    for form in range(3):
        (corpus / f"form-{form}").write_bytes(archives.packed(files, form))
    for form in (1, 2):
        (corpus / f"long-{form}").write_bytes(archives.packed(long + files, form))
    plain = archives.member(f"{name}two".encode(), b"222")
    made = {
        "link": archives.member(b"link", kind=b"2"),
        "sparse": archives.member(b"holes", b"x", b"S"),
        "sizes": archives.record((b"size", b"3")) + plain,
        "comment": archives.record((b"comment", b"c"), kind=b"g") + plain,
        "base 256": archives.header(b"large", 9 << 30),
    }
    for which, content in made.items():
        (corpus / which).write_bytes(content + archives.END)


def main() -> None:
    """Sow, and feed until the time is up."""
    corpus, *options = sys.argv[1:]
    is_planted = "--plant" in options
    options = [one for one in options if one != "--plant"]
    sow(Path(corpus))
    atheris.Setup([sys.argv[0], corpus, *options], lambda data: feed(data, is_planted=is_planted))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
