"""The values of DICOM elements as text and numbers, and which elements are wanted.

The one rule: no value is lost or made up. What is not what its type says stays the text
that it is, bytes that do not fit their character set are read in another way that keeps
them apart, and both are noted.
"""

from __future__ import annotations

import difflib
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from fwsync.elements import named
from fwsync.errors import UsageError
from fwsync.mapping.dicom import TIMES

Scalar: TypeAlias = "str | int | float"
Value: TypeAlias = "Scalar | list[Scalar]"

#: What is read of every file besides what the rules ask for.
ALWAYS = (
    "MediaStorageSOPClassUID",
    "TransferSyntaxUID",
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
)
#: Tags and types of what is wanted where no rule asks for more: the dictionary of the
#: standard takes a quarter of a second to load, and most runs need no other.
#: Source: PS3.6; pydicom's dictionary says the same (a test holds them side by side).
USUAL = {
    "AcquisitionDate": (0x00080022, b"DA"),
    "AcquisitionDateTime": (0x0008002A, b"DT"),
    "AcquisitionTime": (0x00080032, b"TM"),
    "ImageType": (0x00080008, b"CS"),
    "Manufacturer": (0x00080070, b"LO"),
    "MediaStorageSOPClassUID": (0x00020002, b"UI"),
    "Modality": (0x00080060, b"CS"),
    "PatientAge": (0x00101010, b"AS"),
    "PatientBirthDate": (0x00100030, b"DA"),
    "PatientID": (0x00100020, b"LO"),
    "PatientSex": (0x00100040, b"CS"),
    "PatientWeight": (0x00101030, b"DS"),
    "SOPClassUID": (0x00080016, b"UI"),
    "SOPInstanceUID": (0x00080018, b"UI"),
    "SeriesDate": (0x00080021, b"DA"),
    "SeriesDescription": (0x0008103E, b"LO"),
    "SeriesInstanceUID": (0x0020000E, b"UI"),
    "SeriesNumber": (0x00200011, b"IS"),
    "SeriesTime": (0x00080031, b"TM"),
    "SpecificCharacterSet": (0x00080005, b"CS"),
    "StudyDate": (0x00080020, b"DA"),
    "StudyInstanceUID": (0x0020000D, b"UI"),
    "StudyTime": (0x00080030, b"TM"),
    "TimezoneOffsetFromUTC": (0x00080201, b"SH"),
    "TransferSyntaxUID": (0x00020010, b"UI"),
}
_USUAL_TAGS = {tag: keyword for keyword, (tag, _) in USUAL.items()}
_CHARSET = 0x00080005

# Source: PS3.5, 6.2. Text in the default repertoire; text in the file's character set,
# of several values and of one; numbers of a fixed size.
_PLAIN_TEXT = frozenset(b"AE AS CS DA DS DT IS TM UI".split())
_TEXTS = frozenset(b"LO PN SH UC".split())
_ONE_TEXT = frozenset(b"LT ST UR UT".split())
_NUMBERS = {
    b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"UV": "Q", b"SV": "q", b"FL": "f", b"FD": "d",
}  # fmt: skip
_KNOWN = _PLAIN_TEXT | _TEXTS | _ONE_TEXT | _NUMBERS.keys() | {b"AT"}

_ESCAPE = re.compile(b"(\x1b[^\x1b]*)")
_TAG = re.compile(r"\(?([0-9a-fA-F]{4}),? ?([0-9a-fA-F]{4})\)?")
# These reset the character set to the first. Source: PS3.5, 6.1.2.5.3.
_LIMITS = b"\\\t\n\f\r"
_NAME_LIMITS = _LIMITS + b"^="
_ASCII = "iso8859"  # pydicom's codec for a character set that is empty or ISO_IR 6


@dataclass(frozen=True, slots=True)
class Wanted:
    """The elements to read. Make it with :func:`wanted`, once a run."""

    keys: Mapping[int, tuple[str, bytes]]  #: tag: (its name in a header, its VR in the dictionary)
    tags: frozenset[int]
    last: int  #: the highest tag
    sign: int  #: differs when the tags do

    def values(
        self, found: Mapping[int, tuple[bytes, bytes]], order: str
    ) -> tuple[dict[str, Value], list[str]]:
        """A header of what was found, and what is odd about it. What is empty is not in it.

        Args:
            found: tag: (its VR as written, or empty, and its bytes).
            order: of the bytes of a number, as in :mod:`struct`.
        """
        notes: list[str] = []
        decode = _charset(found[_CHARSET][1], notes) if _CHARSET in found else _default
        header: dict[str, Value] = {}
        for tag, (vr, raw) in found.items():
            name, known_vr = self.keys[tag]
            if not vr or vr == b"UN" or vr not in _KNOWN:
                vr = known_vr  # noqa: PLW2901 (what the dictionary says is better than nothing)
            value, note = _value(vr, raw, order, decode)
            if value is not None:
                header[name] = value
            if note:
                notes.append(f"{name}: {note}")
        return header, notes


