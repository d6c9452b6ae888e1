"""The guards: what in a plan looks like an accident, and must wait for a person.

The one rule: a guard is a predicate on facts, and says why it objects. What it holds is the same
for all of them, see :func:`is_risky`.

A guard that holds lets additions go on, and these change the facts: more files are agreed on, so
that the same deletions are a smaller share, and a root that was emptied has a file again. So
a guard that held the last time is asked by the numbers of then (:class:`Before`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fwsync.model import Decision, RelPath, Verb

#: Fewer agreed files than this say nothing about a share of them, in percent.
_ENOUGH_FOR_PERCENT = 20

#: So many percent of the agreed files changed on one side look like an accident (S24, S25).
_EVERYTHING_PERCENT = 90

#: A tree of one file is emptied on purpose as often as not.
_ENOUGH_TO_BE_EMPTIED = 2

#: With fewer files gone, that they were the newest ones is chance as often as not.
_ENOUGH_TO_BE_RESTORED = 3

#: Paths shown as a sample of what a guard holds.
_SAMPLE = 5

ROOT_EMPTIED, REMOTE_EMPTIED = "root-emptied", "remote-emptied"
SERVER_RESTORED = "server-restored"


@dataclass(frozen=True, slots=True)
class DeleteLimits:
    """How many files a run may delete on one side; whichever limit comes first."""

    files: int | None = 100  #: None: any number
    percent: int | None = 50  #: of the agreed files; None: any share
    percent_from: int = _ENOUGH_FOR_PERCENT  #: agreed files from which the share counts
    container_files: int | None = None  #: in any one container; None: any number
    container_percent: int | None = None  #: of its agreed files, however few; None: any share


@dataclass(frozen=True, slots=True)
class Before:
    """What a guard held when it was last asked, and nobody has consented to yet."""

    names: frozenset[str] = frozenset()  #: of the guards
    base_files: int = 0  #: agreed files when it first held


@dataclass(frozen=True, slots=True)
class ServerTimes:
    """The server's own times of its files, in nanoseconds; never compared with a clock of ours."""

    newest_ns: int  #: of all files now
    marks_ns: tuple[int, ...] = ()  #: the same after earlier runs, rising, each once


