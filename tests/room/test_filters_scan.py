"""What filters mean to a scan: patterns, ``.fwsyncignore`` files, symbolic links."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from fwsync import scanner
from fwsync.filters import IGNORE_FILE, Filters, ignore_rules
from fwsync.model import LocalEntry, Unknown
from fwsync.scanner import walk
from fwsync.settle import PARTIAL_NAMES
from tests.room.rooms import descriptor, plant


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def kept(root: Path, exclude: Sequence[str] = (), include: Sequence[str] = ()) -> list[str]:
    rules = ignore_rules(exclude, include)
    return [one.path for one in walk(root, ignore=rules) if isinstance(one, LocalEntry)]


def found(root: Path, *, follow: bool = False) -> tuple[list[str], dict[str, str]]:
    """The files, and why other paths are unknown."""
    listing = list(walk(root, follow=follow))
    files: list[str] = [one.path for one in listing if isinstance(one, LocalEntry)]
    return files, {one.scope: one.reason for one in listing if isinstance(one, Unknown)}


def test_names_of_unfinished_files_are_left_alone(tmp_path: Path) -> None:
    put(tmp_path, "a.dcm", "a.part", "b/c.tmp", ".x.Yz12", "~$w.docx", "w.txt~", "d.crdownload")
    put(tmp_path, "e.filepart", "f.partial", ".bidsignore", "tmp", "part/x")

    assert ["a.dcm", "part/x", "tmp"] == kept(tmp_path, [*PARTIAL_NAMES])
    assert [".bidsignore", "a.dcm", "part/x", "tmp"] == kept(
        tmp_path, [*PARTIAL_NAMES, "!.bidsignore"]
    )


def test_filters_speak_gitignore(tmp_path: Path) -> None:
    put(tmp_path, "a/x.dcm", "a/x.txt", "b/x.dcm", "b/c/x.dcm", "x.dcm")

    assert ["a/x.dcm", "a/x.txt", "x.dcm"] == kept(tmp_path, ["/b/"])
    assert ["a/x.txt"] == kept(tmp_path, ["*.dcm"])
    assert ["a/x.dcm", "b/c/x.dcm", "b/x.dcm", "x.dcm"] == kept(tmp_path, [], ["*.dcm"])
    assert ["b/x.dcm"] == kept(tmp_path, ["c/"], ["/b/"])


# -------------------------------------------------------------------------------- .fwsyncignore


def test_the_patterns_of_a_folder_hold_from_there_down(tmp_path: Path) -> None:
    put(tmp_path, "a.raw", "s/a.raw", "s/b.raw", "s/t/a.raw", "u/b.raw", "u/v/w")
    plant(tmp_path, {f"s/{IGNORE_FILE}": b"*.raw\n!b.raw\r\n", f"u/{IGNORE_FILE}": b"/v/\n"})

    assert ["a.raw", "s/b.raw", "u/b.raw"] == kept(tmp_path)


def test_the_patterns_hold_for_names_that_were_read_before_them(tmp_path: Path) -> None:
    put(tmp_path, *(f"{number}.raw" for number in range(50)), "x")
    plant(tmp_path, {IGNORE_FILE: b"\xef\xbb\xbf*.raw\n"})

    assert ["x"] == kept(tmp_path)


def test_the_file_itself_is_never_listed(tmp_path: Path) -> None:
    plant(tmp_path, {IGNORE_FILE: b"", f"a/{IGNORE_FILE}": f"!{IGNORE_FILE}".encode(), "a/x": b""})

    assert (["a/x"], {}) == found(tmp_path)


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"\xff\xfe*", "not UTF-8"), (b"*.raw\n!\n", "'!'"), (b"x" * (2**20 + 1), "larger")],
)
def test_patterns_that_cannot_be_used_make_their_folder_unknown(
    content: bytes, why: str, tmp_path: Path
) -> None:
    put(tmp_path, "a/x", "a/b/x", "c/x")
    plant(tmp_path, {f"a/{IGNORE_FILE}": content})

    files, unknown = found(tmp_path)

    assert ["c/x"] == files
    assert ["a"] == list(unknown)
    assert why in unknown["a"]


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_patterns_that_cannot_be_read_make_their_folder_unknown(kind: str, tmp_path: Path) -> None:
    put(tmp_path, "a/x", "c/x", "c/patterns")
    place = tmp_path / "a" / IGNORE_FILE
    if kind == "folder":
        place.mkdir()
    elif kind == "link":
        place.symlink_to("../c/patterns")
    else:
        os.mkfifo(place)

    files, unknown = found(tmp_path)

    assert ["c/patterns", "c/x"] == files
    assert ["a"] == list(unknown)


def test_a_later_scan_reads_them_anew(tmp_path: Path) -> None:
    put(tmp_path, "a/x", "a/y")
    filters = Filters()
    place = tmp_path / "a" / IGNORE_FILE

    for content, expected in (("x", ["a/y"]), ("y", ["a/x"]), (None, ["a/x", "a/y"])):
        place.unlink(missing_ok=True)
        if content is not None:
            place.write_text(content, encoding="utf-8")
        listing = walk(tmp_path, ignore=filters)
        assert expected == [one.path for one in listing if isinstance(one, LocalEntry)]


# --------------------------------------------------------------------------------------- links


def test_links_are_not_followed_unless_asked_for(tmp_path: Path) -> None:
    put(tmp_path, "a/x")
    (tmp_path / "file").symlink_to("a/x")
    (tmp_path / "folder").symlink_to("a")

    files, unknown = found(tmp_path)

    assert ["a/x"] == files
    assert {"file", "folder"} == set(unknown)


def test_links_below_the_root_stand_for_what_they_lead_to(tmp_path: Path) -> None:
    plant(tmp_path, {"a/x": b"content", "a/b/y": b"y"})
    (tmp_path / "file").symlink_to("a/x")
    (tmp_path / "twice").symlink_to("./file")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "folder").symlink_to("../a//b/../../a")

    assert (["a/b/y", "a/x", "file", "s/folder/b/y", "s/folder/x", "twice"], {}) == found(
        tmp_path, follow=True
    )


def test_what_a_link_leads_to_is_opened_by_its_own_path(tmp_path: Path) -> None:
    plant(tmp_path, {"a/x": b"content"})
    (tmp_path / "link").symlink_to("a")
    entry = next(
        one
        for one in walk(tmp_path, follow=True)
        if isinstance(one, LocalEntry) and one.path == "link/x"
    )
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("/etc")

    hashed, _ = scanner.hash_file(tmp_path, entry, want_digest=False)

    assert "a/x" == hashed.on_disk


@pytest.mark.parametrize(
    "target",
    ["../outside", "a/../../outside", "/etc/hostname", ".fwsync/state.db", "gone", "self", "a/x/y"],
)
def test_a_link_that_leads_elsewhere_is_unknown_and_no_problem(target: str, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    root = tmp_path / "root"
    plant(root, {"a/x": b"", ".fwsync/state.db": b""})
    (root / "self").symlink_to(target)

    listing = list(walk(root, follow=True))

    assert ["a/x"] == [one.path for one in listing if isinstance(one, LocalEntry)]
    unknown = [one for one in listing if isinstance(one, Unknown)]
    assert [("self", True)] == [(one.scope, one.expected) for one in unknown]
    assert "symbolic link" in unknown[0].reason


def test_a_folder_that_a_link_puts_below_itself_is_walked_once(tmp_path: Path) -> None:
    put(tmp_path, "a/b/x")
    (tmp_path / "a" / "b" / "up").symlink_to("../..")
    (tmp_path / "a" / "b" / "here").symlink_to(".")

    listing = list(walk(tmp_path, follow=True))

    assert ["a/b/x"] == [one.path for one in listing if isinstance(one, LocalEntry)]
    assert [("a/b/here", True), ("a/b/up", True)] == [
        (one.scope, one.expected) for one in listing if isinstance(one, Unknown)
    ]


def test_a_link_out_of_the_root_is_not_opened_even_in_the_middle(tmp_path: Path) -> None:
    plant(tmp_path, {"outside/x": b"secret", "root/y": b""})
    root = tmp_path / "root"
    (root / "away").symlink_to("../outside")
    (root / "by").symlink_to("away/x")

    with descriptor(root) as root_fd:
        listing = list(walk(root_fd, follow=True))

    assert ["y"] == [one.path for one in listing if isinstance(one, LocalEntry)]


def test_a_link_is_filtered_by_its_own_name(tmp_path: Path) -> None:
    put(tmp_path, "a/x", "b/y")
    (tmp_path / "linked").symlink_to("a")
    (tmp_path / "x").symlink_to("b/y")
    plant(tmp_path, {IGNORE_FILE: b"linked/\n/x\n"})

    assert (["a/x", "b/y"], {}) == found(tmp_path, follow=True)
