"""Tags of containers and files, notes of containers."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.sandbox.api import Api, Tree

LEVELS = ("project", "subject", "session", "acquisition", "container")
USER = "user@sandbox.local"


async def place(api: Api, tree: Tree, what: str) -> str:
    """The path of a container, or of a file in one."""
    kind, _, file = what.partition("/")
    path = f"/{kind}s/{getattr(tree, kind, tree.session)}"
    if file:
        await api.upload(path[1:], {file: b"x"})
        path += f"/files/{file}"
    return path


async def tags(api: Api, path: str) -> list[str]:
    entry = await api.get(path + ("/info" if "/files/" in path else ""))
    found: list[str] = entry["tags"]
    return found


@pytest.mark.row("tags", "file-tags-by-name")
@pytest.mark.parametrize("what", ["group", *LEVELS, "session/a.txt", "container/a.txt"])
async def test_a_tag_is_added_renamed_and_removed(api: Api, tree: Tree, what: str) -> None:
    path = await place(api, tree, what)
    added = [await api.ask("POST", f"{path}/tags", json={"value": tag}) for tag in ("t1", "t/2")]
    twice = await api.ask("POST", f"{path}/tags", json={"value": "t1"})
    one = await api.get(f"{path}/tags/t1")
    renamed = await api.ask("PUT", f"{path}/tags/t1", json={"value": "é 3"})
    taken = await api.ask("PUT", f"{path}/tags/{quote('é 3')}", json={"value": "t/2"})
    before = await tags(api, path)
    listed = await api.get(f"{path}/tags")
    removed = await api.ask("DELETE", f"{path}/tags/t%2F2")
    again = await api.ask("DELETE", f"{path}/tags/t%2F2")

    assert [answer.json["modified"] for answer in added] == [1, 1]
    assert (twice.status, twice.message) == (409, "Item already exists in list.")
    assert one == "t1"
    assert renamed.json == "é 3"
    assert taken.status == 409
    assert before == listed == ["é 3", "t/2"]
    assert removed.json == {"deleted": 1, "not_found": 0, "delete_scheduled": 0}
    assert again.status == 404
    assert await tags(api, path) == ["é 3"]
    assert (await api.ask("GET", f"{path}/tags/t1")).status == 404
    assert (await api.ask("PUT", f"{path}/tags/t1", json={"value": "x"})).status == 404


@pytest.mark.row("tags")
@pytest.mark.parametrize("kind", ["group", *LEVELS])
async def test_many_tags_are_added_and_removed_at_once(api: Api, tree: Tree, kind: str) -> None:
    path = await place(api, tree, kind)
    await api.ask("PATCH", f"{path}/tags", json=["a", "b", "a"])
    await api.ask("PATCH", f"{path}/tags", json=["c", "b"])
    before = await tags(api, path)
    removed = await api.ask("DELETE", f"{path}/tags", json=["a", "nothing", "c"])

    assert before == ["a", "b", "c"]
    assert removed.json == {"deleted": 2, "not_found": 1, "delete_scheduled": 0}
    assert await tags(api, path) == ["b"]


@pytest.mark.row("files-tags")
async def test_tags_of_a_file_by_its_id_of_any_version(api: Api, tree: Tree) -> None:
    where = f"projects/{tree.project}"
    [entry] = await api.upload(where, {"a.txt": b"1"}, '{"tags": ["first"]}')
    await api.upload(where, {"a.txt": b"2"}, '{"tags": ["second"]}')
    path = f"/files/{entry['file_id']}/tags"
    added = await api.ask("PATCH", path, json=["q", "second"])
    replaced = await api.ask("PUT", path, json=["x", "y", "x"])
    removed = await api.ask("DELETE", path, json=["x", "nothing"])
    nothing = await api.ask("DELETE", path)

    assert added.json == ["second", "q"]
    assert replaced.json["modified"] == 1
    assert (removed.status, nothing.json["deleted"]) == (200, 0)
    assert await api.get(path) == ["y"]
    assert await api.get(path, version=1) == ["first"]
    assert (await api.get(f"/files/{entry['file_id']}"))["version"] == 2


@pytest.mark.row("tags")
async def test_a_tag_that_is_none_is_400(api: Api, tree: Tree) -> None:
    path = f"/projects/{tree.project}/tags"
    for body in ({}, {"value": 1}, {"value": ""}, {"value": "x" * 300}, {"value": "x", "y": 1}, 7):
        assert (await api.ask("POST", path, json=body)).status == 400
    wrong: tuple[object, ...] = ({}, "x", [1], [""], [["x"]])
    for many in wrong:
        assert (await api.ask("PATCH", path, json=many)).status == 400
    assert await api.get(path) == []


@pytest.mark.row("notes")
@pytest.mark.parametrize("kind", LEVELS)
async def test_a_note_is_written_changed_and_removed(api: Api, tree: Tree, kind: str) -> None:
    path = await place(api, tree, kind)
    note = await api.post(f"{path}/notes", {"text": "hi\nthere"})
    other = await api.post(f"{path}/notes", {"text": "two"})
    before = (await api.get(path))["notes"]
    changed = await api.ask("PUT", f"{path}/notes/{note['_id']}", json={"text": "new"})
    after = await api.get(f"{path}/notes/{note['_id']}")
    gone = await api.ask("DELETE", f"{path}/notes/{other['_id']}")

    assert note["text"] == "hi\nthere"
    assert note["user"] == "admin@sandbox.local"
    assert note["created"] == note["modified"] == note["timestamp"]
    assert len(note["_id"]) == 24
    assert before == [note, other]
    assert changed.json == 1
    assert (after["text"], after["created"]) == ("new", note["created"])
    assert after["modified"] > note["modified"]
    assert gone.json == {"deleted": 1, "not_found": 0, "delete_scheduled": 0}
    assert (await api.get(path))["notes"] == await api.get(f"{path}/notes") == [after]
    assert (await api.ask("DELETE", f"{path}/notes/{other['_id']}")).status == 404
    assert (await api.ask("GET", f"{path}/notes/{other['_id']}")).status == 404


@pytest.mark.row("notes")
async def test_the_notes_of_others_are_left_to_the_site_admin(
    api: Api, user: Api, tree: Tree
) -> None:
    await api.post(f"/projects/{tree.project}/permissions", {"_id": USER, "access": "admin"})
    path = f"/sessions/{tree.session}/notes"
    hers = (await api.post(path, {"text": "of the admin"}))["_id"]
    mine = (await user.post(path, {"text": "of the user"}))["_id"]
    refused = [
        await user.ask("PUT", f"{path}/{hers}", json={"text": "x"}),
        await user.ask("DELETE", f"{path}/{hers}"),
    ]

    assert [answer.status for answer in refused] == [403, 403]
    assert (await user.get(f"{path}/{hers}"))["text"] == "of the admin"
    assert (await user.get(f"{path}/{mine}"))["user"] == USER
    assert (await api.ask("PUT", f"{path}/{mine}", json={"text": "seen"})).status == 200
    assert (await user.get(f"{path}/{mine}"))["text"] == "seen"
    assert (await user.ask("DELETE", f"{path}/{mine}")).status == 200


@pytest.mark.row("notes")
async def test_a_note_without_a_text_is_400(api: Api, tree: Tree) -> None:
    path = f"/sessions/{tree.session}/notes"
    wrong: tuple[object, ...] = ({}, {"text": 1}, {"text": None}, {"text": "x", "user": "me"}, [])
    for body in wrong:
        assert (await api.ask("POST", path, json=body)).status == 400
    assert await api.get(path) == []
