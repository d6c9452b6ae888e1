"""A folder holds the files of one project, unless it is only sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.house import Desk, Ground, grown, plant

TREE = {"s/v/a/one.txt": b"one", "notes.txt": b"notes"}


@pytest.mark.parametrize("args", [("pull",), ("plan", "pull")])
def test_a_second_project_does_not_come_down_among_the_files_of_the_first(
    args: tuple[str, ...], ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", TREE)
    assert 0 == desk.run("push", root, f"lab/{label}").code
    other = ground.project(f"{label}-other")
    more = plant(tmp_path / "more", {"s/v/a/two.txt": b"two"})
    assert 0 == desk.run("push", more, f"lab/{label}-other").code

    done = desk.run(*args, f"lab/{label}-other", root)

    assert (done.code, grown(root)) == (2, TREE), (done, other)
    assert f"is in step with lab/{label}; the files of lab/{label}-other" in done.err
    again = desk.run("pull", f"lab/{label}", root)
    assert again.code == 0, again


def test_a_folder_is_sent_to_as_many_projects_as_one_likes(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", TREE)
    ground.project(f"{label}-other")

    codes = [desk.run("push", root, f"lab/{one}").code for one in (label, f"{label}-other")]

    assert [0, 0] == codes
    assert ground.count(f"{label}-other") == len(TREE)
