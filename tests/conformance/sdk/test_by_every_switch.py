"""Sites that differ in one thing each: what goes to them by each way, as the official SDK reads it.

The site's own record of requests says which way was taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fwsync.sandbox.switches import Switches
from tests.conformance.sdk.process import Driver
from tests.conformance.sdk.test_by_every_way import SLICES, TREE, digests
from tests.house.house import Desk, Done, Ground, grounded, plant

#: Each switch in each position that is not the usual one, or at a bound that the tree reaches.
POSITIONS: list[dict[str, Any]] = [
    {"signed_url": False}, {"multipart_signed_url": False}, {"multiproject": True},
    {"audit_trail": True}, {"deid_log": True}, {"deid_profile": True}, {"project_locking": True},
    {"malware_scanning": True}, {"tags_in_lists": False}, {"empty_hashes": True},
    {"device_uploads": True}, {"page_limit": 2}, {"signed_parts_from": 1 << 20},
    {"signed_part_size": 5 << 20, "signed_parts_from": 1 << 20},
    {"names": "refuse"}, {"names": "alter"},
    {"info_in_lists": "asked"}, {"info_in_lists": "never"},
]  # fmt: skip

CONTAINER, SIGNED, FORM, PACKFILE = "container", "signed", "form", "packfile"
#: What each way consists of; the tree has one file that is large enough for a signed URL.
TAKEN = {
    "auto": {CONTAINER, SIGNED},
    "multipart": {CONTAINER},
    "signed": {SIGNED},
    "form": {FORM},
    "packfile": {PACKFILE},
}
SLICES_AS_ONE = {"s3/mr/T1/T1.zip"}


def test_no_switch_is_left_out() -> None:
    tried = {name for position in POSITIONS for name in position}
    assert tried | {"compat"} == set(Switches.model_fields)  # the older server has its own tests


@pytest.mark.parametrize("position", POSITIONS, ids=str)
def test_the_same_tree_arrives_by_every_way_whatever_the_site_has(
    driver: Driver, tmp_path: Path, position: dict[str, Any]
) -> None:
    plant(tmp_path / "root", TREE)
    plant(tmp_path / "slices", SLICES)
    with grounded(tmp_path / "sandbox", switches=position) as ground:
        for route, taken in TAKEN.items():
            ground.forget_requests()
            done = _push(tmp_path, ground, route)
            ways = _ways(ground)
            if refusal := _refusal(route, position):
                assert refusal == done.code, done
                assert not ways & {CONTAINER, SIGNED, PACKFILE}, "nothing goes another way"
                continue
            assert done.code == 0, done
            signed = position.get("signed_url", True)
            assert taken - (set() if signed else {SIGNED}) == ways, route
            read = driver.call("files.all_of", ground.key(), {"project": f"lab/{route}"})
            if route == "packfile":
                assert SLICES_AS_ONE == set(read)
            else:
                assert digests(TREE) == read, route


def _push(tmp_path: Path, ground: Ground, route: str) -> Done:
    packs = route == "packfile"
    root = tmp_path / ("slices" if packs else "root")
    options = ["--create-project", "--route", route]
    options += ["--pack", "*.dcm=archive"] if packs else []
    return Desk(tmp_path / f"home-{route}", ground.key()).run(
        "push", root, f"lab/{route}", *options
    )


def _refusal(route: str, position: dict[str, Any]) -> int:
    """The exit code where a site does not let this way be taken; 0: it does."""
    if route == "signed" and not position.get("signed_url", True):
        return 2  # it hands out none
    if route == "form" and position.get("device_uploads"):
        return 3  # it takes forms by label from devices only
    return 0


def _ways(ground: Ground) -> set[str]:
    """By which ways content came in since the record was cleared."""
    found = set()
    for asked in ground.requests():
        method, route = asked["method"], asked["route"]
        if method == "PUT" and route == "/api/upload/fs-file":
            found.add(SIGNED)
        elif method == "POST" and route.startswith("/api/upload/"):
            found.add(FORM)
        elif method == "POST" and route.endswith("/packfile"):
            found.add(PACKFILE)
        elif method == "POST" and route.endswith("/files") and "ticket" not in asked["query"]:
            found.add(CONTAINER)
    return found
