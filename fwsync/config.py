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
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from fwsync.errors import UsageError
from fwsync.limits import Timetable, parse_timetable
from fwsync.mapping.duplicates import DD_CODES, Code
from fwsync.mapping.settings import PlaceKeys, RuleSettings
from fwsync.metadata.rules import MetadataRule
from fwsync.metadata.sidecars import Sidecars
from fwsync.model import ConflictPolicy, Duplicates, Empty, Links, NamePolicy, Others
from fwsync.ports import FormBy, RouteName
from fwsync.selection_settings import SelectionKeys
from fwsync.setting_values import (
    AGE,
    DURATION,
    PATTERNS,
    SIZE,
    TEMPLATES,
    DeleteCap,
    Duration,
    Patterns,
    Size,
    check_codes,
    no_bool,
    parse_delete_cap,
    parse_pairs,
)

FILE_NAME = "fwsync.toml"
PREFIX = "FWSYNC_"
#: Variables with our prefix that are not settings.
OTHER_VARIABLES = frozenset({"FWSYNC_API_KEY", "FWSYNC_CONFIG"})
#: Variables that begin so belong to the tests and are nobody's typing error.
TEST_PREFIX = "FWSYNC_TEST_"


class Arguments(dict[str, object]):
    """Flags that a program gave: arguments of a function, and no flags to whoever wrote it."""


class Recorded(dict[str, object]):
    """Settings as a saved plan has them: they are all there is, whatever is set by now."""


class _Origin(NamedTuple):
    key: str  #: as the user wrote it
    place: str  #: the file, the variable or the flag


#: Places that speak of one run, and not of all.
_LINE, _CALL = "the command line", "the call"

_ENV = "the environment"

_PLAN = "the saved plan"


@dataclass(frozen=True, slots=True)
class Origins:
    """Where settings came from. Settings are the same wherever they came from."""

    by_name: Mapping[str, _Origin] = field(default_factory=dict, compare=False)
    in_flags: bool = field(default=False, compare=False)  #: whoever reads it writes flags
    given: Mapping[str, object] = field(default_factory=dict, compare=False)  #: as it was written
    file: Path | None = field(default=None, compare=False)  #: found only from here, or named


class Profile(BaseModel):
    """A tree and the project it belongs to, by a name: ``[profiles.aging]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path = Field(description="a folder")
    project: str = Field(description="group/project", min_length=1)


class DicomSettings(BaseModel):
    """How places are read from headers: ``[dicom]``. What is not set is as usual."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: Patterns = Field((), description=TEMPLATES)
    session: Patterns = Field((), description=TEMPLATES)
    acquisition: Patterns = Field((), description=TEMPLATES)
    routing: str = Field("", description="a keyword such as PatientComments")
    info: Patterns = Field((), description='keywords such as "EchoTime", or "(0018,0081)"')
    device: bool = Field(False, description="true or false")
    people: bool = Field(False, description="true or false")
    uid_names: bool = Field(True, description="true or false")


