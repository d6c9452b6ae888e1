"""A rule with ``scan = "dicom"``: labels from a file's header, packed by series.

What the path says stands above what the header says: with ``layout = "{subject}/**"`` the
folder names the subject, and the header the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

from fwsync.layout import Unmappable
from fwsync.mapping.fields import FILE_NAME, LABEL_FIELDS
from fwsync.mapping.forms import Form, Miss, Pack, Reading
from fwsync.mapping.placing import FieldValue, Header, Scanner
from fwsync.model import Address, Level, Stamp


class Scan:
    """Labels from headers.

    Args:
        scanner: reads labels from a header.
        folders: what the path says besides; None: nothing.
        kind: of the packs: "dicom".
    """

    two_way = False
    reads_headers = True

    def __init__(self, scanner: Scanner, folders: Form | None = None, kind: str = "dicom") -> None:
        self._scanner = scanner
        self._folders = folders
        self._kind = kind
        by_path = folders.levels if folders is not None else frozenset()
        routed = {Level.GROUP, Level.PROJECT} if scanner.routes else set()
        self.levels = by_path | routed | {Level.SUBJECT, Level.SESSION, Level.ACQUISITION}

    def wants_header(self, path: str, stamp: Stamp | None) -> bool:
        """True, unless the path does not fit."""
        return self._folders is None or isinstance(self._folders.read(path, None, stamp), Reading)

    def read(self, path: str, header: Header | None, stamp: Stamp | None) -> Reading | Miss:
        """See :class:`fwsync.mapping.forms.Form`."""
        values: dict[str, FieldValue] = {}
        saw: list[str] = []
        if self._folders is not None:
            by_path = self._folders.read(path, header, stamp)
            if isinstance(by_path, Miss):
                return by_path
            values.update(by_path.values)
            saw += [by_path.saw] if by_path.saw else []
        if header is None:
            hint = "give a rule for it, or leave it out with --exclude"
            return Miss(f"it has no header of {self._kind} that can be read", hint)
        found = self._scanner.find(header)
        if isinstance(found, Unmappable):
            return Miss(found.reason, found.hint, len(saw), final=True)
        by_header = {LABEL_FIELDS[Level(level)]: label for level, label in found.labels.items()}
        values = {**found.fields, **by_header, **values}
        named = found.fields.get(FILE_NAME)  # a series may be more than one pack
        own_name = path.rpartition("/")[2]
        why = f"packed as {self._kind} by its header"
        pack = Pack(str(named or ""), found.member or own_name, self._kind, why)
        saw.append(found.saw)
        return Reading(values, ", ".join(saw), own_name, own_name, pack=pack, kind=self._kind)

    def made_of(self, level: Level) -> str:
        """The elements that would name a level, in words; empty: none would."""
        templates: tuple[str, ...] = getattr(self._scanner, level.value, ())
        return " or ".join(one.strip("{}") if one.count("{") == 1 else one for one in templates)

    def pack_kind(self, address: Address) -> str:
        """Empty: what a pack is called is in its members' headers."""
        return ""

    def write(self, labels: Mapping[Level, str], level: Level, rest: str) -> str | None:
        """None: headers are read, not written."""
        return None
