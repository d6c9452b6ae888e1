"""A call that is refused leaves nothing behind; a server that is another one is named as such."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.house import SOME, Desk, Ground, complains, grounded, grown, plant


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# ------------------------------------------------------------------------ nothing is left behind


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("pull",), "no project yet"),
        (("sync", "."), "no project yet"),
        (("watch", "."), "no project yet"),
        (("push", ".", "lab/nope"), "lab/nope"),
        (("push", ".", "lab/new", "--create-project", "--layout", "{nonsense}"), "nonsense"),
        (("push", ".", "lab/new", "--create-project", "--filter-from", "none"), "none"),
    ],
    ids=["pull", "sync", "watch", "no such project", "layout", "filter"],
)
def test_a_call_that_is_refused_leaves_nothing_here_or_there(
    args: tuple[str, ...], said: str, ground: Ground, desk: Desk
) -> None:
    before = ground.ask("GET", "/projects")

    complains(desk.run(*args), 2, said, hint=False)
    assert [] == names_below(desk.home)
    assert before == ground.ask("GET", "/projects")


def test_a_folder_whose_state_knows_no_project_locks_none_below_it(
    desk: Desk, label: str, root: Path
) -> None:
    """Such a state is left by a run that was killed as it began."""
    assert 0 == desk.run("push", root, f"lab/{label}").code
    (root / ".fwsync/remotes").rename(root / "aside")
    below = plant(root / "sub", {"s/e/a/f": b"f"})

    assert 0 == desk.run("push", below, f"lab/{label}").code
    (root / "aside").rename(root / ".fwsync/remotes")
    complains(desk.run("push", below, f"lab/{label}"), 2, "kept in step already")


# -------------------------------------------------------------- the same address, and other data


@pytest.fixture
def moved(tmp_path: Path, root: Path) -> Iterator[tuple[Ground, Desk]]:
    """A root in step with ``lab/b3``, at an address where a server without it is now."""
    with grounded(tmp_path / "first") as first:
        first.project("b3")
        desk = Desk(tmp_path / "home", first.key())
        assert 0 == desk.run("sync", root, "lab/b3").code
        port = first.port
    with grounded(tmp_path / "second", port=port) as second:
        desk.key = second.key()
        yield second, desk


def test_a_remembered_project_that_is_gone_is_called_by_its_name(
    moved: tuple[Ground, Desk], root: Path
) -> None:
    _, desk = moved

    complains(desk.run("push", root), 2, "lab/b3", str(root), "GROUP/PROJECT", "--create-project")
    done = desk.run("verify", root)
    complains(done, 2, "lab/b3", "GROUP/PROJECT")
    assert "--create-project" not in done.err


def test_a_new_project_takes_the_name_of_one_that_is_gone_and_nothing_of_its_state(
    moved: tuple[Ground, Desk], root: Path
) -> None:
    ground, desk = moved
    old_state = (root / ".fwsync/state.db").read_bytes()

    again = desk.run("sync", root, "lab/b3", "--create-project", "--delete", "--json")

    assert {"uploaded": len(SOME), "bytes": sum(map(len, SOME.values()))} == again.moved()
    assert SOME == grown(root)
    assert 0 == desk.run("push", root).code
    assert "project     lab/b3" in desk.run("status", root).out
    # A third one is not given the state of the first either: it would read as deletions.
    ground.project("third")
    third = desk.run("sync", root, "lab/third", "--delete", "--json")
    assert len(SOME) == third.summary["uploaded"]
    assert SOME == grown(root)
    assert old_state == (root / ".fwsync/state.db").read_bytes()


@pytest.mark.parametrize("command", ["push", "sync"])
def test_a_project_that_only_changed_its_name_is_not_made_anew(
    command: str, ground: Ground, desk: Desk, root: Path
) -> None:
    """A line of a crontab names it by its old name for years."""
    name, new = f"called-{command}", f"called-{command} anew"
    call = (command, root, f"lab/{name}", "--create-project")
    assert 0 == desk.run(*call).code
    assert 0 == desk.run(*call).code
    [first] = [one for one in ground.ask("GET", "/projects") if one["label"] == name]
    ground.ask("PUT", f"/projects/{first['_id']}", {"label": new})

    complains(desk.run(*call), 2, f"lab/{name}", f"lab/{new}")
    assert name not in [one["label"] for one in ground.ask("GET", "/projects")]
    again = desk.run(command, root, f"lab/{new}", "--create-project", "--json")
    assert {} == again.moved()


@pytest.mark.parametrize("how", ["fw://", "lab/…/", "--state", "after a run", "by its new name"])
def test_nor_is_it_however_the_call_or_the_runs_before_named_it(
    how: str, ground: Ground, desk: Desk, root: Path, tmp_path: Path
) -> None:
    name = f"called-{how.strip('-/: …')}"
    state = ("--state", tmp_path / "elsewhere.db") if how == "--state" else ()
    assert 0 == desk.run("sync", root, f"lab/{name}", "--create-project", *state).code
    [first] = [one for one in ground.ask("GET", "/projects") if one["label"] == name]
    ground.ask("PUT", f"/projects/{first['_id']}", {"label": f"{name} anew"})
    if how == "after a run":
        assert 0 == desk.run("sync", root).code
    if how == "by its new name":
        assert 0 == desk.run("sync", root, f"lab/{name} anew").code
    named = {"fw://": f"fw://lab/{name}", "lab/…/": f"lab/{name}/"}.get(how, f"lab/{name}")

    done = desk.run("sync", root, named, "--create-project", *state)

    complains(done, 2, f"lab/{name}", f"lab/{name} anew")
    assert name not in [one["label"] for one in ground.ask("GET", "/projects")]


def test_a_project_that_only_changed_its_name_is_not_gone(
    ground: Ground, desk: Desk, root: Path
) -> None:
    first = ground.project("once")
    assert 0 == desk.run("push", root, "lab/once").code
    ground.ask("PUT", f"/projects/{first}", {"label": "renamed"})
    second = ground.project("once")
    assert 0 == desk.run("push", root, "lab/once").code

    complains(desk.run("push", root), 2, first, second, "<id:")
    complains(desk.run("status", root, "lab/once"), 2, first, second, "<id:")
    assert 0 == desk.run("status", root, f"<id:{first}>").code
    assert 0 == desk.run("push", root, f"<id:{first}>").code
    assert "lab/renamed" in desk.run("status", root, "lab/renamed").out


def test_a_state_that_is_named_for_another_project_is_refused(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    state = tmp_path / "elsewhere.db"
    assert 0 == desk.run("sync", root, f"lab/{label}", "--state", state).code
    ground.project(f"{label}-other")

    done = desk.run("sync", root, f"lab/{label}-other", "--state", state, "--delete")

    complains(done, 2, str(state), f"lab/{label}", "--state")
    assert SOME == grown(root)