class Settings(BaseSettings, PlaceKeys, SelectionKeys):
    """Everything that can be set. The descriptions say what is expected, in errors too."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=PREFIX)

    api_key_file: Path | None = Field(None, description="a file that holds an API key")
    project: str | None = Field(None, description="group/project", min_length=1)
    rules_file: Path | None = Field(None, description="a file of rules in the syntax of fw-meta")
    ingest_template: str | None = Field(
        None, description='a template such as "{subject}:{session}:{acquisition}"', min_length=1
    )
    set_vars: Annotated[dict[str, str], BeforeValidator(parse_pairs)] = Field(
        default_factory=dict, description='fields and values: { session = "baseline" }'
    )
    rules: tuple[RuleSettings, ...] = Field((), description="tables [[rules]] with path, layout, …")
    dicom: DicomSettings = Field(DicomSettings(), description="a table with subject, session, …")
    routing: str = Field("", description="a keyword such as PatientComments")
    unrouted: str = Field("", description="group/project")
    names: NamePolicy = Field(NamePolicy.AS_THEY_ARE, description="one of " + ", ".join(NamePolicy))
    tags: Patterns = Field((), description="a tag, or a list of tags")
    metadata: tuple[MetadataRule, ...] = Field((), description="tables [[metadata]] with match, …")
    sidecars: Sidecars = Field(Sidecars.FILES, description="one of " + ", ".join(Sidecars))
    analyses: bool = Field(False, description="true or false")
    metadata_files: bool = Field(False, description="true or false")
    bids_sidecars: bool = Field(False, description="true or false")
    timezone: str | None = Field(None, description="a zone such as Europe/Zurich", min_length=1)
    settle_s: Duration = Field(30.0, description=DURATION)
    patience_s: Duration | None = Field(None, description=DURATION)  # None: the command's own
    transfers: Annotated[int, BeforeValidator(no_bool)] | None = Field(
        None, description="a number from 1 to 64", ge=1, le=64
    )  # None: adaptive
    fsync: bool = Field(True, description="true or false")
    conflict: ConflictPolicy = Field(
        ConflictPolicy.KEEP_BOTH, description="one of " + ", ".join(ConflictPolicy)
    )
    create_project: bool = Field(False, description="true or false")
    delete_up: bool = Field(False, description="true or false")
    delete_down: bool = Field(False, description="true or false")
    max_delete: Annotated[DeleteCap, BeforeValidator(parse_delete_cap)] = Field(
        DeleteCap(100, 50.0), description='a number, a percentage, or both: "100", "50%", "100,50%"'
    )
    max_delete_container: Annotated[DeleteCap, BeforeValidator(parse_delete_cap)] | None = Field(
        None, description='a number, a percentage, or both: "20", "50%", "20,50%"'
    )
    trash_days: Annotated[int, BeforeValidator(no_bool)] = Field(
        30, description="a number of days; 0 keeps for ever", ge=0, le=36500
    )
    history_days: Annotated[int, BeforeValidator(no_bool)] = Field(
        400, description="a number of days; 0 keeps for ever", ge=0, le=36500
    )
    include: Patterns = Field((), description=PATTERNS)
    exclude: Patterns = Field((), description=PATTERNS)
    filter_from: Path | None = Field(
        None, description="a file of patterns in gitignore syntax, to leave out what matches"
    )
    hidden: bool | None = Field(None, description="true or false")  # None: the command's own
    links: Links = Field(Links.SKIP, description="one of " + ", ".join(Links))
    empty: Empty = Field(Empty.SEND, description="one of " + ", ".join(Empty))
    min_size: Size | None = Field(None, description=SIZE)
    max_size: Size | None = Field(None, description=SIZE)
    min_age_s: Duration | None = Field(None, description=AGE)
    max_age_s: Duration | None = Field(None, description=AGE)
    pack_compress: bool = Field(False, description="true or false")
    keep_zips: bool = Field(False, description="true or false")
    detect_duplicates: bool = Field(False, description="true or false")
    duplicate_codes: Annotated[Patterns, AfterValidator(check_codes)] = Field(
        (),
        description=f"codes such as {', '.join(list(Code)[:2])}, or {', '.join(DD_CODES.values())}",
    )
    duplicate_projects: Patterns = Field((), description="projects, each as group/project")
    duplicates: Duplicates = Field(Duplicates.REPORT, description="one of " + ", ".join(Duplicates))
    deid_profile: Path | None = Field(
        None, description="a profile for de-identification, in the format of flywheel-migration"
    )
    deid_other: Others = Field(Others.REFUSE, description="one of " + ", ".join(Others))
    route: RouteName = Field(RouteName.AUTO, description="one of " + ", ".join(RouteName))
    form: FormBy = Field(FormBy.LABEL, description="one of " + ", ".join(FormBy))
    bwlimit: Annotated[Timetable, BeforeValidator(parse_timetable)] | None = Field(
        None,
        description='bytes a second, from 1k up, "off" or 0, or when which holds: "10M", '
        '"08:00,1M 18:00,off", "Mon-00:00,512k Sat-08:00,off"',
    )
    max_transfer: Size | None = Field(None, gt=0, description=f"{SIZE}, and not 0")
    max_duration_s: Duration | None = Field(None, gt=0, description=f"{DURATION}, and not 0")
    delete_reason: str = Field("", description="a reason that sites with an audit trail ask for")
    state: Path | None = Field(None, description="a path for the state file")
    audit_log: Path | None = Field(None, description="a file that ends in .csv or .jsonl")
    settle_max_s: Duration | None = Field(None, description=DURATION)  # None: hold without limit
    rescan_s: Duration = Field(600.0, gt=0, description=f"{DURATION}, and not 0")
    poll_s: Duration = Field(60.0, gt=0, description=f"{DURATION}, and not 0")
    profiles: dict[str, Profile] = Field(
        default_factory=dict, description="tables with root and project"
    )
    _origins: Origins = PrivateAttr(default_factory=Origins)

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

    @property
    def given(self) -> Mapping[str, object]:
        """What was really set, anywhere, by the names of the fields; as it was written there.

        Paths are absolute. :class:`Recorded` of these gives the same settings again.
        """
        return self._origins.given

    def called(self, name: str) -> str:
        """A setting as whoever gave it wrote it: ``--no-subjects``, ``no_subjects``.

        Args:
            name: of the field. What was not given is written as the user would give it now.
        """
        origin = self._origins.by_name.get(name)
        if origin is not None:
            return origin.key
        return flag_of(name) if self._origins.in_flags else name.removesuffix("_s")

    @property
    def in_environment(self) -> Mapping[str, object]:
        """What was set by variables and nothing has overridden, by the names of the fields."""
        found = {}
        for name, origin in self._origins.by_name.items():
            if origin.place == _ENV:
                value = getattr(self, name)
                is_plain = isinstance(value, (bool, tuple, Mapping))
                found[name] = value if is_plain else self.given[name]
        return found

    @property
    def file(self) -> Path | None:
        """The settings file, if it is one that is found only from here or by a variable."""
        return self._origins.file

    def is_for_this_run(self, name: str) -> bool:
        """True if it was given as a flag or an argument, so that it is to have an effect now."""
        origin = self._origins.by_name.get(name)
        return origin is not None and origin.place in (_LINE, _CALL)

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
            fields or of the flags; None and empty lists count as not given. With
            :class:`Recorded`, neither a file nor the environment is read.
        config_file: from ``--config``; must be there.
        env: the environment.
        cwd: what relative paths in flags and the environment are relative to.

    Raises:
        UsageError: a setting is unknown or cannot be used, or the file cannot be read.
    """
    origins: dict[str, _Origin] = {}
    layers = _layers(flags, config_file, env, cwd, origins)

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: Any, **__: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(_Source(settings_cls, layer) for layer in reversed(layers))

    try:
        settings = Settings.model_construct(**dict(Sourced()))
    except ValidationError as error:
        raise _usage_error(error, origins) from None
    given = {name: value for layer in layers for name, value in layer.items()}
    file = None if isinstance(flags, Recorded) else _find_file(config_file, env, cwd)
    own = file if file and (config_file or env.get("FWSYNC_CONFIG") or file.parent == cwd) else None
    settings._origins = Origins(origins, not isinstance(flags, Arguments), given, own)
    return settings


