"""Names that come from the server, by the real command: safe here, and for ever the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.house import Desk, Ground, grown, plant
from tests.house.site import Site

SPELLED = {
    "a/b": "a%2Fb",
    "..": "%2E.",
    "dot.": "dot.",
    "blank ": "blank ",
    "tab\tx": "tab%09x",
    "new\nline\x1b[31m": "new%0Aline%1B[31m",
    "CON": "CON",
    ".fwsync": "%2Efwsync",
    "-rf": "-rf",
    "é" * 150: "é" * 126 + "%+/%+" + "é" * 24,
}


@pytest.fixture
def site(ground: Ground, label: str) -> Site:
    return Site(ground, label)


def pull(desk: Desk, site: Site, root: Path, *more: str) -> dict[str, int]:
    done = desk.run("pull", f"lab/{site.label}", root, "--json", *more)
    assert 0 == done.code, done
    return done.moved()


def test_twins_keep_their_folders_when_one_is_deleted_and_a_third_comes(
    desk: Desk, site: Site, tmp_path: Path
) -> None:
    """S88."""
    root = tmp_path / "root"
    session = site.session(site.subject("s"), "e")
    one, two = (site.make("acquisition", "a", session=session) for _ in range(2))
    site.put("acquisition", one, "f", b"one")
    site.put("acquisition", two, "f", b"two")
    pull(desk, site, root)
    assert {"s/e/a/f": b"one", f"s/e/a%id={two}/f": b"two"} == grown(root)

    site.gone("acquisition", one)
    done = desk.run("pull", f"lab/{site.label}", root, "--json")
    assert ({}, 0) == (done.moved(), done.summary["renamed"]), done
    assert {"s/e/a/f": b"one", f"s/e/a%id={two}/f": b"two"} == grown(root)

    three = site.make("acquisition", "a", session=session)
    site.put("acquisition", three, "g", b"three")
    pull(desk, site, root)
    assert b"two" == (root / f"s/e/a%id={two}/f").read_bytes()
    assert b"three" == (root / "s/e/a/g").read_bytes()


def test_what_is_pushed_into_the_plain_folder_never_goes_to_its_twin(
    desk: Desk, site: Site, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    session = site.session(site.subject("s"), "e")
    one, two = (site.make("acquisition", "a", session=session) for _ in range(2))
    site.put("acquisition", one, "f", b"one")
    site.put("acquisition", two, "f", b"two")
    pull(desk, site, root)
    site.gone("acquisition", one)
    plant(root, {"s/e/a/new": b"new"})

    desk.run("push", root, f"lab/{site.label}", "--json")
    again = desk.run("push", root, f"lab/{site.label}", "--json")

    assert {} == again.moved(), again.out
    assert ["f"] == site.names(two)
    there = [one.path for one in site.ground.stored(site.label) if not one.deleted]
    assert 1 == there.count("s/e/a/new")


def test_a_file_keeps_its_name_when_a_folder_of_that_name_comes(
    desk: Desk, site: Site, tmp_path: Path
) -> None:
    """S87."""
    root = tmp_path / "root"
    subject = site.subject("s")
    site.put("subject", subject, "x", b"file")
    pull(desk, site, root)

    session = site.session(subject, "x")
    site.put("session", session, "f", b"below")
    pull(desk, site, root)
    both = {"s/x": b"file", f"s/x%id={session}/f": b"below"}
    assert both == grown(root)

    assert {} == pull(desk, site, root)
    other = tmp_path / "other"
    pull(desk, site, other)
    assert sorted(both.values()) == sorted(grown(other).values())
    assert b"below" == (other / "s/x/f").read_bytes()


def test_labels_that_no_folder_can_be_called_come_down_and_go_back(
    desk: Desk, site: Site, tmp_path: Path
) -> None:
    """S91, F66, F88."""
    root = tmp_path / "root"
    for label in SPELLED:
        session = site.session(site.subject(label), label)
        site.put("session", session, "f", label.encode())

    pull(desk, site, root)

    assert {f"{one}/{one}/f": label.encode() for label, one in SPELLED.items()} == grown(root)
    assert {} == pull(desk, site, root)
    plant(root, {f"{one}/{one}/g": b"back" for one in SPELLED.values()})
    desk.run("push", root, f"lab/{site.label}", "--json")
    stored = {one.path for one in site.ground.stored(site.label)}
    assert {f"{label}/{label}/{name}" for label in SPELLED for name in "fg"} == stored
