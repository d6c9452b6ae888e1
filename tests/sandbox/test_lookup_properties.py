"""The resolver against a model that is too simple to be wrong: a tree of nodes, walked by hand."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwsync.sandbox.hierarchy.lookup import walk
from fwsync.sandbox.kept import catalog, tree
from fwsync.sandbox.kept.access import NOBODY, Grants, load_place
from fwsync.sandbox.kept.blobs import Blob
from fwsync.sandbox.kept.catalog import Arrival
from fwsync.sandbox.kept.records import Pen, Records, open_records
from fwsync.sandbox.problems import ApiError

pytestmark = pytest.mark.row("lookup", "lookup-id", "lookup-file")

LABELS = ["a", "A", "b", "", "files", "analyses", "<id:x>", "a/b", "ä"]
NAMES = ["f.txt", "files", "a", "g"]
BLOB = Blob("0" * 96, 0)
groups = itertools.count()


@dataclass
class Node:
    """A container as a test wants it; its id once it was made."""

    kind: str
    label: str
    gone: bool
    files: list[str]
    children: list[Node]
    id: str = field(default="", init=False)


@st.composite
def nodes(draw: st.DrawFn, kind: str) -> Node:
    child = tree.CHILD_OF.get(kind)
    below: st.SearchStrategy[list[Node]] = st.just([])
    if child:
        below = st.lists(nodes(child), max_size=3 if kind == "group" else 2)
    files = st.lists(st.sampled_from(NAMES), max_size=2, unique=True)
    children = draw(below)
    if kind in ("group", "project"):  # only there labels are unique
        seen: dict[str, Node] = {}
        children = [one for one in children if seen.setdefault(one.label, one) is one]
    return Node(
        kind,
        draw(st.sampled_from(LABELS)),
        draw(st.integers(0, 5)) == 0,
        [] if kind == "group" else draw(files),
        children,
    )


def plant(pen: Pen, group: Node) -> None:
    """Make the tree; what is gone is made first and deleted at the end."""
    group.id = f"g{next(groups)}"
    tree.upsert_group(pen, group.id, tree.NewContainer("group", group.label, None, {}))
    made: list[Node] = []

    def below(node: Node) -> None:
        for child in node.children:
            child.id = tree.create(pen, tree.NewContainer(child.kind, child.label, node.id, {}))
            place = load_place(pen.db, child.id)
            assert place is not None
            arrivals = [Arrival(name, BLOB, {}) for name in child.files]
            catalog.store(pen, place, arrivals, NOBODY)
            made.append(child)
            below(child)

    below(group)
    for node in made:
        place = load_place(pen.db, node.id)
        if node.gone and place is not None:
            tree.delete(pen, place)


def model(group: Node, path: list[str]) -> tuple[list[str], str | None] | None:
    """The ids on the way, and the name of the file at its end; ``None``: it leads nowhere."""
    here: Node | None = None
    ids: list[str] = []
    for at, step in enumerate(path):
        rest = path[at + 1 :]
        if here is not None and here.kind != "group" and step == "files":
            if not rest or rest == [""]:
                return ids, None
            return (ids, rest[0]) if len(rest) == 1 and rest[0] in here.files else None
        if here is not None and here.kind != "group" and step == "analyses":
            return (ids, None) if not rest else None  # there are none
        candidates = [group] if here is None else [one for one in here.children if not one.gone]
        by_id = step[4:-1] if step.startswith("<id:") and step.endswith(">") else None
        if here is None and by_id is None:
            by_id = step
        found = [
            one for one in candidates if (one.label == step if by_id is None else one.id == by_id)
        ]
        if not found:
            return None
        here = found[0]
        ids.append(here.id)
    return ids, None


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Records]]:
    path: Path = tmp_path_factory.mktemp("records") / "sandbox.db"
    with asyncio.Runner() as runner:
        opened = runner.run(open_records(path, durable=False))
        try:
            yield runner, opened
        finally:
            opened.close()


def everything(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from everything(child)


@settings(max_examples=150)
@given(nodes("group"), st.data())
def test_a_path_leads_where_the_model_says(
    records: tuple[asyncio.Runner, Records], group: Node, data: st.DataObject
) -> None:
    runner, opened = records
    runner.run(opened.write(plant, group))
    ids = [f"<id:{node.id}>" for node in everything(group)]
    # Mostly a way down, with a wrong turn now and then.
    path = [data.draw(st.sampled_from([group.id, ids[0], "nowhere"]))]
    here = group
    for _ in range(data.draw(st.integers(0, 5))):
        steps = [*LABELS, *ids]
        astray = data.draw(st.integers(0, 3)) == 0
        if here.children and not astray:
            here = data.draw(st.sampled_from(here.children))
            steps = [here.label, f"<id:{here.id}>"]
        path.append(data.draw(st.sampled_from(steps)))
    path += data.draw(st.sampled_from([[], ["files"], ["files", ""], ["analyses"]]) | files_of())

    for grants in (None, Grants({group.id: "ro"}), Grants()):
        got, status = runner.run(walked(opened, path, grants))

        if grants == Grants():
            # Whoever may see nothing is told nothing of what is below.
            assert (got, status) in ((None, 403), (None, 404)), path
        else:
            expected = model(group, path)
            assert (got, status) == (expected, 200 if expected is not None else 404), path


async def walked(
    records: Records, path: list[str], grants: Grants | None
) -> tuple[tuple[list[str], str | None] | None, int]:
    """What the model says too, and the status that a client would see."""
    try:
        found = await records.read(walk, path, grants)
    except ApiError as problem:
        return None, problem.status
    name = None if found.file is None else found.file["name"]
    return ([place.id for place in found.places], name), 200


def files_of() -> st.SearchStrategy[list[str]]:
    return st.sampled_from(NAMES).map(lambda name: ["files", name])
