"""F47, by the real command line: a server, or what lies before it, sends 200 to a Range."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwsync.courses import PIECE
from tests.house.faults import rule
from tests.house.house import Desk, Ground
from tests.house.test_pull_large import (  # fixtures too
    AT_SITE,
    IN_STORE,
    LARGE,
    TREE,
    came,
    check_pulled,
    killed_with,
    mended,
    site,
    slow,
)

__all__ = ["mended", "site"]  # fixtures

WHOLE = {"no_range": True}


@pytest.fixture
def at(site: Ground, tmp_path: Path) -> Desk:
    site.forget_requests()
    return Desk(tmp_path / "home", site.key())


def sees_no_ranges(site: Ground, **when: object) -> None:
    """From now on, or as it is said."""
    rules = [rule(WHOLE, place, **when) for place in (AT_SITE, IN_STORE)]
    site.ask("PUT", "/sandbox/faults", rules)


def test_f47_a_site_that_knows_no_ranges_sends_the_file_once(
    site: Ground, at: Desk, tmp_path: Path
) -> None:
    sees_no_ranges(site)

    done = at.run("pull", "lab/aging", tmp_path / "root", "--json")

    assert sum(map(len, TREE.values())) == done.summary["bytes"], done
    assert len(TREE[LARGE]) == came(site)
    assert 206 not in {one["status"] for one in site.requests()}
    check_pulled(done, at, tmp_path / "root")


def test_f47_what_a_killed_run_left_is_not_appended_to(
    site: Ground, at: Desk, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    slow(site)
    left = killed_with(site, at, root, 2)
    sees_no_ranges(site)

    done = at.run("pull", "lab/aging", root, "--json")

    assert left <= sum(map(len, TREE.values())) - 2 * PIECE
    assert len(TREE[LARGE]) <= done.summary["bytes"], done
    check_pulled(done, at, root)


def test_f47_ranges_that_are_not_seen_any_more_amid_the_file_begin_it_anew(
    site: Ground, at: Desk, tmp_path: Path
) -> None:
    sees_no_ranges(site, hits={"from": 2})

    done = at.run("pull", "lab/aging", tmp_path / "root", "--transfers", "2", "--json")

    check_pulled(done, at, tmp_path / "root")
