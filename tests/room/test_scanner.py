"""The walk: sorted, complete or unknown, and never outside the root."""

import errno
import json
import os
import socket
import stat
import subprocess
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwsync.filters import Filters
from fwsync.localfs import stamp_of
from fwsync.model import LocalEntry, Unknown
from fwsync.scanner import walk

NFC = unicodedata.normalize("NFC", "Größe.dcm")
NFD = unicodedata.normalize("NFD", "Größe.dcm")


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def paths(root: Path) -> list[str]:
    return [found.path for found in walk(root) if isinstance(found, LocalEntry)]


def unknowns(root: Path) -> dict[str, str]:
    return {found.scope: found.reason for found in walk(root) if isinstance(found, Unknown)}


def test_files_come_with_what_stat_says(tmp_path: Path) -> None:
    put(tmp_path, "sub/a.dcm")

    [entry] = walk(tmp_path)

    assert LocalEntry(entry.path, stamp_of((tmp_path / "sub/a.dcm").stat())) == entry  # type: ignore[union-attr]
    assert isinstance(entry, LocalEntry)
    assert entry.path == "sub/a.dcm"
    assert entry.on_disk == "sub/a.dcm"


def test_an_empty_root_holds_nothing(tmp_path: Path) -> None:
    assert [] == list(walk(tmp_path))


@pytest.mark.parametrize(
    "own", [("marker",), ("marker", "state.db", "remotes"), ("marker", "state.db", "ab.remotes")]
)
def test_a_root_within_the_root_is_unknown_and_takes_no_part(
    tmp_path: Path, own: tuple[str, ...]
) -> None:
    put(tmp_path, "a.dcm", "sub/in/b.dcm", "sub/c.dcm", ".fwsync/marker")
    put(tmp_path, *(f"sub/in/.fwsync/{name}" for name in own))

    assert ["a.dcm", "sub/c.dcm"] == paths(tmp_path)
    assert ["sub/in"] == list(unknowns(tmp_path))


@pytest.mark.parametrize("own", ["trash/x", "state.db", "state.db marker"])
def test_what_is_left_of_a_root_takes_part(tmp_path: Path, own: str) -> None:
    put(tmp_path, "in/b.dcm", *(f"in/.fwsync/{name}" for name in own.split()))

    assert ["in/b.dcm"] == paths(tmp_path)
    assert {} == unknowns(tmp_path)


def test_folders_sort_where_their_paths_sort(tmp_path: Path) -> None:
    put(tmp_path, "a/x", "a-b", "a.b", "a0", "a!/y", "b")

    assert sorted(["a/x", "a-b", "a.b", "a0", "a!/y", "b"]) == paths(tmp_path)


names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=6
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 60)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), max_size=12))
def test_the_walk_is_strictly_sorted_and_finds_everything(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[str]
) -> None:
    root = tmp_path_factory.mktemp("walk")
    made: set[str] = set()
    for path in wanted:
        try:
            put(root, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue  # a file and a folder of one name
        made.add(path)

    found = list(walk(root))
    seen = [one.path for one in found if isinstance(one, LocalEntry)]
    hidden = [one.scope for one in found if isinstance(one, Unknown)]

    assert sorted(set(seen)) == seen
    for path in made:
        normal = unicodedata.normalize("NFC", path)
        reserved = any(name.startswith(".fwsync") for name in path.split("/"))
        below_unknown = any(f"{normal}/".startswith(f"{scope}/") for scope in hidden)
        assert reserved or below_unknown or normal in seen
    assert {unicodedata.normalize("NFC", path) for path in made} >= set(seen)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("elsewhere"), "is a symbolic link"),
        (lambda path: path.symlink_to("."), "is a symbolic link"),
        (os.mkfifo, "is a named pipe"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "is a socket"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_file_is_unknown_and_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("b"))
    put(tmp_path, "a", "c")

    assert ["a", "c"] == paths(tmp_path)
    assert {"b": reason} == unknowns(tmp_path)


