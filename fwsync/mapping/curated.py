"""Where the server's own curation for BIDS has a file: ``info.BIDS`` of files and containers.

Source: flywheel-bids 1.2.34, `export_bids`: a file lies at ``Path``/``Filename``; one without
them is left out, but for project files whose names have ``.json`` or ``.tsv`` in them, which
lie at the top; so is one with ``ignore``, one of a container with it, and what lies in
``sourcedata``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from fwsync.layout import name_of
from fwsync.model import RelPath

#: Why a file has no place.
NOT_CURATED: Final = "not curated for BIDS"
IGNORED: Final = "marked as ignored in BIDS"
SOURCE_DATA: Final = "source data in BIDS"

#: What says of a BIDS tree what it is.
DESCRIPTION: Final = RelPath("dataset_description.json")

#: What may lie at the top of a BIDS tree and is not curated. Source: BIDS 1.11, "Agnostic files".
_AT_TOP = re.compile(
    r"README(\.(md|rst|txt))?|CHANGES|LICENSE|CITATION\.cff|\.bidsignore"
    r"|dataset_description\.json|(participants|samples)\.(tsv|json)"
)


def curation_of(item: Mapping[str, object]) -> Mapping[str, object] | None:
    """What is said of a file or a container; None: it is not curated."""
    info = item.get("info")
    told = info.get("BIDS") if isinstance(info, dict) else None
    return told if isinstance(told, dict) else None


def is_ignored(told: Mapping[str, object] | None) -> bool:
    """Is it left out on purpose?"""
    ignored = (told or {}).get("ignore")
    return ignored.lower() == "true" if isinstance(ignored, str) else bool(ignored)


def place_of(told: Mapping[str, object] | None, name: str) -> tuple[str, str]:
    """Where a file lies, below the root; or an empty text, and why it lies nowhere.

    Args:
        told: of the file.
        name: of the file, on the server.
    """
    if not told:
        return "", NOT_CURATED
    if is_ignored(told):
        return "", IGNORED
    folder, file = told.get("Path") or "", told.get("Filename")
    if not file:
        if ".json" not in name and ".tsv" not in name:
            return "", NOT_CURATED
        folder, file = "", name
    path = f"{folder}/{file}".removeprefix("./").strip("/")
    if path.split("/")[0] == "sourcedata":
        return "", SOURCE_DATA
    if not _is_safe(path):
        return "", f"curated for a place that no file can have: {path!r}"
    return path, ""


def description_of(told: Mapping[str, object] | None) -> bytes | None:
    """The content of :data:`DESCRIPTION`, from what is said of a project; None: too little.

    Only what BIDS has there, whose keys begin with a capital; the rest is for curation.
    Source: BIDS 1.11, "dataset_description.json"; the form is that of flywheel-bids 1.2.34.
    """
    said = {key: value for key, value in (told or {}).items() if key[:1].isupper() and value}
    if not {"Name", "BIDSVersion"} <= said.keys():
        return None
    return json.dumps(said, sort_keys=True, indent=4).encode() + b"\n"


def belongs_at_top(name: str) -> bool:
    """May a file of the project lie at the top of a tree that is curated, and not itself be?"""
    return _AT_TOP.fullmatch(name) is not None


def _is_safe(path: str) -> bool:
    """True if every component stands for itself: nothing leads out, or is ours."""
    if not unicodedata.is_normalized("NFC", path):
        return False
    return all(part and name_of(part) == part for part in path.split("/"))