def wanted(names: Iterable[str]) -> Wanted:
    """What to read: what these rules need, and what fwsync always needs.

    Args:
        names: keywords (``EchoTime``) or tags (``(0018,0081)``, ``00180081``).

    Raises:
        UsageError: there is no such keyword.
    """
    keys = {_tag_of(name): (key_of(name), _type_of(name)) for name in (*ALWAYS, *names)}
    signed = ",".join(sorted(named(tag) for tag in keys))
    return Wanted(keys, frozenset(keys), max(keys), zlib.crc32(signed.encode()))


def key_of(name: str) -> str:
    """How an element is called in a header: by its keyword, or else ``(gggg,eeee)``.

    Raises:
        UsageError: there is no such keyword.
    """
    tag = _tag_of(name)
    if tag in _USUAL_TAGS:
        return _USUAL_TAGS[tag]
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag) or named(tag)


def refuse_bare_keywords(key: str, templates: Iterable[str]) -> None:
    """A template that is an element's name, and not in braces, would be every file's label.

    Args:
        key: where the templates stand, for the message.
        templates: such as ``{SeriesNumber} - {SeriesDescription}``.

    Raises:
        UsageError: one is such a name.
    """
    for template in templates:
        if "{" in template:
            continue
        from pydicom.datadict import tag_for_keyword  # slow, and mostly not needed

        if template in TIMES or tag_for_keyword(template) is not None:
            raise UsageError(
                f"{key}: {template!r} would be the label of every file, word for word",
                hint=f"did you mean '{{{template}}}'? braces stand for what a header says",
            )


def _type_of(name: str) -> bytes:
    """The VR of an element, of which one in the standard may have several: the first."""
    if name in USUAL:
        return USUAL[name][1]
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(_tag_of(name)).split()[0].encode()
    except KeyError:
        return b"UN"


def _tag_of(name: str) -> int:
    if name in USUAL:
        return USUAL[name][0]
    from pydicom.datadict import tag_for_keyword

    if match := _TAG.fullmatch(name):
        return int(match[1] + match[2], 16)
    tag = tag_for_keyword(name)
    if tag is None:
        near = difflib.get_close_matches(name, _keywords(), n=1)
        usual = "write it as in the standard, such as EchoTime, or as a tag: (0018,0081)"
        hint = f"did you mean {near[0]}?" if near else usual
        raise UsageError(f"{name!r}: is no DICOM keyword", hint=hint)
    return tag


def _keywords() -> list[str]:
    """All that the standard has."""
    from pydicom.datadict import keyword_dict

    return sorted(keyword_dict)


# --------------------------------------------------------------------------------- one value

#: Text of bytes, and what is odd about it. The second argument: what ends an escape.
_Decode: TypeAlias = "Callable[[bytes, bytes], tuple[str, str]]"


def _value(vr: bytes, raw: bytes, order: str, decode: _Decode) -> tuple[Value | None, str]:
    """One element's value, or None for an empty one, and what is odd about it."""
    if not raw:
        return None, ""
    if vr in _PLAIN_TEXT:
        text, note = _ascii(raw)
        parts: list[Scalar] = [part.strip("\0 ") for part in text.split("\\")]
        if vr in (b"IS", b"DS"):
            parts, note = _counted(vr, parts)
        return _one_or_many(parts), note
    if vr in _NUMBERS:
        return _binary(order + _NUMBERS[vr], raw)
    if vr in _ONE_TEXT:
        text, note = decode(raw, _LIMITS)
        return text.strip("\0 \t\r\n") or None, note
    if vr in _TEXTS:
        text, note = decode(raw, _NAME_LIMITS if vr == b"PN" else _LIMITS)
        parts = [part.strip("\0 ") for part in text.split("\\")]
        if vr == b"PN":
            parts = [_person(str(part)) for part in parts]
        return _one_or_many(parts), note
    if vr == b"AT" and len(raw) % 4 == 0:
        pairs = struct.iter_unpack(f"{order}HH", raw)
        return _one_or_many([named(group << 16 | element) for group, element in pairs]), ""
    return None, f"left out: a value of type {vr.decode('ascii', 'replace')} is no text or number"


