"""From a DICOM header to a place: labels, uids, times, and what is known of the file.

The one rule: a label is made of the header's own text or not at all. Templates are tried
in order, and the first whose every part is in the header counts. So the same header gives
the same place on every machine, on every day.

Labels as CLI 18.5.1 gives them, observed: subject ``PatientID``; session the study's date
and time, else its uid; acquisition ``SeriesNumber - SeriesDescription``, and for a missing
description the time of the series, else its uid; packs are called like the acquisition,
and the localizers of a CT are a pack of their own. What it takes from whichever file it
happens to see first is taken here in a way that does not depend on the order
(:mod:`fwsync.mapping.series`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from fwsync.errors import UsageError
from fwsync.layout import Unmappable
from fwsync.mapping.moments import read_moment
from fwsync.mapping.placing import FieldValue, Found, Header, HeaderValue
from fwsync.mapping.routing import Route, route
from fwsync.model import Level

#: Alternatives for each label, the first that can be filled.
SUBJECT = ("{PatientID}",)
SESSION = ("{study_time}", "{StudyInstanceUID}")
ACQUISITION = (
    "{SeriesNumber} - {SeriesDescription}",
    "{SeriesDescription}",
    "{SeriesNumber} - {series_time}",
    "{series_time}",
    "{SeriesNumber} - {SeriesInstanceUID}",
    "{SeriesInstanceUID}",
)

#: What a template may hold besides keywords: ``2024-02-01 10:20:30``.
TIMES = {
    "study_time": ("StudyDate", "StudyTime"),
    "series_time": ("SeriesDate", "SeriesTime"),
}

DEVICE = (
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "StationName",
    "InstitutionName",
    "SoftwareVersions",
)
_FACTS = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Modality", "ImageType"),
    *("StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate"),
    *("AcquisitionTime", "AcquisitionDateTime", "TimezoneOffsetFromUTC", "Manufacturer"),
    *("PatientBirthDate", "PatientAge", "PatientSex", "PatientWeight"),
)
_PEOPLE = ("PatientName", "OperatorsName")
_ACQUIRED = ("AcquisitionDate", "AcquisitionTime")
_MOMENTS = (*_ACQUIRED, "AcquisitionDateTime")

_HOLE = re.compile(r"\{([^{}]*)\}")
_KEYWORD = re.compile(r"[A-Z][A-Za-z0-9]*|\([0-9a-f]{4},[0-9a-f]{4}\)")

# The days of an age's units. Source: fw-file 4.2.4, observed; the platform's ages are made so.
_DAYS = {"Y": 365.25, "M": 30.0, "W": 7.0, "D": 1.0}
_AGE = re.compile(r"(\d{1,3}) ?([YMWDymwd]?)")
_SEX = {"M": "male", "F": "female", "O": "other"}  # what the platform knows; others are left out
_OFFSET = re.compile(r"([+-]?)(0\d|1[0-4])([0-5]\d)")


@dataclass(slots=True)
class _Last:
    """The last header, without what is a slice's own, and what it gave: most are alike."""

    of: tuple[Header, Found | Unmappable] | None = None  #: replaced as a whole, never changed


