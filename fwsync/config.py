"""Settings: a file, the environment and the command line, each overriding the one before.

One rule: this is the only room that reads settings, and the only one that knows of the
process's environment. A setting that cannot be used is an error that says which one, where it came
from, what it was and what was expected.

The file is ``fwsync.toml``: the one named by ``--config`` or ``FWSYNC_CONFIG``, else the
first of ``./fwsync.toml``, ``$XDG_CONFIG_HOME/fwsync/fwsync.toml`` (``~/.config`` where it is
not set) and ``/etc/fwsync/fwsync.toml``. Files are not merged. Relative paths in it are
relative to its folder. ``settle`` and ``settle_s``, ``max-delete`` and ``max_delete`` are the
same key.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from fwsync.errors import UsageError
from fwsync.model import ConflictPolicy

FILE_NAME = "fwsync.toml"
PREFIX = "FWSYNC_"
#: Variables with our prefix that are not settings.
OTHER_VARIABLES = frozenset({"FWSYNC_API_KEY", "FWSYNC_CONFIG"})
#: Variables that begin so belong to the tests and are nobody's typing error.
TEST_PREFIX = "FWSYNC_TEST_"

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


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
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(ms|min|s|m|h|d)\s*", text)
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


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("not a number")  # noqa: TRY004  # pydantic takes only ValueError
    return value


_DURATION = 'seconds, as a number or like "90s", "5m", "1h30m"'
_PATTERNS = "a list of patterns in gitignore syntax"

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    BeforeValidator(_no_bool),
    Field(ge=0, allow_inf_nan=False),
]
Patterns = Annotated[tuple[str, ...], BeforeValidator(parse_patterns)]


class Arguments(dict[str, object]):
    """Flags that a program gave: arguments of a function, and no flags to whoever wrote it."""


class Profile(BaseModel):
    """A tree and the project it belongs to, by a name: ``[profiles.aging]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path = Field(description="a folder")
    project: str = Field(description="group/project", min_length=1)


class Settings(BaseSettings):
    """Everything that can be set. The descriptions say what is expected, in errors too."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=PREFIX)

    api_key_file: Path | None = Field(None, description="a file that holds an API key")
    project: str | None = Field(None, description="group/project", min_length=1)
    layout: str | None = Field(None, description="a layout template", min_length=1)
    settle_s: Duration = Field(30.0, description=_DURATION)
    patience_s: Duration | None = Field(None, description=_DURATION)  # None: the command's own
    transfers: Annotated[int, BeforeValidator(_no_bool)] | None = Field(
        None, description="a number from 1 to 64", ge=1, le=64
    )  # None: adaptive
    conflict: ConflictPolicy = Field(
        ConflictPolicy.KEEP_BOTH, description="one of " + ", ".join(ConflictPolicy)
    )
    create_project: bool = Field(False, description="true or false")
    delete_up: bool = Field(False, description="true or false")
    delete_down: bool = Field(False, description="true or false")
    max_delete: Annotated[DeleteCap, BeforeValidator(parse_delete_cap)] = Field(
        DeleteCap(100, 50.0), description='a number, a percentage, or both: "100", "50%", "100,50%"'
    )
    include: Patterns = Field((), description=_PATTERNS)
    exclude: Patterns = Field((), description=_PATTERNS)
    filter_from: Path | None = Field(
        None, description="a file of patterns in gitignore syntax, to leave out what matches"
    )
    delete_reason: str = Field("", description="a reason that sites with an audit trail ask for")
    state: Path | None = Field(None, description="a path for the state file")
    max_age_s: Duration | None = Field(None, description=_DURATION)  # None: hold without limit
    rescan_s: Duration = Field(600.0, description=_DURATION)
    poll_s: Duration = Field(60.0, description=_DURATION)
    profiles: dict[str, Profile] = Field(
        default_factory=dict, description="tables with root and project"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed: the process's environment is read by nobody unasked."""
        return (init_settings,)

    def profile(self, name: str) -> Profile:
        """The profile of that name.

        Raises:
            UsageError: there is none.
        """
        if name in self.profiles:
            return self.profiles[name]
        raise UsageError(f"there is no profile {name!r}", hint=_nearest(name, self.profiles))

    def profile_of(self, root: Path) -> Profile | None:
        """The profile whose tree this is, or None."""
        here = root.resolve()
        return next((one for one in self.profiles.values() if one.root.resolve() == here), None)


class _Source(PydanticBaseSettingsSource):
    """Values already read, under the names of the fields."""

    def __init__(self, settings_cls: type[BaseSettings], values: Mapping[str, object]) -> None:
        super().__init__(settings_cls)
        self._values = dict(values)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._values


class _Origin(NamedTuple):
    key: str  #: as the user wrote it
    place: str  #: the file, the variable or the flag


def environment() -> Mapping[str, str]:
    """The process's environment: everyone else asks here."""
    return os.environ


def load_settings(
    flags: Mapping[str, object],
    *,
    config_file: Path | None,
    env: Mapping[str, str],
    cwd: Path,
) -> Settings:
    """Read all settings.

    Args:
        flags: from the command line, or :class:`Arguments` of a call, by the names of the
            fields or of the flags; None and empty lists count as not given.
        config_file: from ``--config``; must be there.
        env: the environment.
        cwd: what relative paths in flags and the environment are relative to.

    Raises:
        UsageError: a setting is unknown or cannot be used, or the file cannot be read.
    """
    origins: dict[str, _Origin] = {}
    file = _find_file(config_file, env, cwd)
    layers = (
        _from_file(file, env, origins) if file is not None else {},
        _from_environment(env, cwd, origins),
        _from_flags(flags, env, cwd, origins),
    )

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: Any, **__: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(_Source(settings_cls, layer) for layer in reversed(layers))

    try:
        return Settings.model_construct(**dict(Sourced()))
    except ValidationError as error:
        raise _usage_error(error, origins) from None


