"""The metadata of a BIDS tree: what stands in the JSON beside an image, and in its tables.

As the platform's own BIDS uploader does: the JSON becomes the image's ``info`` as well as a
file, and the rows of ``participants.tsv`` and ``sessions.tsv`` go to subjects and sessions.
Source: BIDS 1.10; flywheel-bids 1.2 for what becomes of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from fwsync.metadata.shapes import clean_key
from fwsync.metadata.sidecars import BadSidecar
from fwsync.model import RelPath

PARTICIPANTS = "participants.tsv"
SESSIONS = "sessions.tsv"

#: Endings of images, the longer first. Source: BIDS, and what dcm2niix writes.
IMAGES = (".nii.gz", ".nii")

#: A cell without a value. Source: BIDS.
NOTHING = "n/a"

MAX_TABLE = 16 << 20  #: bytes of a table that is read

#: What BIDS writes, and what the platform does.
_SEX = {
    "m": "male",
    "male": "male",
    "f": "female",
    "female": "female",
    "o": "other",
    "other": "other",
}
_PLAIN = ("species", "strain")  # columns that are fields of a subject by the same name

Row = Mapping[str, str]


def json_of(path: RelPath) -> RelPath | None:
    """Where the JSON of an image would lie; None: this is no image."""
    for ending in IMAGES:
        if path.endswith(ending) and not path.endswith("/" + ending):
            return RelPath(path.removesuffix(ending) + ".json")
    return None


def read_table(text: bytes) -> dict[str, Row]:
    """The rows of a table by the value of their first column, less what is ``n/a``.

    Raises:
        BadSidecar: it is no such table.
    """
    if len(text) > MAX_TABLE:
        raise BadSidecar(f"it has more than {MAX_TABLE} bytes")
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadSidecar("it is not UTF-8") from None
    if not lines:
        return {}
    names = [name.strip() for name in lines[0].split("\t")]
    if len(set(names)) < len(names) or not all(names):
        raise BadSidecar("its first line does not name each column once")
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != len(names):
            raise BadSidecar(f"line {number} has {len(cells)} columns, and not {len(names)}")
        if cells[0] in rows:
            raise BadSidecar(f"line {number} is the second of {cells[0]!r}")
        pairs = zip(names[1:], cells[1:], strict=True)
        rows[cells[0]] = {name: cell for name, cell in pairs if cell not in (NOTHING, "")}
    return rows


def row_of(rows: Mapping[str, Row], entity: str, label: str) -> Row:
    """The row of a label, which may be spelled with its entity (``sub-``) or without."""
    bare = label.removeprefix(f"{entity}-")
    return rows.get(f"{entity}-{bare}") or rows.get(bare) or {}


def subject_fields(row: Row) -> dict[str, object]:
    """What a row of ``participants.tsv`` says of a subject: each column stands in its info."""
    said: dict[str, object] = {"subject.info": _info(row)} if row else {}
    sex = _SEX.get(row.get("sex", "").casefold())
    if sex:
        said["subject.sex"] = sex
    for name in _PLAIN:
        if name in row:
            said[f"subject.{name}"] = row[name]
    return said


def session_fields(row: Row) -> dict[str, object]:
    """What a row of ``sessions.tsv`` says of a session: each column stands in its info.

    ``acq_time`` too: BIDS writes it without a zone, and often shifted on purpose, so it is no
    moment that the platform could be told.
    """
    return {"session.info": _info(row)} if row else {}


def _info(row: Row) -> dict[str, object]:
    return {clean_key(name): _value(text) for name, text in row.items()}


def _value(text: str) -> object:
    """A number where the text is exactly how that number is written; text otherwise."""
    for kind in (int, float):
        try:
            number = kind(text)
        except (ValueError, OverflowError):
            continue
        if str(number) == text:
            return number
    return text
