"""What people do to a world, drawn beforehand, so that it can be done at any step of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from fwsync.layout import Layout
from fwsync.model import Level, RelPath
from tests.properties.cloud import Box
from tests.properties.world import Host, World

#: Where files are: in every level, with folders beside files, and near each other.
PATHS = (
    "s/e/a/x",
    "s/e/a/y",
    "s/e/b/x",
    "s/f/a/x",
    "s/t",
    "t",
    "r/e/a/x",
    "r/f/b/y",
    "s/e/a/x y",
)

#: Names that are a file's for one, and a folder's for another.
CLASHES = ("s/e/a", "s", "s/e", "r/e/b")

LABELS = ("a", "b", "c", "e", "f", "r", "s")

LOCALLY = (
    "write",
    "write",
    "append",
    "delete",
    "delete",
    "move",
    "swap",
    "touch",
    "copy",
    "move folder",
    "delete folder",
)
THERE = (
    "put",
    "put",
    "delete",
    "delete",
    "copy",
    "relabel",
    "relabel",
    "move box",
    "delete box",
    "rename file",
    "recreate",
    "same again",
)


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that somebody does. Numbers choose among what there is when it is done."""

    where: int  #: the server, if it is 0; else a host
    what: str
    one: int
    other: int
    path: str


def deeds(
    *, hosts: int = 1, clashes: bool = False, there: bool = True, here: bool = True
) -> st.SearchStrategy[Deed]:
    """What somebody may do."""
    paths = st.sampled_from(PATHS + CLASHES if clashes else PATHS)
    number = st.integers(0, 11)
    wheres = [0] * there + [*range(1, hosts + 1)] * here
    return st.sampled_from(wheres).flatmap(
        lambda where: st.builds(
            Deed,
            st.just(where),
            st.sampled_from(LOCALLY if where else THERE),
            number,
            number,
            paths,
        )
    )


def do(world: World, deed: Deed) -> None:
    """Do it, if there is anything to do it to."""
    if deed.where:
        _here(world, world.hosts[deed.where - 1], deed)
    else:
        _there(world, deed)


def _here(world: World, host: Host, deed: Deed) -> None:
    tree = host.user_tree()
    paths = list(tree)
    if deed.what == "write":
        host.write(deed.path, world.token(deed.one))
        return
    if not paths:
        return
    one, other = paths[deed.one % len(paths)], paths[deed.other % len(paths)]
    folders = sorted({path.rpartition("/")[0] for path in paths} - {""})
    match deed.what:
        case "append":
            host.append(one, world.token())
        case "delete":
            host.delete(one)
        case "move":
            host.move(one, deed.path)
        case "swap" if one != other:
            host.swap(one, other)
        case "touch":
            host.touch(one)
        case "copy":
            host.write(deed.path, tree[one])
        case "move folder" if folders:
            folder = folders[deed.one % len(folders)]
            host.move(folder, _beside(folder, deed.other))
        case "delete folder" if folders:
            host.delete_folder(folders[deed.one % len(folders)])


def _there(world: World, deed: Deed) -> None:
    tree = world.cloud.tree()
    paths = list(tree)
    if deed.what == "put":
        world.put(deed.path, world.token(deed.one))
        return
    if not paths:
        return
    one = paths[deed.one % len(paths)]
    match deed.what:
        case "delete":
            world.delete(one)
        case "copy":
            world.put(deed.path, tree[one])
        case "recreate":
            content = tree[one]
            world.delete(one)
            world.put(one, content)
        case "same again":
            world.put(one, tree[one])
        case "rename file":
            name = deed.path.rpartition("/")[2]
            box, _ = world.cloud.files()[RelPath(one)]
            if all(file.name != name for file in box.files):
                world.cloud.rename_file(one, name)
        case _:
            _with_boxes(world, deed, list(world.cloud.root.all_boxes()))


def _with_boxes(world: World, deed: Deed, boxes: Sequence[Box]) -> None:
    """What is done to containers."""
    if not boxes:
        return
    box = boxes[deed.one % len(boxes)]
    match deed.what:
        case "relabel":
            label = LABELS[deed.other % len(LABELS)]
            if _is_free(box.above, label):
                world.cloud.relabel(box, label)
        case "move box":
            above = [b for b in _at_level_above(world, box) if _is_free(b, box.label)]
            if above:
                world.cloud.move(box, above[deed.other % len(above)])
        case "delete box":
            world.delete_box(box)


def _beside(folder: str, number: int) -> str:
    above = folder.rpartition("/")[0]
    return Layout.join(above, LABELS[number % len(LABELS)])  # type: ignore[arg-type]


def _is_free(box: Box | None, label: str) -> bool:
    assert box is not None
    taken = {one.label for one in box.boxes} | {one.name for one in box.files}
    return label not in taken


def _at_level_above(world: World, box: Box) -> list[Box]:
    assert box.above is not None
    if box.above.level is Level.PROJECT:
        return []
    return [b for b in world.cloud.root.all_boxes() if b.level is box.above.level]
