"""The uploader's rows F64 to F72 of the catalogue of faults: the files here, on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.faults import (
    LARGE,
    ROUTES,
    TREE,
    check_closed,
    failing,
    halted,
    problems,
)
from tests.house.house import Desk, Done, Ground, grown, plant, record_of

T1 = "s1/ses/T1"
ONE = f"{T1}/03.nii"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """:data:`TREE`, written long ago: of what was just written nobody knows if it is the same."""
    made = plant(tmp_path / "root", TREE)
    for path in TREE:
        age(made / path)
    return made


def age(file: Path) -> None:
    os.utime(file, ns=(10**18, 10**18))


def alive(ground: Ground, label: str) -> set[str]:
    return {one.path for one in ground.stored(label) if not one.deleted}


def versions(ground: Ground, label: str, path: str) -> list[int]:
    return [version for name, version, *_ in record_of(ground, label) if name == path]


def pushed(desk: Desk, root: Path, label: str, *options: str) -> Done:
    return desk.run("push", root, f"lab/{label}", *options, "--json")


def check_one_problem(done: Done, path: str, *, sent: int) -> None:
    assert (done.code, list(problems(done))) == (1, [path]), done
    assert done.summary["uploaded"] == sent, done
    assert "Traceback" not in done.err, done


# ---------------------------------------------------------------------------------- F64, F65


@pytest.mark.parametrize(
    ("route", "path", "nth", "short"),
    [
        pytest.param("form", ONE, 1, False, id="form-small-EIO"),
        pytest.param("multipart", ONE, 1, True, id="multipart-small-short"),
        pytest.param("signed", ONE, 1, True, id="signed-small-short"),
        pytest.param("multipart", LARGE, 2, False, id="multipart-large-EIO"),
        pytest.param("signed", LARGE, 2, False, id="signed-large-EIO"),
        pytest.param("form", LARGE, 2, True, id="form-large-short"),
    ],
)
def test_f64_a_file_that_cannot_be_read_to_its_end_does_not_go_up(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path,
    path: str, nth: int, short: bool, route: str,
) -> None:  # fmt: skip
    program = failing(tmp_path, root / path, "read", nth=nth, short=short)
    done = desk.run("push", root, f"lab/{label}", "--route", route, "--json", program=program)

    check_one_problem(done, path, sent=len(TREE) - 1)
    assert alive(ground, label) == TREE.keys() - {path}
    check_closed(ground, desk, root, label, "--route", route)


@pytest.mark.parametrize("short", [False, True], ids=["EIO", "short"])
def test_f64_a_file_that_cannot_be_hashed_is_not_taken_for_another_nor_for_gone(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path, short: bool
) -> None:
    assert pushed(desk, root, label).code == 0
    shutil.rmtree(root / ".fwsync")  # so that content decides

    program = failing(tmp_path, root / ONE, "readv", short=short)
    push = ("push", root, f"lab/{label}", "--delete-up", "--json")
    done = desk.run(*push, program=program)

    check_one_problem(done, ONE, sent=0)
    assert done.summary["adopted"] == len(TREE) - 1
    check_closed(ground, desk, root, label)


@pytest.mark.parametrize("operation", ["open", "scandir"])
def test_f64_f65_a_folder_that_cannot_be_listed_is_not_deleted_there(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path, operation: str
) -> None:
    assert pushed(desk, root, label).code == 0

    push = ("push", root, f"lab/{label}", "--delete-up", "--json")
    done = desk.run(*push, program=failing(tmp_path, root / "s1", operation))

    assert done.code == 1, done
    assert problems(done), done
    assert done.summary["deleted"] == 0
    assert alive(ground, label) == TREE.keys()
    check_closed(ground, desk, root, label)


def test_f65_what_may_not_be_read_is_not_gone(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    assert pushed(desk, root, label).code == 0
    plant(root, {"new.txt": b"goes all the same"})
    notes, folder = root / "notes.txt", root / T1
    plant(root, {"notes.txt": b"changed, and nobody may read it"})
    for one in (root, *root.rglob("*")):
        one.chmod(0o777 if one.is_dir() else 0o666)
    notes.chmod(0)
    folder.chmod(0)
    try:
        push = ("push", root, f"lab/{label}", "--delete-up", "--json")
        done = desk.run(*push, as_user=os.geteuid() == 0)
    finally:
        notes.chmod(0o666)
        folder.chmod(0o777)

    assert (done.code, set(problems(done))) == (1, {"notes.txt", T1}), done
    assert (1, 0) == (done.summary["uploaded"], done.summary["deleted"])
    assert alive(ground, label) == {*TREE, "new.txt"}
    assert versions(ground, label, "notes.txt") == [1]
    plant(root, {"notes.txt": TREE["notes.txt"]})
    check_closed(ground, desk, root, label, tree={**TREE, "new.txt": b"goes all the same"})


# ---------------------------------------------------------------------------------- F66


def test_f66_names_as_long_as_the_disk_allows_go_up(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    path = "/".join(["s" * 60, "e" * 60, "a" * 60, "n" * 255])
    plant(root, {path: b"long"})

    done = pushed(desk, root, label)

    assert done.code == 0, done
    check_closed(ground, desk, root, label, tree={**TREE, path: b"long"})


def test_f66_a_path_longer_than_the_system_takes_is_a_problem_of_its_own(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    dig(root / "s1", ["d" * 250] * 20, "deep.txt")  # more than PATH_MAX, 4096 on Linux

    done = pushed(desk, root, label)

    assert done.code == 1, done
    assert done.summary["uploaded"] == len(TREE), done
    [path] = problems(done)
    assert path.startswith("s1/" + "d" * 250)
    assert "Traceback" not in done.err
    shutil.rmtree(root / "s1" / ("d" * 250))
    check_closed(ground, desk, root, label)


def dig(top: Path, names: list[str], file: str) -> None:
    """Folders in folders, as deep as no path can say at once."""
    at = os.open(top, os.O_DIRECTORY)
    for name in names:
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


# ---------------------------------------------------------------------------------- F67, F68


def test_f67_a_file_that_vanishes_before_it_is_opened_is_gone_and_no_storm(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    push = ("push", root, f"lab/{label}", "--json")
    with halted(desk, tmp_path, *push, before="open", file=root / ONE) as run:
        (root / ONE).unlink()

    assert run.done.code in (0, 1), run.done
    assert len(problems(run.done)) <= 1
    assert run.done.summary["uploaded"] == len(TREE) - 1
    rest = {path: content for path, content in TREE.items() if path != ONE}
    check_closed(ground, desk, root, label, tree=rest)


def test_f67_a_folder_that_vanishes_before_its_files_are_opened_is_no_storm(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    push = ("push", root, f"lab/{label}", "--transfers", "1", "--json")
    ground.forget_requests()
    with halted(desk, tmp_path, *push, before="open", file=root / T1 / "00.nii") as run:
        shutil.rmtree(root / T1)

    assert run.done.code in (0, 1), run.done
    rest = {path: content for path, content in TREE.items() if not path.startswith(T1)}
    assert run.done.summary["uploaded"] == len(rest)
    assert len(ground.requests()) < 40
    check_closed(ground, desk, root, label, tree=rest)


def as_fifo(file: Path) -> None:
    os.mkfifo(file)


def as_link(file: Path) -> None:
    plant(file.parent, {"elsewhere": b"never to be read"})
    file.symlink_to("elsewhere")


def as_device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def as_folder(file: Path) -> None:
    file.mkdir()


def remove(file: Path) -> None:
    file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()


KINDS = [as_fifo, as_link, as_device, as_folder]


@pytest.mark.parametrize("become", KINDS, ids=lambda one: one.__name__)
def test_f68_what_takes_the_place_of_a_file_before_it_is_opened_is_not_read(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path,
    become: Callable[[Path], None],
) -> None:  # fmt: skip
    push = ("push", root, f"lab/{label}", "--exclude", "elsewhere", "--json")
    with halted(desk, tmp_path, *push, before="open", file=root / ONE) as run:
        (root / ONE).unlink()
        become(root / ONE)

    assert run.done.code in (0, 1), run.done
    assert run.done.summary["uploaded"] == len(TREE) - 1, run.done
    assert versions(ground, label, ONE) == []
    remove(root / ONE)
    (root / T1 / "elsewhere").unlink(missing_ok=True)
    plant(root, {ONE: TREE[ONE]})
    check_closed(ground, desk, root, label)


@pytest.mark.parametrize("become", KINDS[:3], ids=lambda one: one.__name__)
def test_f68_what_stands_in_the_place_of_a_file_is_no_deletion(
    ground: Ground, desk: Desk, label: str, root: Path, become: Callable[[Path], None]
) -> None:
    push = ("push", root, f"lab/{label}", "--delete-up", "--exclude", "elsewhere", "--json")
    assert desk.run(*push).code == 0
    (root / ONE).unlink()
    become(root / ONE)

    done = desk.run(*push)

    assert (done.code, done.summary["deleted"], done.summary["uploaded"]) == (1, 0, 0), done
    assert [ONE] == list(problems(done))
    remove(root / ONE)
    (root / T1 / "elsewhere").unlink(missing_ok=True)
    plant(root, {ONE: TREE[ONE]})
    check_closed(ground, desk, root, label)


# ---------------------------------------------------------------------------------- F69 - F71


def change(file: Path) -> None:
    """As long as it was, and other bytes."""
    file.write_bytes(bytes(reversed(file.read_bytes())))


def append(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"more")


def shorten(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 3)


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(file.read_bytes()[::-1])
    other.replace(file)


CHANGES = [change, append, shorten, replace]


@pytest.mark.parametrize("do", CHANGES, ids=lambda one: one.__name__)
def test_f69_a_file_that_changes_while_it_is_hashed_waits_and_its_hash_is_thrown_away(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path,
    do: Callable[[Path], None],
) -> None:  # fmt: skip
    assert pushed(desk, root, label).code == 0
    shutil.rmtree(root / ".fwsync")  # so that content decides
    push = ("push", root, f"lab/{label}", "--conflict", "local", "--json")
    with halted(desk, tmp_path, *push, before="readv", file=root / LARGE, nth=2) as run:
        do(root / LARGE)

    assert run.done.code in (0, 1), run.done
    assert run.done.summary["adopted"] == len(TREE) - 1, run.done
    assert versions(ground, label, LARGE) == [1]
    second = desk.run(*push)  # what it is now goes up
    assert (second.code, second.summary["uploaded"]) == (0, 1), second
    assert {} == desk.run(*push).moved()
    held = [content for path, _, *content in record_of(ground, label) if path == LARGE]
    assert held[-1][0] == (root / LARGE).stat().st_size
    assert len(held) == 2


@pytest.mark.parametrize(
    ("do", "route"),
    [
        *((change, route) for route in ROUTES),
        (append, "multipart"), (shorten, "signed"), (replace, "form"),
    ],
)  # fmt: skip
def test_f70_a_file_that_changes_while_it_is_sent_is_not_taken_for_what_was_seen(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path,
    do: Callable[[Path], None], route: str,
) -> None:  # fmt: skip
    push = ("push", root, f"lab/{label}", "--route", route, "--json")
    with halted(desk, tmp_path, *push, before="read", file=root / LARGE, nth=2) as run:
        do(root / LARGE)

    assert run.done.code in (0, 1), run.done
    assert run.done.summary["uploaded"] == len(TREE) - 1, run.done
    assert versions(ground, label, LARGE) == []
    check_closed(ground, desk, root, label, "--route", route, tree=grown(root))


@pytest.mark.parametrize(
    ("before", "route", "to"),
    [
        ("open", "multipart", "s2/ses/T2/large.nii"),
        ("read", "multipart", "s2/ses/T1/other.nii"),
        ("read", "form", "s2/ses/T2/large.nii"),
        ("read", "signed", "s2/ses/T1/other.nii"),
    ],
)
def test_f71_a_file_that_is_renamed_while_it_is_sent_is_there_once(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path,
    before: str, to: str, route: str,
) -> None:  # fmt: skip
    push = ("push", root, f"lab/{label}", "--route", route, "--json")
    nth = 1 if before == "open" else 2
    with halted(desk, tmp_path, *push, before=before, file=root / LARGE, nth=nth) as run:
        move(root / LARGE, root / to)

    assert run.done.code in (0, 1), run.done
    check_closed(ground, desk, root, label, "--route", route, tree=grown(root))


def test_f71_a_file_that_is_renamed_while_it_is_hashed_is_there_once(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    assert pushed(desk, root, label).code == 0
    shutil.rmtree(root / ".fwsync")
    push = ("push", root, f"lab/{label}", "--delete-up", "--json")
    to = "s2/ses/T1/other.nii"
    with halted(desk, tmp_path, *push, before="readv", file=root / LARGE, nth=2) as run:
        move(root / LARGE, root / to)

    assert run.done.code in (0, 1), run.done
    assert run.done.summary["deleted"] == 0, run.done
    second, third = desk.run(*push), desk.run(*push)
    assert (second.code, third.code, third.moved()) == (0, 0, {}), (second, third)
    assert to in alive(ground, label)
    assert versions(ground, label, to) == [1]
    assert [] == ground.twins()


def move(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    file.rename(to)


# ---------------------------------------------------------------------------------- F72


def listed(ground: Ground) -> bool:
    return any(one["path"] == "/api/files" for one in ground.requests())


@pytest.fixture
def other(ground: Ground, tmp_path: Path) -> Callable[[str, dict[str, bytes]], None]:
    """Somebody else who pushes to the same project."""
    desk = Desk(tmp_path / "other-home", ground.key())

    def push(label: str, tree: dict[str, bytes]) -> None:
        folder = plant(tmp_path / "other", tree)
        done = desk.run("push", folder, f"lab/{label}", "--conflict", "local", "--json")
        assert (done.code, done.summary["uploaded"]) == (0, len(tree)), done

    return push


def test_f72_what_changed_there_since_the_plan_is_not_overwritten(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path,
    other: Callable[[str, dict[str, bytes]], None],
) -> None:  # fmt: skip
    assert pushed(desk, root, label).code == 0
    ours = bytes(reversed(TREE[ONE]))  # as long as it was, so that it is hashed to be sure
    plant(root, {ONE: ours})
    push = ("push", root, f"lab/{label}", "--json")
    ground.forget_requests()
    # Hashed before there is a plan, and after the server was listed.
    with halted(
        desk, tmp_path, *push, before="readv", file=root / ONE, ready=lambda: listed(ground)
    ) as run:
        other(label, {ONE: b"theirs"})

    assert run.done.code == 1, run.done
    assert versions(ground, label, ONE) == [1, 2]
    assert ONE in problems(run.done), run.done
    second = desk.run(*push)
    assert (second.code, second.summary["conflicts"]) == (1, 1), second
    assert versions(ground, label, ONE) == [1, 2]
    assert (root / ONE).read_bytes() == ours


def test_f72_what_appeared_there_since_the_plan_is_not_overwritten(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path,
    other: Callable[[str, dict[str, bytes]], None],
) -> None:  # fmt: skip
    push = ("push", root, f"lab/{label}", "--transfers", "1", "--json")
    ground.forget_requests()
    with halted(desk, tmp_path, *push, before="open", file=root / ONE) as run:
        other(label, {ONE: b"theirs"})

    assert run.done.code in (0, 1), run.done
    # The server has no way to be asked for "only if it is new": both are kept, as versions.
    kept = {sha for path, _, _, sha in record_of(ground, label) if path == ONE}
    assert len(kept) == len(versions(ground, label, ONE))
    assert (run.done.code, ONE in problems(run.done)) == (1, True), run.done


def test_f72_what_changed_there_since_the_plan_is_not_deleted(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path,
    other: Callable[[str, dict[str, bytes]], None],
) -> None:  # fmt: skip
    assert pushed(desk, root, label).code == 0
    (root / ONE).unlink()
    plant(root, {"new.txt": b"goes first"})
    push = ("push", root, f"lab/{label}", "--delete-up", "--json")
    with halted(desk, tmp_path, *push, before="read", file=root / "new.txt") as run:
        other(label, {ONE: b"theirs"})

    assert run.done.summary["deleted"] == 0, run.done
    assert ONE in alive(ground, label)
    second = desk.run(*push)
    assert second.summary["deleted"] == 0, second
    assert ONE in alive(ground, label)
