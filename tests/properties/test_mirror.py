"""P6 with renames: who swaps the two sides gets the plan in a mirror.

What the tie-break decides is not drawn: a file that is renamed on one side is left alone on the
other, and two sides give no file the same new name with other bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from fwsync.model import Verb
from fwsync.plan import DeleteLimits
from tests.properties.hosts import Host
from tests.properties.profiles import bounded
from tests.properties.world import World

MIRRORED = {
    Verb.UPLOAD: Verb.DOWNLOAD,
    Verb.DOWNLOAD: Verb.UPLOAD,
    Verb.DELETE_LOCAL: Verb.DELETE_REMOTE,
    Verb.DELETE_REMOTE: Verb.DELETE_LOCAL,
    Verb.RENAME: Verb.RENAME_REMOTE,
    Verb.RENAME_REMOTE: Verb.RENAME,
}
FOLDERS = ("s/e/a", "s/e/b", "s/f/a", "r/e/a", "r/f")
NAMES = ("x", "y", "z")


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to a file, on either side."""

    path: str
    here: str
    there: str

    @property
    def turned(self) -> Change:
        return Change(self.path, self.there, self.here)


ALONE = ("rename", "move")
pairs = st.one_of(
    st.tuples(
        st.sampled_from(["", "edit", "delete", "same edit"]),
        st.sampled_from(["", "edit", "delete", "same edit"]),
    ),
    st.tuples(st.sampled_from(ALONE), st.just("")),
    st.tuples(st.just(""), st.sampled_from(ALONE)),
)


@st.composite
def cases(draw: st.DrawFn) -> list[Change]:
    """For each folder: a new name on one side, or something for each file in it."""
    changes = []
    for folder in FOLDERS:
        what = draw(st.sampled_from(["files", "files", "here", "there"]))
        if what != "files":
            sides = ("folder", "") if what == "here" else ("", "folder")
            changes.append(Change(folder, *sides))
            continue
        for name in NAMES:
            changes.append(Change(f"{folder}/{name}", *draw(pairs)))
        if draw(st.booleans()):
            new = draw(st.sampled_from([("new", ""), ("", "new"), ("new", "new")]))
            changes.append(Change(f"{folder}/n", *new))
    return changes


def happens(world: World, changes: Sequence[Change]) -> None:
    """All of it, on each side."""
    [host] = world.hosts
    for change in changes:
        mine, theirs, same = (world.token(3) for _ in range(3))
        _here(host, change.path, change.here, same if change.here == "same edit" else mine)
        _there(world, change.path, change.there, same if change.there == "same edit" else theirs)


def _here(host: Host, path: str, what: str, content: bytes) -> None:
    match what:
        case "edit" | "same edit" | "new":
            host.write(path, content)
        case "delete":
            host.delete(path)
        case "rename":
            host.move(path, f"{path}.new")
        case "move":
            host.move(path, f"q/{path.replace('/', '-')}")
        case "folder":
            host.move(path, f"{path}new")


def _there(world: World, path: str, what: str, content: bytes) -> None:
    match what:
        case "edit" | "same edit" | "new":
            world.put(path, content)
        case "delete":
            world.delete(path)
        case "rename":
            world.cloud.rename_file(path, f"{path.rpartition('/')[2]}.new")
        case "move":
            above = world.cloud.make(world.cloud.root, "q")
            world.cloud.move_file(path, above, path.replace("/", "-"))
        case "folder":
            box = world.cloud.box_at(path)
            assert box is not None
            world.cloud.relabel(box, f"{box.label}new")


Seen = tuple[list[tuple[Verb, str]], list[tuple[Verb, str]], list[str]]


def planned(changes: Sequence[Change], deletes: tuple[bool, bool], most: int | None) -> Seen:
    """What a run would do then, and what would wait."""
    with closing(World()) as world:
        [host] = world.hosts
        for folder in FOLDERS:
            for name in NAMES:
                host.write(f"{folder}/{name}", world.token())
        world.settle(host)
        happens(world, changes)
        host.how.delete_up, host.how.delete_down = deletes
        host.how.limits = DeleteLimits(most, None)
        plan = host.look().plan
        return (
            sorted((one.verb, one.path) for one in plan.carry_out if one.verb not in QUIET),
            sorted((one.verb, one.path) for one in plan.waiting),
            sorted(guard.name for guard in plan.held),
        )


#: Recorded, and nothing else.
QUIET = (Verb.ADOPT, Verb.FORGET)


@bounded(40)
@given(cases(), st.tuples(st.booleans(), st.booleans()), st.one_of(st.none(), st.integers(0, 3)))
def test_the_plan_is_a_mirror(
    changes: list[Change], deletes: tuple[bool, bool], most: int | None
) -> None:
    up, down = deletes
    goes, waits, held = planned(changes, (up, down), most)
    turned = planned([one.turned for one in changes], (down, up), most)

    def mirrored(steps: Sequence[tuple[Verb, str]]) -> list[tuple[Verb, str]]:
        return sorted((MIRRORED.get(verb, verb), path) for verb, path in steps)

    assert (mirrored(goes), mirrored(waits), held) == turned
