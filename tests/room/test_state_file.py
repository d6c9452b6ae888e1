"""The state file as a file: made, checked, migrated, copied, damaged, locked, full."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import fwsync
from fwsync.digest import Digest, LocalTag
from fwsync.errors import LocalError, Locked, StateDamaged, StateTooNew
from fwsync.model import (
    ContainerRef,
    Decision,
    Level,
    LocalEntry,
    Outcome,
    RelPath,
    RemoteEntry,
    Stamp,
    Unknown,
    Verb,
)
from fwsync.state import APPLICATION_ID, State, open_state

FOLDER = Path(fwsync.__file__).parent / "state.db"
NOW = 1_700_000_000_000_000_000


def entry(path: str) -> LocalEntry:
    tag = LocalTag("xxh3:" + "a" * 32)
    return LocalEntry(RelPath(path), Stamp(1, NOW, NOW, 66, 7), tag, Digest("sha384:" + "a" * 96))


def agreed(path: str, verb: Verb = Verb.UPLOAD) -> Outcome:
    box = ContainerRef(Level.PROJECT, "5f" * 12)
    remote = RemoteEntry(RelPath(path), 1, "v1", None, box, path)
    decision = Decision(verb, RelPath(path), entry(path))
    return Outcome(decision, entry(path), remote, hashed_at_ns=2 * NOW)


def filled(file: Path, count: int = 3000) -> None:
    with open_state(file) as state:
        state.take_scan(entry(f"{i:05}") for i in range(count))
        state.record([agreed(f"{i:05}") for i in range(count)])


def content(state: State) -> object:
    return (
        list(state.local_entries()),
        list(state.base_entries()),
        state.conflicts(),
        state.problems(),
    )


def beside(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir())


# ------------------------------------------------------------------------------ a new one


def test_a_new_state_is_ours_private_and_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "state.db"
    with open_state(file) as state:
        assert 0 == state.counts()["files"]
        assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}

    assert ["state.db"] == beside(file)
    assert APPLICATION_ID.to_bytes(4, "big") == file.read_bytes()[68:72]


def test_a_missing_state_is_not_made_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no state file"):
        open_state(tmp_path / "state.db", create=False)
    with pytest.raises(LocalError, match="no state file"):
        open_state(tmp_path / "state.db", read_only=True)

    assert [] == beside(tmp_path / "state.db")


def test_the_wal_of_a_state_that_was_moved_away_is_not_played_into_a_new_one(
    tmp_path: Path,
) -> None:
    file = tmp_path / "state.db"
    state = open_state(file)
    state.record([agreed("a")])
    for suffix in ("", "-wal", "-shm"):
        shutil.copyfile(f"{file}{suffix}", f"{file}.saved{suffix}")
    state.close()
    file.unlink()
    shutil.copyfile(f"{file}.saved-wal", f"{file}-wal")

    with open_state(file) as fresh:
        assert 0 == fresh.counts()["files"]


def test_what_a_killed_first_run_left_is_no_obstacle(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    file.with_name("state.db.new").write_bytes(b"half")

    open_state(file).close()

    assert ["state.db"] == beside(file)


# ------------------------------------------------------------------------------- damage


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def with_a_page_of_noise(data: bytes) -> bytes:
    middle = len(data) // 2 // 4096 * 4096
    return data[:middle] + b"\xa5" * 4096 + data[middle + 4096 :]


def of_another_program(data: bytes) -> bytes:
    return data[:68] + bytes(4) + data[72:]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "zero bytes": lambda _: b"",
    "not SQLite": lambda _: b"PK\x03\x04" * 500,
    "a short text": lambda _: b"hello",
    "cut in half": cut,
    "cut to its header": lambda data: data[:100],
    "a damaged page": with_a_page_of_noise,
    "a damaged first page": lambda data: data[:100] + b"\xa5" * 3996 + data[4096:],
    "of another program": of_another_program,
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_state_is_refused_and_never_taken_for_an_empty_one(
    tmp_path: Path, kind: str, read_only: bool
) -> None:
    file = tmp_path / "state.db"
    filled(file)
    damaged = DAMAGE[kind](file.read_bytes())
    file.write_bytes(damaged)

    with pytest.raises(StateDamaged, match="damaged") as raised:
        open_state(file, read_only=read_only)

    assert damaged == file.read_bytes()
    assert "`fwsync doctor DIR --rebuild`" in raised.value.hint


def test_messages_name_the_file_that_the_user_knows(tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_bytes(b"")

    with pytest.raises(StateDamaged, match=r"known\.db"):
        open_state(tmp_path / "copy.db", called=Path("known.db"))


# --------------------------------------------------------------------------- schema versions


def newer(tmp_path: Path, *sql: str) -> Path:
    """A folder of migrations with more of them behind ours."""
    folder = tmp_path / "migrations"
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    for number, text in enumerate(sql, len(list(FOLDER.glob("0*.sql"))) + 1):
        (folder / f"{number:04}_more_{number}.sql").write_text(text)
    return folder


ADD = "CREATE TABLE more (a INTEGER) STRICT; INSERT INTO more VALUES (7);"
AGREED_LONG_AGO = """INSERT INTO base (path, size, local_etag, remote_etag, container_level,
    container_id, file_id, version) VALUES ('a', 1, 'xxh3:1', 'v1', 'project', 'p1', 'f1', 1)"""
CHANGE = "ALTER TABLE more ADD COLUMN b TEXT; UPDATE more SET b = 'x;y';"


def rows(file: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as db:
        return db.execute(sql).fetchall()


def test_a_newer_state_is_refused_untouched(tmp_path: Path) -> None:
    file = tmp_path / "d" / "state.db"
    open_state(file, migrations=newer(tmp_path, ADD)).close()
    before = (file.read_bytes(), file.stat().st_mtime_ns, beside(file))

    for read_only in (False, True):
        with pytest.raises(StateTooNew, match="newer fwsync"):
            open_state(file, read_only=read_only)

    assert before == (file.read_bytes(), file.stat().st_mtime_ns, beside(file))


def test_a_newer_state_is_known_by_its_wal_too(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    state = open_state(file)
    state._db.ask("PRAGMA user_version = 99")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{file}{suffix}", f"{tmp_path}/left.db{suffix}")
    state.close()
    left = tmp_path / "left.db"
    before = (left.read_bytes(), (tmp_path / "left.db-wal").read_bytes())

    with pytest.raises(StateTooNew):
        open_state(left)

    assert before == (left.read_bytes(), (tmp_path / "left.db-wal").read_bytes())


@pytest.mark.parametrize("first", range(1, len(list(FOLDER.glob("0*.sql"))) + 1))
def test_every_older_state_is_brought_up_to_date_with_a_backup_of_each_step(
    tmp_path: Path, first: int
) -> None:
    older = tmp_path / "older"
    older.mkdir()
    for path in sorted(FOLDER.glob("0*.sql"))[:first]:
        shutil.copy(path, older)
    file = tmp_path / "d" / "state.db"
    with open_state(file, migrations=older) as state:
        state._db.ask(AGREED_LONG_AGO)  # today's code speaks to today's tables
    folder = newer(tmp_path, ADD, CHANGE)
    newest = len(list(folder.iterdir()))

    with open_state(file, migrations=folder) as state:
        assert ["a"] == [known.path for known in state.base_entries()]

    assert [(7, "x;y")] == rows(file, "SELECT * FROM more")
    assert list(range(1, newest + 1)) == [n for (n,) in rows(file, "SELECT number FROM migration")]
    backups = [f"state.db.before-{number}" for number in range(first + 1, newest + 1)]
    assert ["state.db", *backups] == beside(file)
    for number, name in enumerate(backups, first):
        backup = file.with_name(name)
        assert [(number,)] == rows(backup, "PRAGMA user_version")
        assert [("a",)] == rows(backup, "SELECT path FROM base")
        assert 0o600 == stat.S_IMODE(backup.stat().st_mode)


def test_a_migration_that_fails_leaves_the_state_before_it(tmp_path: Path) -> None:
    file = tmp_path / "d" / "state.db"
    open_state(file).close()
    broken = newer(tmp_path, ADD, "UPDATE more SET a = 8; INSERT INTO nowhere VALUES (1);")

    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        open_state(file, migrations=broken)

    step = len(list(FOLDER.glob("0*.sql"))) + 1
    assert [(step,)] == rows(file, "PRAGMA user_version")
    assert [(7,)] == rows(file, "SELECT * FROM more")
    assert [(step,)] == rows(file, "SELECT max(number) FROM migration")

    with open_state(file, migrations=newer(tmp_path, ADD, CHANGE)) as state:
        assert 0 == state.counts()["files"]


def test_an_older_state_is_not_migrated_by_somebody_who_only_looks(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    open_state(file).close()

    with pytest.raises(LocalError, match="older fwsync"):
        open_state(file, read_only=True, migrations=newer(tmp_path, ADD))


def test_migrations_have_no_gaps(tmp_path: Path) -> None:
    (tmp_path / "0002_second.sql").write_text("")

    with pytest.raises(ValueError, match="without gaps"):
        open_state(tmp_path / "state.db", migrations=tmp_path)


# --------------------------------------------------------------------------------- copies


def test_a_copy_is_one_whole_file_while_the_state_is_in_use(tmp_path: Path) -> None:
    file, target = tmp_path / "a" / "state.db", tmp_path / "b" / "saved.db"
    target.parent.mkdir()
    with open_state(file) as state:
        state.record([agreed(f"{i:05}") for i in range(3000)])
        reading = state.base_entries()
        next(reading)
        state.save_copy(target)
        state.record([agreed("later")])
        state.save_copy(target)

        assert 2999 == len(list(reading)) - 1

    assert ["saved.db"] == beside(target)
    assert ["state.db"] == beside(file)
    with open_state(target) as copy:
        assert 3001 == copy.counts()["files"]


def test_a_copy_that_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    target = tmp_path / "saved.db"
    with open_state(tmp_path / "state.db") as state:
        state.record([agreed("a")])
        state.save_copy(target)
        before = target.read_bytes()
        (tmp_path / "saved.db.part").mkdir()  # in its way, as a full or read-only disk is

        with pytest.raises(LocalError, match="copy of the state"):
            state.save_copy(target)

    assert before == target.read_bytes()
    assert ["saved.db", "saved.db.part", "state.db"] == beside(target)


# ------------------------------------------------------------------- faults while it is open


def break_at(state: State, step: int) -> None:
    """The ``step``-th instruction of SQLite's machine from now on is interrupted, once."""
    left = [step]

    def tick() -> int:
        left[0] -= 1
        return int(left[0] == 0)

    state._db.connection.set_progress_handler(tick, 1)