def _one_or_many(parts: list[Scalar]) -> Value | None:
    while parts and parts[-1] == "":
        parts.pop()
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else parts


def _counted(vr: bytes, parts: Sequence[Scalar]) -> tuple[list[Scalar], str]:
    """Numbers that are written as text; what is none stays text."""
    numbers: list[Scalar] = []
    odd = ""
    for part in parts:
        try:
            number = float(part)
            if not math.isfinite(number) or "_" in str(part):
                raise ValueError
            whole = vr == b"IS" and number.is_integer()
            numbers.append(int(number) if whole else number)
            wrong = vr == b"IS" and not whole
        except ValueError:
            numbers.append(part)
            wrong = part != ""
        odd = odd or (f"{str(part)[:40]!r} is no {'integer' if vr == b'IS' else 'number'}" * wrong)
    return numbers, odd


def _binary(code: str, raw: bytes) -> tuple[Value | None, str]:
    size = struct.calcsize(code)  # with an order, as the standard has it
    if len(raw) % size:
        return None, f"left out: {len(raw)} bytes are no numbers of {size}"
    numbers = [number for (number,) in struct.iter_unpack(code, raw)]
    if code[-1] in "fd" and not all(math.isfinite(number) for number in numbers):
        return None, "left out: not a finite number"
    return _one_or_many(numbers), ""


def _person(name: str) -> str:
    """``Last^First`` of a name: its first way of writing that is not empty."""
    for written in name.split("="):
        if shown := written.strip("\0 ^"):
            return "^".join(part.strip() for part in shown.split("^"))
    return ""


# -------------------------------------------------------------------------- character sets


def _ascii(raw: bytes) -> tuple[str, str]:
    try:
        return raw.decode("ascii"), ""
    except UnicodeDecodeError:
        return raw.decode("latin-1"), "has bytes that are not ASCII; read as Latin-1"


def _default(raw: bytes, _limits: bytes) -> tuple[str, str]:
    """Text of a file that names no character set, which means ASCII."""
    if raw.isascii():
        return raw.decode("ascii"), ""
    return _rescued(raw, "names no character set")


def _rescued(raw: bytes, what: str) -> tuple[str, str]:
    """Text that is not in its character set: UTF-8 if it can be, else Latin-1, which always can."""
    try:
        return raw.decode("utf-8"), f"{what}; read as UTF-8"
    except UnicodeDecodeError:
        return raw.decode("latin-1"), f"{what}; read as Latin-1"


def _charset(raw: bytes, notes: list[str]) -> _Decode:
    """How to read text under a Specific Character Set."""
    names = tuple(part.strip("\0 ") for part in raw.decode("latin-1").split("\\"))
    codecs, unknown = _codecs(names)
    if unknown:
        notes.append(f"its character set {unknown[:40]!r} is not known")
        return _default

    def decode(raw: bytes, limits: bytes) -> tuple[str, str]:
        if raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii"), ""
        if codecs[0] == _ASCII and b"\x1b" not in raw:
            return _default(raw, limits)
        try:
            return _decode(raw, codecs, limits), ""
        except (UnicodeDecodeError, LookupError):
            return _rescued(raw, f"is not in its character set {names[0] or names[-1]}")

    return decode


@lru_cache(maxsize=64)
def _codecs(names: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Python's codecs of DICOM's character sets, or the first that is not known."""
    from pydicom.charset import python_encoding

    for name in names:
        if name not in python_encoding:
            return (), name
    return tuple(python_encoding[name] for name in names), ""


def _decode(raw: bytes, codecs: tuple[str, ...], limits: bytes) -> str:
    """Text with escape sequences. Source: PS3.5, 6.1.2.5, and pydicom's tables of them."""
    if b"\x1b" not in raw:
        return raw.decode(codecs[0])
    return "".join(_escaped(part, codecs[0], limits) for part in _ESCAPE.split(raw) if part)


def _escaped(part: bytes, first: str, limits: bytes) -> str:
    from pydicom.charset import CODES_TO_ENCODINGS, handled_encodings

    if part[:1] != b"\x1b":
        return part.decode(first)
    length = 4 if part[1:3] in (b"$(", b"$)") else 3
    codec = CODES_TO_ENCODINGS.get(part[:length])
    if codec is None:
        raise LookupError(part[:length])
    if codec in handled_encodings:
        return part.decode(codec)  # the codec needs the escape sequence
    text = part[length:]
    ends = [at for at, byte in enumerate(text) if byte in limits]
    cut = ends[0] if ends else len(text)
    return text[:cut].decode(codec) + text[cut:].decode(first)
