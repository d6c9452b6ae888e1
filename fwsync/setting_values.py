"""What single settings are written as: times, sizes, patterns, pairs.

The one rule: a text is understood whole, or it is a ValueError. Who reads the settings says
which one it was, and what was expected.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field

from fwsync.limits import parse_size
from fwsync.mapping.duplicates import codes_of

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True)
class DeleteCap:
    """How much one run may delete: whichever of the two is reached first."""

    count: int | None  #: files; None: any number
    percent: float | None  #: of the files in scope; None: any part


def parse_duration(value: object) -> object:
    """Seconds from a number or from text such as ``90s``, ``5m``, ``1.5h``, ``1h30m``."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if re.fullmatch(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(ms|min|s|m|h|d|w)\s*", text)
    if not parts or "".join(re.split(r"\s+", text)) != "".join(a + b for a, b in parts):
        raise ValueError("not a duration")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def parse_delete_cap(value: object) -> object:
    """``100``, ``50%`` or both, ``100,50%``."""
    if isinstance(value, DeleteCap):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("not a cap")  # noqa: TRY004  # pydantic takes only ValueError
    count: int | None = None
    percent: float | None = None
    for part in str(value).split(","):
        text = part.strip()
        if re.fullmatch(r"\d+", text) and count is None:
            count = int(text)
        elif re.fullmatch(r"\d+(\.\d+)?\s*%", text) and percent is None:
            percent = float(text.rstrip("%"))
        else:
            raise ValueError("not a cap")
    if percent is not None and percent > 100:
        raise ValueError("more than all")
    return DeleteCap(count, percent)


def parse_patterns(value: object) -> object:
    """A list; in the environment, a JSON list or patterns divided by commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def parse_pairs(value: object) -> object:
    """A table; or texts such as ``session=baseline``, in a list or divided by commas."""
    value = parse_patterns(value)
    if not isinstance(value, (list, tuple)):
        return value
    pairs = [str(one).partition("=") for one in value]
    if not all(name and sign for name, sign, _ in pairs):
        raise ValueError("not a table")
    return {name.strip(): text.strip() for name, _, text in pairs}


def check_codes(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if each is a code for something that is double."""
    codes_of(names)
    return names


def no_bool(value: object) -> object:
    """The value, which is no switch: Python's True would pass for a 1."""
    if isinstance(value, bool):
        raise ValueError("not a number")  # noqa: TRY004  # pydantic takes only ValueError
    return value


DURATION = 'seconds, as a number or like "90s", "5m", "1h30m"'
AGE = 'an age, like "90m", "12h", "30d", "2w"'
SIZE = 'bytes, as a number or like "800k", "10M", "1.5GiB"'
TEMPLATES = 'a template such as "{PatientID}", or a list of them'
PATTERNS = "a list of patterns in gitignore syntax"

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    BeforeValidator(no_bool),
    Field(ge=0, allow_inf_nan=False),
]
Size = Annotated[int, BeforeValidator(parse_size), BeforeValidator(no_bool), Field(ge=0)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(parse_patterns)]
