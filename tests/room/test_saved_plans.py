"""Saved plans: what goes into the file comes out of it, and what a step is the same as."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from fwsync import saved_plans
from fwsync.approving import changed, is_done
from fwsync.digest import Digest, LocalTag
from fwsync.errors import UsageError
from fwsync.model import (
    BaseEntry,
    ContainerRef,
    Decision,
    Level,
    LocalEntry,
    Mode,
    Pack,
    PackMember,
    RelPath,
    RemoteEntry,
    Stamp,
    Verb,
)
from fwsync.plan import Guard, Plan
from fwsync.saved_plans import Made, item_of
from fwsync.state_paths import Seen

PATH = RelPath("s/e/a/x")
STAMP = Stamp(3, 1_000_000_001, 1_000_000_002, 7, 8)
LOCAL = LocalEntry(PATH, STAMP, LocalTag("xxh3:01"), Digest("sha384:01"))
REMOTE = RemoteEntry(
    PATH, 4, "tag-1", Digest("sha384:02"), ContainerRef(Level.ACQUISITION, "c1"), "x", "f1", 2
)
BASE = BaseEntry(PATH, 4, LocalTag("xxh3:02"), "tag-1", Digest("sha384:02"), "", "c1", "f1")
STEP = Decision(Verb.UPLOAD, PATH, LOCAL, REMOTE, BASE, reason="changed here")
MADE = Made(
    Mode.BOTH,
    Path("/data/root"),
    "0123",
    "http://site 4567",
    "lab/aging",
    None,
    {"hidden": True},
    {},
)


def saved(plan: Plan, file: Path) -> saved_plans.SavedPlan:
    made_at = "2026-01-01T00:00:00+00:00"
    saved_plans.write(file, saved_plans.saved_from(plan, MADE, beside=[STEP], made_at=made_at))
    return saved_plans.read(file)


def as_read(decision: Decision) -> dict[str, Any]:
    """A step as it comes out of a file."""
    read: dict[str, Any] = json.loads(json.dumps(item_of(decision)))
    return read


def test_what_goes_into_the_file_comes_out_of_it(tmp_path: Path) -> None:
    other = replace(STEP, verb=Verb.DELETE_REMOTE, path=RelPath("odd \udcff\n\x1b name"))
    guard = Guard("too-many-deletions", "5 of 6", (PATH,))
    plan = Plan((STEP,), (other,), (guard,), "0123456789ab")

    found = saved(plan, tmp_path / "plan.json")

    assert MADE == replace(found.made, rules={})
    assert ("0123456789ab", ["too-many-deletions"]) == (
        found.plan_id,
        [one.name for one in found.guards],
    )
    assert [as_read(STEP), {**as_read(other), "waits": True}] == [*found.decisions]
    assert (as_read(STEP),) == found.beside
    assert [] == [one for one in tmp_path.iterdir() if one.name != "plan.json"]


def test_a_plan_is_a_line_for_each_step(tmp_path: Path) -> None:
    steps = [replace(STEP, path=RelPath(f"s/e/a/{number}")) for number in range(3)]
    saved(Plan(tuple(steps)), tmp_path / "plan.json")

    lines = (tmp_path / "plan.json").read_text().splitlines()

    assert 3 == sum('"reason": "changed here"' in line for line in lines) - 1  # and one beside


def test_each_field_of_a_decision_is_in_the_file_or_known_not_to_be() -> None:
    told = {"verb", "path", "local", "remote", "base", "reason", "rule", "replaces"}
    follow = {"is_conflict", "is_chosen"}  # from the rest: they choose among verbs
    later = {"copy"}  # only while the step is carried out

    assert told | follow | later == {one.name for one in fields(Decision)}


def test_a_step_that_is_made_again_is_the_same() -> None:
    again = replace(
        STEP,
        reason="said otherwise",
        local=replace(LOCAL, stamp=STAMP._replace(mtime_ns=5, ctime_ns=6, inode=9, device=10)),
    )

    assert "" == changed(as_read(STEP), again)  # the same bytes, by their tag
    unread = replace(STEP, local=replace(LOCAL, etag=None, digest=None))
    assert "" == changed(as_read(unread), STEP)
    assert "" == changed(as_read(STEP), unread)


Change = Callable[[Decision], Decision]


def here(**stamp: int) -> Change:
    return lambda one: replace(one, local=replace(LOCAL, etag=None, stamp=STAMP._replace(**stamp)))


def there(**values: Any) -> Change:
    return lambda one: replace(one, remote=replace(REMOTE, **values))


def agreed(**values: Any) -> Change:
    return lambda one: replace(one, base=replace(BASE, **values))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (here(size=4), "changed here"),
        (here(mtime_ns=1), "changed here"),
        (here(ctime_ns=1), "changed here"),
        (here(inode=1), "changed here"),
        (lambda one: replace(one, local=replace(LOCAL, etag=LocalTag("xxh3:9"))), "changed here"),
        (lambda one: replace(one, local=None), "gone here"),
        (lambda one: replace(one, local=replace(LOCAL, disk_path="y")), "lies elsewhere"),
        (there(size=5), "changed on the server"),
        (there(etag="tag-2"), "changed on the server"),
        (there(digest=None), "changed on the server"),
        (there(version=3), "version 3, was 2"),
        (there(file_id="f2"), "changed on the server"),
        (there(container=ContainerRef(Level.ACQUISITION, "c2")), "changed on the server"),
        (lambda one: replace(one, remote=None), "gone from the server"),
        (agreed(size=5), "another run"),
        (agreed(local_etag=LocalTag("xxh3:7")), "another run"),
        (agreed(remote_etag="tag-0"), "another run"),
        (agreed(digest=None), "another run"),
        (agreed(held="local"), "another run"),
        (agreed(container_id="c2"), "another run"),
        (agreed(file_id="f2"), "another run"),
        (lambda one: replace(one, base=None), "another run"),
        (lambda one: replace(one, verb=Verb.CONFLICT), "decided otherwise"),
        (lambda one: replace(one, replaces=LOCAL), "new here"),
    ],
)
def test_a_step_with_one_other_precondition_is_another_step(change: Change, why: str) -> None:
    assert why in changed(as_read(STEP), change(STEP))


def test_a_pack_is_the_same_as_long_as_its_members_are() -> None:
    one = PackMember("1.dcm", replace(LOCAL, etag=None, digest=None, path=RelPath("s/e/a/1.dcm")))
    two = PackMember("2.dcm", replace(one.entry, path=RelPath("s/e/a/2.dcm")))
    entry = replace(LOCAL, etag=None, pack=Pack("dicom", (one, two)))
    step = replace(STEP, local=entry)

    def with_(*members: PackMember) -> Decision:
        return replace(step, local=replace(entry, pack=Pack("dicom", members)))

    touched = replace(two, entry=replace(two.entry, stamp=STAMP._replace(inode=77)))
    assert "" == changed(as_read(step), with_(one, two))
    assert "changed here" in changed(as_read(step), with_(one))
    assert "changed here" in changed(as_read(step), with_(one, touched))
    assert "changed here" in changed(as_read(step), with_(one, replace(two, name="3.dcm")))
    assert "changed here" in changed(as_read(STEP), replace(step, local=replace(entry)))


@pytest.mark.parametrize("side", ["local", "remote", "base"])
@pytest.mark.parametrize("value", [{}, {"etag": []}, {"pack": {"members": 7}}, {"pack": 7}])
def test_a_side_that_makes_no_sense_is_no_side_of_any_step(side: str, value: object) -> None:
    assert changed({**as_read(STEP), side: value}, STEP)


AFTER_UPLOAD = replace(BASE, local_etag=LocalTag("xxh3:01"), remote_etag="tag-2")


@pytest.mark.parametrize(
    ("verb", "seen", "done"),
    [
        (Verb.UPLOAD, Seen(True, LOCAL, REMOTE, AFTER_UPLOAD), True),
        (Verb.UPLOAD, Seen(True, LOCAL, REMOTE, BASE), False),
        (Verb.UPLOAD, Seen(True, LOCAL, REMOTE, None), False),
        (Verb.UPLOAD, Seen(False, None, None, None), False),
        (Verb.DOWNLOAD, Seen(True, LOCAL, REMOTE, BASE), True),
        (Verb.DOWNLOAD, Seen(True, LOCAL, REMOTE, AFTER_UPLOAD), False),
        (Verb.DELETE_LOCAL, Seen(False, None, None, None), True),
        (Verb.DELETE_LOCAL, Seen(True, LOCAL, None, None), False),
        (Verb.DELETE_REMOTE, Seen(False, None, REMOTE, None), False),
        (Verb.FORGET, Seen(True, LOCAL, REMOTE, BASE), True),
    ],
)
def test_what_was_done_before_is_known_by_what_was_agreed(
    verb: Verb, seen: Seen, done: bool
) -> None:
    assert done == is_done(as_read(replace(STEP, verb=verb)), seen)


def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    for content in (b"", b"{}", b'{"fwsync_plan": 1}', b"\0" * 100):
        file.write_bytes(content)
        with pytest.raises(UsageError, match="not overwritten"):
            saved(Plan((STEP,)), file)

        assert content == file.read_bytes()
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="not overwritten"):
        saved(Plan((STEP,)), file)
