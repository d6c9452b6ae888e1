"""Plans as files: what a run would do, item by item, each with what it was decided on.

Its rule: a saved plan selects, and never commands. What is read from such a file says which
steps of a plan that was made anew may be done; no step is taken from it, and no path of it is
opened.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Final

from fwsync._version import __version__
from fwsync.config import Settings
from fwsync.digest import ContentHasher
from fwsync.errors import LocalError, UsageError
from fwsync.model import BaseEntry, Decision, LocalEntry, Mode, RemoteEntry, Verb
from fwsync.plan import Guard, Plan
from fwsync.roots import local_error

#: The number of the format; another one is refused.
VERSION: Final = 1

#: The key that a file of ours begins with.
_MARK: Final = "fwsync_plan"
_BEGINS: Final = f'{{\n"{_MARK}":'

#: Bytes of the largest file that is read: more than a million steps.
_MOST_BYTES: Final = 1 << 30

#: Settings that say how a run works, and not what it does. They are those of the run itself.
RUNNING: Final = frozenset(
    {
        "api_key_file",
        "audit_log",
        "bwlimit",
        "fsync",
        "max_duration_s",
        "max_transfer",
        "patience_s",
        "poll_s",
        "profiles",
        "project",
        "rescan_s",
        "transfers",
        "trash_days",
    }
)

#: Settings that name files whose content decides something.
_FILES: Final = ("deid_profile", "filter_from", "rules_file")

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """What a plan was made for, and how. Holds no secret."""

    mode: Mode
    root: Path  #: real path; it need not be there where a pull would make it
    root_id: str  #: of its marker; empty: it has none yet
    remote: str  #: what never changes for it: see ``scopes.key_of``
    remote_name: str  #: for people
    target: str | None  #: as the call named it; None: the root knows
    settings: Mapping[str, Any]  #: that were set and decide something, by their names
    files: Mapping[str, str]  #: digests of the files that settings name
    rules: Mapping[str, Any] = field(default_factory=dict)  #: the main ones, set or not; for people


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan as it was saved."""

    made: Made
    plan_id: str
    guards: tuple[Guard, ...]
    decisions: tuple[Item, ...]  #: of files
    beside: tuple[Item, ...] = ()  #: of what comes down beside them
    made_at: str = ""
    version: str = __version__  #: of the fwsync that made it
    problems: tuple[Mapping[str, str], ...] = field(default=())


# ---------------------------------------------------------------------------- as items


def item_of(decision: Decision, *, waits: bool = False) -> dict[str, Any]:
    """A decision as JSON can hold it: what is to be done, and what must be so when it is done.

    Args:
        decision: of a plan.
        waits: a guard holds it.
    """
    return {
        "verb": decision.verb.value,
        "path": decision.path,
        "size": decision.size,
        "reason": decision.reason,
        **({"rule": decision.rule} if decision.rule else {}),
        **({"waits": True} if waits else {}),
        "local": _local(decision.local),
        "remote": _remote(decision.remote),
        "base": _base(decision.base),
        **({"replaces": _local(decision.replaces)} if decision.replaces else {}),
    }


