"""The elements of a DICOM data set, read from bytes, and as little of them as possible.

The one rule: nothing is read but what was asked for. Values are stepped over by their
lengths, so a private element of a gigabyte costs one read of a window, and memory is
bounded by :data:`WINDOW`, :data:`MAX_VALUE` and :data:`MAX_ELEMENTS`.

Why not pydicom's own reader: it builds objects for what nobody asked for. This one is
about ten times as fast, needs no second process to be so, and gives the same values for
each of pydicom's files (``tests/room/test_headers.py``). Source: DICOM PS3.5, 7.1 to 7.5
and annex A.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct

#: Bytes read at once. Most headers end before.
WINDOW = 64 * 1024

#: Bytes of the longest value that is looked at.
MAX_VALUE = 64 * 1024

#: Elements that are stepped over, at most, before a header is given up.
MAX_ELEMENTS = 100_000

#: Bytes of a deflated data set that are inflated.
MAX_INFLATED = 4 * 1024 * 1024

#: Sequences in sequences in sequences.
MAX_DEPTH = 64

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

# Source: PS3.5, 7.1.2: these have two reserved bytes and a length of four.
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())

META_END = 0x0002FFFF  #: the last tag of the file's meta information

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
#: GE's private syntax: implicit, but for its pixels. Source: GE conformance statements.
_IMPLICIT_TOO = frozenset({IMPLICIT, "1.2.840.113619.5.2"})


class Malformed(Exception):
    """The bytes are not the elements they should be; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Form:
    """How elements are written."""

    implicit: bool
    order: str = "<"  #: as in :mod:`struct`


IMPLICIT_FORM = Form(implicit=True)
EXPLICIT_FORM = Form(implicit=False)
BIG_FORM = Form(implicit=False, order=">")

_HEAD = {order: Struct(f"{order}HH2sH").unpack_from for order in "<>"}
_PLAIN = {order: Struct(f"{order}HHL").unpack_from for order in "<>"}
_LENGTH = {order: Struct(f"{order}L").unpack_from for order in "<>"}


@dataclass(slots=True)
class Source:
    """Bytes that are read by position, a window at a time.

    Args:
        read: bytes from an offset, at most so many; fewer only at the end.
        size: of the whole, in bytes.
    """

    read: Callable[[int, int], bytes]
    size: int
    data: bytes = b""
    base: int = 0  #: where ``data`` begins
    steps: int = 0  #: elements stepped over so far

    @classmethod
    def of(cls, data: bytes) -> Source:
        """The bytes of something that is all in memory."""
        return cls(lambda at, count: data[at : at + count], len(data), data)

    def load(self, at: int) -> bytes:
        """Move the window."""
        self.data, self.base = self.read(at, WINDOW) if at < self.size else b"", at
        return self.data

    def get(self, at: int, count: int) -> bytes:
        """Bytes at a position; fewer only at the end."""
        start = at - self.base
        if start < 0 or start + count > len(self.data):
            if count > WINDOW:
                return self.read(at, count)
            self.load(at)
            start = 0
        return self.data[start : start + count]


@dataclass(slots=True)
class Walked:
    """What a walk over elements came to."""

    found: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  #: tag: (VR or b"", value)
    end: int = 0  #: the position it stopped at, before the first element it did not want
    notes: list[str] = field(default_factory=list)
    order: str = "<"  #: of the numbers among the values


