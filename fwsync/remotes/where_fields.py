"""The fields that a file's record has, for a filter that asks for another: refused beforehand.

A server finds no file by a field that none has, and says nothing: that is a slip of the keys.
Source: flywheel-sdk 23 (FileOutput and its relatives), core19; core18 for ``measurements`` and
``instrument``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from fwsync.errors import UsageError
from fwsync.spelling import did_you_mean

_LEVELS: Final = ("group", "project", "subject", "session", "acquisition", "analysis")

#: Those with a number; sizes are in bytes.
_NUMBERS: Final = frozenset({"size", "version", "zip_member_count", "revision"})

#: Those with a time.
_TIMES: Final = frozenset({"created", "modified", "replaced", "deleted"})

_OTHERS: Final = (
    "_id", "file_id", "name", "type", "mimetype", "modality", "classification", "tags", "info",
    "info_exists", "hash", "client_hash", "origin", "parent_ref", "parents", "provider_id",
    "path", "reference", "restored_from", "restored_by", "copy_of", "original_copy_of",
    "deid_log_id", "deid_log_skip_reason", "gear_info", "file_group", "cvat", "measurements",
    "instrument", "notes", "permissions", "reader_tasks", "future_tasks", "job_id", "id",
    "metadata", "fields",
)  # fmt: skip

FIELDS: Final = (*_OTHERS, *sorted(_NUMBERS | _TIMES), *_LEVELS)

#: What lies below a field, where that is known.
_BELOW: Final = {"parents": _LEVELS, "parent_ref": ("type", "id")}

_UNIT: Final = re.compile(r"[\d.]+\s*[kKmMgGtT]i?[bB]?")


def check_key(key: str) -> None:
    """See that a file has such a field.

    Args:
        key: dotted, as it was written.

    Raises:
        UsageError: no file has it.
    """
    first, _, rest = key.partition(".")
    if first not in FIELDS:
        raise UsageError(
            f"no file has a field {first!r}",
            hint=_hint(first, FIELDS, "fields of your own are below info, such as info.EchoTime"),
        )
    below = _BELOW.get(first)
    if below is not None and rest and rest.partition(".")[0] not in below:
        raise UsageError(
            f"{key!r}: {first} has no {rest!r}",
            hint=_hint(rest, below, f"it has {first}.{below[0]}"),
        )


def check_value(key: str, text: str, *, is_number: bool, is_time: bool) -> None:
    """See that a value is of the kind that its field has.

    Args:
        key: dotted.
        text: the value.
        is_number: whether it can be read as a number.
        is_time: whether it can be read as a day or a time.

    Raises:
        UsageError: no file can have it.
    """
    if key in _NUMBERS and not is_number:
        hint = "such as 1000000, without quotation marks"
        if _UNIT.fullmatch(text):
            hint = "give the number of bytes, such as 1000000 for a megabyte"
        raise UsageError(f"{key} is compared with {text!r}; expected a number", hint=hint)
    if key in _TIMES and not is_time:
        raise UsageError(
            f"{key} is compared with {text!r}; expected a day or a time",
            hint="such as 2026-03-01 or 2026-03-01T12:00",
        )


def _hint(word: str, there: Sequence[str], otherwise: str) -> str:
    asked = did_you_mean(word, there)
    return f"{asked} {otherwise}" if asked.endswith("?") else otherwise
