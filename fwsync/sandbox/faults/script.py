"""What a fault script can say: rules, each of them a match and an action.

Its one rule: whatever comes in, a rule that can be played comes out, or a :class:`UsageError`
that names the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http import HTTPMethod
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from fwsync.errors import UsageError

MAX_RULES: Final = 1000
DAY_S: Final = 86_400.0
YEAR_S: Final = 365 * DAY_S
HINT: Final = "docs/guides/bad-network.md lists what a rule can say"
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
#: Headers that say where a message ends; an answer without the right ones would be another fault.
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection"})

_METHODS: Final = ("*", *HTTPMethod)

#: Members that stand in the archive beside the ones that were asked for …
ForeignKind = Literal[
    "dotdot",
    "absolute",
    "backslash",
    "drive",
    "control",
    "pax",
    "unasked",
    "symlink",
    "through",
    "hardlink",
    "device",
    "fifo",
    "sparse",
    "setuid",
    "unknown",
    "endless",
    "huge",
    "many",
]
#: … and what can be wrong with one of those.
OwnKind = Literal["duplicate", "oversized", "shortened", "renamed", "missing"]
OWN: Final[tuple[str, ...]] = get_args(OwnKind)


def _several(value: Any) -> Any:
    """One thing stands for a list of one."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _plain(value: Any) -> Any:
    return tuple(map(_kind, _several(value)))


def _kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Counts = Annotated[tuple[Count, ...], BeforeValidator(_several), Field(min_length=1)]
Place = Annotated[int, Field(ge=0)]  # of a byte, counted from 0