# ------------------------------------------------------------------------------ the sources


def _layers(
    flags: Mapping[str, object],
    config_file: Path | None,
    env: Mapping[str, str],
    cwd: Path,
    origins: dict[str, _Origin],
) -> tuple[dict[str, object], ...]:
    """What is set where, each overriding the one before."""
    if isinstance(flags, Recorded):
        return (_from_flags(flags, env, cwd, origins),)
    file = _find_file(config_file, env, cwd)
    return (
        _from_file(file, env, origins) if file is not None else {},
        _from_environment(env, cwd, origins),
        _from_flags(flags, env, cwd, origins),
    )


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
            _take(values, key, text, _Origin(name, _ENV), origins, cwd, env)
    return values


def _from_flags(
    flags: Mapping[str, object], env: Mapping[str, str], cwd: Path, origins: dict[str, _Origin]
) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, value in flags.items():
        if value is None or (isinstance(value, (list, tuple)) and not value):
            continue
        if isinstance(flags, Arguments):
            origin = _Origin(key, _CALL)
        elif isinstance(flags, Recorded):
            origin = _Origin(key, _PLAN)
        else:
            origin = _Origin(flag_of(key), _LINE)
        _take(values, key, value, origin, origins, cwd, env)
    return values


#: Flags that are not called like their setting.
_FLAGS = {
    "rules_file": "--rules",
    "set_vars": "--set-var",
    "pack_folders": "--pack-folder",
    "metadata_files": "--metadata",
    "only_types": "--type",
    "not_types": "--not-type",
    "only_tags": "--tag",
    "not_tags": "--not-tag",
    "only_subjects": "--subject",
    "only_sessions": "--session",
    "only_acquisitions": "--acquisition",
    "container_tags": "--container-tag",
    "not_container_tags": "--not-container-tag",
    "mlsets": "--mlset",
    "not_mlsets": "--not-mlset",
}


