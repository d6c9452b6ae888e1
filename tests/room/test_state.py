"""The state: what is remembered, agreed, recorded, and read again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fwsync.digest import Digest, LocalTag
from fwsync.model import (
    BaseEntry,
    ContainerRef,
    Decision,
    Level,
    LocalEntry,
    Outcome,
    Problem,
    RelPath,
    RemoteEntry,
    Stamp,
    Verb,
)
from fwsync.state import State, StateThread, open_state

MS = 1_000_000
NOW = 1_700_000_000_000 * MS
TAG = LocalTag("xxh3:" + "a" * 32)
OTHER_TAG = LocalTag("xxh3:" + "b" * 32)
SHA = Digest("sha384:" + "a" * 96)
OTHER_SHA = Digest("sha384:" + "b" * 96)
DAY = 24 * 3600 * 1000 * MS


def local(path: str, size: int = 1, at: int = NOW, **more: object) -> LocalEntry:
    return replace(LocalEntry(RelPath(path), Stamp(size, at, at, 66, 7)), **more)  # type: ignore[arg-type]


def read(path: str, size: int = 1, at: int = NOW) -> LocalEntry:
    return local(path, size, at, etag=TAG, digest=SHA)


def remote(path: str, size: int = 1, etag: str = "v1", digest: Digest | None = SHA) -> RemoteEntry:
    box = ContainerRef(Level.ACQUISITION, "5f" * 12)
    return RemoteEntry(RelPath(path), size, etag, digest, box, path.rsplit("/", 1)[-1], "id", 3, 9)


def outcome(verb: Verb, path: str, **more: object) -> Outcome:
    return replace(Outcome(Decision(verb, RelPath(path))), **more)  # type: ignore[arg-type]


def agreed(path: str, size: int = 1, etag: str = "v1") -> Outcome:
    return outcome(Verb.UPLOAD, path, local=read(path, size), remote=remote(path, size, etag))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    ticks = iter(range(NOW, NOW + 10**6))
    with open_state(tmp_path / "state.db", now_ns=lambda: next(ticks)) as opened:
        yield opened


def paths(state: State) -> list[str]:
    return [entry.path for entry in state.local_entries()]


# --------------------------------------------------------------------------- order of text


def test_paths_come_in_the_order_of_python(state: State) -> None:
    names = ["z", "é", "ﬀ", "\uffee", "𝄞", "😀", "a/b", "a", "a!", "a0", "Z", "\x01", "\u2028"]
    everything = sorted(names)
    state.take_scan(local(path) for path in everything)
    state.start_listing()
    state.take_listing([remote(path) for path in reversed(everything)])
    state.record([agreed(path) for path in reversed(everything)])

    assert everything == paths(state)
    assert everything == [entry.path for entry in state.remote_entries()]
    assert everything == [entry.path for entry in state.base_entries()]


def test_reading_goes_on_while_what_was_read_is_recorded(state: State) -> None:
    names = [f"{i:05}" for i in range(4500)]
    state.take_scan(local(path) for path in names)
    seen = []
    for number, entry in enumerate(state.local_entries()):
        seen.append(entry.path)
        if number % 500 == 0:
            state.record([agreed(entry.path), outcome(Verb.DELETE_LOCAL, f"{number - 1:05}")])

    assert names == seen


# -------------------------------------------------------------------------------- hashes


@pytest.mark.parametrize(
    ("mtime", "ctime", "hashed_at", "trusted"),
    [
        (NOW, NOW, NOW + 20 * MS, True),
        (NOW, NOW, NOW + 20 * MS - 1, False),
        (NOW, NOW, NOW - 5, False),
        (NOW - DAY, NOW, NOW + 1 * MS, True),  # its time was set: a write would show
        (NOW, NOW - DAY, NOW + 1 * MS, False),
        (NOW + 9 * DAY, NOW, NOW + 1 * MS, True),  # a date of the future, set by hand
        (-1, 0, NOW, True),  # before 1970
    ],
)
def test_a_hash_made_in_the_tick_of_the_last_write_is_not_trusted(
    state: State, mtime: int, ctime: int, hashed_at: int, trusted: bool
) -> None:
    entry = replace(local("a"), stamp=Stamp(1, mtime, ctime, 1, 1))
    state.take_scan([entry])
    state.remember([(replace(entry, etag=TAG, digest=SHA), hashed_at)])

    (found,) = state.local_entries()

    assert ((TAG, SHA) if trusted else (None, None)) == (found.etag, found.digest)


def test_a_coarse_file_system_is_trusted_later(tmp_path: Path) -> None:
    with open_state(tmp_path / "s.db", granularity_ns=2000 * MS) as state:
        state.take_scan([local("a"), local("b")])
        state.remember([(read("a"), NOW + 1999 * MS), (read("b"), NOW + 2000 * MS)])

        assert [None, TAG] == [entry.etag for entry in state.local_entries()]


def test_a_racy_row_is_hashed_again_and_then_trusted(state: State) -> None:
    state.take_scan([local("a")])
    state.remember([(read("a"), NOW)])
    state.start_listing()
    state.take_listing([remote("a")])

    assert [(local("a"), True)] == state.to_hash()

    state.remember([(read("a"), NOW + 1000 * MS)])

    assert [] == state.to_hash()


def test_a_hash_is_forgotten_if_the_file_has_moved_on(state: State) -> None:
    state.take_scan([local("a", at=NOW + 5)])
    state.remember([(read("a"), NOW + DAY), (read("not-there"), NOW + DAY)])

    assert [local("a", at=NOW + 5)] == list(state.local_entries())


def test_the_digest_of_the_same_bytes_is_kept_if_only_the_tag_is_made_again(state: State) -> None:
    state.take_scan([local("a")])
    state.remember([(read("a"), NOW)])
    state.remember([(local("a", etag=TAG), NOW + DAY)])

    assert [read("a")] == list(state.local_entries())

    state.remember([(local("a", etag=OTHER_TAG), NOW + DAY)])

    assert [local("a", etag=OTHER_TAG)] == list(state.local_entries())


def test_nothing_is_remembered_without_a_tag(state: State) -> None:
    with pytest.raises(ValueError, match="etag"):
        state.remember([(local("a"), NOW)])


#: What is here, what the server has, what was agreed -> is it read, with its digest?
TO_HASH: dict[str, tuple[LocalEntry, RemoteEntry | None, tuple[int, str] | None, bool | None]] = {
    "new here": (local("a"), None, None, None),
    "new on both sides": (local("a"), remote("a"), None, True),
    "new on both sides, sizes differ": (local("a", 2), remote("a"), None, None),
    "new on both sides, no hash there": (local("a"), remote("a", digest=None), None, False),
    "touched here": (local("a"), remote("a"), (1, "v1"), False),
    "touched here, gone there": (local("a"), None, (1, "v1"), False),
    "another size here": (local("a", 2), remote("a"), (1, "v1"), None),
    "touched here, changed there": (local("a"), remote("a", etag="v2"), (1, "v1"), True),
    "another size here, and the same there": (
        local("a", 2),
        remote("a", 2, "v2"),
        (1, "v1"),
        True,
    ),
    "known, new on both sides": (local("a", etag=TAG), remote("a"), None, True),
    "known, and its digest too": (read("a"), remote("a"), None, None),
    "known, in step": (local("a", etag=TAG), remote("a"), (1, "v1"), None),
    "known, changed there only": (local("a", etag=TAG), remote("a", etag="v2"), (1, "v1"), None),
    "known, changed here only": (local("a", etag=OTHER_TAG), remote("a"), (1, "v1"), None),
    "known, changed on both sides": (
        local("a", etag=OTHER_TAG),
        remote("a", etag="v2"),
        (1, "v1"),
        True,
    ),
}


@pytest.mark.parametrize("case", TO_HASH)
def test_only_what_can_change_a_verdict_is_read(state: State, case: str) -> None:
    here, there, base, wanted = TO_HASH[case]
    if base is not None:
        state.record([agreed("a", *base)])
    state.take_scan([replace(here, stamp=here.stamp._replace(mtime_ns=NOW - 1))])
    if here.etag is not None:
        known = replace(here, stamp=here.stamp._replace(mtime_ns=NOW - 1))
        state.remember([(known, NOW + DAY)])
    state.start_listing()
    state.take_listing([there] if there is not None else [])

    assert ([] if wanted is None else [wanted]) == [asked for _, asked in state.to_hash()]


def test_what_is_to_be_hashed_comes_in_parts(state: State) -> None:
    names = [f"{i:03}" for i in range(25)]
    state.take_scan(local(path) for path in names)
    state.start_listing()
    state.take_listing(remote(path) for path in names)
    got: list[str] = []
    while part := state.to_hash(after=got[-1] if got else "", limit=10):
        got += [entry.path for entry, _ in part]

    assert names == got


# ------------------------------------------------------------------------- remote listings


def test_a_remote_listing_is_kept_for_the_run(state: State) -> None:
    listing = [remote("b", digest=None), remote("a")]
    state.start_listing()
    state.take_listing(listing[:1])
    state.take_listing(listing[1:])

    assert listing[::-1] == list(state.remote_entries())

    state.start_listing()

    assert [] == list(state.remote_entries())


def test_a_listing_that_was_never_made_is_not_an_empty_one(state: State) -> None:
    with pytest.raises(RuntimeError, match="not listed"):
        state.remote_entries()
    with pytest.raises(RuntimeError, match="not listed"):
        state.to_hash()


@pytest.mark.parametrize("second", [["b", "a"], ["b", "b"]])
def test_a_path_listed_twice_is_named_and_its_page_dropped(state: State, second: list[str]) -> None:
    state.start_listing()
    state.take_listing([remote("a")])

    with pytest.raises(ValueError, match=f"listed twice: {second[-1]}$"):
        state.take_listing([remote(path) for path in second])

    assert ["a"] == [entry.path for entry in state.remote_entries()]


# ------------------------------------------------------------------------------- recording


@pytest.mark.parametrize("verb", [Verb.UPLOAD, Verb.DOWNLOAD, Verb.ADOPT])
def test_agreement_is_what_both_sides_answered(state: State, verb: Verb) -> None:
    state.take_scan([local("a", 5)])
    done = outcome(verb, "a", local=read("a", 5), remote=remote("a", 5, "v7"))

    state.record([replace(done, hashed_at_ns=NOW + DAY)])

    assert done.remote is not None
    agreed = BaseEntry(RelPath("a"), 5, TAG, "v7", SHA, "", done.remote.container.id, "id", 3)

    assert [agreed] == list(state.base_entries())
    assert [read("a", 5)] == list(state.local_entries())


def test_a_hash_recorded_without_a_time_is_made_again(state: State) -> None:
    state.record([agreed("a")])

    assert [local("a")] == list(state.local_entries())


def test_a_hash_that_was_trusted_stays_so_when_it_is_recorded(state: State) -> None:
    state.take_scan([local("a")])
    state.remember([(read("a"), NOW + DAY)])

    state.record([agreed("a")])

    assert [read("a")] == list(state.local_entries())


@pytest.mark.parametrize(
    "wrong",
    [
        outcome(Verb.UPLOAD, "b", local=read("b")),
        outcome(Verb.DOWNLOAD, "b", remote=remote("b")),
        outcome(Verb.ADOPT, "b", local=local("b"), remote=remote("b")),
        outcome(Verb.ADOPT, "b", local=read("b"), remote=remote("b", digest=OTHER_SHA)),
        outcome(Verb.HOLD, "b"),
    ],
    ids=["no remote", "no local", "no tag", "different bytes", "held on no side"],
)
def test_agreement_that_is_none_is_refused_with_all_of_its_batch(
    state: State, wrong: Outcome
) -> None:
    with pytest.raises(ValueError, match=r"^b: "):
        state.record([agreed("a"), wrong])

    assert [] == list(state.base_entries())


@pytest.mark.parametrize("verb", [Verb.FORGET, Verb.DELETE_LOCAL, Verb.DELETE_REMOTE])
def test_what_is_gone_leaves_the_base(state: State, verb: Verb) -> None:
    state.record([agreed("a"), agreed("b")])

    state.record([outcome(verb, "a")])

    assert ["b"] == [entry.path for entry in state.base_entries()]


@pytest.mark.parametrize("side", ["local", "remote"])
def test_a_deletion_is_held_until_it_is_undone(state: State, side: str) -> None:
    state.record([agreed("a")])
    left = {"remote": remote("a")} if side == "local" else {"local": read("a")}
    held = Outcome(replace(Decision(Verb.HOLD, RelPath("a")), **left))

    state.record([held])

    assert ([side], 1) == ([entry.held for entry in state.base_entries()], state.counts()["held"])

    back = Decision(Verb.NOTHING, RelPath("a"), read("a"), remote("a"))
    state.record([Outcome(back)])

    assert [""] == [entry.held for entry in state.base_entries()]

    state.record([held, agreed("a")])

    assert [""] == [entry.held for entry in state.base_entries()]


def test_a_conflict_that_kept_both_is_open_until_it_is_closed(state: State) -> None:
    decision = Decision(Verb.CONFLICT, RelPath("a.dcm"), read("a.dcm"), remote("a.dcm", etag="v2"))
    copy = RelPath("a.fwsync-conflict-x.dcm")
    both = Outcome(decision, conflict_copy=copy)

    state.record([both, both])

    (found,) = state.conflicts()
    assert ("a.dcm", copy, SHA, SHA) == (
        found.path,
        found.copy_path,
        found.local_digest,
        found.remote_digest,
    )
    assert [] == list(state.base_entries())

    state.copies.close(found.id)

    assert [] == state.conflicts()


def test_a_second_conflict_whose_copy_gets_the_name_of_a_closed_one_is_open(state: State) -> None:
    copy = RelPath("a.fwsync-conflict-x.dcm")  # names have the second in them, and no more
    first = Decision(Verb.CONFLICT, RelPath("a.dcm"), read("a.dcm"), remote("a.dcm", etag="v2"))
    later = replace(read("a.dcm", 7), digest=OTHER_SHA)
    state.record([Outcome(first, conflict_copy=copy)])
    state.copies.close(state.conflicts()[0].id)

    state.record([Outcome(replace(first, local=later), conflict_copy=copy)])

    (found,) = state.conflicts()
    assert (copy, later.size, later.digest) == (
        found.copy_path,
        found.copy_size,
        found.local_digest,
    )


def test_a_conflict_whose_path_took_the_remote_bytes_is_agreed(state: State) -> None:
    decision = Decision(Verb.CONFLICT, RelPath("a"), read("a"), remote("a", etag="v2"))

    state.record([Outcome(decision, read("a"), remote("a", 1, "v2"), None, 1, RelPath("a.copy"))])

    assert ["v2"] == [entry.remote_etag for entry in state.base_entries()]


def test_a_problem_changes_nothing_else_and_goes_with_success(state: State) -> None:
    failed = replace(agreed("a"), problem=Problem("a", "no", "ask", retryable=True))

    state.record([failed])
    state.record([failed])

    (found,) = state.problems()
    assert ("a", "no", "ask", True, 2) == (
        found.path,
        found.message,
        found.hint,
        found.retryable,
        found.attempts,
    )
    assert found.first_seen_ns < found.last_seen_ns
    assert [] == list(state.base_entries())

    state.record([agreed("a")])

    assert [] == state.problems()


def test_problems_that_a_run_did_not_meet_again_are_dropped(state: State) -> None:
    for path in "ab":
        state.record([replace(agreed(path), problem=Problem(path, "no"))])
    since = state.problems()[1].first_seen_ns

    assert 1 == state.drop_problems(not_seen_since_ns=since)
    assert ["b"] == [problem.path for problem in state.problems()]


def test_a_problem_with_a_name_that_is_no_text_is_shown_all_the_same(state: State) -> None:
    state.record([replace(agreed("a"), problem=Problem("a\udcff", "no"))])

    assert ["a\\udcff"] == [problem.path for problem in state.problems()]


# --------------------------------------------------------------------- runs, counts, settings


def test_a_run_is_kept_with_its_summary(state: State) -> None:
    first = state.begin_run("sync", "lab/aging")
    state.end_run(first, 1, {"uploaded": 3})
    second = state.begin_run("watch", "lab/aging")

    latest, before = state.last_runs(5)

    assert (second, None, None, {}) == (
        latest.id,
        latest.ended_ns,
        latest.exit_code,
        latest.summary,
    )
    assert (first, "sync", 1, {"uploaded": 3}) == (
        before.id,
        before.command,
        before.exit_code,
        before.summary,
    )
    assert [latest] == state.last_runs(1)


def test_counts_say_what_there_is(state: State) -> None:
    state.take_scan([local("a"), local("b"), local("c")])
    state.record([agreed("a", 10), agreed("b", 5)])

    expected = {"files": 2, "bytes": 15, "held": 0, "indexed": 3, "conflicts": 0, "problems": 0}

    assert expected == state.counts()


def test_settings_are_kept_and_dropped(state: State) -> None:
    state.set_setting("remote", "lab/a")
    state.set_setting("remote", "lab/b")

    assert "lab/b" == state.setting("remote")

    state.set_setting("remote", None)

    assert state.setting("remote") is None


def test_everything_is_there_again_after_closing(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with open_state(file) as state:
        state.take_scan([local("a")])
        state.record([replace(agreed("a"), hashed_at_ns=NOW + DAY)])
    with open_state(file) as state:
        assert [read("a")] == list(state.local_entries())
        assert ["a"] == [entry.path for entry in state.base_entries()]


# ------------------------------------------------------------------------------ its thread


async def test_a_state_lives_in_a_thread_of_its_own(tmp_path: Path) -> None:
    thread = await StateThread.open(lambda: open_state(tmp_path / "state.db"))

    await thread.call(State.record, [replace(agreed("a"), hashed_at_ns=NOW)])
    counts = await thread.call(State.counts)
    entries = await thread.call(lambda state: list(state.base_entries()))
    await thread.close()

    assert (1, ["a"]) == (counts["files"], [entry.path for entry in entries])
