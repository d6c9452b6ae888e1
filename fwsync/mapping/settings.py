"""Layouts as settings: models for a settings file, and the mapping that they describe.

A table of rules::

    [[rules]]
    path = "mri/**"
    layout = "{subject}/{session}/{acquisition}/dicom/{file}"
    pack = { "*.dcm" = "dicom" }

For a tree that needs one rule only, its keys stand at the top of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fwsync.errors import UsageError, naming
from fwsync.layout import DEFAULT_TEMPLATE, Layout
from fwsync.mapping.bids import Bids
from fwsync.mapping.chains import Chain, is_chain
from fwsync.mapping.fields import FILE_NAME, LEVEL_OF
from fwsync.mapping.forms import Form
from fwsync.mapping.full import Full
from fwsync.mapping.mirror import Mirror
from fwsync.mapping.packs import Packs
from fwsync.mapping.patterns import Expression, Loose
from fwsync.mapping.placing import Scanner
from fwsync.mapping.rules import Rule, Rules, Scope
from fwsync.mapping.scans import Scan
from fwsync.mapping.templates import Field as Placeholder
from fwsync.mapping.templates import Mark, Piece, tokens_of
from fwsync.model import Level

#: The values of ``layout`` that stand for a BIDS tree, and for the platform's full form.
BIDS = "bids"
FULL = "full"


def _table(value: object) -> object:
    """A table; or texts such as ``*.dcm=dicom``, in a list or divided by commas."""
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        return value
    pairs = [one.rpartition("=") for one in value]
    if not all(sign for _, sign, _ in pairs):
        raise ValueError("not a table")
    return {key.strip(): kind.strip() for key, _, kind in pairs}


def _folders(value: object) -> object:
    """As :func:`_table`; a name alone, as in ``["dicom", "raw"]``, is its own kind."""
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if isinstance(value, (list, tuple)):
        return _table([one if "=" in str(one) else f"{one}={one}" for one in value])
    return value


class PlaceKeys(BaseModel):
    """What stands at the top of a settings file where there is only one rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: str | None = Field(None, description='a template, "full" or "bids"', min_length=1)
    regex: str | None = Field(
        None, description="a regular expression with groups such as (?P<subject>…)", min_length=1
    )
    bids: bool = Field(False, description="true or false")
    bids_extra: tuple[str, ...] = Field(
        (), description='names of folders to pack to the project; "*" is all of them'
    )
    scan: Literal["dicom"] | None = Field(None, description='"dicom"')
    subject: str | None = Field(None, description="a subject's label", min_length=1)
    session: str | None = Field(None, description="a session's label", min_length=1)
    acquisition: str | None = Field(None, description="an acquisition's label", min_length=1)
    defaults: dict[Level, str] = Field(
        default_factory=dict, description='labels by level: { session = "first" }'
    )
    no_subjects: bool = Field(False, description="true or false")
    no_sessions: bool = Field(False, description="true or false")
    root_dirs: int = Field(0, description="a number of folders to skip", ge=0, le=32)
    pack: Annotated[dict[str, str], BeforeValidator(_table)] = Field(
        default_factory=dict, description='patterns and file types: { "*.dcm" = "dicom" }'
    )
    pack_folders: Annotated[dict[str, str], BeforeValidator(_folders)] = Field(
        default_factory=dict, description='names of folders, or a table: { dicom = "dicom" }'
    )
    pack_acquisitions: str | None = Field(
        None, description='a file type, such as "dicom"', min_length=1
    )
    pack_name: str | None = Field(
        None, description='a name such as "{label}.{kind}.zip"', min_length=1
    )
    zip_single: bool | None = Field(None, description="true or false")
    unpack: bool = Field(False, description="true or false")


class PlaceSettings(PlaceKeys):
    """What a rule may hold."""

    group: str | None = Field(None, description="the id of a group", min_length=1)
    project: str | None = Field(None, description="the label of a project", min_length=1)

    @property
    def fixed(self) -> dict[Level, str]:
        """The labels that are set."""
        given = {level: getattr(self, level.value) for level in Level}
        return {level: label for level, label in given.items() if label is not None}


class RuleSettings(PlaceSettings):
    """One of several rules: the first that fits decides."""

    path: str = Field("", description="a pattern in gitignore syntax")


#: What a rule takes from the top of the file where it says nothing itself.
_INHERITED = ("pack", "pack_folders", "pack_acquisitions", "pack_name", "zip_single", "unpack")