def walk(source: Source, at: int, form: Form, wanted: frozenset[int], last: int) -> Walked:
    """The wanted elements of a data set, up to a tag.

    Args:
        source: the bytes.
        at: where the data set begins.
        form: how it says it is written; an element without a VR where one should be is
            read as an implicit one, as some writers mix them.
        wanted: tags.
        last: the walk ends before the first tag above it.

    Raises:
        Malformed: an element does not fit into the bytes: cut off, or garbage.
    """
    walked = Walked(order=form.order)
    head, plain, long = _HEAD[form.order], _PLAIN[form.order], _LENGTH[form.order]
    data, base, implicit = source.data, source.base, form.implicit
    for _ in range(MAX_ELEMENTS):
        start = at - base
        if start < 0 or start + 12 > len(data):
            data, base, start = source.load(at), at, 0
            if _is_end(data, at):
                break
        vr, step = b"", 8
        if implicit:
            group, element, length = plain(data, start)
        else:
            group, element, vr, length = head(data, start)
            if vr in _LONG:
                (length,), step = long(_room_for(data, start, at), start + 8), 12
            elif vr not in _SHORT and not _letters(vr):
                vr, length = b"", long(data, start + 4)[0]
        tag = group << 16 | element
        if tag > last:
            break
        at += step
        if length == _UNDEFINED:
            at = _past_sequence(source, at, IMPLICIT_FORM if vr == b"UN" else form)
        elif at + length > source.size:
            raise Malformed(
                f"{named(tag)} at byte {at - step} is said to hold {length} bytes,"
                f" and {source.size - at} are left"
            )
        else:
            if tag in wanted:
                _keep(walked, source, at, (tag, vr, length))
            at += length
        data, base = source.data, source.base
    else:
        raise Malformed(f"it has more than {MAX_ELEMENTS} elements before what is wanted of it")
    walked.end = at
    return walked


def _is_end(data: bytes, at: int) -> bool:
    """True if there is no element any more; padding with zeros is none."""
    if len(data) >= 8:
        return False
    if data.strip(b"\0"):
        raise Malformed(f"it ends in the middle of an element, at byte {at}")
    return True


def _room_for(data: bytes, start: int, at: int) -> bytes:
    """The data, if it has the long form's length."""
    if len(data) < start + 12:
        raise Malformed(f"it ends in the middle of an element, at byte {at}")
    return data


def _keep(walked: Walked, source: Source, at: int, element: tuple[int, bytes, int]) -> None:
    tag, vr, length = element
    if length > MAX_VALUE:
        walked.notes.append(f"{named(tag)} is left out: it holds {length} bytes")
    else:
        walked.found[tag] = vr, source.get(at, length)


def _past_sequence(source: Source, at: int, form: Form, depth: int = 0) -> int:
    """The position after a sequence, or after the fragments of pixels, of unknown length."""
    if depth > MAX_DEPTH:
        raise Malformed(f"its sequences are nested more than {MAX_DEPTH} deep")
    while True:
        tag, length, at = _item_head(source, at, form)
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise Malformed(f"{named(tag)} at byte {at - 8} stands where an item should")
        at = at + length if length != _UNDEFINED else _past_item(source, at, form, depth)


def _past_item(source: Source, at: int, form: Form, depth: int) -> int:
    """The position after an item of unknown length."""
    while True:
        tag, length, after = _item_head(source, at, form)
        if tag == _ITEM_END:
            return after
        vr = b""
        if not form.implicit and tag >> 16 != 0xFFFE:
            vr = source.get(at + 4, 2)
            if vr in _LONG:
                (length,) = _LENGTH[form.order](_enough(source, at, 12), 8)
                after = at + 12
            elif vr in _SHORT or _letters(vr):
                length = _HEAD[form.order](_enough(source, at, 8))[3]
        if length == _UNDEFINED:
            inner = IMPLICIT_FORM if vr == b"UN" else form
            at = _past_sequence(source, after, inner, depth + 1)
        else:
            at = after + length


def _item_head(source: Source, at: int, form: Form) -> tuple[int, int, int]:
    """Tag, length as if it were an item's, and the position after them."""
    source.steps += 1
    if source.steps > MAX_ELEMENTS:
        raise Malformed(f"its sequences hold more than {MAX_ELEMENTS} elements")
    group, element, length = _PLAIN[form.order](_enough(source, at, 8))
    return group << 16 | element, length, at + 8


