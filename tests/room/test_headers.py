"""Headers of DICOM files: pydicom's own, and some that nobody should have written."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

from fwsync import elements
from fwsync.elements import Source
from fwsync.errors import UsageError
from fwsync.headers import Kind, Reading, pack, reading_of, unpack
from fwsync.layout import Unmappable
from fwsync.mapping.dicom import Dicom
from fwsync.mapping.placing import Found
from fwsync.values import ALWAYS, USUAL, Wanted, key_of, wanted
from tests.room.dicoms import SHIPPED, data_set, element, part10

NAMES = (
    *("Modality", "ImageType", "StudyDate", "StudyTime", "SeriesDate", "SeriesTime"),
    *("AcquisitionDate", "AcquisitionTime", "TimezoneOffsetFromUTC", "StudyDescription"),
    *("SeriesDescription", "SeriesNumber", "PatientID", "PatientName", "PatientBirthDate"),
    *("PatientSex", "PatientAge", "PatientWeight", "StudyID", "ProtocolName", "OperatorsName"),
    *("Manufacturer", "StationName", "NumberOfFrames", "Rows", "EchoTime", "BitsAllocated"),
)
WANTED = wanted(NAMES)


def read(data: bytes, wanted: Wanted = WANTED) -> Reading:
    return reading_of(Source.of(data), wanted)


def shipped(name: str) -> Reading:
    return read(next(SHIPPED.rglob(name)).read_bytes())


# ---------------------------------------------------------------------- the same as pydicom


def by_pydicom(data: bytes) -> dict[str, Any]:
    """What pydicom reads, in our types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)
        values = {name: _plain(found.get(name)) for name in NAMES}
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def _plain(value: Any) -> Any:
    if isinstance(value, MultiValue):
        parts = [_plain(part) for part in value]
        while parts and parts[-1] == "":
            parts.pop()
        return parts[0] if len(parts) == 1 else parts
    if isinstance(value, PersonName):
        written = (value.alphabetic, value.ideographic, value.phonetic)
        return next((one.strip("^ ") for one in written if one.strip("^ ")), "")
    if value is None or isinstance(value, int):
        return value if value is None else int(value)
    return float(value) if isinstance(value, float) else str(value).strip("\0 ")


DICOMS = [
    path
    for path in sorted(SHIPPED.rglob("*"))
    if path.is_file() and read(path.read_bytes()).kind is Kind.DICOM
]


@pytest.mark.parametrize("path", DICOMS, ids=lambda path: path.name)
def test_every_file_that_pydicom_ships_says_what_pydicom_reads(path: Path) -> None:
    data = path.read_bytes()

    reading = read(data)

    assert by_pydicom(data) == {
        name: value for name, value in reading.header.items() if name in NAMES
    }


def test_almost_all_files_that_pydicom_ships_are_read_and_the_others_are_known() -> None:
    others = {
        path.name
        for path in SHIPPED.rglob("*")
        if path.is_file() and path not in DICOMS and path.suffix not in {".py", ".pyc"}
    }

    assert len(DICOMS) > 180
    assert {name for name in others if name.endswith(".dcm")} == {
        "DICOMDIR-empty.dcm",
        "no_meta.dcm",  # its first byte is missing
    }


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("chrArab.dcm", "قباني^لنزار"),
        ("chrFren.dcm", "Buc^Jérôme"),
        ("chrGreek.dcm", "Διονυσιος"),
        ("chrH31.dcm", "Yamada^Tarou"),
        ("chrH32.dcm", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("chrI2.dcm", "Hong^Gildong"),
        ("chrRuss.dcm", "Люкceмбypг"),
        ("chrX1.dcm", "Wang^XiaoDong"),
        ("chrX2.dcm", "Wang^XiaoDong"),
    ],
)
def test_names_are_read_in_their_character_set(name: str, patient: str) -> None:
    assert shipped(name).header["PatientName"] == patient


RULES = Dicom()


