"""What is said of one path by ``fwsync explain``: a few lines, or one JSON line.

As in :mod:`fwsync.show`: results go to stdout, and names are escaped before a terminal sees them.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fwsync.errors import Exit
from fwsync.explaining import Explained
from fwsync.model import Decision, Delta, LocalEntry, Mode, Verb
from fwsync.progress import (
    JsonLines,
    duration_text,
    moment,
    moment_utc,
    plural,
    printable,
    say,
    size_text,
)
from fwsync.resolving import word_of
from fwsync.show_paths import settles, short_hash, to_paste

#: What comes of a verdict, after what happened.
_COMES: Final[Mapping[Verb, str]] = {
    Verb.NOTHING: "there is nothing to do",
    Verb.ADOPT: "that is noted, and nothing is moved",
    Verb.UPLOAD: "it is sent",
    Verb.DOWNLOAD: "it is fetched",
    Verb.RENAME: "it is renamed here",
    Verb.RENAME_REMOTE: "it is renamed on the server",
    Verb.DELETE_LOCAL: "it goes to the trash here",
    Verb.DELETE_REMOTE: "it is deleted on the server",
    Verb.HOLD: "that is remembered, and not passed on",
    Verb.FORGET: "it is forgotten",
    Verb.CONFLICT: "only a person can choose",
    Verb.REPORT: "it is left alone, and reported",
}

_DID: Final[Mapping[Delta, str]] = {
    Delta.SAME: "as agreed on",
    Delta.CHANGED: "changed since it was agreed on",
    Delta.CREATED: "never agreed on",
    Delta.DELETED: "gone; it was agreed on",
    Delta.ABSENT: "nothing",
    Delta.UNKNOWN: "not known",
}

_COMMANDS: Final = {Mode.UP: "push", Mode.DOWN: "pull", Mode.BOTH: "sync"}

_SPECIAL: Final = {
    "ours": "belongs to fwsync itself: it is never compared, sent or fetched",
    "nowhere": "is nowhere: not here, not on the server, and never agreed on",
    "extra": "was written here by fwsync itself: it is never sent, and its absence is no deletion",
}


def explained(told: Explained, *, as_json: bool) -> Exit:
    """Print why a path is where it is."""
    if as_json:
        JsonLines(sys.stdout).write("explain", **_fields(told), exit_code=0)
        return Exit.IN_STEP
    for head, text in _lines(told):
        say(f"{head:<11} {printable(text)}")
    return Exit.IN_STEP


def _lines(told: Explained) -> Iterator[tuple[str, str]]:
    yield "path", told.path or "the folder itself"
    if told.kind in ("ours", "extra"):
        what = f" ({told.extra})" if told.extra else ""
        yield "", f"{_SPECIAL[told.kind]}{what}"
        return
    if told.kind == "copy":
        yield from _of_copy(told)
        return
    if told.kind == "folder":
        yield from _of_folder(told)
        return
    if not told.asked:
        why = f": {told.not_asked}" if told.not_asked else ""
        yield "note", f"the server was not asked{why}; it is taken for what was agreed on"
    if told.kind == "nowhere" and told.moved_to:
        words = ["fwsync", "explain", str(told.root / told.moved_to), *told.options]
        yield "now", f"renamed to {told.moved_to}; `{shlex.join(words)}` says more"
        return
    if told.there != told.path:
        yield "there", told.there
    yield from _of_trees(told)
    yield from _of_place(told)
    yield from _of_scope(told)
    yield from _of_what_is_next(told)


def _of_copy(told: Explained) -> Iterator[tuple[str, str]]:
    conflict = told.conflict
    if conflict is None:
        yield "", "a copy of your bytes, left by a conflict that is not open any more"
        yield "next", "it is never sent; under another name it is a file like others"
        return
    yield "", f"holds your bytes of {conflict.path}, which both sides changed"
    yield "since", moment(conflict.at_ns)
    yield "next", "it is never sent, and is no deletion where it is gone"
    yield "", f"`{settles(to_paste(told.root, told.path), told.options)}` settles it"


def _of_folder(told: Explained) -> Iterator[tuple[str, str]]:
    if told.no_place:
        yield "place", told.no_place
    elif told.labels:
        yield "place", _container(told)
    counts = told.counts
    here = f"{counts['here']:,} here" if told.left_out is None else "those here are not compared"
    yield "files", f"{here}, {counts['there']:,} on the server, {counts['agreed']:,} agreed on"
    if told.left_out is not None:
        yield from _of_scope(told)
        return
    waiting = told.waiting
    now = {verb: counts.get(verb.value, 0) - waiting.get(verb, 0) for verb in _COMES}
    yield "next", _steps(now) or f"the next `fwsync {_COMMANDS[told.mode]}` does nothing here"
    if waiting:
        yield "waiting", _steps(waiting)
        yield from _of_guards(told)
    if counts.get("problems"):
        yield "problems", f"{counts['problems']:,}; `{_status(told)}` lists them"


def _status(told: Explained) -> str:
    """The command that says what is known of the root."""
    more = [one for one in told.options if one != "--project"]  # its value is an argument there
    return shlex.join(["fwsync", "status", str(told.root), *more])


def _steps(numbers: Mapping[Verb, int]) -> str:
    """What becomes of how many files."""
    return "; ".join(
        f"{plural(numbers[verb], 'file')}: {_comes(verb, numbers[verb])}"
        for verb in _COMES
        if numbers.get(verb)
    )


def _comes(verb: Verb, number: int) -> str:
    """What comes of a verdict for one file, or for several."""
    comes = _COMES[verb]
    if number == 1:
        return comes
    for one, several in (("it is ", "they are "), ("it goes ", "they go ")):
        comes = comes.replace(one, several)
    return comes


def _of_trees(told: Explained) -> Iterator[tuple[str, str]]:
    here, there = told.deltas
    unseen = f" (not seen: {told.unseen})" if told.unseen else ""
    if told.local is None and told.on_disk is not None:
        aside = told.on_disk
        yield "here", f"{size_text(aside.size)}, {moment(aside.mtime_ns)}; not compared{unseen}"
    else:
        yield "here", _local_text(told.local, _DID[here]) + unseen
    remote = told.remote_entry
    if remote is None:
        yield "server", _DID[there]
    else:
        yield (
            "server",
            (
                f"{size_text(remote.size)}, version {remote.version}"
                f"{_hash_text(remote.digest)}; {_DID[there]}"
            ),
        )
    base = told.base
    if base is None:
        yield "agreed", "never"
        return
    held = {
        "local": "; deleted here since, and kept there",
        "remote": "; deleted there since, and kept here",
    }
    version = f", version {base.version}" if base.version else ""
    yield (
        "agreed",
        (f"{size_text(base.size)}{version}{_hash_text(base.digest)}{held.get(base.held, '')}"),
    )


def _local_text(local: LocalEntry | None, did: str) -> str:
    if local is None:
        return did
    if local.pack is not None:
        files = plural(len(local.pack.members), "file")
        return f"{files}, {size_text(local.size)} as one zip; {did}"
    read = "" if local.etag is not None else ", not read since it changed"
    where = f" at {local.indexed}" if local.indexed != local.path else ""
    changed = moment(local.stamp.mtime_ns)
    return f"{size_text(local.size)}, {changed}{_hash_text(local.digest)}{where}; {did}{read}"


def _hash_text(digest: str | None) -> str:
    return f", {short_hash(digest)}" if digest else ""


def _of_place(told: Explained) -> Iterator[tuple[str, str]]:
    if told.no_place:
        yield "place", f"none: {told.no_place}"
        return
    if told.labels:
        yield "place", _container(told)
    if told.rule:
        yield "rule", told.rule
    if told.local is not None and told.local.pack is not None:
        yield "pack", f"{told.local.pack.kind}, of {plural(len(told.here), 'file')} here"


def _container(told: Explained) -> str:
    holder = told.remote_entry.container.id if told.remote_entry is not None else ""
    holder = holder or (told.base.container_id if told.base is not None else "")
    return " / ".join(told.labels) + (f" ({holder})" if holder else "")


def _of_scope(told: Explained) -> Iterator[tuple[str, str]]:
    if told.left_out is not None:
        above = "" if told.left_out.path == told.path else f" (it leaves out {told.left_out.path})"
        yield "filters", f"it takes no part: {told.left_out_by}{above}"
        yield "next", "nothing: it is neither sent nor fetched, and it is no deletion either"
    elif told.out_of_bounds:
        yield "filters", "it takes no part: its size or its age is out of bounds"
        yield "next", "nothing: it is neither sent nor fetched, and it is no deletion either"


def _of_what_is_next(told: Explained) -> Iterator[tuple[str, str]]:
    takes_part = told.left_out is None and not told.out_of_bounds
    if told.kind == "nowhere":
        yield "", f"it {_SPECIAL['nowhere']}"
    elif takes_part and told.unseen:
        yield "next", "nothing, as long as it cannot be seen"
    elif takes_part and told.decision is not None:
        yield "why", sentence(told.decision)
        yield "next", _next(told, told.decision)
        if told.with_deletes is not None:
            flag = (
                "--delete-up" if told.with_deletes.verb is Verb.DELETE_REMOTE else "--delete-down"
            )
            yield "", f"with {flag}: {_COMES[told.with_deletes.verb]}"
    yield from _of_guards(told)
    if told.unsettled_s:
        yield "settling", f"a watch waits for {duration_text(told.unsettled_s)} of quiet at least"
    yield from _of_trouble(told)


def _of_guards(told: Explained) -> Iterator[tuple[str, str]]:
    for guard in told.guards:
        yield "held", f"{guard}; --accept-deletes {told.plan_id} lets it through"


def _of_trouble(told: Explained) -> Iterator[tuple[str, str]]:
    for one in told.told:
        yield "problem", one.message + (f" ({one.hint})" if one.hint else "")
    known = told.problem
    if known is not None:
        tried = f"met {plural(known.attempts, 'time')} since {moment(known.first_seen_ns)}"
        again = "it is tried again by the next run" if known.retryable else "it needs a person"
        same = any(one.message == known.message for one in told.told)
        yield "last run", f"{'the same' if same else known.message}; {tried}; {again}"
    if told.conflict is not None:
        yield "conflict", f"since {moment(told.conflict.at_ns)}; yours is {told.conflict.copy_path}"
    if told.standoff is not None:
        said = word_of(told.standoff.choice)
        command = settles(to_paste(told.root, told.path), told.options)
        then = f"settled by the next run: {said}" if said else f"`{command}` settles it"
        yield "conflict", f"since {moment(told.standoff.first_seen_ns)}; {then}"


def sentence(decision: Decision) -> str:
    """The rule of the table, in words: what happened, and what comes of it."""
    comes = _COMES.get(decision.verb, decision.verb.value.replace("-", " "))
    return f"{decision.reason}: {comes}"


def _next(told: Explained, decision: Decision) -> str:
    run = f"the next `fwsync {_COMMANDS[told.mode]}`"
    if left := _left(told, decision):
        return f"{run} leaves it{left}"
    match decision.verb:
        case Verb.UPLOAD:
            new = "" if decision.remote is None else ", as a new version"
            return f"{run} sends it{new}"
        case Verb.DOWNLOAD:
            kept = "" if decision.local is None else "; what is here goes to the trash"
            return f"{run} fetches it{kept}"
        case Verb.CONFLICT:
            return f"{run} {_ends(told, decision)}"
        case Verb.HOLD:
            return f"{run} remembers that, and passes it on to nobody"
        case Verb.NOTHING:
            return f"{run} does nothing about it"
        case _:
            return f"{run}: {_COMES.get(decision.verb, decision.verb.value)}"


def _left(told: Explained, decision: Decision) -> str:
    """Until when, or why, a run does nothing about it; empty: it does."""
    if told.guards:
        return ", until a person consents"
    if told.no_place and decision.verb is Verb.UPLOAD:
        return ": there is no place for it"
    return ", and says why" if told.is_left else ""


def _ends(told: Explained, decision: Decision) -> str:
    """What becomes of a conflict, and why."""
    if told.keeps_both:
        return "keeps both: the server's gets the name, yours stays beside it"
    if told.mode is Mode.UP:
        why = "nothing comes down with it"
    elif decision.local is not None and decision.local.pack is not None:
        why = "no copy of a pack can stand beside it"
    else:
        why = f"--conflict {told.policy.value} says so"
    return f"leaves both as they are: {why}"


# ------------------------------------------------------------------------------ for scripts


def _fields(told: Explained) -> dict[str, Any]:
    here, there = told.deltas
    decision = told.decision
    return {
        "root": str(told.root),
        "path": told.path,
        "kind": told.kind,
        "remote": told.remote,
        "mode": told.mode.value,
        "asked": told.asked,
        "not_asked": told.not_asked,
        "there": told.there,
        "sources": list(told.here),
        "here": _local_fields(told),
        "server": _remote_fields(told),
        "agreed": _base_fields(told),
        "delta_here": here.value,
        "delta_there": there.value,
        "labels": list(told.labels),
        "no_place": told.no_place,
        "rule": told.rule,
        "left_out": told.left_out_by,
        "out_of_bounds": told.out_of_bounds,
        "unseen": told.unseen,
        "verb": decision.verb.value if decision is not None else None,
        "why": sentence(decision) if decision is not None else "",
        "with_deletes": told.with_deletes.verb.value if told.with_deletes is not None else None,
        "policy": told.policy.value,
        "keeps_both": told.keeps_both,
        "guards": list(told.guards),
        "plan_id": told.plan_id,
        "problem": _problem_fields(told),
        "conflict_copy": told.conflict.copy_path if told.conflict is not None else None,
        "choice": word_of(told.standoff.choice) if told.standoff is not None else "",
        "moved_to": told.moved_to,
        "settling_s": round(told.unsettled_s, 3),
        "counts": dict(told.counts),
        "waiting": {verb.value: number for verb, number in told.waiting.items()},
    }


def _local_fields(told: Explained) -> dict[str, Any] | None:
    local, aside = told.local, told.on_disk
    if local is None and aside is not None:
        changed = moment_utc(aside.mtime_ns)
        nothing = {"tag": None, "digest": None, "members": None}
        return {"size": aside.size, "modified": changed, **nothing}
    if local is None:
        return None
    return {
        "size": local.size,
        "modified": moment_utc(local.stamp.mtime_ns),
        "tag": local.etag,
        "digest": local.digest,
        "members": len(local.pack.members) if local.pack is not None else None,
    }


def _remote_fields(told: Explained) -> dict[str, Any] | None:
    remote = told.remote_entry
    if remote is None:
        return None
    return {
        "size": remote.size,
        "version": remote.version,
        "digest": remote.digest,
        "container": remote.container.id,
        "file_id": remote.file_id,
    }


def _base_fields(told: Explained) -> dict[str, Any] | None:
    base = told.base
    if base is None:
        return None
    return {"size": base.size, "version": base.version, "digest": base.digest, "held": base.held}


def _problem_fields(told: Explained) -> dict[str, Any] | None:
    known = told.problem
    if known is None and not told.told:
        return None
    if known is None:
        first = told.told[0]
        return {"message": first.message, "hint": first.hint, "attempts": 0}
    return {"message": known.message, "hint": known.hint, "attempts": known.attempts}