@dataclass(frozen=True, slots=True)
class GuardFacts:
    """What the guards must know that the decisions do not say: sizes, in files in scope."""

    base_files: int  #: rows of the base
    local_files: int  #: entries of the local listing
    remote_files: int  #: entries of the remote listing
    held_here: int = 0  #: rows that remember a deletion here that is not passed on
    held_there: int = 0  #: … or on the server
    before: Before | None = None  #: None: nothing is held
    in_container: Mapping[str, int] = field(default_factory=dict)  #: rows, by container id
    server: ServerTimes | None = None  #: None: not known, as of a part of a project
    #: Does the server have a file at or below a folder? Asked where files are missing there.
    has_files_there: Callable[[str], bool] = lambda _folder: True

    @property
    def agreed(self) -> int:
        """Rows of the base, without those that came while a guard held."""
        then = self.base_files if self.before is None else self.before.base_files
        return min(then, self.base_files)

    def holds(self, name: str) -> bool:
        """True if the guard of that name held the last time."""
        return self.before is not None and name in self.before.names


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard that tripped."""

    name: str  #: for machines: "too-many-deletions", …
    reason: str  #: for people
    sample: tuple[RelPath, ...] = ()  #: the first few paths it is about
    hint: str = ""  #: what to look at before consenting


def is_addition(decision: Decision) -> bool:
    """True if it puts a file where none is."""
    return (decision.verb is Verb.UPLOAD and decision.remote is None) or (
        decision.verb is Verb.DOWNLOAD and decision.local is None
    )


def is_risky(decision: Decision) -> bool:
    """True if a tripped guard holds it: it deletes, overwrites, or believes a deletion.

    A conflict is one of them, as settling it replaces the file of that name; so are HOLD
    and FORGET, which write down a deletion that may be an accident. A rename is one, as it
    may replace, and as others may have to go before it; but not that of a new file, which only
    goes along with its folder: it is to be sent.
    """
    if decision.verb in {Verb.NOTHING, Verb.ADOPT, Verb.REPORT}:
        return False
    if decision.verb is Verb.RENAME and decision.base is None:
        return decision.replaces is not None
    return not is_addition(decision)


def tripped(
    decisions: Sequence[Decision], facts: GuardFacts, limits: DeleteLimits
) -> tuple[Guard, ...]:
    """Every guard that objects. The caller has seen that there is something to hold.

    Args:
        decisions: all of a run, sorted.
        facts: what the listings looked like.
        limits: how much a run may delete.
    """
    answers = (
        _too_many_deletions(decisions, facts, limits, Verb.DELETE_LOCAL, "here"),
        _too_many_deletions(decisions, facts, limits, Verb.DELETE_REMOTE, "on the server"),
        _too_many_in_one(decisions, facts, limits, Verb.DELETE_LOCAL, "here"),
        _too_many_in_one(decisions, facts, limits, Verb.DELETE_REMOTE, "on the server"),
        _root_emptied(decisions, facts),
        _remote_emptied(decisions, facts),
        _everything_changed(decisions, facts, _changed_here, "here"),
        _everything_changed(decisions, facts, _changed_there, "on the server"),
        _server_restored(decisions, facts),
    )
    return tuple(guard for guard in answers if guard is not None)


# --------------------------------------------------------------------------- the caps


def _too_many_deletions(
    decisions: Sequence[Decision],
    facts: GuardFacts,
    limits: DeleteLimits,
    verb: Verb,
    where: str,
) -> Guard | None:
    """The cap of a run, for one side; a file that only moves is not counted."""
    lost = [one.path for one in _lost(decisions, verb)]
    allowed = _allowed(facts, limits)
    if allowed is None or len(lost) <= allowed:
        return None
    return Guard(
        "too-many-deletions",
        f"{len(lost)} of {facts.base_files} files would be deleted {where}, "
        f"where a run may delete {allowed}",
        tuple(lost[:_SAMPLE]),
    )


def _allowed(facts: GuardFacts, limits: DeleteLimits) -> int | None:
    """How many files a run may delete on one side; None for any number."""
    caps = [] if limits.files is None else [limits.files]
    if limits.percent is not None and facts.agreed >= limits.percent_from:
        caps.append(facts.agreed * limits.percent // 100)
    return min(caps, default=None)


def _too_many_in_one(
    decisions: Sequence[Decision],
    facts: GuardFacts,
    limits: DeleteLimits,
    verb: Verb,
    where: str,
) -> Guard | None:
    """The cap of each container, where one is set; names the first that is over it."""
    if limits.container_files is None and limits.container_percent is None:
        return None
    by_container: dict[str, list[RelPath]] = defaultdict(list)
    for decision in _lost(decisions, verb):
        by_container[_container(decision)].append(decision.path)
    over = []
    for container, paths in by_container.items():
        files = facts.in_container.get(container)
        allowed = _allowed_in_one(files, limits)
        if allowed is not None and len(paths) > allowed:
            over.append((paths, files, allowed))
    if not over:
        return None
    paths, files, allowed = over[0]
    of = "" if files is None else f" of {files}"
    others = f", and of {len(over) - 1} more containers as well" if len(over) > 1 else ""
    return Guard(
        "too-many-deletions-in-a-container",
        f"{len(paths)}{of} files of {_folder_of(paths[0])} would be deleted {where}, where a run "
        f"may delete {allowed} in one container{others}",
        tuple(paths[:_SAMPLE]),
    )


def _allowed_in_one(files: int | None, limits: DeleteLimits) -> int | None:
    caps = [] if limits.container_files is None else [limits.container_files]
    if limits.container_percent is not None and files is not None:
        caps.append(files * limits.container_percent // 100)
    return min(caps, default=None)


def _container(decision: Decision) -> str:
    """What held a file when it was agreed on; its folder, where that is not known."""
    known = decision.base.container_id if decision.base is not None else ""
    return known or _folder_of(decision.path)


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0] or "the project itself"


def _lost(decisions: Sequence[Decision], verb: Verb) -> list[Decision]:
    """Deletions on one side of bytes that do not arrive there under another name.

    A renamed folder reads as so many deletions and as many additions of the same bytes
    (S69, S70). Each addition answers for one deletion, no more.
    """
    is_up = verb is Verb.DELETE_REMOTE
    return _unmoved((one for one in decisions if one.verb is verb), decisions, is_up=is_up)


def _unmoved(
    gone: Iterable[Decision], decisions: Iterable[Decision], *, is_up: bool
) -> list[Decision]:
    arriving = Counter(
        content
        for decision in decisions
        if is_addition(decision) and (content := _arriving(decision, is_up=is_up)) is not None
    )
    lost: list[Decision] = []
    for decision in gone:
        content = _content(decision, is_up=is_up)
        if content is not None and arriving[content] > 0:
            arriving[content] -= 1
        else:
            lost.append(decision)
    return lost


def _arriving(decision: Decision, *, is_up: bool) -> str | None:
    """The content that an addition brings to the server, or from there."""
    if is_up and decision.verb is Verb.UPLOAD and decision.local is not None:
        # Its own tag will do, and is always there: the deletion is compared by the base's.
        return decision.local.etag
    if not is_up and decision.verb is Verb.DOWNLOAD and decision.remote is not None:
        return decision.remote.digest
    return None


def _content(decision: Decision, *, is_up: bool) -> str | None:
    """The same for a deletion: what was agreed, in the tag that :func:`_arriving` speaks."""
    if decision.base is None:
        return None
    return decision.base.local_etag if is_up else decision.base.digest


# ----------------------------------------------------------------------- a side that is empty


def _root_emptied(decisions: Sequence[Decision], facts: GuardFacts) -> Guard | None:
    """No agreed file is left here: a disk that is not mounted looks like this (S59, S61).

    A new file or two do not make it another case: a scanner goes on writing.
    """
    gone = [one for one in decisions if _gone_here(one)]
    newly = _newly(gone, "local")
    left = facts.agreed - facts.held_here
    if not facts.holds(ROOT_EMPTIED) and not _is_empty(
        facts.local_files, facts.agreed, lambda: _is_all(newly, decisions, left, is_up=True)
    ):
        return None
    if len(newly) < left:  # held before; some are here again
        return _emptied(ROOT_EMPTIED, f"{len(gone)} of {facts.agreed} files are still gone", gone)
    return _emptied(ROOT_EMPTIED, f"all {facts.agreed} files are gone here", gone)


def _remote_emptied(decisions: Sequence[Decision], facts: GuardFacts) -> Guard | None:
    """The server lists none of what was agreed on: a lost permission looks like this (S63)."""
    # A file that was renamed here has two decisions, of which the other one says what it becomes.
    gone = [one for one in decisions if _gone_there(one) and one.verb is not Verb.RENAME_REMOTE]
    newly = _newly(gone, "remote")
    left = facts.agreed - facts.held_there
    if not facts.holds(REMOTE_EMPTIED) and not _is_empty(
        facts.remote_files, facts.agreed, lambda: _is_all(newly, decisions, left, is_up=False)
    ):
        return None
    if len(newly) < left:
        reason = f"the server still lists none of {len(gone)} of the {facts.agreed} files"
        return _emptied(REMOTE_EMPTIED, reason, gone)
    return _emptied(REMOTE_EMPTIED, f"the server lists none of the {facts.agreed} files", gone)


def _is_empty(files: int, agreed: int, none_is_left: Callable[[], bool]) -> bool:
    """Is a side empty, or does it hold few files, none of which was agreed on?"""
    if agreed < _ENOUGH_TO_BE_EMPTIED:
        return False
    return not files or (files * 2 <= agreed and none_is_left())


def _is_all(
    gone: Sequence[Decision], decisions: Sequence[Decision], files: int, *, is_up: bool
) -> bool:
    """Are these all of the agreed files, none of which has only moved?"""
    if files < _ENOUGH_TO_BE_EMPTIED or len(gone) < files:
        return False
    return len(_unmoved(gone, decisions, is_up=is_up)) >= files


def _newly(gone: Iterable[Decision], side: str) -> list[Decision]:
    """Those that were there yet in the last run; a deletion that was held then is none of them."""
    return [one for one in gone if one.base is None or one.base.held != side]


def _emptied(name: str, reason: str, gone: Iterable[Decision]) -> Guard | None:
    """Trips only over decisions that believe the deletions; a pull just fetches them again.

    What it has held it holds to the last one: what comes to that side meanwhile, also under
    the path of an agreed file, does not make the others a usual deletion.
    """
    believed = tuple(one.path for one in gone if is_risky(one))
    return Guard(name, reason, believed[:_SAMPLE]) if believed else None


def _gone_here(decision: Decision) -> bool:
    return decision.base is not None and decision.local is None


def _gone_there(decision: Decision) -> bool:
    return decision.base is not None and decision.remote is None


# ---------------------------------------------------------------------- all of it has changed


def _everything_changed(
    decisions: Sequence[Decision],
    facts: GuardFacts,
    changed: Callable[[Decision], bool],
    where: str,
) -> Guard | None:
    """Nearly all changed at once: a tool run on the wrong folder, or ransomware (S25)."""
    paths = tuple(decision.path for decision in decisions if changed(decision))
    if facts.agreed < _ENOUGH_FOR_PERCENT:
        return None
    if len(paths) * 100 < facts.agreed * _EVERYTHING_PERCENT:
        return None
    return Guard(
        "everything-changed",
        f"{len(paths)} of {facts.base_files} files changed {where} since the last run",
        paths[:_SAMPLE],
    )


def _changed_here(decision: Decision) -> bool:
    """True if a local change is about to replace a file, or asks to."""
    return (
        decision.verb in {Verb.UPLOAD, Verb.CONFLICT}
        and decision.base is not None
        and decision.local is not None
        and decision.local.etag != decision.base.local_etag
    )


def _changed_there(decision: Decision) -> bool:
    """The same of a change on the server."""
    return (
        decision.verb in {Verb.DOWNLOAD, Verb.CONFLICT}
        and decision.base is not None
        and decision.remote is not None
        and decision.remote.etag != decision.base.remote_etag
    )


@dataclass(frozen=True, slots=True)
class Retimed:
    """Files that have another time than before, and the content that was agreed on."""

    files: int
    shifts: int  #: different amounts by which their times have moved
    shift_ns: int  #: one of these


def all_times_shifted(retimed: Retimed, base_files: int) -> str:
    """What to say where nearly all files have other times, and nothing else; or an empty text.

    Nothing is at risk, so nothing is held (S24).
    """
    if retimed.files < _ENOUGH_TO_BE_EMPTIED:
        return ""
    if retimed.files * 100 < base_files * _EVERYTHING_PERCENT:
        return ""
    how = f", all shifted by {retimed.shift_ns / 1e9:+g} s" if retimed.shifts == 1 else ""
    return (
        f"{retimed.files:,} of {base_files:,} files have other times than before{how}; their "
        "content is the same, so nothing is sent"
    )


# ----------------------------------------------------------- the server is what it was before


def _server_restored(decisions: Sequence[Decision], facts: GuardFacts) -> Guard | None:
    """The server went back in time: it was restored from an older backup.

    A version never falls, and that is proof. Where files are only missing, their removal
    looks the same; but that nothing is left of all that the last runs have brought, from more
    than one folder, and of nothing else, is no usual removal.
    """
    older = [one.path for one in decisions if _is_older_there(one)]
    if older:
        files = "1 file is" if len(older) == 1 else f"{len(older)} files are"
        return _restored(f"{files} at an older version on the server than was agreed on", older)
    gone = [one.path for one in decisions if _gone_there(one) and is_risky(one)]
    if not gone:
        return None
    if not facts.holds(SERVER_RESTORED):
        if len(gone) < _ENOUGH_TO_BE_RESTORED or not _has_gone_back(facts.server):
            return None
        above = _common_folder(gone)
        if above and not facts.has_files_there(above):
            return None  # one folder, and all of it: somebody has removed it
    return _restored(f"the newest {len(gone)} files are missing on the server", gone)


def _restored(what: str, paths: Sequence[RelPath]) -> Guard:
    return Guard(
        SERVER_RESTORED,
        f"{what}, as after a restore from an older backup",
        tuple(paths[:_SAMPLE]),
        "consent takes over what the server has now; to send what is here instead, push with "
        "another state file: `fwsync push DIR GROUP/PROJECT --state NEW-FILE --conflict local`",
    )


def _is_older_there(decision: Decision) -> bool:
    base, remote = decision.base, decision.remote
    if base is None or remote is None or not base.file_id:
        return False
    return base.file_id == remote.file_id and remote.version < base.version


def _has_gone_back(server: ServerTimes | None) -> bool:
    """Is the newest file there not newer than what was the newest before the last run?"""
    if server is None or len(server.marks_ns) < 2:
        return False
    return server.newest_ns <= server.marks_ns[-2]


def _common_folder(paths: Sequence[str]) -> str:
    """The deepest folder that holds all of them; empty: the project itself."""
    first, last = min(paths).split("/")[:-1], max(paths).split("/")[:-1]
    common = []
    for one, other in zip(first, last, strict=False):
        if one != other:
            break
        common.append(one)
    return "/".join(common)