def test_links_out_of_the_root_and_in_circles_are_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    put(outside, "secret")
    put(root, "in/a")
    (root / "out").symlink_to(outside)
    (root / "in/loop").symlink_to(root)

    assert ["in/a"] == paths(root)
    assert ["in/loop", "out"] == list(unknowns(root))


def test_a_root_that_is_a_link_is_entered(tmp_path: Path) -> None:
    put(tmp_path, "real/a")
    (tmp_path / "link").symlink_to("real")

    assert ["a"] == paths(tmp_path / "link")


def test_a_missing_root_is_all_unknown(tmp_path: Path) -> None:
    assert [""] == list(unknowns(tmp_path / "nowhere"))


def test_our_own_names_are_not_seen_at_any_depth(tmp_path: Path) -> None:
    put(tmp_path, ".fwsync/state.db", ".fwsync-x", "a/.fwsync/parts/1", "a/b", ".other")

    assert [".other", "a/b"] == paths(tmp_path)
    assert {} == unknowns(tmp_path)


def test_an_unreadable_folder_is_unknown(ordinary: Path) -> None:
    put(ordinary, "a/x", "b/y")
    (ordinary / "a").chmod(0)

    assert ["b/y"] == paths(ordinary)
    assert ["a"] == list(unknowns(ordinary))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_folder_that_cannot_be_opened_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    put(tmp_path, "a/x", "a-b", "b/y")
    real = os.open

    def refusing(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "a":
            raise OSError(code, os.strerror(code))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refusing)

    assert ["a-b", "b/y"] == paths(tmp_path)
    assert {"a": f"the folder cannot be opened ({os.strerror(code)})"} == unknowns(tmp_path)


def test_a_folder_that_fails_half_way_is_wholly_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a/x", "a/y", "b/z")
    failing = (tmp_path / "a").stat().st_ino
    real = os.scandir

    class Failing:
        """Lists one entry of the folder, and then fails."""

        def __init__(self, fd: int) -> None:
            self.entries = real(fd)
            self.left = 1 if os.fstat(fd).st_ino == failing else 1000

        def __enter__(self) -> "Failing":
            return self

        def __exit__(self, *_: object) -> None:
            self.entries.close()

        def __iter__(self) -> "Failing":
            return self

        def __next__(self) -> os.DirEntry[str]:
            if not self.left:
                raise OSError(errno.EIO, "Input/output error")
            self.left -= 1
            return next(self.entries)

    monkeypatch.setattr(os, "scandir", Failing)

    assert ["b/z"] == paths(tmp_path)
    assert {"a": "the folder cannot be listed (Input/output error)"} == unknowns(tmp_path)


