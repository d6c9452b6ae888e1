"""From settings to where files go: the layout of a root, and what it remembers of it.

The one rule: a tree that files are in step by keeps its layout. Another one would give every
file another place: all would be sent again, beside what is there.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from fwsync import headers, scanner
from fwsync.config import Settings, flag_of
from fwsync.deid import Deid, open_deid
from fwsync.describing import Speaking
from fwsync.errors import UsageError, naming
from fwsync.layout import DEFAULT_TEMPLATE, PROJECT_FOLDERS, Layout
from fwsync.mapping.dicom import Dicom
from fwsync.mapping.fwmeta import rules_of
from fwsync.mapping.ingest_template import template_rules
from fwsync.mapping.placing import Header, Scanner
from fwsync.mapping.routing import only_project
from fwsync.mapping.rules import Rules
from fwsync.mapping.settings import BIDS, PlaceKeys, PlaceSettings, RuleSettings, mapping_of
from fwsync.metadata.rules import MetadataRules
from fwsync.metadata.sidecars import Sidecars
from fwsync.model import LocalEntry, Mode, Others
from fwsync.placing import HeaderRead, HeaderReader, Placement
from fwsync.progress import plural
from fwsync.rulefile import read_rules
from fwsync.state import State, StateThread
from fwsync.threads import in_thread
from fwsync.values import Wanted, key_of, refuse_bare_keywords, wanted
from fwsync.zones import local_zone, zone_named

#: What a state keeps of its root's layout: the template of paths, and what places files.
LAYOUT, PLACEMENT = "layout", "placement"

#: What it keeps where files are de-identified on their way up.
DEID = "deid"

#: Commands that send nothing, and need no profile.
_BLIND = frozenset({"verify", "cleanup", "doctor"})

#: Where a remembered layout has what was set in the table ``[dicom]``, and what says of places.
_DICOM = "dicom"
_PLACES = {"subject", "session", "acquisition", "routing", "uid_names"}

_WHOLE_SITE = f"{PROJECT_FOLDERS}{DEFAULT_TEMPLATE}"
_PLAIN = frozenset({DEFAULT_TEMPLATE, f"{{project}}/{DEFAULT_TEMPLATE}", _WHOLE_SITE})


#: What settings and rule files say of places, as JSON; None: no more than a plain layout.
Told: TypeAlias = "dict[str, Any] | None"


async def read_layout(settings: Settings, mode: Mode, command: str = "") -> Told:
    """What is said of places, and that it can be, before the server is asked for anything.

    Raises:
        UsageError: it is no layout, or leads one way only and the run goes the other.
    """
    for name in ("subject", "session", "acquisition"):
        refuse_bare_keywords(f"dicom.{name}", getattr(settings.dicom, name))
    told = _told(settings)
    if settings.rules_file is not None:
        told = _alone(
            settings, told, "rules_file", await in_thread(read_rules, settings.rules_file)
        )
    if settings.ingest_template is not None:
        ingest = {
            "template": settings.ingest_template,
            "set_vars": settings.set_vars,
            "same": settings.no_subjects or settings.no_sessions,
        }
        told = _alone(settings, told, "ingest_template", ingest)
    if told is None and settings.layout:
        Layout.parse(settings.layout, group="any", project="any")
    elif told is not None:
        if by_header := _by_header(settings):
            told[_DICOM] = by_header
        mapping = _mapping(told, "any", "any", settings, both_ways=mode is not Mode.UP)
        if _comes_down(mode, command):
            _check_leads_back(mapping)
        wanted(_keywords(mapping, _dicom(settings, told)))
    return told


def _comes_down(mode: Mode, command: str) -> bool:
    return mode is not Mode.UP and command not in ("verify", "doctor")


def _check_leads_back(mapping: Rules) -> None:
    if not mapping.two_way:
        raise UsageError(
            "layout: it leads to the server only; pull and sync need one that leads back",
            hint="use `fwsync push` or `fwsync watch`; or pull into another folder, by the "
            "plain layout",
        )


def lacking_projects(settings: Settings, told: Told) -> str | None:
    """Why a layout does not say which project each file belongs to; None: it says so.

    Args:
        settings: name the template.
        told: by :func:`read_layout`.

    Returns:
        The end of a sentence; empty: there is no layout that could say so.
    """
    if told is None:
        return None if (settings.layout or "").startswith(PROJECT_FOLDERS) else ""
    try:
        mapping = _mapping(told, None, None, settings, both_ways=False)
    except UsageError as error:
        return error.message
    title = mapping.without_project
    return f"{title}: it names no group and project" if title else None


def speaking_of(settings: Settings) -> Speaking:
    """What is listened to for what the server is told of files.

    Raises:
        UsageError: a pattern or a value cannot be used.
    """
    return Speaking(
        MetadataRules(settings.metadata, settings.tags),
        sidecars=settings.sidecars is not Sidecars.FILES,
        bids=settings.bids_sidecars or settings.bids or settings.layout == BIDS,
    )


def _alone(settings: Settings, told: Told, name: str, value: object) -> Told:
    """A mapping that stands for all others; beside them it would not be clear which holds."""
    told = told or {"top": {}, "rules": []}
    others = {*told["top"], *(["rules"] if told["rules"] else []), *told} - {"top", "rules"}
    if name == "ingest_template":
        others -= {"no_subjects", "no_sessions"}
        told["top"] = {}
    if others or told["rules"]:
        other = min(others, default="rules")
        raise UsageError(
            f"{settings.called(name)} and {settings.called(other)} both say where files go",
            hint="leave one of them out",
        )
    return {**told, name: value}


async def layout_of(
    state: StateThread, settings: Settings, told: Told, group: str | None, project: str | None
) -> Layout:
    """How places are spelled as paths.

    Args:
        state: remembers it.
        settings: name the template.
        told: by :func:`read_layout`.
        group: the id of the group that is kept in step; None: the layout names it.
        project: the same for the project's label.

    Raises:
        UsageError: it is not the layout by which files are in step.
    """
    known = await state.call(State.setting, LAYOUT)
    template = known or DEFAULT_TEMPLATE
    if settings.layout in _PLAIN:
        template = settings.layout or template
    elif group is None and told is not None:
        template = _WHOLE_SITE
    layout = Layout.parse(template, group=group, project=project)
    await _keep(state, LAYOUT, layout.template, known)
    return layout


async def placement_of(
    state: StateThread,
    settings: Settings,
    told: Told,
    layout: Layout,
    root: Path,
    mode: Mode,
    command: str = "",
    deid: Deid | None = None,
) -> Placement | None:
    """How files are placed that do not lie where the plain layout has them; None: all do.

    Raises:
        UsageError: it leads one way only and the run goes the other; or it is not the one
            by which files are in step, or they are not de-identified as those are.
    """
    known = await state.call(State.setting, PLACEMENT)
    keeps = settings.keep_zips and known and json.loads(known)["top"].get("unpack")
    if known and told is None and (settings.is_for_this_run("layout") or keeps):
        await _keep(state, PLACEMENT, "", known)  # a plain layout, of which no more is said
        known = ""
    content = json.loads(known) if told is None and known else told
    if content is None:
        _check_routing(settings, {}, reads_headers=False)
        await _keep_deid(state, settings, command, is_on=deid is not None)
        return None
    if told is None and (by_header := _by_header(settings)):
        content[_DICOM] = {**content.get(_DICOM, {}), **by_header}
    comes_down = _comes_down(mode, command)
    mapping = _mapping(content, layout.group, layout.project, settings, both_ways=comes_down)
    if comes_down:
        _check_leads_back(mapping)
    _check_routing(settings, content, reads_headers=mapping.reads_headers)
    by_folders = _begins_with_projects(content)
    if comes_down and layout.group is None:
        check_many_projects(content)
    # Nothing of a layout that is refused is remembered.
    await _keep_deid(state, settings, command, is_on=deid is not None)
    if known and _moves_none(json.loads(known), content):
        await state.call(State.set_setting, PLACEMENT, json.dumps(content, sort_keys=True))
    else:
        await _keep(state, PLACEMENT, json.dumps(content, sort_keys=True), known)
    reader = None
    if mapping.reads_headers:
        reader = _reader(root, _keywords(mapping, _dicom(settings, content)), deid)

    async def hashed(entry: LocalEntry) -> tuple[LocalEntry, int]:
        return await in_thread(scanner.hash_file, root, entry, want_digest=False)

    is_told = content["top"].get("layout") == BIDS or bool(content["top"].get("bids"))
    return Placement(mapping, reader, hashed, _zone(settings), by_folders, is_told)


def _check_routing(settings: Settings, told: dict[str, Any], *, reads_headers: bool) -> None:
    """What is said for this run is to do something; what stands in a file may wait.

    Raises:
        UsageError: no header is read that could name a project, or none of its elements does.
    """
    for name in ("routing", "unrouted"):
        if settings.is_for_this_run(name) and not reads_headers:
            raise UsageError(
                f"{settings.called(name)}: does nothing where no header is read",
                hint=f"add {settings.called('scan')} dicom, or leave it out",
            )
    if settings.is_for_this_run("unrouted") and not _dicom(settings, told).routing:
        raise UsageError(
            f"{settings.called('unrouted')}: does nothing without {settings.called('routing')}",
            hint=f"add {settings.called('routing')}, or leave it out",
        )


def _moves_none(known: dict[str, Any], now: dict[str, Any]) -> bool:
    """True of a layout that gives places only to files that had none: they may go there now."""
    added = now.get(_DICOM, {}).get("unrouted")
    before = {"unrouted": added, **known.get(_DICOM, {})}
    return added is not None and {**known, _DICOM: before} == now


@asynccontextmanager
async def open_hook(settings: Settings, mode: Mode, command: str) -> AsyncIterator[Deid | None]:
    """What de-identifies the files that go up, with its processes; None: nothing does.

    Raises:
        UsageError: the profile cannot be used, or not with the other settings.
    """
    if settings.deid_profile is None or mode is not Mode.UP or command in _BLIND:
        yield None
        return
    speaking = speaking_of(settings)
    if speaking.sidecars or speaking.bids:
        raise UsageError(
            f"{settings.called('deid_profile')}: does not reach what sidecars say, which would be "
            "sent as it is",
            hint="leave out sidecars, bids_sidecars and the layout of BIDS",
        )
    sends_others = settings.deid_other is Others.SEND
    async with open_deid(settings.deid_profile, sends_others=sends_others) as deid:
        yield deid


async def _keep_deid(state: StateThread, settings: Settings, command: str, *, is_on: bool) -> None:
    """Remember whether what goes up is de-identified; a tree does not change that half-way.

    Raises:
        UsageError: files are in step that were sent the other way.
    """
    known = await state.call(State.setting, DEID)
    if command in _BLIND or known == ("on" if is_on else None):
        return
    files = (await state.call(State.counts))["files"]
    if known:
        raise UsageError(
            f"{settings.called('deid_profile')}: is missing, and what goes up from this folder is "
            "de-identified",
            hint="name the profile; to send files as they are, use another --state and project",
        )
    if files:
        raise UsageError(
            f"{settings.called('deid_profile')}: {files} files are in step that were not "
            "de-identified",
            hint="use another folder or --state, and another project, for what is to be",
        )
    await state.call(State.set_setting, DEID, "on")


def reader_of(
    root: Path, settings: Settings, placement: Placement | None, deid: Deid | None = None
) -> HeaderReader:
    """Who reads headers for other ends than places; what is kept of them is shared."""
    if placement is not None and placement.headers is not None:
        return placement.headers
    return _reader(root, _dicom(settings).keywords, deid)


def _zone(settings: Settings) -> str:
    return settings.timezone or local_zone()


def _offset_s(settings: Settings) -> int:
    """How far the zone is from Greenwich now; the times of files are compared in it."""
    zone = _zone(settings)
    offset = datetime.now(zone_named(zone) if zone else UTC).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


async def _keep(state: StateThread, key: str, text: str, known: str | None) -> None:
    if known == text:
        return
    files = (await state.call(State.counts))["files"]
    if files and (known or key == PLACEMENT):
        was, now = _shown(known), _shown(text)
        raise UsageError(
            f"layout: {plural(files, 'file')} {'is' if files == 1 else 'are'} in step by "
            f"{was}, and this is {now if now != was else 'another one, of other rules'}",
            hint="leave it as it was; or use another folder or --state for another layout",
        )
    await state.call(State.set_setting, key, text)


def _shown(known: str | None) -> str:
    """A remembered layout, as it is written on the command line."""
    if not known:
        return "the plain layout"
    if not known.startswith('{"'):
        return f"--layout {known}"
    told: dict[str, Any] = json.loads(known)
    flags = [part for name, value in told["top"].items() for part in _as_flags(name, value)]
    if ingest := told.get("ingest_template"):
        flags.append(f"--ingest-template {shlex.quote(ingest['template'])}")
    if "rules_file" in told:
        flags.append("--rules FILE")
    if told["rules"]:
        flags.append(f"{plural(len(told['rules']), 'rule')} of the settings file")
    by_header = told.get(_DICOM, {})
    for name in _BY_FLAG:
        flags += _as_flags(name, by_header.get(name))
    table = {name: value for name, value in by_header.items() if value and name not in _BY_FLAG}
    if table:
        flags.append(f"and [dicom] {json.dumps(table, ensure_ascii=False)} of the settings file")
    return " ".join(flags) or "the plain layout"


#: What is said of headers by flags.
_BY_FLAG = ("routing", "unrouted")

#: Settings of places that only a file can say.
_WITHOUT_FLAG = frozenset({"bids", "bids_extra", "defaults", "pack_name", "zip_single"})


def _as_flags(name: str, value: object) -> list[str]:
    """A setting and its value, as flags; or as it stands in a file, where it has no flag."""
    flag = flag_of(name)
    if name in _WITHOUT_FLAG:
        return [f"{name} = {json.dumps(value, ensure_ascii=False)}"]
    if not value:
        return []
    if value is True:
        return [flag]
    if isinstance(value, dict):
        return [f"{flag} {shlex.quote(f'{key}={one}')}" for key, one in value.items()]
    values = value if isinstance(value, list) else [value]
    return [f"{flag} {shlex.quote(str(one))}" for one in values]


def _told(settings: Settings) -> Told:
    """What the settings themselves say of places."""
    if settings.keep_zips and settings.unpack and settings.is_for_this_run("unpack"):
        raise UsageError(
            f"{settings.called('unpack')} and {settings.called('keep_zips')} contradict each other",
            hint="give one of them",
        )
    left_out = {"layout"} | ({"unpack"} if settings.keep_zips else set())
    names = [name for name in PlaceKeys.model_fields if name not in left_out]
    fields = PlaceKeys.model_fields
    top = {name: getattr(settings, name) for name in names}
    told = {
        name: value
        for name, value in top.items()
        if value != fields[name].get_default(call_default_factory=True)
    }
    if settings.layout and settings.layout not in _PLAIN:
        told["layout"] = settings.layout
    rules = [one.model_dump(mode="json", exclude_defaults=True) for one in settings.rules]
    if not told and not rules:
        return None
    if settings.layout:
        told["layout"] = settings.layout
    return {"top": json.loads(json.dumps(told, default=str)), "rules": rules}


def _mapping(
    told: dict[str, Any],
    group: str | None,
    project: str | None,
    settings: Settings,
    *,
    both_ways: bool,
) -> Rules:
    scanner: Scanner = _dicom(settings, told)
    if "rules_file" in told:
        offset_s = _offset_s(settings)
        return rules_of(
            told["rules_file"], group=group, project=project, scanner=scanner, offset_s=offset_s
        )
    if "ingest_template" in told:
        ingest = told["ingest_template"]
        with naming(settings.called("ingest_template")):
            return template_rules(
                ingest["template"],
                group=group,
                project=project,
                scanner=scanner,
                variables=ingest["set_vars"],
                same=ingest["same"],
            )
    top = PlaceSettings.model_validate(told["top"])
    rules = [RuleSettings.model_validate(one) for one in told["rules"]]
    return mapping_of(
        top,
        rules,
        group=group,
        project=project,
        scanner=scanner if _scans(told) else None,
        both_ways=both_ways,
        called=settings.called,
    )


def check_many_projects(told: Told) -> None:
    """See that the files of many projects come down by folders of their own.

    Raises:
        UsageError: they do not.
    """
    if told is not None and not _begins_with_projects(told):
        raise UsageError(
            "layout: it sends to many projects; pull and sync need one that begins with "
            f"{PROJECT_FOLDERS.removesuffix('/')} for that",
            hint="use `fwsync push` or `fwsync watch`; or name one project, as GROUP/PROJECT",
        )


def _begins_with_projects(told: dict[str, Any]) -> bool:
    """True if the first two folders of every path are group and project."""
    layout = str(told["top"].get("layout") or "")
    others = told["rules"] or told["top"].get("root_dirs")
    return layout.startswith(PROJECT_FOLDERS) and not others


def _scans(told: dict[str, Any]) -> bool:
    return any(one.get("scan") for one in (told["top"], *told["rules"]))


def _by_header(settings: Settings) -> dict[str, Any]:
    """What is set of how headers give places; the layout is not the same without it."""
    given = settings.dicom.model_dump(mode="json", include=_PLACES, exclude_defaults=True)
    if settings.routing:
        given["routing"] = settings.routing
    if settings.unrouted:
        given["unrouted"] = settings.unrouted
    return given


def _dicom(settings: Settings, told: Told = None) -> Dicom:
    """The rules for DICOM files, as they are set or remembered."""
    given: dict[str, Any] = settings.dicom.model_dump(exclude_defaults=True)
    given |= (told or {}).get(_DICOM) or _by_header(settings)
    for name in ("subject", "session", "acquisition", "info"):
        if name in given:
            given[name] = tuple(given[name])
    if "info" in given:
        given["info"] = tuple(map(key_of, given["info"]))
    if "routing" in given:
        given["routing"] = key_of(given["routing"])
    if "unrouted" in given:
        with naming(settings.called("unrouted")):
            given["unrouted"] = only_project(given["unrouted"])
    return Dicom(**given)


def _keywords(mapping: Rules, dicom: Dicom) -> list[str]:
    """What the rules for DICOM files want to know of a header."""
    return sorted({*dicom.keywords, *mapping.keywords})


def _reader(root: Path, keywords: Iterable[str], deid: Deid | None) -> HeaderReader:
    """Reads and keeps the headers that the rules for DICOM files need.

    Where files are de-identified, they are those of what is sent: labels come of them.
    """
    elements: Wanted = wanted(keywords)

    def read_one(look: headers.Look) -> HeaderRead:
        text = ""
        if look.reading is not None and look.reading.kind is headers.Kind.DICOM:
            text = headers.pack(look.reading, elements)
        return HeaderRead(look.entry, text, look.read_at_ns, look.problem)

    async def read(entries: Sequence[LocalEntry]) -> list[HeaderRead]:
        if deid is not None:
            return [read_one(look) for look in await deid.read_headers(root, entries, elements)]
        async with aclosing(headers.read_headers(root, entries, elements)) as looks:
            return [read_one(look) async for look in looks]

    def parse(text: str) -> Header | None:
        reading = headers.unpack(text, elements)
        return reading.header if reading is not None else None

    sign = str(elements.sign) if deid is None else f"{elements.sign} {deid.sign}"
    return HeaderReader(read, parse, sign)
