"""Names that were given stay, whichever namesakes come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from fwsync.layout import Layout
from fwsync.model import Level, RelPath
from fwsync.ports import GivenName
from fwsync.remotes.flywheel_names import Names
from fwsync.remotes.flywheel_tree import Tree
from fwsync.remotes.given import Given

LAYOUT = Layout.parse(group="lab", project="aging")


@dataclass
class Book:
    """What is kept from run to run, for as long as the test lasts."""

    names: dict[tuple[str, bool, str], GivenName] = field(default_factory=dict)
    files: set[RelPath] = field(default_factory=set)

    async def keep(self, given: Sequence[GivenName], gone: Sequence[GivenName]) -> None:
        for one in gone:
            self.names.pop((one.id, one.is_file, one.label), None)
        for one in given:
            if not one.is_file:
                self.names = {
                    key: known
                    for key, known in self.names.items()
                    if known.is_file or known.id != one.id
                }
            self.names[one.id, one.is_file, one.label] = one

    async def files_at(self, paths: Sequence[RelPath]) -> set[RelPath]:
        return self.files & set(paths)


async def listed(
    book: Book, subjects: dict[str, str], *, whole: bool = True, folds: bool = False
) -> dict[str, str]:
    """One run's listing of subjects, labels by id: the folder of each."""
    names = Given(book.names.values(), keeper=book, folds=folds)
    tree = Tree(LAYOUT, Names(given=names))
    project = tree.add_project("lab", "aging", "p")
    children = [(id_, label, "p") for id_, label in subjects.items()]
    if whole:
        tree.whole(Level.SUBJECT, subjects.keys(), project)
    await tree.look_for_files(children)
    tree.add_children(Level.SUBJECT, children)
    await names.keep()
    return {one.id: one.folder for one in tree.at(Level.SUBJECT)}


async def test_twins_keep_their_names_when_one_is_deleted_a_third_comes_or_an_older_appears() -> (
    None
):
    """S88."""
    book = Book()
    assert {"2": "x", "4": "x%id=4"} == await listed(book, {"4": "x", "2": "x"})

    assert {"4": "x%id=4"} == await listed(book, {"4": "x"})
    assert {"4": "x%id=4", "5": "x"} == await listed(book, {"4": "x", "5": "x"})
    older = await listed(book, {"1": "x", "4": "x", "5": "x"})
    assert {"1": "x%id=1", "4": "x%id=4", "5": "x"} == older


async def test_a_part_of_a_list_takes_no_name_away() -> None:
    book = Book()
    await listed(book, {"1": "x", "2": "x"})

    assert {"3": "x%id=3"} == await listed(book, {"3": "x"}, whole=False)
    everything = await listed(book, {"1": "x", "2": "x", "3": "x"})
    assert {"1": "x", "2": "x%id=2", "3": "x%id=3"} == everything


async def test_what_was_made_anew_under_one_label_has_the_plain_name() -> None:
    book = Book()
    await listed(book, {"1": "x"})

    assert {"2": "x"} == await listed(book, {"2": "x"})


async def test_another_label_gets_another_name_and_gives_the_old_one_up() -> None:
    book = Book()
    await listed(book, {"1": "x", "2": "x"})

    assert {"1": "y", "2": "x%id=2"} == await listed(book, {"1": "y", "2": "x"})
    assert {"1": "y", "2": "x%id=2", "3": "x"} == await listed(book, {"1": "y", "2": "x", "3": "x"})


async def test_a_container_that_comes_after_a_file_of_its_name_steps_aside() -> None:
    """S87."""
    book = Book(files={RelPath("x")})
    assert {"1": "x%id=1"} == await listed(book, {"1": "x"})

    book.files.clear()
    assert {"1": "x%id=1"} == await listed(book, {"1": "x"})


async def test_a_file_that_stepped_aside_stays_aside_when_the_folder_is_gone() -> None:
    """S87."""
    book = Book()
    for subjects, there in (({"1": "x"}, {"1": "x"}), ({}, {})):
        names = Given(book.names.values(), keeper=book)
        tree = Tree(LAYOUT, Names(given=names))
        project = tree.add_project("lab", "aging", "p")
        tree.add_children(Level.SUBJECT, [(id_, label, "p") for id_, label in subjects.items()])

        assert "x%id=f1" == tree.path_of_file(project, "x", "f1")
        assert there == {one.id: one.folder for one in tree.at(Level.SUBJECT)}
        await names.keep()