def test_a_folder_replaced_by_a_link_while_we_look_is_unknown(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    put(outside, "secret")
    put(root, "a", "b/c")
    walking = walk(root)
    assert isinstance(first := next(walking), LocalEntry)
    assert first.path == "a"
    (root / "b").rename(root / "gone")
    (root / "b").symlink_to(outside)

    [found] = walking

    assert isinstance(found, Unknown)
    assert (found.scope, "symbolic link" in found.reason) == ("b", True)


def test_a_folder_that_vanishes_while_we_look_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a", "b/c", "d")
    walking = walk(tmp_path)
    next(walking)
    (tmp_path / "b/c").unlink()
    (tmp_path / "b").rmdir()

    assert ["d"] == [found.path for found in walking if isinstance(found, LocalEntry)]


def test_a_name_that_is_not_utf8_is_reported_and_the_others_go(tmp_path: Path) -> None:
    put(tmp_path, "a", "z")
    (tmp_path / os.fsdecode(b"caf\xe9.dcm")).write_bytes(b"")
    (tmp_path / os.fsdecode(b"d\xff")).mkdir()

    assert ["a", "z"] == paths(tmp_path)
    assert ["caf\\xe9.dcm", "d\\xff"] == list(unknowns(tmp_path))
    assert json.loads(json.dumps(unknowns(tmp_path))) == unknowns(tmp_path)
    assert "".join(unknowns(tmp_path)).encode()


def test_an_escaped_name_that_is_also_a_real_one_is_one_unknown(tmp_path: Path) -> None:
    put(tmp_path, "caf\\xe9", "z")
    (tmp_path / os.fsdecode(b"caf\xe9")).touch()

    assert ["z"] == paths(tmp_path)
    assert ["caf\\xe9"] == list(unknowns(tmp_path))


def test_a_decomposed_name_is_one_path_that_still_opens(tmp_path: Path) -> None:
    folder = unicodedata.normalize("NFD", "Süd")
    put(tmp_path, f"{folder}/{NFD}", f"{folder}/plain")

    composed, plain = (found for found in walk(tmp_path) if isinstance(found, LocalEntry))

    assert f"Süd/{NFC}" == composed.path
    assert (tmp_path / composed.on_disk).exists()
    assert plain.path == "Süd/plain"
    assert (tmp_path / plain.on_disk).exists()
    assert plain.on_disk == f"{folder}/plain"


def test_two_forms_of_one_name_are_one_unknown(tmp_path: Path) -> None:
    put(tmp_path, NFC, NFD, "a", "z", unicodedata.normalize("NFD", "Ö/x"), "Ö/y")

    assert ["a", "z"] == paths(tmp_path)
    assert [NFC, "Ö"] == list(unknowns(tmp_path))


def test_ignored_folders_are_not_entered(tmp_path: Path) -> None:
    put(tmp_path, "a/x", "b/x", "b/y")
    asked: list[tuple[str, bool]] = []

    class Asked(Filters):
        def __call__(self, path: str, is_folder: bool) -> bool:
            asked.append((path, is_folder))
            return super().__call__(path, is_folder)

    rules = Asked(["/a", "/b/x"])
    found = [one.path for one in walk(tmp_path, ignore=rules) if isinstance(one, LocalEntry)]

    assert ["b/y"] == found
    assert {("a", True), ("b", True), ("b/x", False), ("b/y", False)} == set(asked)


def test_empty_files_and_hard_links_are_files(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").hardlink_to(tmp_path / "a")

    assert ["a", "b"] == paths(tmp_path)


def test_a_very_deep_tree_is_walked(tmp_path: Path) -> None:
    depth = 1200  # deeper than Python recurses, and than open files are allowed
    fds = [os.open(tmp_path, os.O_RDONLY)]
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=fds[-1])
            fds.append(os.open("d", os.O_RDONLY, dir_fd=fds[-1]))
            if len(fds) > 3:
                os.close(fds.pop(0))
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fds[-1]))

        assert ["d/" * depth + "f"] == paths(tmp_path)
    finally:
        for fd in fds:
            os.close(fd)
        # What pytest removes temporary folders with recurses; rm does not.
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_many_folders_take_no_more_memory_than_few(tmp_path: Path) -> None:
    for number in range(300):
        put(tmp_path, *(f"{number:03}/{file:02}" for file in range(20)))
    tracemalloc.start()
    count = sum(1 for _ in walk(tmp_path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 6000
    assert peak < 400_000  # bytes; 6 000 entries at once are above 2 MB


def test_descriptors_are_given_back_when_the_walk_is_left(tmp_path: Path) -> None:
    put(tmp_path, "a/b/c", "a/b/d")
    before = open_descriptors()
    walking = walk(tmp_path)
    next(walking)
    walking.close()  # type: ignore[attr-defined]

    assert before == open_descriptors()


def test_a_folder_may_take_a_files_place(tmp_path: Path) -> None:
    put(tmp_path, "x")
    assert stat.S_ISREG((tmp_path / "x").stat().st_mode)
    (tmp_path / "x").unlink()
    put(tmp_path, "x/y")

    assert ["x/y"] == paths(tmp_path)
