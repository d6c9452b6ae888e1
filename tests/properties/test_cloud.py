"""The project in memory keeps to what ``tests/contract`` asks of the remote that runs use."""

from __future__ import annotations

import pytest

from fwsync.errors import SourceChanged
from fwsync.model import Level, RelPath
from fwsync.ports import Movable, Remote
from tests.contract.conftest import content, listed, put, text
from tests.contract.test_remote import Failing, Longer, Missing, Shorter
from tests.fixtures.upload import Text
from tests.properties.cloud import Cloud, CloudRemote, digest_of


@pytest.fixture(params=[True, False], ids=["hashes", "no hashes"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    return Cloud(digests=request.param)


@pytest.fixture
def remote(cloud: Cloud) -> CloudRemote:
    return CloudRemote(cloud)


def test_it_is_a_remote(remote: CloudRemote) -> None:
    one: Remote = remote

    assert isinstance(one, Movable)


async def test_what_was_put_is_listed_and_looked_up(cloud: Cloud, remote: CloudRemote) -> None:
    assert {} == await listed(remote)
    paths = ["p.txt", "s1/s.txt", "s1/e1/e.txt", "s1/e1/a1/a.txt", "s1/e1/a1/empty"]
    uploads = [text(path, path.encode() if path != "s1/e1/a1/empty" else b"") for path in paths]
    answered = await put(remote, *uploads)

    seen = await listed(CloudRemote(cloud))

    assert {one.path: one for one in answered} == seen
    assert [seen[path] for path in paths] == [await remote.look(RelPath(path)) for path in paths]
    for one in uploads:
        assert one.content == await content(remote, seen[one.path])
        assert (one.size, digest_of(one.content) if cloud.has_digests else None) == (
            seen[one.path].size,
            seen[one.path].digest,
        )
    levels = [Level.PROJECT, Level.SUBJECT, Level.SESSION, Level.ACQUISITION, Level.ACQUISITION]
    assert levels == [one.container.level for one in answered]
    assert 3 == cloud.made


async def test_a_second_put_is_a_new_version(remote: CloudRemote) -> None:
    [first] = await put(remote, text("s/e/a/f", b"one"))
    [second] = await put(remote, text("s/e/a/f", b"two"))

    assert (first.version, second.version, first.file_id) == (1, 2, second.file_id)
    assert first.etag != second.etag
    assert second == await remote.look(RelPath("s/e/a/f"))
    assert [b"one", b"two"] == [await content(remote, one) for one in (first, second)]


async def test_deleting_twice_is_no_error_and_another_file_is_another(remote: CloudRemote) -> None:
    [first] = await put(remote, text("s/e/a/f"))
    await remote.delete(first)
    await remote.delete(first)
    assert await remote.look(first.path) is None

    [second] = await put(remote, text("s/e/a/f"))
    assert first.file_id != second.file_id
    assert first.container == second.container


async def test_many_come_by_one_exchange_and_what_is_gone_does_not(remote: CloudRemote) -> None:
    entries = await put(remote, *[text(f"s/e/a/f{n}", b"x" * n) for n in range(5)])
    await remote.delete(entries[2])

    got = {}
    async with remote.fetch(entries) as members:
        async for member in members:
            got[member.entry.path] = b"".join([chunk async for chunk in member.chunks])

    assert {f"s/e/a/f{n}": b"x" * n for n in (0, 1, 3, 4)} == got


@pytest.mark.parametrize("kind", [Failing, Missing, Longer, Shorter])
async def test_a_file_that_changes_while_it_is_sent_leaves_nothing_behind(
    kind: type[Text], remote: CloudRemote
) -> None:
    [sent] = [one async for one in remote.put([kind(RelPath("s/e/a/f"), b"xxxx")])]

    assert sent.error is not None
    assert isinstance(sent.error, SourceChanged) or kind is Missing
    assert {} == await listed(remote)


async def test_what_has_no_address_is_refused(remote: CloudRemote) -> None:
    [sent] = [one async for one in remote.put([text("s/e/a/b/f")])]

    assert sent.error is not None


async def test_a_file_named_like_a_folder_steps_aside(remote: CloudRemote) -> None:
    await put(remote, text("s/e/a/f", b"below"))
    remote._cloud.put("s/e/b", b"file")
    box = remote._cloud.box_at("s/e/a")
    assert box is not None

    remote._cloud.relabel(box, "b")
    assert [f"s/e/b%id={box.id}/f", "s/e/b"] == sorted(await listed(remote), reverse=True)
    [more] = await put(remote, text(f"s/e/b%id={box.id}/g"))
    assert box.id == more.container.id


async def test_a_container_moves_with_its_id_and_all_that_is_in_it(remote: CloudRemote) -> None:
    [entry, other] = await put(remote, text("s/e/a/f"), text("t/e/a/f"))

    assert await remote.move_folder(RelPath("s/e/a"), RelPath("s/n/b"))
    assert not await remote.move_folder(RelPath("s/n/b"), RelPath("t/e/a"))
    assert not await remote.move_folder(RelPath("s/n/b"), RelPath("s/b"))
    moved = await remote.look(RelPath("s/n/b/f"))
    assert moved is not None
    assert (entry.container, entry.file_id) == (moved.container, moved.file_id)
    assert await remote.has_folder(RelPath("s/n"))

    again = await remote.move(other, RelPath("u/g"))
    assert (other.file_id, "g") == (again.file_id, again.name)
    assert {"s/n/b/f", "u/g"} == set(await listed(remote))