def test_every_file_that_pydicom_ships_is_placed_or_the_reason_is_given() -> None:
    needed = wanted(RULES.keywords)

    refused = {
        path.name: got.reason
        for path in DICOMS
        if isinstance(got := RULES.find(read(path.read_bytes(), needed).header), Unmappable)
    }

    assert len(refused) < len(DICOMS) / 4
    assert refused["empty_charset_LEI.dcm"] == (
        "its header has no StudyInstanceUID and no SeriesInstanceUID"
    )


def test_files_of_a_medium_are_packed_by_their_series_and_not_by_their_folders() -> None:
    folder = SHIPPED / "test_files" / "dicomdirtests" / "98892003"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    needed = wanted(RULES.keywords)
    places = [RULES.find(read(path.read_bytes(), needed).header) for path in files]
    by_label = Counter(tuple(place.labels.values()) for place in places if isinstance(place, Found))
    by_series = Counter(str(pydicom.dcmread(path).SeriesInstanceUID) for path in files)

    assert sorted(by_label.values()) == sorted(by_series.values()) == [1, 1, 1, 1, 3, 3, 7]
    assert len({labels[:2] for labels in by_label}) == 3


# ----------------------------------------------------------------------------- what is odd


def test_a_file_without_preamble_is_read_and_said_to_be_so() -> None:
    reading = read(data_set())

    assert reading.kind is Kind.DICOM
    assert reading.header["PatientID"] == "p01"
    assert reading.notes == ("it has no preamble",)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_file_without_preamble_may_be_written_either_way_round(order: str) -> None:
    body = data_set((0x00280010, "US", struct.pack(f"{order}H", 300)), order=order)

    assert read(body).header["Rows"] == 300


def test_an_implicit_file_without_preamble_is_read() -> None:
    assert read(data_set(implicit=True)).header["SeriesDescription"] == "T1 mprage"


@pytest.mark.parametrize(
    "name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-empty.dcm"]
)
def test_a_dicomdir_is_an_ordinary_file_and_said_to_be_one(name: str) -> None:
    reading = shipped(name)

    assert reading == Reading(Kind.OTHER, {}, "it is a DICOMDIR, the index of a medium")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"\0", "it is not DICOM"),
        (b"not a header, whatever its name says\n" * 10, "it is not DICOM"),
        (bytes(352), "it is not DICOM"),
        (struct.pack("<i", 348) + bytes(344), "it is not DICOM"),  # NIfTI
        (b"\x1f\x8b\x08\x00" + bytes(200), "it is not DICOM"),  # gzip
        (b"\x08\x00" * 200, "it is not DICOM"),
        (b"\x08\x00\x05\x00CS\x0a\x00", "it is not DICOM"),
        (element(0x00080060, "CS", "MR") + element(0x00080070, "LO", "no uid"), "it is not DICOM"),
    ],
)
def test_what_is_no_dicom_is_an_ordinary_file(data: bytes, why: str) -> None:
    assert read(data) == Reading(Kind.OTHER, {}, why)


def test_the_first_elements_of_a_file_without_preamble_ascend() -> None:
    one, other = element(0x00080016, "UI", "1.2"), element(0x00080018, "UI", "1.2")

    assert elements.begins(one + other, 24) == 0
    assert elements.begins(other + one, 24) is None


def test_a_file_without_preamble_that_is_cut_off_is_broken() -> None:
    assert read(data_set()[:-3]).kind is Kind.BROKEN


def test_deflated_data_is_inflated_as_far_as_it_is_needed() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = data_set((0x7FE00010, "OW", bytes(64 * 1024 * 1024)))
    data = part10(packer.compress(body) + packer.flush(), elements.DEFLATED)

    reading = read(data)

    assert reading.header["PatientID"] == "p01"
    assert reading.notes == (f"only the first {elements.MAX_INFLATED} inflated bytes were read",)


def test_what_only_says_that_it_is_deflated_is_broken() -> None:
    reading = read(part10(data_set(), elements.DEFLATED))

    assert reading.kind is Kind.BROKEN
    assert "cannot be inflated" in reading.why


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.999", "1.3.46.670589.33.1.4.1", None])
def test_an_unknown_transfer_syntax_is_read_as_explicit_little_endian(syntax: str | None) -> None:
    assert read(part10(data_set(), syntax)).header["PatientID"] == "p01"


