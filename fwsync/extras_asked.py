"""Which sidecars and analyses a run is asked for, and where they lie in its layout.

The one rule: what cannot be had from a server, or has no place in a layout, is refused before
the first byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fwsync.config import Settings
from fwsync.errors import UsageError
from fwsync.executor import Policy
from fwsync.extra import Extra, Kind
from fwsync.extras_compared import Extras
from fwsync.landing import Where
from fwsync.layout import ANALYSES, DEFAULT_TEMPLATE, Layout
from fwsync.mapping import full
from fwsync.mapping.forms import names_in
from fwsync.mapping.settings import FULL
from fwsync.metadata import sidecars
from fwsync.model import Decision, Mode, RelPath, Verb
from fwsync.placements import PLACEMENT, Told
from fwsync.placing import Placer
from fwsync.progress import Progress
from fwsync.remotes.connect import Door, SiteRemote
from fwsync.remotes.flywheel import Flywheel
from fwsync.remotes.flywheel_extras import Beside
from fwsync.remotes.site import Generation
from fwsync.state import State, StateThread

LiesAt = Callable[[Extra], RelPath]


@dataclass(frozen=True, slots=True)
class Asking:
    """What a session has open already, as far as it matters here."""

    root: Path
    root_fd: int
    state: StateThread
    remote: SiteRemote
    policy: Policy
    progress: Progress
    placer: Placer | None
    is_whole: bool  #: nothing is left out by a selection


async def open_extras(asking: Asking, settings: Settings, mode: Mode, command: str) -> Extras:
    """What stands beside the user's files; the remote lists what is asked for.

    Raises:
        UsageError: the layout that the folder remembers has no place for it.
    """
    state = asking.state
    kinds = _kinds(settings, mode)
    named = _named(settings, mode)
    if command == "verify":
        kinds |= await state.call(_recorded)
    lies_at: LiesAt = await _placing(asking, named) if kinds else _as_it_is
    extras = Extras(
        root=asking.root,
        root_fd=asking.root_fd,
        state=state,
        reader=asking.remote,
        policy=asking.policy,
        progress=asking.progress,
        kinds=kinds,
        is_whole=asking.is_whole,
        lies_at=lies_at,
    )
    if kinds and isinstance(asking.remote, Flywheel):
        asking.remote.beside = Beside(
            extras, metadata=Kind.SIDECAR in kinds, analyses=Kind.ANALYSIS in kinds
        )
    return extras


#: The layouts that have a place for them.
_PLACED = (None, DEFAULT_TEMPLATE, FULL)

#: What may be said of places besides: it makes packs, and leaves labels where they are.
_PACKING = {
    "pack",
    "pack_folders",
    "pack_acquisitions",
    "pack_name",
    "zip_single",
    "unpack",
}

_SETTINGS = {"metadata_files": Kind.SIDECAR, "analyses": Kind.ANALYSIS}


def _kinds(settings: Settings, mode: Mode) -> set[Kind]:
    if mode is Mode.UP:
        return set()
    return {kind for name, kind in _SETTINGS.items() if getattr(settings, name)}


def _recorded(state: State) -> set[Kind]:
    return {kind for kind in Kind if state.extras.count(kind)}


def _named(settings: Settings, mode: Mode) -> str:
    """What is asked for, as it was asked; empty: nothing is."""
    kinds = _kinds(settings, mode)
    return " and ".join(settings.called(one) for one, kind in _SETTINGS.items() if kind in kinds)


async def check_extras(door: Door, settings: Settings, told: Told, mode: Mode) -> None:
    """See that what is asked for can be had, before anything is made here.

    Args:
        door: is opened only if something is asked for.
        settings: name it.
        told: what they say of places; what the folder remembers is looked at when it is open.
        mode: what only goes up asks for nothing.

    Raises:
        UsageError: the server does not have it, or the layout has no place for it.
    """
    named = _named(settings, mode)
    if not named:
        return
    _check_layout(told, named)
    if (await door.open()).site.generation is Generation.CORE_2018:
        raise UsageError(
            f"{named}: this server (of 2018) has no list of them; each container would have to "
            "be asked",
            hint="leave it out; files come down as always",
        )


def _check_layout(told: Told, named: str) -> None:
    if told is None:
        return
    others = told["top"].keys() - _PACKING - {"layout"}
    if others or told["rules"] or told["top"].get("layout") not in _PLACED:
        raise UsageError(
            f"{named or 'verify'}: this layout has no place for that; only the default "
            "one and `--layout full` have one",
            hint="leave it out, or pull into another folder by one of these layouts",
        )


async def _placing(asking: Asking, named: str) -> LiesAt:
    known = await asking.state.call(State.setting, PLACEMENT)
    if not known or asking.placer is None:
        return _as_it_is
    told: Told = json.loads(known)
    _check_layout(told, named)
    if told is not None and told["top"].get("layout") == FULL:
        return partial(_in_full_form, asking.placer.where)
    return _as_it_is


def _as_it_is(extra: Extra) -> RelPath:
    return extra.path


def _in_full_form(where: Where, extra: Extra) -> RelPath:
    """Where it lies in the platform's full form. Source: core19."""
    if extra.of_file:
        target = where(Decision(Verb.DOWNLOAD, extra.about, None, extra.entry))
        return sidecars.of_file(RelPath(target.as_zip if target.kind else target.on_disk))
    folder, is_analysis, rest = f"/{extra.path}".rpartition(f"/{ANALYSES}/")
    if is_analysis:
        return Layout.join(_folder(folder[1:]), f"{full.ANALYSES}/{rest}")
    folder, _, name = extra.path.rpartition("/")
    return Layout.join(_folder(folder), name)


def _folder(plain: str) -> RelPath:
    """The folder of a container, from the one that the plain layout has for it."""
    names = names_in(plain) if plain else []
    parts = [
        part
        for above, name in zip(full.LEVEL_FOLDERS, names, strict=False)
        for part in (above, name)
    ]
    return RelPath("/".join(parts))