@dataclass(frozen=True)
class Dicom:
    """The rules for DICOM files; a :class:`fwsync.mapping.placing.Scanner`.

    Elements are named as a header names them; :func:`fwsync.values.key_of` turns what a
    user may write, such as ``(0018,0081)``, into that.

    Raises:
        UsageError: a template is none, or a name cannot be an element's.
    """

    subject: tuple[str, ...] = SUBJECT
    session: tuple[str, ...] = SESSION
    acquisition: tuple[str, ...] = ACQUISITION
    routing: str = ""  #: the keyword whose text names group and project; empty: none does
    unrouted: Route | None = None  #: of files whose text names none; None: they stay
    info: tuple[str, ...] = ()  #: keywords, or ``(gggg,eeee)``, that go into the file's info
    device: bool = False  #: the scanner's make, model, number and place, too
    people: bool = False  #: names of the patient and of who operated
    uid_names: bool = True  #: members of a pack are called by their SOPInstanceUID

    def __post_init__(self) -> None:
        for name in (*self.info, *filter(None, [self.routing])):
            if not _KEYWORD.fullmatch(name):
                raise UsageError(
                    f"{name!r}: is no DICOM keyword and no tag",
                    hint="write it as in the standard, such as EchoTime, or as (0019,1010)",
                )
        for template in (*self.subject, *self.session, *self.acquisition):
            for hole in _HOLE.findall(template):
                if hole not in TIMES and not _KEYWORD.fullmatch(hole):
                    raise UsageError(
                        f"template {template!r}: {{{hole}}} is no DICOM keyword",
                        hint=f"write it as in the standard, or one of {', '.join(TIMES)}",
                    )

    @property
    def routes(self) -> bool:
        """See :class:`fwsync.mapping.placing.Scanner`."""
        return bool(self.routing)

    @cached_property
    def keywords(self) -> tuple[str, ...]:
        """What has to be read of a header for these rules; sorted, each once."""
        templates = " ".join((*self.subject, *self.session, *self.acquisition))
        holes = [name for hole in _HOLE.findall(templates) for name in TIMES.get(hole, (hole,))]
        more = [*self.info, *(DEVICE if self.device else ()), *(_PEOPLE if self.people else ())]
        return tuple(sorted({*holes, *_FACTS, *more, *filter(None, [self.routing])}))

    @cached_property
    def _own(self) -> frozenset[str]:
        """What each slice may have of its own, as far as no label is made of it."""
        holes = _HOLE.findall(" ".join((*self.subject, *self.session, *self.acquisition)))
        return frozenset({"SOPInstanceUID", *_MOMENTS}) - {*holes, *self.info, self.routing}

    @cached_property
    def _last(self) -> _Last:
        return _Last()

    def find(self, header: Header) -> Found | Unmappable:
        """Where a file goes, by its header.

        Returns:
            The labels that can be made of it; for the others a rule or a path may speak.
            Unmappable: it has no uids, or no routing where one is asked for.
        """
        alike = {name: value for name, value in header.items() if name not in self._own}
        last = self._last.of
        if last is None or last[0] != alike:
            last = self._last.of = alike, self._of_series(alike)
        found = last[1]
        if isinstance(found, Unmappable):
            return found
        fields = dict(found.fields)
        if moment := acquisition_time(header):
            fields["acquisition.timestamp"] = moment
        odd = "".join(f"; {note}" for note in _odd_moment(header, *_ACQUIRED))
        return Found(found.labels, found.saw + odd, self._member(header), fields)

    def _of_series(self, header: Header) -> Found | Unmappable:
        """What the slices of a series have in common."""
        missing = [
            name for name in ("StudyInstanceUID", "SeriesInstanceUID") if not header.get(name)
        ]
        if missing:
            return Unmappable(
                f"its header has no {' and no '.join(missing)}",
                "give such files a rule by their path",
            )
        target, source, astray = self._target(header), self.routing, ""
        if isinstance(target, Unmappable):
            if self.unrouted is None:
                return target
            source, astray = "unrouted", f"; {target.reason}"
            target = self.unrouted
        elif self.routing:  # its text is an address, and no patient's
            header = {name: value for name, value in header.items() if name != self.routing}
        labels: dict[str, str] = {}
        saw: list[str] = []
        for level, given, templates in (
            (Level.GROUP, target.group, ()),
            (Level.PROJECT, target.project, ()),
            (Level.SUBJECT, target.subject, self.subject),
            (Level.SESSION, target.session, self.session),
            (Level.ACQUISITION, "", self.acquisition),
        ):
            label, origin = (given, source) if given else _first(templates, header)
            if label:
                labels[level] = label
                saw.append(f"{level} {label!r} from {origin}")
            elif templates:
                saw.append(f"no {level}, for want of {' or '.join(templates)}")
        fields = dict(self._fields(header, labels.get(Level.ACQUISITION, "")))
        odd = [f"; {note}" for note in _odd_times(header)]
        return Found(labels, ", ".join(saw) + astray + "".join(odd), fields=fields)

    def _target(self, header: Header) -> Route | Unmappable:
        if not self.routing:
            return Route()
        text = text_of(header.get(self.routing))
        if not text:
            return Unmappable(
                f"its header has no {self.routing}, which should name group and project",
                "type it in at the scanner's console as group/project",
            )
        return route(text, self.routing)

    def _member(self, header: Header) -> str:
        uid = text_of(header.get("SOPInstanceUID"))
        # A name that leads nowhere: uids are digits and dots, whatever a broken header says.
        clean = re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z._-]{0,200}", uid)
        return f"{uid}.dcm" if self.uid_names and clean else ""

    def _fields(self, header: Header, acquisition: str) -> Iterator[tuple[str, FieldValue]]:
        """What is known of the file and its containers, by canonical name; nothing empty."""
        modality = text_of(header.get("Modality"))
        facts: dict[str, FieldValue | None] = {
            "subject.sex": _SEX.get(text_of(header.get("PatientSex")).upper()),
            "session.uid": text_of(header.get("StudyInstanceUID")),
            "session.timestamp": study_time(header),
            "session.age": age_s(header),
            "session.weight": _weight(header.get("PatientWeight")),
            "acquisition.uid": text_of(header.get("SeriesInstanceUID")),
            "acquisition.timestamp": acquisition_time(header),
            "file.type": "dicom",
            "file.modality": modality,
            "file.name": pack_name(acquisition, localizer=is_localizer(header))
            if acquisition
            else None,
        }
        if self.people:
            last, _, first = text_of(header.get("PatientName")).partition("^")
            facts["subject.lastname"] = last.strip()
            facts["subject.firstname"] = first.split("^")[0].strip()
            facts["session.operator"] = text_of(header.get("OperatorsName"), ", ").replace("^", " ")
        for name in (*self.info, *(DEVICE if self.device else ())):
            facts[f"file.info.{info_key(name)}"] = header.get(name)
        for name, fact in facts.items():
            if fact is not None and fact != "":
                yield name, fact


