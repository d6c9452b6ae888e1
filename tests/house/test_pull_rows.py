"""A pull, and the rows of the catalogue of faults and scenarios that no other module has.

Deaths between two names (F12, F13), small files whose bytes are short or wrong (F25 to F29), names
that cannot be resolved (F33), listings that are none (F34, F35, F37), what cannot be written or
read here (F62, F64, F65), names that are not to be obeyed (F88), keys that a server repeats (F89);
and S17, S18, S49 to S52, S63 to S66 and S72.
"""

from __future__ import annotations

import io
import os
import signal
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.house.disks import small_disk
from tests.house.faults import Rule, failing, faulty, halted, problems, rule
from tests.house.house import (
    Desk,
    Done,
    Ground,
    Tree,
    check_state,
    complains,
    grown,
    leftovers,
    plant,
)
from tests.house.site import Site

TREE: Tree = {
    **{f"s1/e/T1/{number:02}.dcm": b"slice %02d" % number * 200 for number in range(6)},
    "s1/e/T2/x.nii": b"x" * 3000,
    "s2/e/T1/x.nii": b"y" * 3000,
    "notes.txt": b"of the project",
}
X = "s1/e/T2/x.nii"
ARCHIVE: Mapping[str, Any] = {"method": "GET", "path": "/download"}
ALONE: Mapping[str, Any] = {"method": "GET", "path": "/*/*/files/*"}
LISTS = ["/projects/*/subjects", "/projects/*/sessions", "/projects/*/acquisitions", "/files"]


@pytest.fixture
def site(ground: Ground, desk: Desk, label: str, tmp_path: Path) -> Site:
    """A project with :data:`TREE` in it."""
    sent = desk.run("push", plant(tmp_path / "away", TREE), f"lab/{label}", "--json")
    assert (0, len(TREE)) == (sent.code, sent.summary["uploaded"]), sent
    return Site(ground, label)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def pull(desk: Desk, site: Site, root: Path, *options: str) -> Done:
    return desk.run("pull", f"lab/{site.label}", root, "--patience", "2", *options, "--json")


def check_closed(desk: Desk, site: Site, root: Path, tree: Tree = TREE) -> None:
    """A run without the fault brings what is missing, and another one finds nothing to do."""
    mended, again = pull(desk, site, root), pull(desk, site, root)
    assert 0 == mended.code, mended
    assert (0, {}) == (again.code, again.moved()), again
    assert tree == grown(root)
    assert [] == [one for one in leftovers(root) if not one.startswith(".fwsync/trash/")]
    check_state(root)


def replaced(desk: Desk, site: Site, folder: Path, path: str, content: bytes) -> Tree:
    """Somebody sends another version of a file; the tree as it is from then on."""
    project = f"lab/{site.label}"
    done = desk.run("push", plant(folder, {path: content}), project, "--conflict", "local")
    assert 0 == done.code, done
    return {**TREE, path: content}


def ids(ground: Ground, site: Site, kind: str) -> dict[str, str]:
    """The containers of a kind, label -> id; of equal labels any one."""
    return {
        one["label"]: one["_id"] for one in ground.ask("GET", f"/projects/{site.project}/{kind}s")
    }


def remove(ground: Ground, site: Site, subject: str, name: str) -> None:
    """Delete a file of the acquisitions of a subject on the server."""
    above = ids(ground, site, "subject")[subject]
    for one in ground.ask("GET", f"/projects/{site.project}/acquisitions"):
        if one["parents"]["subject"] == above:
            ground.ask("DELETE", f"/acquisitions/{one['_id']}/files/{name}")


# --------------------------------------------------------------------------------- it is killed


@pytest.mark.parametrize(
    ("before", "below"),
    [("link", X), ("fsync", ".fwsync/trash"), ("fsync", "s1/e/T2")],
    ids=["before the old one has its second name", "before the new one is named", "after that"],
)
def test_f12_a_run_that_dies_while_it_replaces_a_file_leaves_the_old_or_the_new_one(
    desk: Desk, site: Site, root: Path, tmp_path: Path, before: str, below: str
) -> None:
    assert 0 == pull(desk, site, root).code
    now = replaced(desk, site, tmp_path / "other", X, b"newer bytes")
    command = ("pull", f"lab/{site.label}", root, "--json")

    with halted(desk, tmp_path, *command, before=before, file=root / below) as run:
        assert (root / X).read_bytes() in (TREE[X], now[X])
        os.kill(run.pid, signal.SIGKILL)
    assert (root / X).read_bytes() in (TREE[X], now[X])

    check_closed(desk, site, root, now)
    kept = [one for one in (root / ".fwsync/trash").rglob("*") if one.is_file()]
    assert TREE[X] in {one.read_bytes() for one in kept}