def mapping_of(
    top: PlaceSettings,
    rules: Sequence[RuleSettings] = (),
    *,
    group: str | None = None,
    project: str | None = None,
    scanner: Scanner | None = None,
    both_ways: bool = False,
    called: Callable[[str], str] = str,
) -> Rules:
    """The mapping that settings describe.

    Args:
        top: the keys at the top of the file. With rules, its packs hold for every rule
            that has none of its own, and its layout, if any, comes after them.
        rules: in order.
        group: the group that is kept in step; None: the layout names it.
        project: the same for the project.
        scanner: for ``scan = "dicom"``.
        both_ways: for pull and sync; the mapping says itself whether it is ``two_way``.
        called: how whoever set them wrote one of the keys at the top: ``--no-subjects``.

    Raises:
        UsageError: a layout, pattern or kind is not usable, or a level has no name.
    """
    made: list[Rule] = []
    for number, one in enumerate(rules, start=1):
        title = f"rule {number}" + (f" ({one.path})" if one.path else "")
        settings = _inheriting(one, top)
        build = _Build(title, settings, group, project, scanner, both_ways=both_ways)
        made.append(build.rule(one.path))
    if not rules or top.layout or top.regex or top.bids or top.scan:
        build = _Build("the layout", top, group, project, scanner, called, both_ways=both_ways)
        made.append(build.rule())
    return Rules(made, group=group, project=project, both_ways=both_ways)


def _inheriting(one: RuleSettings, top: PlaceSettings) -> PlaceSettings:
    if any(getattr(one, name) for name in _INHERITED[:3]):
        return one
    return one.model_copy(
        update={name: getattr(top, name) for name in _INHERITED if name not in one.model_fields_set}
    )


