"""The whole command with each way up: the same tree there, and the server's log shows the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.house import (
    Desk,
    Ground,
    complains,
    expected_record,
    grounded,
    plant,
    record_of,
)
from tests.house.test_main_job import ODD


def uploads(ground: Ground) -> dict[str, int]:
    """How many uploads of each kind the server was asked for."""
    found: dict[str, int] = {}
    for one in ground.requests():
        path = one["path"].split("?")[0]
        if one["method"] != "POST" or not (path.endswith("/files") or "/upload/" in path):
            continue
        kind = "ticket" if "ticket" in one["query"] else path.rpartition("/")[2]
        found[kind] = found.get(kind, 0) + 1
    return found


@pytest.mark.parametrize(
    ("route", "kinds"),
    [
        ("auto", {"files"}),
        ("multipart", {"files"}),
        ("packfile", {"files"}),
        ("form", {"files", "label"}),
        ("signed", {"files", "ticket"}),  # names that the server may alter go by forms
    ],
)
def test_the_same_tree_arrives_by_each_way_and_is_in_step(
    ground: Ground, desk: Desk, label: str, tmp_path: Path, route: str, kinds: set[str]
) -> None:
    root = plant(tmp_path / "root", ODD)
    ground.forget_requests()

    done = desk.run("push", root, f"lab/{label}", "--route", route, "--json")

    assert done.code == 0, done
    assert uploads(ground).keys() == kinds
    by_labels = {path.replace("%2F", "/"): content for path, content in ODD.items()}
    assert record_of(ground, label) == expected_record(by_labels)
    again = desk.run("push", root, "--json")
    assert (again.code, again.moved()) == (0, {}), again


def test_a_way_that_the_site_does_not_offer_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    root = plant(tmp_path / "root", {"s/e/a/f": b"x"})
    with grounded(tmp_path / "sandbox", switches={"signed_url": False}) as ground:
        desk = Desk(tmp_path / "home", ground.key())
        ground.forget_requests()
        done = desk.run("push", root, "lab/new", "--create-project", "--route", "signed")

        complains(done, 2, "signed", "auto", "multipart", "form", "packfile")
        assert {one["method"] for one in ground.requests()} == {"GET"}


def test_the_setting_says_the_way_too(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {f"s/e/a/{n}": b"x" for n in range(5)})
    ground.forget_requests()
    desk.env["FWSYNC_ROUTE"] = "form"

    assert desk.run("push", root, f"lab/{label}").code == 0
    assert uploads(ground) == {"label": 1}