def test_f13_a_run_that_dies_after_it_made_a_conflict_copy_makes_one_copy(
    desk: Desk, site: Site, root: Path, tmp_path: Path
) -> None:
    assert 0 == pull(desk, site, root).code
    now = replaced(desk, site, tmp_path / "other", X, b"theirs, and newer")
    plant(root, {X: b"mine"})
    command = ("pull", f"lab/{site.label}", root, "--json")
    folder = (root / X).parent

    with halted(desk, tmp_path, *command, before="fsync", file=folder) as run:
        assert 2 == len(list(folder.iterdir()))
        assert b"mine" == (root / X).read_bytes()
        os.kill(run.pid, signal.SIGKILL)
    runs = [pull(desk, site, root) for _ in range(3)]

    assert (0, {}) == (runs[-1].code, runs[-1].moved()), runs
    here = grown(root)
    assert now.items() <= here.items()
    assert [b"mine"] == [content for path, content in here.items() if path not in now]
    assert [] == [one for one in leftovers(root) if not one.startswith(".fwsync/trash/")]
    check_state(root)


# --------------------------------------------------------------------------------- the bytes


@pytest.mark.parametrize(
    ("row", "action"),
    [
        ("F25", {"cut_at": 100}),
        ("F26", {"cut_at": 100, "cut_with": "end"}),
        ("F28", {"flip_at": 100}),
    ],
)
def test_f25_f26_f28_a_small_file_that_is_spoiled_once_comes_whole(
    ground: Ground, desk: Desk, site: Site, root: Path, row: str, action: Rule
) -> None:
    lost = rule({"status": 404}, ARCHIVE)  # so that each file is asked for by itself
    spoiled = rule(action, {"method": "GET", "path": "/*/*/files/x.nii", "hits": {"first": 1}})
    with faulty(ground, lost, spoiled):
        done = pull(desk, site, root)

    assert (0, {}) == (done.code, problems(done)), (row, done)
    assert TREE == grown(root)
    check_closed(desk, site, root)


def test_f29_small_files_whose_bytes_are_always_wrong_are_reported_and_the_others_come(
    ground: Ground, desk: Desk, site: Site, root: Path
) -> None:
    wrong = {path for path in TREE if path.endswith(".nii")}
    lost = rule({"status": 404}, ARCHIVE)
    spoiled = rule({"flip_at": 100}, {"method": "GET", "path": "/*/*/files/x.nii"})
    with faulty(ground, lost, spoiled):
        done = pull(desk, site, root)

    assert (1, wrong) == (done.code, set(problems(done))), done
    assert all("expected sha384:" in said for said in problems(done).values()), done
    assert TREE.keys() - wrong == grown(root).keys()
    assert [] == leftovers(root)
    check_closed(desk, site, root)


# --------------------------------------------------------------------------------- what is here