class _Noun(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Hits(_Noun):
    """Which of the requests that match; all that are given must hold."""

    nth: Counts | None = Field(None, description="the n-th one, or several numbers")
    every: Count = Field(1, description="every k-th")
    first: Count | None = Field(None, description="the first n")
    start: Count = Field(1, alias="from", description="from the n-th on")
    each_path: bool = Field(False, description="counted for each path of its own")

    def hold(self, number: int) -> bool:
        """Whether the ``number``-th request, counted from 1, is meant."""
        return (
            (self.nth is None or number in self.nth)
            and number % self.every == 0
            and (self.first is None or number <= self.first)
            and number >= self.start
        )


class Match(_Noun):
    """Which requests a rule is for."""

    method: Texts = Field(("*",), description="`GET`, a list of methods, or `*`")
    path: Texts = Field(("**",), description="pattern of the path below `/api`, or a list")
    query: dict[str, str | None] = Field(
        default_factory=dict, description="patterns of parameters; null: must not be there"
    )
    caller: Texts | None = Field(
        None, description="`user`, `device` or `unknown`, or a pattern of their id"
    )
    hits: Hits = Field(Hits(), description="which of them, by number")
    probability: float = Field(1.0, ge=0, le=1, description="how often it fires")
    seed: int = Field(0, description="of the dice; the same seed gives the same throws")
    times: Count | None = Field(None, description="how often it fires at most")

    @field_validator("method")
    @classmethod
    def _is_method(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        for method in methods:
            if method not in _METHODS:
                raise ValueError(f"{method!r} is none of {', '.join(_METHODS)}")
        return methods

    def accepts(self, asked: Asked) -> bool:
        """Whether a request is meant, its number aside."""
        return (
            any(each in ("*", asked.method) for each in self.method)
            and any(path_matches(each, asked.path) for each in self.path)
            and all(_parameter(asked, name, pattern) for name, pattern in self.query.items())
            and (
                self.caller is None
                or any(fnmatchcase(who, each) for each in self.caller for who in asked.caller)
            )
        )


class Added(_Noun):
    """A member that should not be in an archive, or not as it is."""

    kind: Literal[ForeignKind, OwnKind]
    at: Count = Field(1, description="before the n-th member, or the n-th member itself")
    name: str | None = Field(None, min_length=1, max_length=4096, pattern=r"^[^\x00]*$")
    size: int | None = Field(None, ge=0, lt=1 << 62, description="bytes; of `many`: members")


class Action(_Noun):
    """What happens. Things that are given together happen together."""

    delay_s: float = Field(0.0, ge=0, le=DAY_S, description="wait so many seconds first")
    when: Literal["before", "after"] = Field(
        "before", description="status, html, reset: the request is not carried out, or it is"
    )
    status: int | None = Field(None, ge=200, le=599, description="answer this status")
    headers: dict[str, str | None] = Field(
        default_factory=dict, description="headers of the answer; null takes one away"
    )
    body: JsonValue = Field(None, description="of that answer: text, or anything else as JSON")
    html: bool | str = Field(False, description="answer a page, as captive portals do")
    reset: bool = Field(False, description="reset the connection; no answer")
    cut_at: Place | None = Field(None, description="the body of the answer ends at this byte")
    cut_upload_at: Place | None = Field(None, description="so does that of the request")
    cut_with: Literal["close", "reset", "end"] = Field(
        "close", description="the end: closed; reset; or as if there were no more"
    )
    flip_at: Place | None = Field(None, description="all bits of this byte are turned over")
    stall_at: Place | None = Field(None, description="the body stops at this byte")
    stall_s: float | None = Field(None, gt=0, le=DAY_S, description="for so many seconds")
    bandwidth: Count | None = Field(
        None, description="bytes a second, each way, shared by all requests of this rule"
    )
    no_range: bool = Field(False, description="a Range is not seen: all of the file is sent")
    lag_s: float = Field(0.0, ge=0, le=YEAR_S, description="read the site as it was then")
    drop_member: Annotated[tuple[Count, ...], BeforeValidator(_several)] = Field(
        (), description="of an archive: leave the n-th member out"
    )
    add_member: Annotated[tuple[Added, ...], BeforeValidator(_plain)] = Field(
        (), description="of an archive: a member that should not be there"
    )
    archive_end: Literal["missing", "truncated", "junk"] | None = Field(
        None, description="what is wrong after the last member"
    )

    @property
    def instead(self) -> bool:
        """Whether the answer is not the one that the request would get."""
        return self.reset or self.status is not None or self.html is not False

    @property
    def spoils_answer(self) -> bool:
        """Whether the head or the body of the answer is not sent as it is."""
        places = (self.cut_at, self.flip_at, self.stall_at, self.bandwidth)
        late = self.when == "after" and self.delay_s and not self.instead
        return bool(self.headers or late) or any(each is not None for each in places)

    @property
    def spoils_upload(self) -> bool:
        """Whether the body of the request is not read as it comes."""
        return self.cut_upload_at is not None or self.bandwidth is not None

    @property
    def spoils_archive(self) -> bool:
        """Whether an archive is not what it should be."""
        return bool(self.drop_member or self.add_member or self.archive_end)

    @field_validator("headers")
    @classmethod
    def _headers(cls, headers: dict[str, str | None]) -> dict[str, str | None]:
        for name, value in headers.items():
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a header")
            if name.lower() in _FRAMING:
                raise ValueError(f"{name} belongs to the connection; use cut_at or reset")
            if value is not None and _CONTROL.search(value):
                raise ValueError(f"{name} has a control character in it")
        return headers

    @field_validator("body", "html")
    @classmethod
    def _is_text(cls, value: JsonValue) -> JsonValue:
        if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
            raise ValueError("is no text")
        return value

    @model_validator(mode="after")
    def _together(self) -> Action:
        told = self.model_fields_set
        if not told - {"when", "cut_with"}:
            raise ValueError("nothing would happen")
        if self.reset and (self.status is not None or self.html is not False):
            raise ValueError("reset gives no answer, so there is no status and no html")
        if self.body is not None and (self.status is None or self.html is not False):
            raise ValueError("body goes with status, and not with html")
        if "cut_with" in told and self.cut_at is None and self.cut_upload_at is None:
            raise ValueError("cut_with needs cut_at or cut_upload_at")
        if (self.stall_at is None) != (self.stall_s is None):
            raise ValueError("stall_at and stall_s go together")
        if self.when == "after" and not (self.instead or self.delay_s):
            raise ValueError("when goes with status, html, reset or delay_s")
        return self


class Rule(_Noun):
    """One line of the script."""

    id: str = Field("", pattern=r"^[A-Za-z0-9_.-]{0,64}$", description="drawn when not given")
    match: Match = Field(Match(), description="which requests; all when not given")
    action: Action = Field(description="what happens")


#: What is wrong with a value, by the kind of error, in words of the script.
_WRONG: Final = {
    "missing": "is missing",
    "model_type": "a table of keys is needed",
    "dict_type": "a table of keys is needed",
    "int_type": "a whole number is needed",
    "float_type": "a number is needed",
    "finite_number": "a number is needed",
    "bool_type": "true or false is needed",
    "string_type": "a text is needed",
    "string_pattern_mismatch": "has characters in it that it cannot have, or is too long",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
}


class Unplayable(UsageError):
    """One rule cannot be played.

    Args:
        what: the key, and what is wrong with it.
        number: of the rule, from 0.
        key: the last name in the key's path; empty: the rule as a whole.
    """

    def __init__(self, what: str, number: int, key: str) -> None:
        super().__init__(f"rules[{number}]{what}", hint=HINT)
        self.number = number
        self.key = key


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as rules look at it.

    Args:
        path: decoded, but for ``%2F``, and without ``/api``.
        caller: the kind of the caller, and the id if there is one.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    caller: tuple[str, ...] = ("unknown",)


def path_matches(pattern: str, path: str) -> bool:
    """Whether a path is meant: ``*`` is anything in one step, ``**`` any number of steps.

    Only the last ``**`` is ever tried again, so the time grows with the product of the lengths at
    worst, whatever the pattern.
    """
    steps, wanted = path.strip("/").split("/"), pattern.strip("/").split("/")
    at = here = 0
    star, kept = -1, 0
    while here < len(steps):
        if at < len(wanted) and wanted[at] == "**":
            star, kept = at, here
            at += 1
        elif at < len(wanted) and fnmatchcase(steps[here], wanted[at]):
            at, here = at + 1, here + 1
        elif star >= 0:
            kept += 1
            at, here = star + 1, kept
        else:
            return False
    return all(each == "**" for each in wanted[at:])


def _parameter(asked: Asked, name: str, pattern: str | None) -> bool:
    value = asked.query.get(name)
    if value is None or pattern is None:
        return value is None and pattern is None
    return fnmatchcase(value, pattern)


def parse_rules(told: Any) -> tuple[Rule, ...]:
    """Rules from what JSON or TOML hold: one rule, a list, or ``{"rules": [...]}``.

    Raises:
        UsageError: one cannot be played; the message names the rule and the key.
    """
    listed = told
    if isinstance(told, Mapping) and not set(told) & set(Rule.model_fields):
        if others := [key for key in told if key != "rules"]:
            raise UsageError(f"{others[0]}: there is no such key; a script has rules", hint=HINT)
        listed = told.get("rules", ())
    if isinstance(listed, (Mapping, Rule)):
        listed = [listed]
    if not isinstance(listed, Sequence) or isinstance(listed, (str, bytes, bytearray)):
        raise UsageError("a script is a list of rules", hint=HINT)
    if len(listed) > MAX_RULES:
        raise UsageError(f"a script has at most {MAX_RULES} rules", hint=HINT)
    rules = tuple(_rule(one, number) for number, one in enumerate(listed))
    names = [rule.id for rule in rules if rule.id]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two rules have the id {twice[0]!r}", hint=HINT)
    return rules


def _rule(told: Any, number: int) -> Rule:
    if isinstance(told, Rule):
        return told
    try:
        return Rule.model_validate(dict(told) if isinstance(told, Mapping) else told)
    except (ValidationError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise Unplayable(": is nested too deeply", number, "") from error
        errors = error.errors(include_url=False)
        # A key that is spelled wrongly is often missing as well: the spelling says more.
        first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
        names = [str(step) for step in first["loc"] if not isinstance(step, int)]
        raise Unplayable(_what(first), number, names[-1] if names else "") from error


def _what(first: ErrorDetails) -> str:
    key = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    if key == ".id" and first["type"].startswith("string_pattern"):
        return f"{key}: letters, digits and _ . - are allowed, 64 at most"
    if first["type"] == "extra_forbidden":
        return f"{key}: there is no such key"
    if first["type"] in _WRONG:
        return f"{key}: {_WRONG[first['type']].format_map(first.get('ctx', {}))}"
    return f"{key}: {first['msg'].removeprefix('Value error, ')}"