def test_ge_s_private_transfer_syntax_is_implicit() -> None:
    assert read(part10(data_set(implicit=True), "1.2.840.113619.5.2")).notes == ()


@pytest.mark.parametrize("implicit", [True, False])
def test_a_file_that_is_not_written_as_it_says_is_read_as_it_is(implicit: bool) -> None:
    said = elements.EXPLICIT if implicit else elements.IMPLICIT

    reading = read(part10(data_set(implicit=implicit), said))

    assert reading.header["PatientID"] == "p01"
    assert len(reading.notes) == 1


def test_numbers_of_a_big_endian_file_are_read_from_the_right_end() -> None:
    body = data_set((0x00280010, "US", struct.pack(">H", 258)), order=">")

    assert read(part10(body, elements.BIG_ENDIAN)).header["Rows"] == 258


@pytest.mark.parametrize(
    ("name", "modality"), [("rtstruct.dcm", "RTSTRUCT"), ("reportsi.dcm", "SR")]
)
def test_files_without_pixels_are_read_like_all_others(name: str, modality: str) -> None:
    assert shipped(name).header["Modality"] == modality


def test_many_frames_are_one_file() -> None:
    assert shipped("rtdose.dcm").header["NumberOfFrames"] == 15


def test_a_header_that_is_cut_off_is_broken_and_never_half_a_header() -> None:
    body = data_set()
    meta = part10(b"")

    kinds = {at: read(meta + body[:at]).kind for at in range(len(body) + 1)}

    between = _boundaries(body)
    assert {at for at, kind in kinds.items() if kind is Kind.DICOM} == between
    assert {at for at, kind in kinds.items() if kind is Kind.BROKEN} == kinds.keys() - between


def _boundaries(body: bytes) -> set[int]:
    ends, at = {0}, 0
    while at < len(body):
        at += 8 + struct.unpack_from("<H", body, at + 6)[0]
        ends.add(at)
    return ends


def test_pixels_that_are_cut_off_are_not_noticed_here() -> None:
    assert shipped("MR_truncated.dcm").kind is Kind.DICOM


def test_garbage_after_the_meta_information_is_broken() -> None:
    reading = read(part10(b"\x08\x00\x18\x00UI\xff\xff" + b"garbage"))

    assert reading.kind is Kind.BROKEN
    assert "(0008,0018)" in reading.why


def test_values_that_are_not_what_their_type_says_stay_text_and_are_noted() -> None:
    weird = ((0x00101030, "DS", "heavy"), (0x00200011, "IS", "5b"), (0x00180081, "DS", "nan"))

    reading = read(part10(data_set(*weird)))

    assert reading.header["PatientWeight"] == "heavy"
    assert reading.header["SeriesNumber"] == "5b"
    assert reading.header["EchoTime"] == "nan"
    assert reading.notes == (
        "PatientWeight: 'heavy' is no number",
        "EchoTime: 'nan' is no number",
        "SeriesNumber: '5b' is no integer",
    )


@pytest.mark.parametrize(
    ("raw", "number", "noted"),
    [("5", 5, 0), (" 5.0", 5, 0), ("5.5", 5.5, 1), ("1_0", "1_0", 1), ("-3\\+4", [-3, 4], 0)],
)
def test_integers_are_integers_even_if_they_are_written_oddly(
    raw: str, number: object, noted: int
) -> None:
    reading = read(part10(data_set((0x00200011, "IS", raw))))

    assert reading.header["SeriesNumber"] == number
    assert len(reading.notes) == noted


def test_dates_and_times_are_given_as_they_stand() -> None:
    odd = ((0x00080020, "DA", "2024-13-45"), (0x00080030, "TM", "99"))

    header = read(part10(data_set(*odd))).header

    assert (header["StudyDate"], header["StudyTime"]) == ("2024-13-45", "99")


