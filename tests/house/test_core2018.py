"""The whole command at a site of 2018: there and back, both ways, killed, raced and in conflict."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from tests.house.house import (
    Desk,
    Ground,
    check_state,
    complains,
    expected_record,
    finish,
    grown,
    kill,
    leftovers,
    plant,
    record_of,
    size_of,
    some_tree,
    stop_watch,
    until,
)
from tests.house.wire import Relay

_NUMBERS = count(1)

TREE = {
    "notes.txt": b"of the project",
    "sub-01/ses-01/été.txt": b"of a session, and not ASCII",
    "日本.txt": b"of the project, and not ASCII",
    "sub-01/ses-01/notes.txt": b"of a session",
    "sub-01/ses-01/T1/1.dcm": b"one",
    "sub-01/ses-01/T1/empty": b"",
    'sub-01/ses-01/T1/ünïcode 日本;x="y" 50%.dcm': b"odd",
    'sub-01/été 日本/a, "b"/f #1?.nii': b"labels",
    "sub-02/ses-01/T1/1.dcm": b"another code, the same label",
    "%empty/ses-01/T1/1.dcm": b"no code at all",
    "sub-02/a%2Fb/<id:abc>/c": b"slashes and signs",
}


class Ground2018(Ground):
    """A site of 2018, which knows no ``Bearer``."""

    def content(self, method: str, path: str, body: object = None) -> bytes:
        base = "" if path.startswith("/sandbox/") else "/api"
        secret = self.sandbox.api_key.rpartition(":")[2]
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as wire:
            data = None if body is None else json.dumps(body).encode()
            wire.request(method, base + path, data, {"Authorization": f"scitran-user {secret}"})
            answer = wire.getresponse()
            content = answer.read()

        assert answer.status == 200, (answer.status, content)
        return content

    def overwrite(self, project: str, path: str, content: bytes) -> None:
        """Another client sends a file of an acquisition, or sends it again."""
        record = self.ask("GET", "/sandbox/record")
        by_id = {one["id"]: one for one in record["containers"]}
        *way, name = project, *path.split("/")
        for one in record["containers"]:
            labels, at = [], one
            while at["kind"] != "group":
                labels.append(at["label"])
                at = by_id[at["parent_id"]]
            if tuple(labels[::-1]) == tuple(way) and one["deleted"] is None:
                self._send(f"/api/acquisitions/{one['id']}/files", name, content)
                return
        raise AssertionError(f"no {path}")

    def _send(self, address: str, name: str, content: bytes) -> None:
        head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        secret = self.sandbox.api_key.rpartition(":")[2]
        headers = {
            "Authorization": f"scitran-user {secret}",
            "Content-Type": "multipart/form-data; boundary=b",
        }
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as wire:
            wire.request("POST", address, head.encode() + content + b"\r\n--b--\r\n", headers)
            answer = wire.getresponse()
            assert [name] == [one["name"] for one in json.loads(answer.read())]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground2018]:
    data = tmp_path_factory.mktemp("old")
    with Ground2018(data, groups=("lab",), switches={"compat": "core-2018"}) as made:
        yield made


@pytest.fixture
def relay(ground: Ground2018) -> Relay:
    return ground.relay()


@pytest.fixture
def label(ground: Ground2018) -> str:
    name = f"old-{next(_NUMBERS)}"
    ground.project(name)
    return name


@pytest.fixture
def desk(ground: Ground2018, tmp_path: Path) -> Desk:
    return Desk(tmp_path / "home", ground.key())


def in_step(desk: Desk, *folders: Path) -> None:
    """A further run of each kind finds nothing to do."""
    for folder in folders:
        for command in ("push", "sync", "verify"):
            done = desk.run(command, folder, "--json")
            assert 0 == done.code, done
            if command != "verify":
                assert {} == done.moved(), done


def alive(ground: Ground2018, label: str) -> dict[str, str]:
    """Path and hash of what the site shows of a project."""
    return {
        one.path: one.sha384.rpartition("-")[2] for one in ground.stored(label) if not one.deleted
    }


def sha384(tree: dict[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha384(content).hexdigest() for path, content in tree.items()}


# -------------------------------------------------------------------------- there and back


def test_what_was_pushed_is_pulled_and_nothing_moves_a_second_time(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    root, new = plant(tmp_path / "root", TREE), tmp_path / "new"
    planned = desk.run("plan", "push", root, f"lab/{label}", "--json")
    assert 0 == ground.count(label)
    sent = desk.run("push", root, f"lab/{label}", "--json")

    assert (0, len(TREE)) == (sent.code, sent.summary["uploaded"]), (sent, planned)
    assert len(TREE) == ground.count(label)
    assert [] == ground.twins()

    fetched = desk.run("pull", f"lab/{label}", new, "--json")
    assert (0, len(TREE)) == (fetched.code, fetched.summary["downloaded"]), fetched
    assert TREE == grown(new)
    assert TREE == grown(root)
    assert [] == leftovers(new)
    in_step(desk, root, new)
    assert f"lab/{label}" in desk.run("status", root).out


def test_login_ls_and_a_new_project(ground: Ground2018, desk: Desk, tmp_path: Path) -> None:
    root = plant(tmp_path / "root", {"s/e/a/f": b"12345"})
    key = tmp_path / "key"
    key.write_text(desk.key)
    key.chmod(0o600)
    login = desk.run("login", "--api-key-file", key)
    assert 0 == login.code, login
    assert "admin@sandbox.local" in login.out

    complains(desk.run("push", root, "lab/made"), 2, "lab/made", "--create-project")
    plan = desk.run("plan", "push", root, "lab/made", "--create-project", "--json")
    assert "made" not in desk.run("ls", "lab").out, plan
    assert 0 == desk.run("push", root, "lab/made", "--create-project").code
    assert 0 == desk.run("push", root, "lab/made", "--create-project").code

    assert 1 == desk.run("ls", "lab").out.count("made/")
    listed = [
        json.loads(line) for line in desk.run("ls", "lab/made/s/e/a", "--json").out.split("\n")[:-1]
    ]
    assert [("file", "f", 5)] == [(one["kind"], one["label"], one["size"]) for one in listed]


def test_the_key_is_in_no_file_and_no_line(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    """Who asks a site of 2018 who they are is sent their key."""
    root = plant(tmp_path / "root", TREE)
    done = desk.run("push", root, f"lab/{label}", "--json")
    kept = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())

    assert 0 == done.code, done
    for secret in ground.secrets:
        assert secret not in kept + done.out.encode() + done.err.encode()


# ------------------------------------------------------------------------------- both ways


def test_edits_and_deletions_go_both_ways(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    one, two = plant(tmp_path / "one", TREE), plant(tmp_path / "two", {})
    assert 0 == desk.run("push", one, f"lab/{label}").code
    assert 0 == desk.run("sync", two, f"lab/{label}").code

    (one / "sub-01/ses-01/T1/1.dcm").write_bytes(b"edited here")
    (one / "sub-02/ses-01/T1/1.dcm").unlink()
    plant(one, {"sub-03/ses-01/T1/new": b"new here"})
    (two / "notes.txt").write_bytes(b"edited there")
    (two / "sub-01/ses-01/T1/empty").unlink()
    plant(two, {"sub-01/ses-02/new": b"new there"})

    for folder in (one, two, one):
        done = desk.run("sync", folder, "--delete", "--json")
        assert 0 == done.code, done

    expected = dict(TREE) | {
        "sub-01/ses-01/T1/1.dcm": b"edited here",
        "sub-03/ses-01/T1/new": b"new here",
        "notes.txt": b"edited there",
        "sub-01/ses-02/new": b"new there",
    }
    del expected["sub-02/ses-01/T1/1.dcm"], expected["sub-01/ses-01/T1/empty"]
    assert expected == grown(one)
    assert expected == grown(two)
    in_step(desk, one, two)


def test_a_deletion_waits_for_its_flag(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {f"s/e/a/{n}": b"%d" % n for n in range(3)})
    assert 0 == desk.run("sync", root, f"lab/{label}").code
    (root / "s/e/a/1").unlink()

    desk.run("sync", root)
    assert {"s/e/a/0", "s/e/a/1", "s/e/a/2"} == set(alive(ground, label))
    assert 0 == desk.run("sync", root, "--delete").code
    assert {"s/e/a/0", "s/e/a/2"} == set(alive(ground, label))


def test_what_was_deleted_and_sent_anew_is_fetched_as_it_is_now(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = {f"s/e/a/{n}": b"old %d" % n for n in range(4)}
    root, new = plant(tmp_path / "root", tree), tmp_path / "new"
    assert 0 == desk.run("sync", root, f"lab/{label}").code
    for name in ("1", "2"):
        (root / "s/e/a" / name).unlink()
    assert 0 == desk.run("sync", root, "--delete").code
    plant(root, {"s/e/a/1": b"new 1"})
    assert 0 == desk.run("sync", root).code

    assert 0 == desk.run("pull", f"lab/{label}", new).code
    assert {"s/e/a/0": b"old 0", "s/e/a/1": b"new 1", "s/e/a/3": b"old 3"} == grown(new)


def test_deleted_containers_are_deletions_of_their_files_and_are_made_anew(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = {f"s/e/{a}/{n}": b"%d" % n for a in "ab" for n in range(3)}
    root = plant(tmp_path / "root", tree)
    assert 0 == desk.run("sync", root, f"lab/{label}").code
    record = ground.ask("GET", "/sandbox/record")
    [project] = [one["id"] for one in record["containers"] if one["label"] == label]
    [session] = ground.ask("GET", f"/projects/{project}/sessions")
    below = ground.ask("GET", f"/sessions/{session['_id']}/acquisitions")
    [gone] = [one["_id"] for one in below if one["label"] == "a"]
    ground.ask("DELETE", f"/acquisitions/{gone}")

    assert 0 == desk.run("sync", root, "--delete").code
    assert {path: one for path, one in tree.items() if "/b/" in path} == grown(root)
    plant(root, tree)
    assert 0 == desk.run("sync", root).code
    assert sha384(tree) == alive(ground, label)
    in_step(desk, root)


# ------------------------------------------------------------------------------- conflicts


def test_other_bytes_under_a_name_are_a_conflict_and_nothing_is_overwritten(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    first = plant(tmp_path / "first", {"s/e/a/f": b"theirs", "s/e/a/same": b"same"})
    second = plant(tmp_path / "second", {"s/e/a/f": b"ours", "s/e/a/same": b"same"})
    assert 0 == desk.run("push", first, f"lab/{label}").code

    done = desk.run("push", second, f"lab/{label}", "--json")
    assert (1, 1, 0) == (done.code, done.summary["conflicts"], done.summary["uploaded"]), done
    assert sha384({"s/e/a/f": b"theirs", "s/e/a/same": b"same"}) == alive(ground, label)
    assert 2 == ground.count(label)

    third = plant(tmp_path / "third", {"s/e/a/f": b"mine"})
    done = desk.run("sync", third, f"lab/{label}", "--json")
    assert b"theirs" == (third / "s/e/a/f").read_bytes(), done
    assert {b"mine", b"theirs", b"same"} == set(grown(third).values())
    assert sha384({"s/e/a/f": b"theirs", "s/e/a/same": b"same"}) == alive(ground, label)


def test_both_sides_changed_is_a_conflict_and_keeps_both(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {"s/e/a/f": b"first"})
    assert 0 == desk.run("sync", root, f"lab/{label}").code
    ground.overwrite(label, "s/e/a/f", b"theirs")
    (root / "s/e/a/f").write_bytes(b"ours, edited")

    done = desk.run("sync", root, "--json")

    assert 1 == done.summary["conflicts"], done
    assert {b"theirs", b"ours, edited"} == set(grown(root).values())
    assert sha384({"s/e/a/f": b"theirs"}) == alive(ground, label)


def test_a_file_of_a_subject_is_a_problem_that_says_so(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {"s/info.txt": b"of a subject", "s/e/a/f": b"1"})

    done = desk.run("push", root, f"lab/{label}", "--json")

    assert (1, 1, 1) == (done.code, done.summary["uploaded"], done.summary["problems"]), done
    assert "subjects hold no files" in done.out + done.err
    assert {"s/e/a/f"} == set(alive(ground, label))


# -------------------------------------------------------------------------- killed and raced


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_push_goes_on_without_doubles(
    seed: int, ground: Ground2018, desk: Desk, label: str, relay: Relay, tmp_path: Path
) -> None:
    tree = some_tree(seed, small=60, large=(2, 3))
    root = plant(tmp_path / "root", tree)
    desk.key = ground.key(port=relay.port)
    ground.run(relay.limit(up=size_of(tree) - (2 << 20)))
    process = desk.start("push", root, f"lab/{label}", "--transfers", "4", "--json")
    until(
        lambda: ground.count(label) >= 10 * (seed + 1) or relay.stalled.is_set(),
        what="the push is in the middle",
    )
    kill(process)
    ground.run(relay.limit(up=None))
    assert ground.count(label) < len(tree)

    done = desk.run("push", root, f"lab/{label}", "--json")

    assert 0 == done.code, done
    assert expected_record(tree) == record_of(ground, label)
    assert [] == ground.twins()
    check_state(root)
    in_step(desk, root)


def test_two_hosts_that_send_into_the_same_containers_make_each_once(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    trees = [
        {f"sub-{n % 3}/ses-{n % 2}/acq-{n % 4}/{host}-{n}": b"%d %d" % (host, n) for n in range(24)}
        for host in range(2)
    ]
    roots = [plant(tmp_path / f"root-{host}", tree) for host, tree in enumerate(trees)]
    desks = [Desk(tmp_path / f"home-{host}", desk.key) for host in range(2)]
    running = [
        one.start("push", root, f"lab/{label}", "--json")
        for one, root in zip(desks, roots, strict=True)
    ]
    for done in [finish(process) for process in running]:
        assert 0 == done.code, done

    assert [] == ground.twins()
    assert sha384(trees[0] | trees[1]) == alive(ground, label)
    assert 0 == desk.run("pull", f"lab/{label}", tmp_path / "new").code
    assert trees[0] | trees[1] == grown(tmp_path / "new")


def test_watch_sends_what_comes(ground: Ground2018, desk: Desk, label: str, tmp_path: Path) -> None:
    first = {f"sub/ses/acq/{n}.dcm": b"slice %d" % n for n in range(10)}
    late = {"sub/ses/acq/late.dcm": b"late", "sub/ses/other/1.dcm": b"other"}
    root = plant(tmp_path / "root", {})
    process = desk.start("watch", root, f"lab/{label}", "--settle", "0.3", "--json")
    until((root / ".fwsync/lock").exists, what="it watches")
    plant(root, first)
    until(lambda: ground.count(label) == len(first), what="all slices were sent")
    plant(root, late)
    until(lambda: ground.count(label) == len(first | late), what="the late ones were sent")
    done = stop_watch(process, 20)

    assert (0, len(first | late)) == (done.code, done.summary["uploaded"]), done
    assert expected_record(first | late) == record_of(ground, label)
    assert [] == ground.twins()


def test_a_compressed_pack_goes_there_and_back(
    ground: Ground2018, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = {f"s/e/a/{number}.dcm": b"%d of many" % number * 9000 for number in range(4)}
    root, other = plant(tmp_path / "root", tree), tmp_path / "other"
    pack = ("--pack", "*.dcm=dicom")
    done = desk.run("push", root, f"lab/{label}", *pack, "--pack-compress", "--json")
    assert (0, 1) == (done.code, done.summary["uploaded"]), done
    [(path, _, size, _)] = record_of(ground, label)
    assert ("s/e/a/a.dicom.zip", True) == (path, 0 < size < size_of(tree) / 10)

    assert 0 == desk.run("pull", f"lab/{label}", other, *pack).code

    assert tree == grown(other)
    in_step(desk, root, other)
    plant(root, {"s/e/a/late.dcm": b"late"})
    assert 1 == desk.run("push", root, "--pack-compress", "--json").summary["uploaded"]
    assert {"s/e/a/a.dicom.zip"} == {path for path, *_ in record_of(ground, label)}