def flag_of(name: str) -> str:
    """The option that stands for a setting: ``--no-subjects`` for ``no_subjects``."""
    return _FLAGS.get(name) or "--" + name.removesuffix("_s").replace("_", "-")


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
        name in ("api_key_file", "audit_log", "deid_profile", "filter_from", "rules_file", "state")
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


#: Settings that are tables, or have several.
_TABLES: Mapping[str, type[BaseModel]] = {
    "profiles": Profile,
    "rules": RuleSettings,
    "dicom": DicomSettings,
    "metadata": MetadataRule,
}

#: What one of several tables is called; the first is number 1.
_NUMBERED = {"rules": "rule", "metadata": "metadata rule"}

#: What is expected of a flag, where the settings file has another spelling for it.
_ON_A_LINE = {
    "include": "a pattern in gitignore syntax",
    "exclude": "a pattern in gitignore syntax",
    "pack": "a pattern and a file type, such as '*.dcm=dicom'",
    "pack_folders": "the name of a folder, or with a file type: raw=dicom",
    "scan": "dicom",
    "set_vars": "a field and its value, such as session=baseline",
}


def _usage_error(error: ValidationError, origins: Mapping[str, _Origin]) -> UsageError:
    """The first thing that is wrong, in our words; pydantic's own are for programmers."""
    errors = error.errors(include_url=False, include_context=False)
    # What is missing was mostly misspelt, and that is the better thing to say.
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    place = [str(part) for part in first["loc"]]
    name = place[0] if place else ""
    origin = origins.get(name, _Origin(name, "the settings"))
    table = _TABLES.get(name)
    at = 1 + (name != "dicom")  # the table's own name, or its number, comes first
    shown = origin.key
    if table is not None and len(place) > at:
        shown = _place_in(place[: at + 1])
        known = table.model_fields
        if first["type"] == "extra_forbidden":
            return UsageError(
                f"{shown} (from {origin.place}): is not a setting", hint=_nearest(place[at], known)
            )
        expected = known[place[at]].description if place[at] in known else "a table"
        if first["type"] == "missing":
            return UsageError(f"{shown} (from {origin.place}): is missing; expected {expected}")
    else:
        expected = Settings.model_fields[name].description or first["msg"]
        expected = _ON_A_LINE.get(name, expected) if origin.place == _LINE else expected
    given = _written(first["input"], on_a_line=origin.place == _LINE)
    return UsageError(f"{shown} (from {origin.place}): is {given}; expected {expected}")


def _place_in(place: Sequence[str]) -> str:
    """A key of a table, as people say it: ``rule 1: layout``, ``dicom.subject``."""
    if place[0] in _NUMBERED and place[1].isdecimal():
        return f"{_NUMBERED[place[0]]} {int(place[1]) + 1}: {'.'.join(place[2:])}"
    return ".".join(place)


def _written(value: object, *, on_a_line: bool) -> str:
    """A value that cannot be used, cut; a flag that may be repeated was given one by one."""
    if on_a_line and isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
