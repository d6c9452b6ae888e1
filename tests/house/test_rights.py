"""A key that may not write is told so once, before the first byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.house import SOME, Desk, Ground, complains, plant, record_of
from tests.house.test_core2018 import Ground2018


@pytest.fixture
def user(ground: Ground, tmp_path: Path) -> Desk:
    """An ordinary user, who is no admin of anything."""
    return Desk(tmp_path / "home", ground.user_key())


def posts(ground: Ground) -> list[str]:
    """What was asked that could have changed something."""
    reading = ("/api/lookup", "/api/resolve")
    return [
        f"{one['method']} {one['path']}"
        for one in ground.requests()
        if one["method"] != "GET" and one["path"] not in reading
    ]


@pytest.mark.parametrize("command", [("push",), ("sync",), ("plan", "push"), ("plan", "sync")])
def test_a_role_that_only_reads_is_refused_before_anything_is_sent(
    command: tuple[str, ...], ground: Ground, user: Desk, root: Path, label: str
) -> None:
    project = ground.ask("POST", "/lookup", {"path": ["lab", label]})["_id"]
    ground.allow(project, "ro")
    ground.forget_requests()

    done = user.run(*command, root, f"lab/{label}")

    complains(done, 3, "files_create_upload", f"lab/{label}", "nothing was sent")
    assert [] == posts(ground)
    assert [] == ground.stored(label)


def test_why_a_file_is_not_sent_to_a_project_that_is_only_read_is_explained(
    ground: Ground, user: Desk, tmp_path: Path, label: str
) -> None:
    project = ground.ask("POST", "/lookup", {"path": ["lab", label]})["_id"]
    ground.allow(project, "ro")
    root = tmp_path / "mine"
    user.run("pull", f"lab/{label}", root)
    new = plant(root, {"sub-01/ses-01/t1/new.dcm": b"new"}) / "sub-01/ses-01/t1/new.dcm"

    told = user.run("explain", new, "--mode", "both", "--json").lines[0]
    said = user.run("explain", new, "--mode", "both").out

    assert (True, "upload") == (told["asked"], told["verb"])
    assert "files_create_upload" in told["problem"]["message"]
    assert "the next `fwsync sync` leaves it, and says why" in said


@pytest.mark.parametrize("access", ["rw", "admin"])
def test_a_role_that_writes_costs_two_questions(
    access: str, ground: Ground, user: Desk, root: Path, label: str
) -> None:
    project = ground.ask("POST", "/lookup", {"path": ["lab", label]})["_id"]
    ground.allow(project, access)
    ground.forget_requests()

    done = user.run("push", root, f"lab/{label}", "--json")

    assert 0 == done.code, done
    assert len(SOME) == len(record_of(ground, label))
    asked = [one["path"] for one in ground.requests()]
    assert 1 == asked.count("/api/auth/status"), asked
    assert 1 == sum(path.startswith("/api/roles/") for path in asked), asked


def test_nothing_is_asked_where_nothing_is_sent(
    ground: Ground, user: Desk, root: Path, label: str
) -> None:
    project = ground.ask("POST", "/lookup", {"path": ["lab", label]})["_id"]
    ground.allow(project, "rw")
    assert 0 == user.run("push", root, f"lab/{label}").code
    ground.allow(project, "ro")  # who may only read may still see that all is in step
    ground.forget_requests()

    done = user.run("push", root, f"lab/{label}", "--json")

    assert (0, {}) == (done.code, done.moved()), done
    asked = [one["path"] for one in ground.requests()]
    assert "/api/auth/status" not in asked


@pytest.mark.parametrize("by", ["uid", "reaper"])
def test_forms_by_uid_are_refused_to_whoever_does_not_see_every_uid(
    by: str, ground: Ground, user: Desk, desk: Desk, root: Path, label: str
) -> None:
    project = ground.ask("POST", "/lookup", {"path": ["lab", label]})["_id"]
    ground.allow(project, "rw")
    ground.forget_requests()
    user.env["FWSYNC_FORM"] = desk.env["FWSYNC_FORM"] = by

    done = user.run("push", root, f"lab/{label}", "--route", "form")

    complains(done, 2, f"form {by}", "site admin")
    assert [] == posts(ground)
    assert 0 == desk.run("push", root, f"lab/{label}", "--route", "form").code


def test_a_role_that_is_not_shown_is_no_refusal(
    ground: Ground, user: Desk, root: Path, label: str
) -> None:
    project = ground.ask("POST", "/lookup", {"path": ["lab", label]})["_id"]
    ground.allow(project, "rw")
    rule = {
        "id": "roles",
        "match": {"method": "GET", "path": "/roles/*"},
        "action": {"status": 403},
    }
    ground.ask("POST", "/sandbox/faults", rule)
    try:
        done = user.run("push", root, f"lab/{label}", "--json")
    finally:
        ground.ask("DELETE", "/sandbox/faults")

    assert (0, len(SOME)) == (done.code, done.summary["uploaded"]), done


def test_an_admin_is_asked_once(ground: Ground, desk: Desk, root: Path, label: str) -> None:
    ground.forget_requests()
    done = desk.run("push", root, f"lab/{label}", "--json")

    assert 0 == done.code, done
    asked = [one["path"] for one in ground.requests()]
    assert 1 == asked.count("/api/auth/status")
    assert not any(path.startswith("/api/roles/") for path in asked)


@pytest.mark.parametrize("access", ["ro", "rw"])
@pytest.mark.parametrize("command", [("push",), ("plan", "push")])
def test_only_an_admin_of_a_group_makes_a_project_in_it(
    command: tuple[str, ...], access: str, ground: Ground, user: Desk, root: Path
) -> None:
    group = f"g-{access}-{len(command)}"
    ground.group(group)
    body = {"_id": ground.sandbox.ready.user_id, "access": access}
    ground.ask("POST", f"/groups/{group}/permissions", body)
    ground.forget_requests()

    done = user.run(*command, root, f"{group}/new", "--create-project")

    complains(done, 3, f"{group}/new", "may not make projects", access)
    assert [] == posts(ground)


def test_an_admin_of_a_group_makes_a_project_in_it(ground: Ground, user: Desk, root: Path) -> None:
    group = ground.group("g-admin")
    body = {"_id": ground.sandbox.ready.user_id, "access": "admin"}
    ground.ask("POST", f"/groups/{group}/permissions", body)

    done = user.run("push", root, f"{group}/new", "--create-project", "--json")

    assert (0, len(SOME)) == (done.code, done.summary["uploaded"]), done


def test_a_device_writes_without_a_role(ground: Ground, tmp_path: Path, label: str) -> None:
    made = ground.ask("POST", "/devices", {"type": "scanner", "name": "bay-1", "label": "Bay 1"})
    desk = Desk(tmp_path / "home", ground.key(secret=made["key"]))
    root = plant(tmp_path / "root", SOME)

    done = desk.run("push", root, f"lab/{label}", "--json")

    assert (0, len(SOME)) == (done.code, done.summary["uploaded"]), done


# ---------------------------------------------------------------------- a server of 2018


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    data = tmp_path_factory.mktemp("old") / "data"
    with Ground2018(data, groups=("lab",), switches={"compat": "core-2018"}) as made:
        yield made


@pytest.mark.parametrize(("access", "code"), [("ro", 3), ("rw", 0), ("admin", 0)])
def test_a_server_of_2018_has_one_word_for_it(
    access: str, code: int, old: Ground, root: Path, tmp_path: Path
) -> None:
    label = f"aging-{access}"
    project = old.project(label)
    user = Desk(tmp_path / "home", old.user_key())
    old.allow(project, access)
    old.forget_requests()

    done = user.run("push", root, f"lab/{label}", "--json")

    assert code == done.code, done
    if code:
        complains(done, 3, f"lab/{label}", "'ro'", "nothing was sent")
        assert not any(one["method"] in ("POST", "PUT") for one in old.requests())
    else:
        assert len(SOME) == done.summary["uploaded"]


@pytest.mark.parametrize("command", [("push",), ("plan", "push")])
@pytest.mark.parametrize("access", ["ro", "rw"])
def test_on_a_server_of_2018_too_only_an_admin_of_a_group_makes_a_project_in_it(
    access: str, command: tuple[str, ...], old: Ground, root: Path, tmp_path: Path
) -> None:
    group = old.group(f"g-{access}-{len(command)}")
    user = Desk(tmp_path / "home", old.user_key())
    body = {"_id": old.sandbox.ready.user_id, "access": access}
    old.ask("POST", f"/groups/{group}/permissions", body)
    old.forget_requests()

    done = user.run(*command, root, f"{group}/new", "--create-project")

    complains(done, 3, f"{group}/new", "may not make projects", access)
    assert not any(one["method"] in ("POST", "PUT") for one in old.requests())
