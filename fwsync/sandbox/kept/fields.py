"""The fields of each kind of container: which there are, and what may stand in them.

Its one rule: what is kept has the type that clients expect to read, and a time is kept as UTC.

Source: the input and output models of SDK 23; times and their offsets from core18.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from datetime import date
from typing import Any, Final

from fwsync.sandbox.kept import metadata, moments
from fwsync.sandbox.problems import invalid, refuse_others

Json = dict[str, Any]
Reader = Callable[[str, Any], Any]

_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)", re.ASCII | re.I
)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _wrong(name: str, what: str) -> Exception:
    return invalid(f"{name} has the wrong type: it is {what}")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise invalid(f"{name} must be valid Unicode") from error
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "a number")
    number: float = metadata.clean_keys(value)
    return number


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "true or false")
    return value


def _object(name: str, value: Any) -> Json:
    if not isinstance(value, dict):
        raise _wrong(name, "an object")
    metadata.clean_keys(value)  # for its depth alone: what is kept can be read again
    return value


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(name, "a list")
    metadata.clean_keys(value)
    return value


def _time(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise _wrong(name, "a date-time with an offset, such as 2026-01-02T03:04:05+00:00")
    return moments.utc(value)


def _day(name: str, value: Any) -> str:
    text = _text(name, value)
    try:
        date.fromisoformat(text[:10])
    except ValueError as error:
        raise _wrong(name, "a date") from error
    if not _DATE.fullmatch(text) and not _TIME.fullmatch(text):
        raise _wrong(name, "a date")
    return text[:10]


def _info(name: str, value: Any) -> Json:
    cleaned: Json = metadata.clean_keys(_object(name, value))
    return cleaned


def _tags(_: str, value: Any) -> list[str]:
    return metadata.tags(value)


def _one_of(*words: str) -> Reader:
    def read(name: str, value: Any) -> str:
        if value not in words:
            raise invalid(f"{name} must be one of {', '.join(words)}")
        return str(value)

    return read


def _any(_: str, value: Any) -> Any:
    return value


_EVERY: Final[dict[str, Reader]] = {
    "label": _any,  # has rules of its own
    "info": _info,
    "tags": _tags,
    "timezone": _text,  # an IANA name
    "copyable": _flag,
    "origin": _object,
}
_OF_KIND: Final[dict[str, dict[str, Reader]]] = {
    "group": {
        "editions": _object,
        "providers": _object,
        "settings": _object,
        "permissions_template": _list,
        "roles": _list,
    },
    "project": {
        "description": _text,
        "providers": _object,
        "editions": _object,
        "templates": _list,
        "settings": _object,
        "group_info": _object,
    },
    "subject": {
        "code": _any,  # the older twin of label
        "master_code": _text,
        "firstname": _text,
        "lastname": _text,
        "sex": _text,
        "age": _number,  # seconds
        "date_of_birth": _day,
        "cohort": _one_of("Control", "Study"),
        "type": _text,
        "race": _text,
        "ethnicity": _text,
        "species": _text,
        "strain": _text,
        "state": _one_of("In utero", "Alive", "Dead"),
        "mlset": _one_of("Training", "Testing", "Validation"),
    },
    "session": {
        "uid": _text,
        "timestamp": _time,
        "age": _number,  # seconds
        "weight": _number,
        "operator": _text,
        "project_has_template": _flag,
    },
    "acquisition": {"uid": _text, "timestamp": _time, "metadata": _object},
    "analysis": {
        "description": _text,
        "compute_provider_id": _text,
        "gear_info": _object,
        "timestamp": _time,
    },
    "collection": {"description": _text},
}


#: What null leaves in the fields that are never null.
EMPTY: Final[Json] = {"info": {}, "tags": []}


def read(kind: str, body: Json, *, allowed: Set[str]) -> Json:
    """The fields of a body as they are kept; null empties a field.

    Args:
        allowed: names that have rules elsewhere, passed through.

    Raises:
        ApiError: 400, a field is unknown or has the wrong type.
    """
    readers = _EVERY | _OF_KIND[kind]
    refuse_others(body, readers.keys() | allowed)
    return {
        name: EMPTY.get(name) if value is None else readers.get(name, _any)(name, value)
        for name, value in body.items()
    }
