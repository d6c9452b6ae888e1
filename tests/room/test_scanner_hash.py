"""Reading a file: the very file that was seen, unchanged, or a value that says why not."""

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest
import xxhash

from fwsync.errors import FileProblem, SourceChanged, Unreadable
from fwsync.localfs import open_regular, root_descriptor, stamp_of
from fwsync.model import LocalEntry, RelPath
from fwsync.scanner import hash_file, walk

CONTENT = b"DICM" * 100_000


def seen(root: Path, path: str = "sub/a.dcm", content: bytes = CONTENT) -> LocalEntry:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    return LocalEntry(RelPath(path), stamp_of((root / path).stat()))


def open_count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_both_hashes_are_those_of_the_content(tmp_path: Path, content: bytes) -> None:
    entry = seen(tmp_path, content=content)
    before = time.time_ns()
    steps: list[int] = []

    hashed, at_ns = hash_file(
        tmp_path, entry, want_digest=True, block_size=65536, read=steps.append
    )

    assert f"xxh3:{xxhash.xxh3_128_hexdigest(content)}" == hashed.etag
    assert f"sha384:{hashlib.sha384(content).hexdigest()}" == hashed.digest
    assert entry.stamp == hashed.stamp
    assert before <= at_ns <= time.time_ns()
    assert len(content) == sum(steps)


def test_the_digest_costs_only_where_it_is_wanted(tmp_path: Path) -> None:
    hashed, _ = hash_file(tmp_path, seen(tmp_path), want_digest=False)

    assert hashed.digest is None
    assert hashed.etag is not None


def test_a_decomposed_name_is_read_by_its_name_on_disk(tmp_path: Path) -> None:
    (tmp_path / "e\u0301").write_bytes(b"x")
    [entry] = walk(tmp_path)
    assert isinstance(entry, LocalEntry)

    hashed, _ = hash_file(tmp_path, entry, want_digest=False)

    assert hashed.path == "\u00e9"
    assert hashed.disk_path == "e\u0301"


def test_a_file_that_changed_since_the_walk_is_not_read(tmp_path: Path) -> None:
    entry = seen(tmp_path)
    (tmp_path / entry.path).write_bytes(b"new")

    with pytest.raises(SourceChanged, match=r"sub/a\.dcm: changed since it was seen"):
        hash_file(tmp_path, entry, want_digest=False)


def test_the_same_bytes_in_a_new_file_are_another_file(tmp_path: Path) -> None:
    entry = seen(tmp_path)
    aside = tmp_path / "aside"
    aside.write_bytes(CONTENT)
    os.utime(aside, ns=(entry.stamp.mtime_ns, entry.stamp.mtime_ns))
    aside.replace(tmp_path / entry.path)

    with pytest.raises(SourceChanged):
        hash_file(tmp_path, entry, want_digest=False)


@pytest.mark.parametrize("what", ["append", "overwrite", "truncate", "touch"])
def test_a_file_that_changes_while_it_is_read_gives_no_hash(tmp_path: Path, what: str) -> None:
    entry = seen(tmp_path)
    path = tmp_path / entry.path

    def meddle(_: int) -> None:
        if what == "touch":
            os.utime(path, ns=(1, 1))
        elif what == "truncate":
            os.truncate(path, 70_000)
        else:
            with path.open("r+b" if what == "overwrite" else "ab") as file:
                file.write(b"!")

    with pytest.raises(SourceChanged):
        hash_file(tmp_path, entry, want_digest=True, block_size=65536, read=meddle)


def test_a_file_renamed_while_it_is_read_is_read_to_its_end_or_found_changed(
    tmp_path: Path,
) -> None:
    entry = seen(tmp_path)
    path = tmp_path / entry.path

    def move(_: int) -> None:
        if path.exists():
            path.rename(tmp_path / "elsewhere")

    with pytest.raises(SourceChanged):  # a rename changes the ctime
        hash_file(tmp_path, entry, want_digest=True, block_size=65536, read=move)


def test_a_file_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    entry = seen(tmp_path)
    (tmp_path / entry.path).unlink()

    with pytest.raises(SourceChanged, match="is gone"):
        hash_file(tmp_path, entry, want_digest=False)


@pytest.mark.parametrize("place", ["sub/a.dcm", "sub"])
def test_no_link_is_followed_neither_the_file_nor_a_folder_above(
    tmp_path: Path, place: str
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    entry = seen(root)
    outside.mkdir()
    (root / place).rename(outside / "moved")
    (root / place).symlink_to(outside / "moved")

    with pytest.raises(Unreadable, match="symbolic link"):
        hash_file(root, entry, want_digest=False)


def test_a_pipe_in_the_files_place_does_not_hang(tmp_path: Path) -> None:
    entry = seen(tmp_path)
    (tmp_path / entry.path).unlink()
    os.mkfifo(tmp_path / entry.path)

    with pytest.raises(Unreadable, match="is a named pipe; expected a regular file"):
        hash_file(tmp_path, entry, want_digest=False)


def test_a_folder_in_the_files_place_is_no_file(tmp_path: Path) -> None:
    entry = seen(tmp_path)
    (tmp_path / entry.path).unlink()
    (tmp_path / entry.path).mkdir()

    with pytest.raises(Unreadable, match="is a folder"):
        hash_file(tmp_path, entry, want_digest=False)


def test_a_file_without_permission_is_unreadable(ordinary: Path) -> None:
    entry = seen(ordinary)
    (ordinary / entry.path).chmod(0)
    entry = LocalEntry(entry.path, stamp_of((ordinary / entry.path).stat()))

    with pytest.raises(Unreadable, match="Permission denied"):
        hash_file(ordinary, entry, want_digest=False)


def test_a_read_error_is_this_files_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = seen(tmp_path)

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "readv", broken)

    with pytest.raises(Unreadable, match=r"sub/a\.dcm: cannot be read \(Input/output error\)"):
        hash_file(tmp_path, entry, want_digest=False)


def test_a_short_read_is_not_taken_for_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = seen(tmp_path)
    monkeypatch.setattr(os, "readv", lambda *_: 0)

    with pytest.raises(Unreadable, match="ended after 0 of 400000 bytes"):
        hash_file(tmp_path, entry, want_digest=False)


def test_out_of_descriptors_is_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = seen(tmp_path)
    real = os.open

    def scarce(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "a.dcm":
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", scarce)

    with pytest.raises(Unreadable) as caught:
        hash_file(tmp_path, entry, want_digest=False)
    assert caught.value.retryable


def test_a_root_that_went_away_is_worth_another_try(tmp_path: Path) -> None:
    entry = seen(tmp_path / "root")
    (tmp_path / "root").rename(tmp_path / "away")

    with pytest.raises(Unreadable) as caught:
        hash_file(tmp_path / "root", entry, want_digest=False)
    assert caught.value.retryable


def test_no_descriptor_is_lost_on_any_way(tmp_path: Path) -> None:
    entry = seen(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    before = open_count()
    hash_file(tmp_path, entry, want_digest=False)
    with root_descriptor(tmp_path) as root_fd:
        for bad in ("pipe", "nothing", "sub/nothing", "sub", "nothing/at/all"):
            with pytest.raises(FileProblem):
                open_regular(root_fd, bad)
        os.close(open_regular(root_fd, "sub/a.dcm"))

    assert before == open_count()


def test_an_error_about_a_strange_name_is_valid_text(tmp_path: Path) -> None:
    with root_descriptor(tmp_path) as root_fd, pytest.raises(FileProblem) as caught:
        open_regular(root_fd, os.fsdecode(b"caf\xe9"))

    assert caught.value.message.encode()
