"""DICOM files made by hand, so that they can be wrong in ways that no library writes."""

from __future__ import annotations

import struct
from pathlib import Path

import pydicom

#: The files that pydicom's wheel carries.
SHIPPED = Path(pydicom.__file__).parent / "data"

LONG = {"OB", "OW", "SQ", "UC", "UN", "UT"}
EXPLICIT = "1.2.840.10008.1.2.1"

#: A small but whole data set.
PLAIN = (
    (0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.4"),
    (0x00080018, "UI", "1.2.3.4.5"),
    (0x00080020, "DA", "20240201"),
    (0x00080030, "TM", "102030.5"),
    (0x00080060, "CS", "MR"),
    (0x0008103E, "LO", "T1 mprage"),
    (0x00100010, "PN", "Doe^Jane"),
    (0x00100020, "LO", "p01"),
    (0x0020000D, "UI", "1.2.3"),
    (0x0020000E, "UI", "1.2.3.4"),
    (0x00200011, "IS", "5"),
)


def text(value: str | bytes, vr: str = "LO") -> bytes:
    """A value padded to an even length."""
    raw = value.encode("latin-1") if isinstance(value, str) else value
    return raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)


def element(
    tag: int, vr: str, value: str | bytes, *, order: str = "<", implicit: bool = False
) -> bytes:
    """One element of a known length."""
    raw = text(value, vr)
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return head + struct.pack(f"{order}L", len(raw)) + raw
    if vr in LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(f"{order}L", len(raw)) + raw
    return head + vr.encode() + struct.pack(f"{order}H", len(raw)) + raw


def data_set(
    *changes: tuple[int, str, str | bytes],
    without: tuple[int, ...] = (),
    order: str = "<",
    implicit: bool = False,
) -> bytes:
    """:data:`PLAIN` with other or more elements, in the order of their tags."""
    merged = {tag: (vr, value) for tag, vr, value in (*PLAIN, *changes) if tag not in without}
    return b"".join(
        element(tag, vr, value, order=order, implicit=implicit)
        for tag, (vr, value) in sorted(merged.items())
    )


def part10(
    body: bytes,
    syntax: str | None = EXPLICIT,
    *,
    sop_class: str = "1.2.840.10008.5.1.4.1.1.4",
) -> bytes:
    """A file with preamble and meta information."""
    meta = element(0x00020002, "UI", sop_class)
    if syntax is not None:
        meta += element(0x00020010, "UI", syntax)
    meta = element(0x00020000, "UL", struct.pack("<L", len(meta))) + meta
    return bytes(128) + b"DICM" + meta + body