async def test_a_file_that_is_called_plainly_is_so_in_every_later_listing() -> None:
    book = Book()
    names = Given(keeper=book)
    tree = Tree(LAYOUT, Names(given=names))
    project = tree.add_project("lab", "aging", "p")
    tree.add_children(Level.SUBJECT, [("1", "x", "p")])
    called = tree.path_of_file(project, "x", "f1")
    await names.keep()
    tree.call_plainly(called, "f1")
    await names.keep()

    names = Given(book.names.values(), keeper=book)
    tree = Tree(LAYOUT, Names(given=names))
    project = tree.add_project("lab", "aging", "p")

    assert "x" == tree.path_of_file(project, "x", "f1")


async def test_names_that_differ_in_case_only_are_told_apart_where_the_disk_does_not() -> None:
    book = Book()

    assert {"1": "T1", "2": "t1%id=2"} == await listed(book, {"1": "T1", "2": "t1"}, folds=True)
    assert {"2": "t1%id=2"} == await listed(book, {"2": "t1"}, folds=True)

    names = Given(folds=True)
    tree = Tree(LAYOUT, Names(given=names))
    project = tree.add_project("lab", "aging", "p")
    tree.add_children(Level.SUBJECT, [("1", "Notes", "p")])
    paths = [tree.path_of_file(project, name, f"f-{name}") for name in ("A", "a", "NOTES", "A")]
    assert ["A", "a%id=f-a", "NOTES%id=f-NOTES", "A"] == paths


LABELS = st.sampled_from(["x", "X", "x%id=1", "", "..", "a/b", "é", "y" * 300])
LISTS = st.lists(st.dictionaries(st.sampled_from("123456"), LABELS), max_size=6)


@settings(max_examples=300)
@given(LISTS, st.booleans())
async def test_names_are_injective_and_stay_as_long_as_label_and_id_do(
    lists: list[dict[str, str]], folds: bool
) -> None:
    """P7."""
    book = Book()
    before: dict[str, tuple[str, str]] = {}
    for subjects in lists:
        folders = await listed(book, subjects, folds=folds)

        assert subjects.keys() == folders.keys()
        spelled = {name.casefold() if folds else name for name in folders.values()}
        assert len(folders) == len(spelled)
        now = {id_: (label, folders[id_]) for id_, label in subjects.items()}
        for id_ in before.keys() & now.keys():
            assert before[id_] == now[id_] or before[id_][0] != now[id_][0]
        before = now


async def test_what_is_found_gone_gives_its_name_to_what_is_made_in_its_place() -> None:
    names = Given()
    tree = Tree(LAYOUT, Names(given=names))
    tree.add_project("lab", "aging", "p")
    tree.add_child(Level.SUBJECT, "1", "x", "p")

    tree.forget("1")
    again = tree.add_child(Level.SUBJECT, "2", "x", "p")

    assert again is not None
    assert "x" == again.folder


async def test_what_was_below_a_container_that_is_gone_has_no_name_any_more() -> None:
    book = Book()
    await listed(book, {"1": "x"})
    names = Given(book.names.values(), keeper=book)
    tree = Tree(LAYOUT, Names(given=names))
    project = tree.add_project("lab", "aging", "p")
    tree.add_children(Level.SUBJECT, [("1", "x", "p")])
    tree.add_children(Level.SESSION, [("2", "e", "1")])
    await names.keep()
    assert 2 == len(book.names)

    tree.whole(Level.SUBJECT, (), project)
    await names.keep()

    assert {} == book.names


async def test_two_that_change_labels_change_names_and_so_do_three_in_a_row() -> None:
    """S77."""
    book = Book()
    await listed(book, {"1": "x", "2": "y", "3": "z"})

    assert {"1": "y", "2": "x", "3": "z"} == await listed(book, {"1": "y", "2": "x", "3": "z"})
    assert {"1": "x", "2": "z", "3": "w"} == await listed(book, {"1": "x", "2": "z", "3": "w"})
    # And so where only a part of the list was asked for.
    swapped = await listed(book, {"1": "z", "2": "x"}, whole=False)
    assert {"1": "z", "2": "x"} == swapped