# ------------------------------------------------------------------------------ the sources


def _find_file(named: Path | None, env: Mapping[str, str], cwd: Path) -> Path | None:
    if named is None and env.get("FWSYNC_CONFIG"):
        named = Path(env["FWSYNC_CONFIG"])
    if named is not None:
        return _absolute(named, cwd, env)
    user = Path(env.get("XDG_CONFIG_HOME") or _absolute(Path("~/.config"), cwd, env))
    places = (cwd, user / "fwsync", Path("/etc/fwsync"))
    return next((path for place in places if (path := place / FILE_NAME).is_file()), None)


def _from_file(
    path: Path, env: Mapping[str, str], origins: dict[str, _Origin]
) -> dict[str, object]:
    try:
        with path.open("rb") as stream:
            table = tomllib.load(stream)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such settings file") from error
    except OSError as error:
        raise UsageError(f"{path}: the settings cannot be read ({error.strerror})") from error
    except ValueError as error:  # not TOML, or not UTF-8; the text names line and column
        raise UsageError(f"{path}: is not valid TOML: {error}") from None
    values: dict[str, object] = {}
    for key, value in table.items():
        _take(values, key, value, _Origin(key, str(path)), origins, path.parent, env)
    profiles = values.get("profiles")
    for profile in profiles.values() if isinstance(profiles, dict) else ():
        if isinstance(profile, dict) and isinstance(profile.get("root"), str):
            profile["root"] = _absolute(Path(profile["root"]), path.parent, env)
    return values


def _from_environment(
    env: Mapping[str, str], cwd: Path, origins: dict[str, _Origin]
) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, text in env.items():
        if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX) or name in OTHER_VARIABLES:
            continue
        if text.strip():
            key = name.removeprefix(PREFIX).lower()
            _take(values, key, text, _Origin(name, "the environment"), origins, cwd, env)
    return values


def _from_flags(
    flags: Mapping[str, object], env: Mapping[str, str], cwd: Path, origins: dict[str, _Origin]
) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, value in flags.items():
        if value is None or (isinstance(value, (list, tuple)) and not value):
            continue
        if isinstance(flags, Arguments):
            origin = _Origin(key, "the call")
        else:
            shown = "--" + key.removesuffix("_s").replace("_", "-")
            origin = _Origin(shown, "the command line")
        _take(values, key, value, origin, origins, cwd, env)
    return values


def _take(
    values: dict[str, object],
    key: str,
    value: object,
    origin: _Origin,
    origins: dict[str, _Origin],
    base: Path,
    env: Mapping[str, str],
) -> None:
    """Put one value under the name of its field."""
    name = key.replace("-", "_")
    if name not in Settings.model_fields and f"{name}_s" in Settings.model_fields:
        name += "_s"
    if name not in Settings.model_fields:
        raise _unknown(name, origin)
    if name in values:
        raise UsageError(f"{origin.key} (from {origin.place}): is given twice")
    if (
        name in ("api_key_file", "filter_from", "state")
        and isinstance(value, (str, Path))
        and str(value)
    ):
        value = _absolute(Path(value), base, env)
    values[name] = value
    origins[name] = origin


def _absolute(path: Path, base: Path, env: Mapping[str, str]) -> Path:
    if path.parts[:1] == ("~",):
        return _home(env).joinpath(*path.parts[1:])
    return base / path


def _home(env: Mapping[str, str]) -> Path:
    if env.get("HOME"):
        return Path(env["HOME"])
    try:
        return Path.home()
    except RuntimeError:  # a container's user without an entry in passwd
        return Path("/")


# ------------------------------------------------------------------------------- the errors


def _unknown(name: str, origin: _Origin) -> UsageError:
    # The value is not shown: it may be a key, put where no key belongs.
    if name in ("api_key", "apikey", "key", "token", "password"):
        hint = "keys are not settings; use `fwsync login`, FWSYNC_API_KEY or api_key_file"
    else:
        hint = _nearest(name, Settings.model_fields)
    return UsageError(f"{origin.key} (from {origin.place}): is not a setting", hint=hint)


def _nearest(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    if near:
        return f"did you mean {near[0]}?"
    return "known: " + ", ".join(sorted(known)) if known else ""


def _usage_error(error: ValidationError, origins: Mapping[str, _Origin]) -> UsageError:
    """The first thing that is wrong, in our words; pydantic's own are for programmers."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = [str(part) for part in first["loc"]]
    field = place[0] if place else ""
    origin = origins.get(field, _Origin(field, "the settings"))
    given: object = first["input"]
    hint = ""
    if field == "profiles" and len(place) > 2:
        shown = ".".join(place[:3])
        known = Profile.model_fields
        if first["type"] == "extra_forbidden":
            return UsageError(
                f"{shown} (from {origin.place}): is not a setting", hint=_nearest(place[2], known)
            )
        expected = known[place[2]].description if place[2] in known else "a table"
        if first["type"] == "missing":
            return UsageError(f"{shown} (from {origin.place}): is missing; expected {expected}")
    else:
        shown = origin.key
        expected = Settings.model_fields[field].description or first["msg"]
    text = repr(given)
    text = text if len(text) <= 80 else f"{text[:77]}…"
    message = f"{shown} (from {origin.place}): is {text}; expected {expected}"
    return UsageError(message, hint=hint)