def change_a_lot(state: State) -> None:
    state.record(
        [
            agreed("new"),
            agreed("00001"),
            Outcome(Decision(Verb.DELETE_LOCAL, RelPath("00002"))),
            Outcome(Decision(Verb.HOLD, RelPath("00003"), entry("00003"))),
            Outcome(Decision(Verb.CONFLICT, RelPath("00004")), conflict_copy=RelPath("copy")),
        ]
    )


def test_a_record_that_breaks_anywhere_leaves_the_old_or_the_new_state(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    filled(file, 10)
    shutil.copyfile(file, tmp_path / "other.db")
    with open_state(tmp_path / "other.db", now_ns=lambda: NOW) as other:
        change_a_lot(other)
        after = content(other)
    with open_state(file, now_ns=lambda: NOW) as state:
        before = content(state)
        broken = 0
        while True:
            break_at(state, broken + 1)
            try:
                change_a_lot(state)
            except LocalError:
                broken += 1
            else:
                break
            finally:
                state._db.connection.set_progress_handler(None, 1)
            # After: the commit was the last instruction but the one that broke.
            assert content(state) in (before, after)
        assert after == content(state)

    assert broken > 100
    assert before != after


def test_a_scan_that_breaks_anywhere_is_repaired_by_the_next(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    filled(file, 10)
    listing: list[LocalEntry | Unknown] = [entry("00001"), entry("00003x"), entry("00007")]
    listing.append(Unknown(RelPath("00009"), "busy"))
    with open_state(file) as state:
        broken, unbroken = 0, False
        while not unbroken:
            break_at(state, broken + 1)
            try:
                state.take_scan(listing)
                unbroken = True
            except LocalError:
                broken += 1
            state._db.connection.set_progress_handler(None, 1)

            assert {"00001", "00007", "00009"} <= {e.path for e in state.local_entries()}

        names = ["00001", "00003x", "00007", "00009"]
        assert names == [known.path for known in state.local_entries()]
    assert broken > 50


def test_a_full_disk_is_told_and_the_state_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    filled(file, 100)
    with open_state(file) as state:
        before = content(state)
        pages = state._db.ask("PRAGMA page_count")[0][0]
        state._db.ask(f"PRAGMA max_page_count = {pages + 2}")

        with pytest.raises(LocalError, match="no space") as raised:
            state.record([agreed(f"more-{i}") for i in range(5000)])

        assert "free some space" in raised.value.hint
        assert before == content(state)
        state._db.ask("PRAGMA max_page_count = 1000000")
        state.record([agreed("more")])

    with open_state(file) as state:
        assert 101 == state.counts()["files"]


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        cwd=Path(fwsync.__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


FILL_UP = """
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, "tests/room")
    from test_state_file import agreed
    from fwsync.errors import LocalError
    from fwsync.state import open_state
    file, limit = Path(sys.argv[1]), int(sys.argv[2])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    state = open_state(file)
    done = 0
    try:
        while done < 200_000:
            state.record([agreed(f"{done + i:07}") for i in range(200)])
            done += 200
    except LocalError as error:
        print(done, error.exit_code.value)
    """


def test_a_file_that_may_not_grow_is_told_and_opens_again(tmp_path: Path) -> None:
    file = tmp_path / "state.db"

    ended = run(FILL_UP, file, 400_000)

    assert ("", 2) == (ended.stderr, len(ended.stdout.split()))
    done, code = map(int, ended.stdout.split())
    with open_state(file) as state:
        assert (6, done) == (code, state.counts()["files"])


def test_a_file_system_that_is_full_is_told_and_the_state_opens_again(tmp_path: Path) -> None:
    file = tmp_path / "full" / "state.db"
    file.parent.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", file.parent],
        capture_output=True,
        check=False,
    )
    limit = 0 if mounted.returncode == 0 else 300_000  # in a container: the nearest thing to it
    try:
        ended = run(FILL_UP, file, limit)

        assert ("", 2) == (ended.stderr, len(ended.stdout.split()))
        done, code = map(int, ended.stdout.split())
        shutil.copytree(file.parent, tmp_path / "roomy")
        with open_state(tmp_path / "roomy" / "state.db") as state:
            assert (6, done) == (code, state.counts()["files"])
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", file.parent], check=True)


def test_a_process_that_is_killed_leaves_whole_transactions(tmp_path: Path) -> None:
    file = tmp_path / "state.db"

    ended = run(
        """
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, "tests/room")
        from test_state_file import agreed
        from fwsync.state import open_state
        state = open_state(Path(sys.argv[1]))
        state.record([agreed(f"{i:04}") for i in range(500)])
        with state._db.change() as db:
            db.execute("DELETE FROM base")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        file,
    )

    assert (-9, "") == (ended.returncode, ended.stderr)
    with open_state(file) as state:
        assert 500 == state.counts()["files"]


def test_a_state_that_another_program_keeps_locked_is_told(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    open_state(file).close()
    with (
        closing(sqlite3.connect(file, isolation_level=None)) as other,
        open_state(file, busy_timeout_s=0.05) as state,
    ):
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(Locked, match="another process"):
            state.record([agreed("a")])

        assert 0 == state.counts()["files"]
        other.execute("ROLLBACK")
        state.record([agreed("a")])

        assert 1 == state.counts()["files"]


def test_a_state_is_read_while_another_process_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with open_state(file) as writing:
        writing.record([agreed("a")])
        with open_state(file, read_only=True) as reading:
            with writing._db.change() as db:
                db.execute("DELETE FROM base")

                assert 1 == reading.counts()["files"]

            assert 0 == reading.counts()["files"]
            with pytest.raises(LocalError, match="cannot be used"):
                reading.set_setting("a", "b")


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    import tracemalloc

    filled(tmp_path / "state.db", 20_000)
    with open_state(tmp_path / "state.db") as state:
        tracemalloc.start()
        for _ in state.local_entries():
            pass
        state.take_scan(entry(f"{i:05}") for i in range(20_000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert peak < 5_000_000