# --------------------------------------------------------------------------------- labels


def _first(templates: tuple[str, ...], header: Header) -> tuple[str, str]:
    """The first template that can be filled, filled, and the template itself."""
    for template in templates:
        # Odd pieces are the names between braces; the others stand between them.
        pieces = [
            _hole(piece, header) if at % 2 else piece
            for at, piece in enumerate(_HOLE.split(template))
        ]
        if all(pieces[1::2]):
            return "".join(pieces).strip(), template
    return "", ""


def _hole(name: str, header: Header) -> str:
    if name not in TIMES:
        return text_of(header.get(name))
    moment = _joined(header, *TIMES[name])
    return moment.replace("T", " ")[:19] if moment else ""


def text_of(value: HeaderValue | None, joint: str = "_") -> str:
    """A value as a piece of a label; several are joined. Source: CLI 18.5.1, observed."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str | int):
        return str(value)
    return joint.join(text_of(part) for part in value)


def is_localizer(header: Header) -> bool:
    """True for a CT's scout images, which are packed apart. Source: CLI 18.5.1, observed."""
    return (
        text_of(header.get("Modality")) == "CT"
        and "LOCALIZER" in text_of(header.get("ImageType"), "\\").upper()
    )


def pack_name(acquisition: str, *, localizer: bool = False) -> str:
    """What a series' zip is called. A slash would end the name on some servers; it is `_`."""
    clean = re.sub(r"[/\x00-\x1f\x7f]", "_", acquisition)
    return f"{clean}{'_localizer' if localizer else ''}.dicom.zip"


def info_key(name: str) -> str:
    """A key of ``info`` as the platform stores it. Source: core18, observed."""
    return name.replace("$", "-").replace(".", "_")


