"""The Brain Imaging Data Structure: ``sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz``.

Labels are those that the platform's own uploader gives, so that its curation and export
find them: subject ``sub-01``, session ``ses-1`` (``ses-`` where there is none), and an
acquisition in ReproIn's words, ``anat-T1w_acq-fast``. The file's name stays, so every
path can be told from its place. Source: flywheel-bids 1.2.34, `upload_bids`, observed; it
keeps ``_sub-01`` in a label that has no other part and knows five folders of data, and
neither is followed.

A recording that is a folder (``…_meg.ds/``) is a pack of that name. Other folders of the
top (``code``, ``derivatives``, …) are packed to the project where the settings name them,
as that uploader does; otherwise they are reported.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from fwsync.layout import label_of
from fwsync.mapping.fields import LABEL_FIELDS
from fwsync.mapping.forms import Miss, Pack, PathOnly, Reading, join, misspelled
from fwsync.mapping.placing import FieldValue, Header
from fwsync.model import Address, Level, Stamp

#: What the folders with data are called. Source: BIDS 1.11, "Data types".
DATATYPES = frozenset(
    {
        "anat",
        "beh",
        "dwi",
        "eeg",
        "emg",
        "fmap",
        "func",
        "ieeg",
        "meg",
        "micr",
        "motion",
        "mrs",
        "nirs",
        "perf",
        "pet",
    }
)

#: The session of a subject that has none. Source: flywheel-bids 1.2.34.
NO_SESSION = "ses-"

_SUBJECT = re.compile(r"sub-[0-9A-Za-z+]+")
_SESSION = re.compile(r"ses-[0-9A-Za-z+]+")
_ENTITY = re.compile(r"[a-z]+-[0-9A-Za-z+]+")
_SUFFIX = re.compile(r"[0-9A-Za-z]+")
_DATATYPE = re.compile(r"[a-z]+")
_ARCHIVE = "archive"

# By datatype: what a label begins with, and the suffixes that it does not repeat.
_LABELS = {"dwi": ("dwi", ("dwi",)), "perf": ("perf-asl", ("asl",))}
_IN_FUNC = {"sbref": "sbref", "physio": "PhysioLog"}


class Bids(PathOnly):
    """A BIDS tree, from the folder with ``dataset_description.json`` on.

    Args:
        extra: folders of the top to pack to the project; ``*`` is all of them.
    """

    two_way = True

    def __init__(self, extra: Collection[str] = ()) -> None:
        self._extra = frozenset(extra)
        self.levels = frozenset({Level.SUBJECT, Level.SESSION, Level.ACQUISITION})

    def read(self, path: str, header: Header | None, stamp: Stamp | None) -> Reading | Miss:
        """See :class:`fwsync.mapping.forms.Form`."""
        subject, _, rest = path.partition("/")
        if not rest:
            return self._of_project(subject)
        if not _SUBJECT.fullmatch(subject):
            return self._extra_folder(subject, rest)
        session, _, below = rest.partition("/")
        if below and session.startswith("ses-"):
            if not _SESSION.fullmatch(session):
                return Miss(f"folder 2 {session!r} is no session", "ses- and letters or digits", 1)
            return _below_session(subject, session, below)
        return _below_session(subject, "", rest)

    def write(self, labels: Mapping[Level, str], level: Level, rest: str) -> str | None:
        """See :class:`fwsync.mapping.forms.Form`."""
        session = labels.get(Level.SESSION, "")
        if session == NO_SESSION:
            session = ""
            if level is Level.SESSION:
                return None
        datatype = _DATATYPE.match(labels.get(Level.ACQUISITION, ""))
        return join(labels.get(Level.SUBJECT, ""), session, datatype[0] if datatype else "", rest)

    def pack_kind(self, address: Address) -> str:
        """See :class:`fwsync.mapping.forms.Form`."""
        stem = address.name.removesuffix(".zip")
        if stem == address.name:
            return ""
        if address.level is Level.PROJECT:
            return _ARCHIVE if self._packs(stem) else ""
        # A folder of data has a name with an ending: `_meg.ds`, `_ieeg.mefd`.
        return _ARCHIVE if address.level is Level.ACQUISITION and "." in stem else ""

    def _packs(self, folder: str) -> bool:
        return folder in self._extra or "*" in self._extra

    def _of_project(self, text: str) -> Reading | Miss:
        name = label_of(text)
        if name is None:
            return misspelled(text)
        return Reading({}, "it lies at the top", text, name, Level.PROJECT)

    def _extra_folder(self, folder: str, rest: str) -> Reading | Miss:
        if not self._packs(folder):
            return Miss(
                f"folder 1 {folder!r} is no subject of BIDS",
                f'bids_extra = ["{folder}"] packs it to the project as {folder}.zip',
            )
        if label_of(folder) is None:
            return misspelled(folder)
        pack = Pack(f"{folder}.zip", rest, _ARCHIVE, "packed by bids_extra")
        return Reading({}, f"folder {folder!r} of the top", rest, None, Level.PROJECT, pack)


def _below_session(subject: str, session: str, rest: str) -> Reading | Miss:
    """A file of a subject, a session or an acquisition; ``session`` may be empty."""
    values: dict[str, FieldValue] = {LABEL_FIELDS[Level.SUBJECT]: subject}
    saw = f"subject {subject!r} from folder 1"
    if session:
        values[LABEL_FIELDS[Level.SESSION]] = session
        saw += f", session {session!r} from folder 2"
    datatype, _, below = rest.partition("/")
    if not below:
        parts = _parts(rest, subject, session)
        if isinstance(parts, Miss):
            return parts
        return Reading(values, saw, rest, rest, Level.SESSION if session else Level.SUBJECT)
    if datatype not in DATATYPES:
        return Miss(
            f"{datatype!r} is no folder of data in BIDS",
            f"known: {', '.join(sorted(DATATYPES))}",
            1,
        )
    if not session:
        values[LABEL_FIELDS[Level.SESSION]] = NO_SESSION
        saw += f", session {NO_SESSION!r} because there is none"
    return _data(values, saw, (subject, session, datatype), below)


def _data(
    values: dict[str, FieldValue], saw: str, folders: tuple[str, str, str], rest: str
) -> Reading | Miss:
    """A file of an acquisition, or in a recording that is a folder."""
    subject, session, datatype = folders
    name, _, member = rest.partition("/")
    parts = _parts(name, subject, session)
    if isinstance(parts, Miss):
        return parts
    label = _label(datatype, *parts)
    values[LABEL_FIELDS[Level.ACQUISITION]] = label
    saw += f", acquisition {label!r} from the name"
    if not member:
        return Reading(values, saw, rest, name, Level.ACQUISITION)
    pack = Pack(f"{name}.zip", member, _ARCHIVE, f"packed with its folder {name!r}")
    return Reading(values, saw, rest, None, Level.ACQUISITION, pack)


def _parts(name: str, subject: str, session: str) -> tuple[list[str], str] | Miss:
    """The entities of a name, without subject and session, and its suffix."""
    *entities, suffix = name.partition(".")[0].split("_")
    wanted = [one for one in (subject, session) if one]
    if entities[: len(wanted)] != wanted:
        return Miss(
            f"its name does not begin with {'_'.join(wanted)!r}, as its folders do",
            "rename it, or move it",
            len(wanted),
        )
    rest = entities[len(wanted) :]
    odd = [one for one in rest if not _ENTITY.fullmatch(one) or one.startswith(("sub-", "ses-"))]
    if odd or not _SUFFIX.fullmatch(suffix):
        part = odd[0] if odd else suffix
        return Miss(f"{part!r} in its name is no part of a BIDS name", "key-value or a suffix", 2)
    return rest, suffix


def _label(datatype: str, entities: list[str], suffix: str) -> str:
    """The acquisition: what is measured, then the entities. See the source above."""
    kept = [one for one in entities if not one.startswith("recording-")]
    if datatype in ("anat", "fmap"):
        return "_".join([f"{datatype}-{suffix}", *kept])
    if datatype == "func":
        tail = _IN_FUNC.get(suffix.lower())
        return "_".join(["func-bold", *kept, *([tail] if tail else [])])
    head, unsaid = _LABELS.get(datatype, (datatype, (suffix,)))
    tail = "PhysioLog" if datatype == "perf" and suffix == "physio" else suffix
    if datatype == "dwi" and suffix != "sbref":
        tail = "dwi"  # bval, bvec and what else belongs to the image
    return "_".join([head, *kept, *([] if tail in unsaid else [tail])])