def _enough(source: Source, at: int, count: int) -> bytes:
    data = source.get(at, count)
    if len(data) < count:
        raise Malformed(f"it ends inside a sequence, at byte {at + len(data)}")
    return data


def _letters(vr: bytes) -> bool:
    return len(vr) == 2 and b"A" <= vr[:1] <= b"Z" and b"A" <= vr[1:] <= b"Z"


def named(tag: int) -> str:
    """A tag as people write it: ``(0010,0020)``."""
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


# ------------------------------------------------------------------------ how it is written


def begins(head: bytes, size: int) -> int | None:
    """Where the elements of a file begin, or None if this is no DICOM.

    Args:
        head: its first 132 bytes, or all of it.
        size: of the file, in bytes.

    A file with a preamble says what it is. One without is taken for DICOM if its first
    two elements could be such: groups 0002 or 0008, ascending, a VR that exists.
    """
    if head[128:132] == b"DICM":
        return 132
    plausible = any(
        _plausible(head, size, form) for form in (EXPLICIT_FORM, BIG_FORM, IMPLICIT_FORM)
    )
    return 0 if plausible else None


def _plausible(head: bytes, size: int, form: Form) -> bool:
    at, before, seen = 0, -1, 0
    while at + 12 <= len(head) and seen < 2:
        group, element, vr, length = _HEAD[form.order](head, at)
        step = 8
        if form.implicit:
            length = _LENGTH[form.order](head, at + 4)[0]
        elif vr in _LONG:
            (length,), step = _LENGTH[form.order](head, at + 8), 12
        elif vr not in _SHORT:
            return False
        tag = group << 16 | element
        fits = length == _UNDEFINED or (length % 2 == 0 and at + step + length <= size)
        if not fits or tag <= before or group not in ((2, 8) if seen == 0 else range(2, 0x80)):
            return False
        if length == _UNDEFINED:
            return seen > 0
        at, before, seen = at + step + length, tag, seen + 1
    return seen > 1 or (seen == 1 and (at == size or at + 12 > len(head)))


def form_of(source: Source, at: int, syntax: str | None) -> tuple[Form, str]:
    """How a data set is written, and what is odd about it.

    Args:
        source: the bytes.
        at: where the data set begins; inflated already.
        syntax: the transfer syntax, if the file names one. Any that is not known here is
            written as explicit little endian. Source: PS3.5, A.4.
    """
    head = source.get(at, 6)
    letters = _letters(head[4:6])
    if syntax is None:
        if not letters:
            return IMPLICIT_FORM, ""
        # Groups are small numbers: a large one is a small one read from the wrong end.
        return (BIG_FORM if head[:1] == b"\0" and head[1:2] != b"\0" else EXPLICIT_FORM), ""
    if syntax == BIG_ENDIAN:
        return BIG_FORM, ""
    if len(head) < 6 or letters != (syntax in _IMPLICIT_TOO):
        return (IMPLICIT_FORM if syntax in _IMPLICIT_TOO else EXPLICIT_FORM), ""
    if letters:
        return EXPLICIT_FORM, "its transfer syntax says implicit, and it is explicit"
    return IMPLICIT_FORM, "its transfer syntax says explicit, and it is implicit"


def inflated(source: Source, at: int) -> tuple[Source, str]:
    """The beginning of a deflated data set, and what is odd about it.

    Raises:
        Malformed: it is not deflated.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces: list[bytes] = []
    room = MAX_INFLATED
    try:
        while room > 0 and not inflater.eof:
            block = inflater.unconsumed_tail or source.read(at, WINDOW)
            if not block:
                break
            if not inflater.unconsumed_tail:
                at += len(block)
            piece = inflater.decompress(block, room)
            pieces.append(piece)
            room -= len(piece)
    except zlib.error as error:
        raise Malformed(f"its deflated part cannot be inflated ({error})") from None
    note = "" if inflater.eof else f"only the first {MAX_INFLATED - room} inflated bytes were read"
    return Source.of(b"".join(pieces)), note