def _local(entry: LocalEntry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    stamp = entry.stamp
    told: dict[str, Any] = {
        "path": entry.on_disk,
        "size": stamp.size,
        "mtime_ns": stamp.mtime_ns,
        "ctime_ns": stamp.ctime_ns,
        "inode": stamp.inode,
        "etag": entry.etag,
        "digest": entry.digest,
    }
    if entry.pack is not None:
        members = [{"name": one.name, **(_local(one.entry) or {})} for one in entry.pack.members]
        told["pack"] = {"kind": entry.pack.kind, "members": members}
    return told


def _remote(entry: RemoteEntry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "path": entry.path,
        "size": entry.size,
        "etag": entry.etag,
        "digest": entry.digest,
        "version": entry.version,
        "file_id": entry.file_id,
        "container": {"level": entry.container.level.value, "id": entry.container.id},
    }


def _base(entry: BaseEntry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "path": entry.path,
        "size": entry.size,
        "local_etag": entry.local_etag,
        "remote_etag": entry.remote_etag,
        "digest": entry.digest,
        "held": entry.held,
        "container_id": entry.container_id,
        "file_id": entry.file_id,
        "version": entry.version,
    }


# ----------------------------------------------------------------------------- settings


def deciding(settings: Settings) -> dict[str, Any]:
    """The settings that decide what a plan has in it, as JSON can hold them."""
    return {
        name: _plain(value)
        for name, value in settings.given.items()
        if name not in RUNNING and value is not None
    }


def rules_of(settings: Settings) -> dict[str, Any]:
    """The main rules of a run, whether they were set or are as usual; for people."""
    names = ("layout", "conflict", "delete_up", "delete_down")
    cap = settings.max_delete
    return {name: _plain(getattr(settings, name)) for name in names} | {
        "max_delete": {"count": cap.count, "percent": cap.percent}
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    return value


def digests_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """What the files hold that settings name; blocks. One that cannot be read has no digest."""
    found = {}
    for name in _FILES:
        if settings.get(name):
            hasher = ContentHasher()
            with suppress(OSError):
                hasher.update(Path(settings[name]).read_bytes())
                found[name] = str(hasher.digest)
    return found


def check_files(saved: SavedPlan) -> None:
    """See that the files which settings of a plan name are as they were; blocks.

    Raises:
        UsageError: one of them is another one.
    """
    now = digests_of(saved.made.settings)
    for name, digest in saved.made.files.items():
        if now.get(name) != digest:
            raise UsageError(
                f"{saved.made.settings.get(name)}: is not what it was when the plan was made",
                hint="make the plan again, or put that file back",
            )


# ------------------------------------------------------------------------------- writing


def check_target(file: Path) -> None:
    """See that a plan may be written there; blocks.

    Raises:
        UsageError: something else is there, which is not overwritten; or there is no folder.
    """
    if not file.parent.is_dir():
        raise UsageError(
            f"{file}: the plan cannot be written: there is no folder {file.parent}",
            hint="make that folder, or name another file by --out",
        )
    try:
        mode = file.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode) or not _is_ours(file):
        raise UsageError(
            f"{file}: is there already, and is no plan of fwsync; it is not overwritten",
            hint="name another file by --out",
        )


def _is_ours(file: Path) -> bool:
    with local_error(f"{file}: cannot be read"), file.open("rb") as stream:
        return stream.read(len(_BEGINS)) == _BEGINS.encode()


def write(file: Path, saved: SavedPlan) -> None:
    """Write a plan, whole or not at all; an older plan of ours is replaced. Blocks.

    Raises:
        UsageError, LocalError: as :func:`check_target`; or the disk does not take it.
    """
    check_target(file)
    aside = None
    try:
        fd, name = tempfile.mkstemp(prefix=f".{file.name[:100]}.", suffix=".new", dir=file.parent)
        aside = Path(name)
        _write_out(fd, saved)
        _give_its_name(aside, file)
    except OSError as error:
        raise LocalError(
            f"{file}: the plan cannot be written ({error.strerror or error})"
        ) from error
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def _write_out(fd: int, saved: SavedPlan) -> None:
    with os.fdopen(fd, "w", encoding="ascii") as out:
        for text in _pieces(saved):
            out.write(text)
        out.flush()
        os.fsync(out.fileno())


def _give_its_name(aside: Path, file: Path) -> None:
    aside.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _pieces(saved: SavedPlan) -> Iterator[str]:
    """The text of the file: JSON, a line for each key and for each item."""
    made = saved.made
    head: dict[str, Any] = {
        _MARK: VERSION,
        "fwsync": saved.version,
        "made_at": saved.made_at,
        "mode": made.mode.value,
        "root": str(made.root),
        "root_id": made.root_id,
        "remote": {"key": made.remote, "name": made.remote_name},
        "target": made.target,
        "plan_id": saved.plan_id,
        "rules": dict(made.rules),
        "settings": dict(made.settings),
        "setting_files": dict(made.files),
        "guards": [
            {"name": one.name, "reason": one.reason, "sample": list(one.sample)}
            for one in saved.guards
        ],
        "problems": [dict(one) for one in saved.problems],
    }
    yield "{\n"
    for key, value in head.items():
        yield f"{json.dumps(key)}: {json.dumps(value)},\n"
    for name, items in (("decisions", saved.decisions), ("beside", saved.beside)):
        yield f'"{name}": ['
        between = "\n"
        for one in items:
            yield f"{between}{json.dumps(one)}"
            between = ",\n"
        yield "\n],\n" if name == "decisions" else "\n]\n}\n"


def saved_from(
    plan: Plan,
    made: Made,
    *,
    beside: Sequence[Decision] = (),
    problems: Sequence[Mapping[str, str]] = (),
    made_at: str,
) -> SavedPlan:
    """A plan as it is saved.

    Args:
        plan: of the files.
        made: what it was made for.
        beside: what would be done about what comes down beside them.
        problems: what is wrong, as path and message; for people.
        made_at: for people.
    """
    items = [item_of(one) for one in plan.carry_out]
    items += [item_of(one, waits=True) for one in plan.waiting]
    return SavedPlan(
        made,
        plan.plan_id,
        plan.held,
        tuple(items),
        tuple(item_of(one) for one in beside),
        made_at,
        problems=tuple(problems),
    )


# ------------------------------------------------------------------------------- reading


def read(file: Path) -> SavedPlan:
    """Read a plan, and trust nothing in it; blocks.

    Raises:
        UsageError: it is not there, no plan, damaged, or of another version.
    """
    text = _text_of(file)
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no_plan(file, f"damaged or cut off: {type(error).__name__}") from None
    if not isinstance(told, dict) or _MARK not in told:
        raise _no_plan(file, f"it has no {_MARK!r}")
    if told[_MARK] != VERSION or isinstance(told[_MARK], bool):
        raise UsageError(
            f"{file}: a plan in format {str(told[_MARK])[:20]!r}, and this fwsync reads "
            f"format {VERSION}",
            hint="make the plan again with this fwsync",
        )
    try:
        return _parsed(told)
    except _Wrong as error:
        raise _no_plan(file, str(error)) from None


def _text_of(file: Path) -> bytes:
    try:
        # Not blocking: a pipe of that name would wait for a writer for ever.
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UsageError(
            f"{file}: there is no such file",
            hint="`fwsync plan sync DIR --out FILE` writes a plan",
        ) from None
    except OSError as error:
        raise UsageError(f"{file}: the plan cannot be read ({error.strerror})") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _no_plan(file, "it is no regular file")
        if status.st_size > _MOST_BYTES:
            raise _no_plan(file, f"it has {status.st_size:,} bytes, and {_MOST_BYTES:,} are read")
        with os.fdopen(fd, "rb", closefd=False) as stream:
            if stream.read(1) != b"{":  # before a foreign file of that size is read
                raise _no_plan(file, "it does not begin as one")
            return b"{" + stream.read(_MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{file}: the plan cannot be read ({error.strerror})") from None
    finally:
        os.close(fd)


def _no_plan(file: Path, why: str) -> UsageError:
    return UsageError(
        f"{file}: is no plan of fwsync ({why})",
        hint="make it again with `fwsync plan … --out FILE`; nothing was done",
    )


class _Wrong(Exception):
    """Something in a plan is not what it should be."""


def _parsed(told: Mapping[str, Any]) -> SavedPlan:
    modes = {one.value: one for one in Mode}
    mode = modes.get(_need(told, "mode", str))
    root = _need(told, "root", str)
    remote = _need(told, "remote", dict)
    target = told.get("target")
    if mode is None:
        raise _Wrong("its 'mode' is none")
    if not root.startswith("/") or "\0" in root:
        raise _Wrong("its 'root' is no absolute path")
    if target is not None and not isinstance(target, str):
        raise _Wrong("its 'target' is no text")
    files = _need(told, "setting_files", dict)
    made = Made(
        mode=mode,
        root=Path(root),
        root_id=_need(told, "root_id", str),
        remote=_need(remote, "key", str),
        remote_name=_need(remote, "name", str),
        target=target,
        settings=_settings(_need(told, "settings", dict)),
        files={name: _need(files, name, str) for name in files},
    )
    guards = [_guard(one) for one in _need(told, "guards", list)]
    return SavedPlan(
        made,
        _need(told, "plan_id", str),
        tuple(guards),
        _items(_need(told, "decisions", list)),
        _items(_need(told, "beside", list)),
        _need(told, "made_at", str),
        _need(told, "fwsync", str),
    )


def _need(told: Mapping[str, Any], key: str, kind: type) -> Any:
    value = told.get(key)
    if not isinstance(value, kind):
        raise _Wrong(f"its {key!r} is missing, or is no {kind.__name__}")
    return value


def _settings(told: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in told:
        if name not in Settings.model_fields or name in RUNNING:
            raise _Wrong(f"{name[:40]!r} is no setting of a plan")
    return told


def _guard(told: object) -> Guard:
    if not isinstance(told, dict):
        raise _Wrong("one of its guards is none")
    return Guard(_need(told, "name", str), _need(told, "reason", str))


def step_of(path: str, verb: str) -> tuple[str, str]:
    """What a path has one step of: a rename on either side, and what is done to the file then."""
    return path, verb if verb in (Verb.RENAME.value, Verb.RENAME_REMOTE.value) else ""


def _items(told: Sequence[object]) -> tuple[Item, ...]:
    seen = set()
    for one in told:
        if not isinstance(one, dict):
            raise _Wrong("one of its decisions is none")
        path, verb = _need(one, "path", str), _need(one, "verb", str)
        if step_of(path, verb) in seen:
            raise _Wrong(f"{path[:200]!r} is in it twice")
        seen.add(step_of(path, verb))
        for side in ("local", "remote", "base", "replaces"):
            if one.get(side) is not None and not isinstance(one[side], dict):
                raise _Wrong(f"what it says of {path[:200]!r} cannot be understood")
    return tuple(one for one in told if isinstance(one, dict))