# ---------------------------------------------------------------------------------- times


def study_time(header: Header) -> str | None:
    """When the study began, as ISO 8601; None if its header does not say.

    With the offset of TimezoneOffsetFromUTC, or without one: then whoever sends it adds
    the zone of the site (:func:`fwsync.zones.zoned`).
    """
    return _joined(header, "StudyDate", "StudyTime")


def acquisition_time(header: Header) -> str | None:
    """When the file was acquired, as :func:`study_time`.

    Siemens: the time of the series; others: of the acquisition; each the other way round
    if that is missing. Source: CLI 18.5.1, observed.
    """
    series = _joined(header, "SeriesDate", "SeriesTime")
    if series and text_of(header.get("Manufacturer")).upper().startswith("SIEMENS"):
        return series
    moment = text_of(header.get("AcquisitionDateTime"))
    return (
        _moment(moment, header) or _joined(header, "AcquisitionDate", "AcquisitionTime") or series
    )


def _joined(header: Header, date: str, time: str) -> str | None:
    day, clock = text_of(header.get(date)), text_of(header.get(time))
    return _moment(f"{day}T{clock.ljust(4, '0')}", header) if day and clock else None


def _moment(text: str, header: Header) -> str | None:
    moment = read_moment(text) if text else None
    if moment is None or "T" not in moment:
        return None
    has_offset = re.search(r"(Z|[+-]\d\d:\d\d)$", moment) is not None
    return moment if has_offset else moment + _offset(header)


def _offset(header: Header) -> str:
    """``+01:00``, or empty if the header has none or one that cannot be."""
    text = text_of(header.get("TimezoneOffsetFromUTC")).split("_")[0]
    match = _OFFSET.fullmatch(text)
    return f"{match[1] or '+'}{match[2]}:{match[3]}" if match else ""


def _odd_moment(header: Header, date: str, time: str) -> Iterator[str]:
    if header.get(date) and header.get(time) and _joined(header, date, time) is None:
        values = " ".join(text_of(header.get(name)) for name in (date, time))
        yield f"{date} and {time} are no moment: {values!r}"


def _odd_times(header: Header) -> Iterator[str]:
    """What is wrong with the dates and times of a series."""
    for date, time in TIMES.values():
        yield from _odd_moment(header, date, time)
    if header.get("TimezoneOffsetFromUTC") and not _offset(header):
        yield f"TimezoneOffsetFromUTC is no offset: {text_of(header['TimezoneOffsetFromUTC'])!r}"


# --------------------------------------------------------------------------------- people


def age_s(header: Header) -> int | None:
    """The patient's age at the study in seconds, from PatientAge or the dates; None: not known."""
    match = _AGE.fullmatch(text_of(header.get("PatientAge")))
    if match and int(match[1]):  # a console that was not told writes 000Y
        return int(int(match[1]) * _DAYS[match[2].upper() or "Y"] * 86_400)
    born, seen = (_day_number(header.get(name)) for name in ("PatientBirthDate", "StudyDate"))
    if born is None or seen is None or seen < born:
        return None
    return (seen - born) * 86_400


def _day_number(value: HeaderValue | None) -> int | None:
    """Days from some day to a date; None if it is none."""
    moment = read_moment(text_of(value))
    if moment is None:
        return None
    year, month, day = (int(part) for part in moment[:10].split("-"))
    # March is the first month, so that the leap day is the last of its year.
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    return year * 365 + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day


def _weight(value: HeaderValue | None) -> float | None:
    """Kilograms; zero is a console's way to say nothing."""
    return float(value) if isinstance(value, int | float) and 0 < value < 1000 else None


def uids(header: Mapping[str, HeaderValue]) -> tuple[str, str, str]:
    """Study, series and SOP instance uid; empty where there is none."""
    study, series, image = (
        text_of(header.get(f"{name}InstanceUID")) for name in ("Study", "Series", "SOP")
    )
    return study, series, image
