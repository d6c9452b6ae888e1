"""What people do to a world, drawn beforehand, so that it can be done at any step of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from fwsync.layout import Layout
from fwsync.model import ConflictPolicy, Level, RelPath
from tests.properties.cloud import Box
from tests.properties.hosts import Host
from tests.properties.world import World

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

#: Names that other systems spell in another way, or that are hardly names.
ODD = (
    "s/e/a/X",
    "s/E/a/x",
    "s/e/a/\u00e9",
    "s/e/a/e\u0301",
    "s/\u00e9/a/x",
    "s/e/a/ x.",
    "s/e/a/CON",
    "s/e/a/x%2Fy",
    "s/e/a/x\n",
    "s/e/.a/x",
    "s/e/a/x.fwsync-conflict-20200101T000000Z-desk.y",
)

#: The same on the server, where a label may be anything.
ODD_LABELS = ("a/b", "..", "x.", " ", "A", "\u00e9", "e\u0301", "con", "a%id=1", "b%2Fc", ".fwsync")

#: Names that are a file's for one, and a folder's for another.
CLASHES = ("s/e/a", "s", "s/e", "r/e/b")

POLICIES = (ConflictPolicy.LOCAL, ConflictPolicy.REMOTE, ConflictPolicy.KEEP_BOTH)

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

#: What is done more rarely.
LOCALLY_TOO = (
    "write over",
    "write below",
    "empty",
    "truncate",
    "edit unseen",
    "link",
    "hard link",
    "replace",
    "delete copy",
    "edit copy",
    "use copy",
    "rename copy",
    "restore",
    "keep-local",
    "keep-remote",
    "keep-both",
    "choose",
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
THERE_TOO = ("empty", "twin", "odd box", "odd file", "put over", "put below")


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that somebody does. Numbers choose among what there is when it is done."""

    where: int  #: the server, if it is 0; else a host
    what: str
    one: int
    other: int
    path: str


def deeds(
    *,
    hosts: int = 1,
    clashes: bool = False,
    there: bool = True,
    here: bool = True,
    wide: bool = False,
) -> st.SearchStrategy[Deed]:
    """What somebody may do.

    Args:
        hosts: so many have a root.
        clashes: names of files may be those of folders.
        there: on the server.
        here: on the hosts.
        wide: rare things, too, with odd names.
    """
    paths = st.sampled_from(PATHS + (CLASHES if clashes else ()) + (ODD if wide else ()))
    locally = LOCALLY * 3 + LOCALLY_TOO if wide else LOCALLY
    on_server = THERE * 3 + THERE_TOO if wide else THERE
    number = st.integers(0, 11)
    wheres = [0] * there + [*range(1, hosts + 1)] * here
    return st.sampled_from(wheres).flatmap(
        lambda where: st.builds(
            Deed,
            st.just(where),
            st.sampled_from(locally if where else on_server),
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
    _at_path(world, host, deed)
    _settling(host, deed)
    _with_copies(world, host, deed)
    paths = list(host.user_tree())
    if paths:
        one, other = paths[deed.one % len(paths)], paths[deed.other % len(paths)]
        _with_files(world, host, deed, one, other)
        _rarely(world, host, deed, one, other)
        _with_folders(host, deed, paths)


def _at_path(world: World, host: Host, deed: Deed) -> None:
    """What is done at the path of the deed, whatever there is."""
    match deed.what:
        case "write":
            host.write(deed.path, world.token(deed.one))
        case "empty":
            host.write(deed.path, b"")
        case "write over":
            host.delete_above(deed.path)
            host.write(deed.path, world.token(deed.one))


def _settling(host: Host, deed: Deed) -> None:
    """The commands beside runs."""
    match deed.what:
        case "restore":
            host.restore(deed.path if deed.one % 2 else "")
        case "keep-local" | "keep-remote" | "keep-both":
            host.resolve(deed.what, deed.one)
        case "choose":
            host.choose(POLICIES[deed.one % len(POLICIES)], deed.other)


def _with_files(world: World, host: Host, deed: Deed, one: str, other: str) -> None:
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
            host.write(deed.path, host.tree()[one])


def _rarely(world: World, host: Host, deed: Deed, one: str, other: str) -> None:
    match deed.what:
        case "write below":
            host.delete(one)
            host.write(f"{one}/{deed.path.rpartition('/')[2]}", world.token())
        case "truncate":
            host.truncate(one)
        case "edit unseen":
            host.edit_unseen(one)
        case "link":
            host.link(one, (".", "nowhere", "x", "/dev/null")[deed.other % 4])
        case "hard link":
            host.hard_link(one, deed.path)
        case "replace" if one != other:
            host.replace(one, other)


def _with_folders(host: Host, deed: Deed, paths: Sequence[str]) -> None:
    folders = sorted({path.rpartition("/")[0] for path in paths} - {""})
    if not folders:
        return
    folder = folders[deed.one % len(folders)]
    match deed.what:
        case "move folder":
            host.move(folder, _beside(folder, deed.other))
        case "delete folder":
            host.delete_folder(folder)


def _with_copies(world: World, host: Host, deed: Deed) -> None:
    """What is done to the copies that conflicts have left."""
    copies = host.copies()
    if not copies:
        return
    copy = copies[deed.one % len(copies)]
    match deed.what:
        case "delete copy":
            host.delete(copy)
        case "edit copy":
            host.append(copy, world.token())
        case "use copy":
            folder, _, name = copy.rpartition("/")
            stem, _, rest = name.partition(".fwsync-conflict-")
            _, dot, suffix = rest.partition(".")
            host.replace(copy, f"{folder}/{stem}{dot}{suffix}".lstrip("/"))
        case "rename copy":
            host.move(copy, deed.path)


def _there(world: World, deed: Deed) -> None:
    match deed.what:
        case "put":
            world.put(deed.path, world.token(deed.one))
        case "empty":
            world.put(deed.path, b"")
        case "put over":
            world.put_over(deed.path, world.token())
        case "odd box" | "odd file":
            _odd(world, deed)
    paths = list(world.cloud.tree())
    if paths:
        _with_files_there(world, deed, paths[deed.one % len(paths)])
        _with_boxes(world, deed, list(world.cloud.root.all_boxes()))


def _with_files_there(world: World, deed: Deed, one: str) -> None:
    content = world.cloud.tree()[one]
    match deed.what:
        case "delete":
            world.delete(one)
        case "copy":
            world.put(deed.path, content)
        case "recreate":
            world.delete(one)
            world.put(one, content)
        case "put below":
            world.put_over(f"{one}/{deed.path.rpartition('/')[2]}", world.token())
        case "same again":
            world.put(one, content)
        case "rename file":
            name = deed.path.rpartition("/")[2]
            box, _ = world.cloud.files()[RelPath(one)]
            if all(file.name != name for file in box.files):
                world.cloud.rename_file(one, name)


def _odd(world: World, deed: Deed) -> None:
    """Something with a label that no disk has, in some container."""
    boxes = [world.cloud.root, *world.cloud.root.all_boxes()]
    box, label = boxes[deed.one % len(boxes)], ODD_LABELS[deed.other % len(ODD_LABELS)]
    if deed.what == "odd box" and box.level is not Level.ACQUISITION:
        box, label = world.cloud.make(box, label), "x"
    world.put_in(box, label, world.token())


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
        case "twin":
            twins = [one for one in box.above.boxes if one is not box] if box.above else []
            if twins:
                world.cloud.relabel(box, twins[deed.other % len(twins)].label)
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
