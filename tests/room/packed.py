"""A series that is one file on the server, by a rule that packs it."""

from __future__ import annotations

from fwsync.mapping.mirror import Mirror
from fwsync.mapping.packs import Packs
from fwsync.mapping.rules import Rule, Rules
from fwsync.model import RelPath
from fwsync.placing import Placement
from tests.room.rooms import LAYOUT

SERIES = {f"s1/ses/T1/{number:03}.dcm": b"slice %d" % number for number in range(5)}
ZIP = RelPath("s1/ses/T1/T1.dicom.zip")

PACKED = Placement(
    Rules(
        [Rule("the layout", Mirror(LAYOUT), packs=Packs({"*.dcm": "dicom"}))],
        group="lab",
        project="aging",
    )
)