def test_blanks_and_nuls_around_a_value_are_not_of_it() -> None:
    body = data_set((0x00100020, "LO", " p01\0"), (0x00080008, "CS", "ORIGINAL \\ AXIAL\\\\"))

    header = read(part10(body)).header

    assert header["PatientID"] == "p01"
    assert header["ImageType"] == ["ORIGINAL", "AXIAL"]


@pytest.mark.parametrize("value", ["", "  ", "\0", "\\\\"])
def test_what_is_empty_is_not_in_the_header(value: str) -> None:
    assert "PatientID" not in read(part10(data_set((0x00100020, "LO", value)))).header


@pytest.mark.parametrize(
    ("charset", "raw", "patient", "noted"),
    [
        ("ISO_IR 192", "王^小东".encode(), "王^小东", ""),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东", ""),
        ("GBK", "王^小东".encode("gbk"), "王^小东", ""),
        ("\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田^太郎", ""),
        ("\\ISO 2022 IR 149", b"Hong^\x1b$)C\xb1\xe6\xb5\xbf", "Hong^길동", ""),
        ("ISO 2022 IR 100\\ISO 2022 IR 126", b"\x1b-F\xe1^J\xe9", "α^Jé", ""),
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg", ""),
        ("", "Müller^Jörg".encode(), "Müller^Jörg", "read as UTF-8"),
        ("", "Müller^Jörg".encode("latin-1"), "Müller^Jörg", "read as Latin-1"),
        ("ISO_IR 192", "Müller^Jörg".encode("latin-1"), "Müller^Jörg", "read as Latin-1"),
        ("ISO_IR 999", "Müller^Jörg".encode(), "Müller^Jörg", "ISO_IR 999"),
        ("\\ISO 2022 IR 87", b"\x1b$Z\x80\x81", "\x1b$Z\x80\x81", "read as Latin-1"),
    ],
)
def test_no_byte_of_a_name_is_lost_whatever_its_character_set(
    charset: str, raw: bytes, patient: str, noted: str
) -> None:
    reading = read(part10(data_set((0x00080005, "CS", charset), (0x00100010, "PN", raw))))

    assert reading.header["PatientName"] == patient
    assert noted in " ".join(reading.notes)
    assert bool(noted) == bool(reading.notes)


def test_names_that_differ_stay_apart_in_a_wrong_character_set() -> None:
    names = {
        read(
            part10(data_set((0x00080005, "CS", "ISO_IR 192"), (0x00100020, "LO", b"p\xe9" + last)))
        ).header["PatientID"]
        for last in (b"\xe8", b"\xe9", b"\xc3")
    }

    assert len(names) == 3


def test_an_element_of_unknown_type_is_read_by_the_dictionary() -> None:
    body = data_set((0x00100020, "UN", "p01"), (0x00200011, "UN", "7"))

    header = read(part10(body)).header

    assert (header["PatientID"], header["SeriesNumber"]) == ("p01", 7)


def test_tags_are_read_by_their_number_too_and_private_ones_by_nothing_else() -> None:
    named = wanted(["(0018,0081)", "00191010"])
    body = data_set((0x00180081, "DS", "2.5"), (0x00191010, "LO", "private"))

    header = read(part10(body), named).header

    assert header["EchoTime"] == 2.5
    assert header["(0019,1010)"] == "private"
    assert key_of("00180081") == "EchoTime"


def test_a_keyword_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="EchoTimme"):
        wanted(["EchoTimme"])


def test_sequences_of_unknown_length_are_stepped_over() -> None:
    item, item_end, end = (struct.pack("<HHL", 0xFFFE, *rest) for rest in (
        (0xE000, 0xFFFFFFFF), (0xE00D, 0), (0xE0DD, 0),
    ))  # fmt: skip
    inner = element(0x00100020, "LO", "somebody else")
    nested = struct.pack("<HH2sHL", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF)
    sequence = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    sequence += item + nested + item + inner + item_end + end + inner + item_end + end
    body = data_set()
    at = body.index(b"\x10\x00\x10\x00")

    header = read(part10(body[:at] + sequence + body[at:])).header

    assert header["PatientID"] == "p01"