def test_f62_a_full_disk_of_the_audit_log_ends_the_run_and_no_more(
    desk: Desk, site: Site, root: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        with (disk.path / "others").open("wb", buffering=0) as stream, suppress(OSError):
            while stream.write(bytes(4096)):
                pass
        log = disk.path / "log.csv"
        done = desk.run("pull", f"lab/{site.label}", root, "--audit-log", log)

    complains(done, 6, "audit log", "No space left", "make room")
    assert grown(root).items() <= TREE.items()
    check_closed(desk, site, root)


def test_f64_a_file_here_that_cannot_be_read_is_a_difference_and_not_gone(
    desk: Desk, site: Site, root: Path, tmp_path: Path
) -> None:
    assert 0 == pull(desk, site, root).code

    program = failing(tmp_path, root / X, "readv")
    done = desk.run("verify", root, "--deep", "--json", program=program)

    assert "Traceback" not in done.err, done
    assert (1, {X}) == (done.code, {one["path"] for one in done.lines if "path" in one}), done
    assert TREE == grown(root)
    check_closed(desk, site, root)


def test_f65_a_folder_here_that_may_not_be_read_is_not_gone(
    desk: Desk, site: Site, root: Path
) -> None:
    assert 0 == pull(desk, site, root).code
    folder = root / "s1/e/T1"
    for one in (root, *root.rglob("*")):
        one.chmod(0o777)
    folder.chmod(0)
    try:
        done = desk.run(
            "pull", f"lab/{site.label}", root, "--delete", "--json", as_user=os.geteuid() == 0
        )
    finally:
        folder.chmod(0o755)

    assert (1, 0, 0) == (done.code, done.summary["downloaded"], done.summary["deleted"]), done
    assert ["s1/e/T1"] == list(problems(done)), done
    assert TREE == grown(root)


@pytest.mark.parametrize("ending", [".dicom.zip", ".dcm.zip"])
def test_a_zip_of_dicom_is_unpacked_by_its_name_and_another_zip_is_not(
    ground: Ground, desk: Desk, label: str, root: Path, ending: str
) -> None:
    site = Site(ground, label)
    acquisition = site.make("acquisition", "T1", session=site.session(site.subject("s"), "e"))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("1.dcm", b"one")
    for name in (f"series{ending}", "series.zip"):
        site.put("acquisition", acquisition, name, made.getvalue())

    done = pull(desk, site, root, "--unpack")

    assert 0 == done.code, done
    folder = f"s/e/T1/series{ending.removesuffix('.zip')}"
    assert {f"{folder}/1.dcm": b"one", "s/e/T1/series.zip": made.getvalue()} == grown(root)
    again = pull(desk, site, root)
    assert (0, {}) == (again.code, again.moved()), again


# --------------------------------------------------------------------------------- the listing


def test_f33_a_name_that_cannot_be_resolved_is_one_line_and_makes_nothing(
    desk: Desk, root: Path
) -> None:
    desk.key = "no-such-host.invalid:0123456789abcdef"
    desk.env["RES_OPTIONS"] = "timeout:1 attempts:1"  # be there a server of names, or none

    done = desk.run("pull", "lab/aging", root, "--patience", "1")

    complains(done, 5, "no-such-host.invalid", "resolved")
    assert not root.exists()


NO_LISTS: Mapping[str, Rule] = {
    "F34": {"html": "<html><title>Sign in</title>"},
    "F35": {"status": 503, "html": True},
    "F37-cut": {"cut_at": 40, "cut_with": "end"},
    "F37-type": {"status": 200, "body": {"results": 7}},
    "F37-items": {"status": 200, "body": [1, "two", None]},
    "F37-keys": {"status": 200, "body": [{"label": "s1"}]},
    "S65": {"status": 500},
    "S66": {"status": 403},
}


@pytest.mark.parametrize(("row", "first"), [(row, at) for at, row in enumerate(NO_LISTS)])
def test_what_could_not_be_listed_deletes_and_replaces_nothing(
    ground: Ground, desk: Desk, site: Site, root: Path, row: str, first: int
) -> None:
    assert 0 == pull(desk, site, root).code
    remove(ground, site, "s2", "x.nii")

    for path in (LISTS[first % 4], LISTS[(first + 3) % 4]):
        with faulty(ground, rule(NO_LISTS[row], {"method": "GET", "path": path})):
            done = pull(desk, site, root, "--delete")

        assert done.code in (1, 5), (path, done)
        assert "Traceback" not in done.err, (path, done)
        assert TREE == grown(root), path
        if done.code == 1:
            assert problems(done), (path, done)
            assert 0 == done.summary["deleted"], (path, done)
    done = pull(desk, site, root, "--delete")
    assert (0, 1) == (done.code, done.summary["deleted"]), done


def files_with(ground: Ground, site: Site, **fields: object) -> Rule:
    """The list of files, of which the first says something else."""
    files = ground.ask("GET", f"/files?limit=1000&filter=parents.project={site.project}")
    files = files if isinstance(files, list) else files["results"]
    body = {"total": len(files), "results": [{**files[0], **fields}, *files[1:]]}
    return rule({"status": 200, "body": body}, method="GET", path="/files")


@pytest.mark.parametrize("key", ["size", "version"])
@pytest.mark.parametrize("number", [2**63, -1, 1.5, True], ids=str)
def test_a_list_with_a_number_that_is_none_deletes_and_replaces_nothing(
    ground: Ground, desk: Desk, site: Site, root: Path, key: str, number: object
) -> None:
    assert 0 == pull(desk, site, root).code
    remove(ground, site, "s2", "x.nii")

    with faulty(ground, files_with(ground, site, **{key: number})):
        done = pull(desk, site, root, "--delete")

    assert (1, 0) == (done.code, done.summary["deleted"]), done
    assert key in str(problems(done)), done
    assert "Traceback" not in done.err, done
    assert TREE == grown(root)
    done = pull(desk, site, root, "--delete")
    assert (0, 1) == (done.code, done.summary["deleted"]), done


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+00:00"])
def test_a_file_of_a_time_that_no_disk_has_comes_down(
    ground: Ground, desk: Desk, site: Site, root: Path, moment: str
) -> None:
    with faulty(ground, files_with(ground, site, modified=moment)):
        done = pull(desk, site, root)

    assert (0, {}) == (done.code, problems(done)), done
    assert TREE == grown(root)


@pytest.mark.parametrize("path", LISTS[2:])
def test_f35_a_list_that_is_refused_twice_with_a_page_is_asked_for_again(
    ground: Ground, desk: Desk, site: Site, root: Path, path: str
) -> None:
    with faulty(ground, rule({"status": 503, "html": True}, path=path, times=2)):
        done = pull(desk, site, root, "--patience", "30")

    assert (0, {}) == (done.code, problems(done)), done
    assert TREE == grown(root)


def test_s63_a_project_that_lists_nothing_halts_and_deletes_nothing(
    ground: Ground, desk: Desk, site: Site, root: Path
) -> None:
    assert 0 == pull(desk, site, root).code
    for id_ in ids(ground, site, "subject").values():
        site.gone("subject", id_)
    ground.ask("DELETE", f"/projects/{site.project}/files/notes.txt")

    done = pull(desk, site, root, "--delete")

    assert (4, 0) == (done.code, done.summary["deleted"]), done
    assert "lists none of" in done.summary["halted"], done
    assert TREE == grown(root)


def test_s64_a_project_that_is_gone_deletes_nothing(
    ground: Ground, desk: Desk, site: Site, root: Path
) -> None:
    assert 0 == pull(desk, site, root).code
    ground.ask("DELETE", f"/projects/{site.project}")

    for target in ((f"lab/{site.label}", root), (root,)):
        done = desk.run("pull", *target, "--delete", "--json")
        assert done.code not in (0, 1), done
    assert TREE == grown(root)


# ------------------------------------------------------------------------- what others have done


def test_s51_s52_what_is_new_here_outlives_the_container_that_is_deleted_there(
    ground: Ground, desk: Desk, site: Site, root: Path
) -> None:
    assert 0 == pull(desk, site, root).code
    mine = {"s2/e/T1/mine.nii": b"mine"}
    plant(root, mine)
    site.gone("subject", ids(ground, site, "subject")["s2"])

    done = pull(desk, site, root, "--delete")

    assert 1 == done.summary["deleted"], done
    expected = {path: content for path, content in TREE.items() if not path.startswith("s2/")}
    assert expected | mine == grown(root)
    sent = desk.run("push", root, f"lab/{site.label}", "--json")
    assert (0, 1) == (sent.code, sent.summary["uploaded"]), sent
    assert expected | mine == grown(root)


def test_s72_a_session_that_went_to_another_subject_goes_there_without_a_byte(
    ground: Ground, desk: Desk, site: Site, root: Path
) -> None:
    assert 0 == pull(desk, site, root).code
    subjects = ids(ground, site, "subject")
    [session] = [
        one["_id"]
        for one in ground.ask("GET", f"/projects/{site.project}/sessions")
        if one["parents"]["subject"] == subjects["s2"]
    ]
    ground.ask("PUT", f"/sessions/{session}", {"label": "e2", "subject": {"_id": subjects["s1"]}})

    done = pull(desk, site, root, "--delete")

    assert (0, 1, 0, 0) == (
        done.code, done.summary["renamed"], done.summary["bytes"], done.summary["deleted"]
    ), done  # fmt: skip
    now = {path.replace("s2/e/", "s1/e2/"): content for path, content in TREE.items()}
    assert now == grown(root)
    check_closed(desk, site, root, now)


def tag(ground: Ground, site: Site, where: str) -> Tree:
    [id_] = [one["file_id"] for one in ground.ask("GET", f"/acquisitions/{where}")["files"]]
    ground.ask("PUT", f"/files/{id_}/tags", ["seen"])
    return TREE


def same_again(_: Ground, site: Site, where: str) -> Tree:
    site.put("acquisition", where, "x.nii", TREE["s2/e/T1/x.nii"])
    return TREE


def anew(ground: Ground, site: Site, where: str) -> Tree:
    ground.ask("DELETE", f"/acquisitions/{where}/files/x.nii")
    return same_again(ground, site, where)


def anew_with_other_bytes(ground: Ground, site: Site, where: str) -> Tree:
    ground.ask("DELETE", f"/acquisitions/{where}/files/x.nii")
    site.put("acquisition", where, "x.nii", b"other bytes")
    return {**TREE, "s2/e/T1/x.nii": b"other bytes"}


@pytest.mark.parametrize(
    ("do", "size"), [(tag, 0), (same_again, 0), (anew, 0), (anew_with_other_bytes, 11)]
)
def test_s17_s18_s49_s50_only_other_bytes_come(
    ground: Ground, desk: Desk, site: Site, root: Path,
    do: Callable[[Ground, Site, str], Tree], size: int,
) -> None:  # fmt: skip
    assert 0 == pull(desk, site, root).code
    subject = ids(ground, site, "subject")["s2"]
    [where] = [
        one["_id"]
        for one in ground.ask("GET", f"/projects/{site.project}/acquisitions")
        if one["parents"]["subject"] == subject
    ]
    now = do(ground, site, where)

    done = pull(desk, site, root, "--delete")

    counts = tuple(done.summary[name] for name in ("bytes", "conflicts", "deleted", "problems"))
    assert (0, (size, 0, 0, 0)) == (done.code, counts), done
    assert now == grown(root)
    check_closed(desk, site, root, now)


# --------------------------------------------------------------------------------- names, keys

#: Names of files that a terminal, a shell or we ourselves might take for something else.
ODD = (
    "line\nbreak", "\x1b[31mred", "-rf", "--delete", "x.part", ".fwsync-0123456789abcdef",
    ".fwsync", "state.db", "x.fwsync-conflict-20260101T000000Z-host.nii", "x.flywheel.json", "~",
)  # fmt: skip


def test_f88_names_of_files_are_neither_obeyed_nor_taken_for_ours(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    site = Site(ground, label)
    acquisition = site.make("acquisition", "T1", session=site.session(site.subject("s"), "e"))
    where = {"type": "acquisition", "id": acquisition}
    for number, name in enumerate(ODD):
        site.put("acquisition", acquisition, str(number), name.encode())
        [id_] = [
            one["file_id"]
            for one in ground.ask("GET", f"/acquisitions/{acquisition}")["files"]
            if one["name"] == str(number)
        ]
        ground.ask("POST", f"/files/{id_}/move", {"container_reference": where, "name": name})
    assert sorted(ODD) == site.names(acquisition)

    done = desk.run("pull", f"lab/{label}", root)

    assert 0 == done.code, done
    assert {name.encode() for name in ODD} == set(grown(root).values())
    shown = desk.run("plan", "pull", f"lab/{label}", root.with_name("other"))
    assert "\x1b" not in done.out + done.err + shown.out + shown.err
    names = {path.name for path in root.rglob("*") if path.is_file() and "T1" in path.parts}
    assert not any("\n" in one or "\x1b" in one or one.startswith(".fwsync") for one in names)
    again = pull(desk, site, root)
    assert (0, {}) == (again.code, again.moved()), again
    for one in (root / "s/e/T1").iterdir():
        one.unlink()
    kept = desk.run("push", root, f"lab/{label}", "--json")
    assert 0 == kept.summary["deleted"], kept
    assert len(ODD) == len(site.names(acquisition))


@pytest.mark.parametrize(
    ("status", "path"),
    [(400, "/download"), (403, "/files"), (404, "/lookup"), (500, "/projects/*/acquisitions")],
)
def test_f89_a_key_that_the_server_repeats_is_shown_to_nobody(
    ground: Ground, desk: Desk, site: Site, root: Path, tmp_path: Path, path: str, status: int
) -> None:
    [secret, *_] = [one.decode() for one in ground.secrets]
    said = {"message": f"no such thing: {ground.key()} ({secret})"}
    log = tmp_path / "audit.jsonl"
    with faulty(ground, rule({"status": status, "body": said}, path=path)):
        texts = [
            desk.run("pull", f"lab/{site.label}", root, "--audit-log", log, "--patience", "1"),
            pull(desk, site, root),
        ]

    assert secret not in "".join(done.out + done.err for done in texts)
    left = [one for one in (*root.rglob("*"), *desk.home.rglob("*"), log) if one.is_file()]
    assert [] == [one for one in left if secret.encode() in one.read_bytes()]
