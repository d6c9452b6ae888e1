"""What a site may have, or not, and what can be changed while the sandbox runs.

``GET /sandbox/switches`` shows them, ``PATCH /sandbox/switches`` changes some. They are not kept:
a restart begins with what the command line says.

Source: ``features`` of ``GET /config`` as SDK 23 and CLI 18.5.1 read them; those that are not
published there are the sandbox's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fwsync.errors import UsageError
from fwsync.sandbox.problems import invalid

OWN: Final = frozenset(
    {
        "empty_hashes",
        "device_uploads",
        "info_in_lists",
        "names",
        "page_limit",
        "compat",
        "signed_parts_from",
        "signed_part_size",
    }
)

MAX_LIMIT: Final = 10**9  # entries
MAX_DIGITS: Final = 18


class Switches(BaseModel):
    """The switches; a value, never changed in place."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    signed_url: bool = Field(True, description="uploads go by signed URLs")
    multipart_signed_url: bool = Field(True, description="large ones by several of them")
    multiproject: bool = Field(False, description="storage by project: the CLI tries signed URLs")
    audit_trail: bool = Field(False, description="a deletion needs a delete_reason")
    deid_log: bool = Field(False, description="published only")
    deid_profile: bool = Field(False, description="sites, groups and projects have a profile")
    project_locking: bool = Field(False, description="published only")
    malware_scanning: bool = Field(False, description="published only")
    tags_in_lists: bool = Field(True, description="published only: lists carry tags")
    empty_hashes: bool = Field(False, description="files stored from now on show no hash")
    device_uploads: bool = Field(False, description="/upload/label, uid, reaper: devices only")
    page_limit: int = Field(
        0, ge=0, le=MAX_LIMIT, description="entries of a list at most; 0: no limit"
    )
    info_in_lists: Literal["", "asked", "never"] = Field(
        "", description="lists carry info only where include_all_info asks for it, or never"
    )
    signed_parts_from: int = Field(64 << 20, ge=0, description="bytes: larger ones go in parts")
    signed_part_size: int = Field(16 << 20, ge=1, description="bytes of such a part, about")
    names: Literal["", "refuse", "alter"] = Field(
        "",
        description="labels and file names with characters such as * or : are refused, or altered",
    )
    compat: Literal["", "core-2018"] = Field("", description="behave as this older server")

    def published(self) -> dict[str, bool]:
        """What ``GET /config`` shows under ``features``."""
        return self.model_dump(exclude=set(OWN))

    def changed(self, changes: Mapping[str, Any]) -> Switches:
        """With some of them changed.

        Raises:
            ApiError: 400, there is no such switch, or no such value.
        """
        try:
            return Switches.model_validate(self.model_dump() | dict(changes))
        except ValidationError as error:
            wrong = _wrong(error, ("true", "false"), '{{"{name}": {example}}}')
            raise invalid(f"{wrong}; the switches are {_names()}") from error


def _names() -> str:
    return ", ".join(Switches.model_fields)


def _wrong(error: ValidationError, two: tuple[str, str], form: str) -> str:
    """What is wrong with a change, in words.

    Args:
        two: the two values of most switches.
        form: how a switch is written, with ``{name}`` and ``{example}`` to fill in.
    """
    name = ".".join(str(step) for step in error.errors()[0]["loc"])
    known = Switches.model_fields.get(name)
    if known is None:
        return f"there is no switch {name}" if name else "a switch without a name"
    if name == "compat":
        return "compat is core-2018, or empty"
    if name == "info_in_lists":
        return "info_in_lists is asked, never, or empty"
    if name == "names":
        return "names is refuse, alter, or empty"
    if known.annotation is bool:
        example = form.format(name=name, example=two[1])
        return f"{name} needs {' or '.join(two)}, as {example}"
    least = next(each.ge for each in known.metadata if hasattr(each, "ge"))
    most = next((each.le for each in known.metadata if hasattr(each, "le")), None)
    bounds = f"{least} or more" if most is None else f"{least} to {most}"
    return f"{name} needs a whole number, {bounds}, as " + form.format(name=name, example=100)


def read_switches(texts: Iterable[str]) -> dict[str, bool | int | str]:
    """The switches of a command line, each as :func:`read_switch` takes it.

    Raises:
        UsageError: there is no such switch, or no such value.
    """
    found = dict(read_switch(text) for text in texts)
    try:
        Switches.model_validate(found)
    except ValidationError as error:
        wrong = _wrong(error, ("on", "off"), "{name}={example}")
        raise UsageError(f"--switch: {wrong}", hint=f"the switches are {_names()}") from error
    return found


def read_switch(text: str) -> tuple[str, bool | int | str]:
    """``NAME=VALUE`` as the command line has it; ``NAME`` alone switches on.

    ``on``, ``off``, ``true`` and ``false`` are booleans, digits a number.
    """
    name, equals, value = text.partition("=")
    name, value = name.strip().replace("-", "_"), value.strip()
    if not equals:
        return name, True
    if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        return name, int(value)
    words: dict[str, bool] = {"on": True, "true": True, "off": False, "false": False}
    return name, words.get(value.lower(), value)