class _Build:
    """One rule in the making."""

    def __init__(
        self,
        title: str,
        settings: PlaceSettings,
        group: str | None,
        project: str | None,
        scanner: Scanner | None,
        called: Callable[[str], str] | None = None,
        *,
        both_ways: bool = False,
    ) -> None:
        self._title = title
        self._called = called
        self._both_ways = both_ways
        self._settings = settings
        self._group = group
        self._project = project
        self._scanner = scanner
        self._same = settings.no_subjects or settings.no_sessions
        if settings.no_subjects and settings.no_sessions:
            both = f"{self._spelled('no_subjects')} and {self._spelled('no_sessions')}"
            self._refuse(f"{both} leave no name for either", "give one of them")
        ways = self._ways()
        # A layout beside `scan` says what the path knows better than the header.
        if len(ways) > 1 and (set(ways) != {"layout", "scan"} or self._is_bids):
            both = " and ".join(self._spelled(name) for name in ways[:2])
            self._refuse(f"{both} both say where files go", "leave one of them out")
        self._check_form_is_free()

    def rule(self, path: str = "") -> Rule:
        """The rule."""
        settings = self._settings
        with naming(self._named("path")):
            scope = Scope(path)
        form = self._form(from_root=not scope.folder)
        rule = Rule(
            self._title,
            form,
            scope,
            self._packs(),
            settings.fixed,
            settings.defaults,
            self._same,
            whole_path=settings.regex is not None,
        )
        self._check_levels(form)
        return rule

    def _check_form_is_free(self) -> None:
        """What would do nothing beside a form that names all its folders itself is refused."""
        settings = self._settings
        if not self._is_bids and settings.layout != FULL:
            return
        form = BIDS if self._is_bids else FULL
        for name in ("no_subjects", "no_sessions", "root_dirs"):
            if getattr(settings, name):
                self._refuse(
                    f"{self._spelled(name)} does nothing beside the layout {form}, whose folders "
                    "are fixed",
                    f"leave it out, or give the folders in a template: {DEFAULT_TEMPLATE}",
                )

    def _ways(self) -> list[str]:
        """The keys that each say where files go, of those that are set."""
        settings = self._settings
        ways = [name for name in ("layout", "regex", "scan") if getattr(settings, name) is not None]
        if settings.bids and settings.layout != BIDS:
            ways.append("bids")
        return ways

    @property
    def _is_bids(self) -> bool:
        return self._settings.bids or self._settings.layout == BIDS

    def _spelled(self, name: str) -> str:
        """A key of this rule, as it was written."""
        return self._called(name) if self._called else name

    def _set_to(self, name: str, value: str) -> str:
        """How a key is given a value: ``--subject LABEL`` or ``subject = …``."""
        spelled = self._spelled(name)
        if not spelled.startswith("--"):
            return f"{spelled} = {'true' if not value else '…'}"
        return f"{spelled} {value}".strip()

    def _named(self, name: str) -> str:
        """A key, with the rule that it is of."""
        return self._called(name) if self._called else f"{self._title}: {name}"

    def _form(self, *, from_root: bool) -> Form:
        settings = self._settings
        if settings.regex is not None:
            with naming(self._named("regex")):
                return Expression(settings.regex)
        if self._is_bids:
            return Bids(settings.bids_extra)
        if settings.layout == FULL:
            return Full()
        if settings.scan is not None:
            if self._scanner is None:
                self._refuse("headers cannot be read here, and it has scan")
            below = self._template(settings.layout, from_root) if settings.layout else None
            return Scan(self._scanner, below, settings.scan)
        return self._template(settings.layout or self._usual_layout(), from_root)

    def _template(self, text: str, from_root: bool) -> Form:
        settings = self._settings
        mirror = self._mirror(text)
        if mirror is not None:
            return mirror
        with naming(self._named("layout")):
            pieces = _pieces_of(text)
        for _ in range(settings.root_dirs):
            pieces = [Mark.ONE, Mark.SLASH, *pieces]
        if is_chain(pieces):
            top = from_root and not settings.root_dirs
            return Chain(pieces, given=self._given(), from_root=top)
        return Loose(pieces)

    def _mirror(self, text: str) -> Mirror | None:
        """The layout of :mod:`fwsync.layout`, where the template is one of its three."""
        settings = self._settings
        if settings.root_dirs or self._same or settings.fixed or settings.defaults:
            return None
        try:
            return Mirror(Layout.parse(text, group=self._group, project=self._project))
        except UsageError:
            return None

    def _usual_layout(self) -> str:
        """The folders that are left when what is known without them is taken away.

        Folders are no groups or projects unless that is said: a project may have been forgotten.
        """
        known = self._given() - set(self._settings.defaults) | {Level.GROUP, Level.PROJECT}
        if self._settings.no_subjects:
            known |= {Level.SUBJECT}
        if self._settings.no_sessions:
            known |= {Level.SESSION}
        return "/".join([f"{{{level}}}" for level in Level if level not in known] + ["{file}"])

    def _given(self) -> frozenset[Level]:
        target = {Level.GROUP: self._group, Level.PROJECT: self._project}
        known = {level for level, label in target.items() if label is not None}
        return frozenset(known | self._settings.fixed.keys() | self._settings.defaults.keys())

    def _packs(self) -> Packs:
        settings = self._settings
        return Packs(
            settings.pack,
            folders=settings.pack_folders,
            everything=settings.pack_acquisitions or "",
            name=settings.pack_name or "",
            zip_single=settings.zip_single is not False,
            unpack=settings.unpack,
            called=self._named,
        )

    def _check_levels(self, form: Form) -> None:
        """Every level down to the deepest has a name from somewhere."""
        known = set(form.levels | self._given())
        if self._same and known & {Level.SUBJECT, Level.SESSION}:
            known |= {Level.SUBJECT, Level.SESSION}
        deepest = max(known, key=list(Level).index, default=Level.PROJECT)
        for level in list(Level)[: max(list(Level).index(deepest), 1) + 1]:
            if level not in known:
                self._refuse(f"it names the {deepest}, but not the {level}", self._to_name(level))

    def _to_name(self, level: Level) -> str:
        """How a level gets a name that no key gives it."""
        if level in (Level.GROUP, Level.PROJECT):
            hint = "give GROUP/PROJECT" + ("" if self._called else f", or set {level} = …")
            if self._settings.scan is not None:
                hint += "; --routing KEYWORD says which element of a header names it"
            return hint
        hint = f"add {{{level}}} to it"
        if not self._both_ways:  # what comes down has its own labels: there, --session selects
            hint += f", or give {self._set_to(level, 'LABEL')}"
        if level is Level.ACQUISITION:
            return hint
        other = "session" if level is Level.SUBJECT else "subject"
        return f"{hint}; {self._set_to(f'no_{level}s', '')} takes the {other}'s label"

    def _refuse(self, why: str, hint: str = "") -> NoReturn:
        raise UsageError(f"{self._title}: {why}", hint=hint)


def _pieces_of(text: str) -> list[Piece]:
    """A template, taken apart.

    Raises:
        UsageError: it is none; or each file would be a container, called like the file.
    """
    pieces = tokens_of(text)
    holes = [piece for piece in pieces if isinstance(piece, Placeholder)]
    if not holes:
        raise UsageError(
            f"{text!r} is not a layout, for it names no level",
            hint=f'"bids", "full", or a template; {DEFAULT_TEMPLATE} if it is left out',
        )
    last, before = pieces[-1], pieces[-2:-1]
    if (
        isinstance(last, Placeholder)
        and last.name in LEVEL_OF
        and not (last.regex or last.form)
        and before in ([], [Mark.SLASH])
        and all(one.name != FILE_NAME for one in holes)
    ):
        raise UsageError(
            f"{text!r} would make each file {last.text} by its name, for it has no {{file}}",
            hint=f"did you mean '{text}/{{file}}'? or say how names end: {last.text}.nii.gz",
        )
    return pieces