def test_what_is_unknown_and_of_unknown_length_is_implicit_within() -> None:
    item, end = (struct.pack("<HHL", 0xFFFE, *rest) for rest in ((0xE000, 2**32 - 1), (0xE0DD, 0)))
    item_end = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    # The length of this one, read as a type, would be "LO".
    inner = element(0x00091001, "LO", "x" * 0x4F4C, implicit=True)
    unknown = struct.pack("<HH2sHL", 9, 0x1000, b"UN", 0, 2**32 - 1) + item + inner + item_end + end
    body = data_set()
    at = body.index(b"\x10\x00\x10\x00")

    assert read(part10(body[:at] + unknown + body[at:])).header["PatientID"] == "p01"


def test_a_header_without_end_is_broken() -> None:
    many = element(0x00080008, "CS", "") * (elements.MAX_ELEMENTS + 1)

    reading = read(part10(many + data_set()))

    assert (reading.kind, str(elements.MAX_ELEMENTS) in reading.why) == (Kind.BROKEN, True)


def test_sequences_without_an_end_are_broken() -> None:
    deep = struct.pack("<HHL", 0x0008, 0x1140, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )

    for data in (deep * 1000, deep):
        assert read(part10(data, elements.IMPLICIT)).kind is Kind.BROKEN


@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_at_all_make_the_reader_stumble(data: bytes, preamble: bool) -> None:
    reading = read(part10(data) if preamble else data)

    assert reading.kind in Kind
    assert unpack(pack(reading, WANTED), WANTED) == reading


@given(st.data())
def test_no_change_of_a_byte_makes_the_reader_stumble(data: st.DataObject) -> None:
    whole = bytearray(part10(data_set()))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(128, len(whole) - 1))] = data.draw(st.integers(0, 255))

    assert read(bytes(whole)).kind in Kind


# -------------------------------------------------------------------------- little is read


class Meter:
    """A file that counts what is read of it."""

    def __init__(self, size: int, parts: dict[int, bytes]) -> None:
        self.size, self.parts = size, parts
        self.reads: list[tuple[int, int]] = []

    def read(self, at: int, count: int) -> bytes:
        self.reads.append((at, count))
        data = bytearray(max(0, min(count, self.size - at)))
        for start, part in self.parts.items():
            low, high = max(at, start), min(at + len(data), start + len(part))
            if low < high:
                data[low - at : high - at] = part[low - start : high - start]
        return bytes(data)


def test_what_is_no_dicom_costs_132_bytes() -> None:
    meter = Meter(1 << 30, {0: struct.pack("<i", 348)})

    reading_of(Source(meter.read, meter.size), WANTED)

    assert meter.reads == [(0, 132)]


def test_a_private_element_of_a_gigabyte_is_stepped_over() -> None:
    huge = 1 << 30
    body = data_set()
    at = body.index(b"\x10\x00\x10\x00")
    first = part10(body[:at]) + struct.pack("<HH2sHL", 9, 0x1001, b"OB", 0, huge)
    meter = Meter(len(first) + huge + len(body) - at, {0: first, len(first) + huge: body[at:]})

    reading = reading_of(Source(meter.read, meter.size), WANTED)

    assert reading.header["PatientID"] == "p01"
    assert sum(count for _, count in meter.reads) < 4 * elements.WINDOW


def test_a_value_that_is_far_too_long_is_left_out_and_said_to_be() -> None:
    reading = read(part10(data_set((0x00104000, "UT", "x" * 100_000))), wanted(["PatientComments"]))

    assert "PatientComments" not in reading.header
    assert reading.notes == ("(0010,4000) is left out: it holds 100000 bytes",)


def test_what_is_known_without_the_dictionary_is_what_it_says() -> None:
    said = {
        keyword: (tag_for_keyword(keyword), dictionary_VR(tag).split()[0].encode())
        for keyword, (tag, _) in USUAL.items()
    }

    assert said == dict(USUAL)
    assert {*ALWAYS, *Dicom().keywords} <= USUAL.keys()
