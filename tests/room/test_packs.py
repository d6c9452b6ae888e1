"""A pack is read as one zip, whole or in stretches, and only if its members stay as they were."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import subprocess
import tracemalloc
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from fwsync import localfs, packs
from fwsync.digest import ContentHasher, LocalTag, pack_tag
from fwsync.errors import FileProblem, SourceChanged, Unreadable
from fwsync.model import LocalEntry, PackMember, RelPath
from fwsync.packing import pack_entry
from fwsync.packs import PackSource, hash_pack
from tests.room.rooms import descriptor, digest, local, opened_names, plant

PATH = RelPath("sub/ses/acq/t1.dicom.zip")
TREE = {
    "raw/t1/1.dcm": b"one" * 1000,
    "raw/t1/2.dcm": b"",
    "raw/t1/sub/ü.dcm": bytes(range(256)) * 10_000,  # 2.4 MiB
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "root", TREE)


def packed(root: Path, tree: Mapping[str, bytes] = TREE, *, deflated: bool = False) -> LocalEntry:
    members = [PackMember(path.removeprefix("raw/t1/"), local(root, path)) for path in tree]
    return pack_entry(PATH, "dicom", members, deflated=deflated)


class Told:
    """What was told of the progress."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, path: RelPath, size: int) -> None:
        assert path == PATH
        self.bytes += size


async def content(source: PackSource, offset: int = 0, size: int | None = None) -> bytes:
    return b"".join([block async for block in source.read(offset, size)])


def unzipped(made: bytes) -> dict[str, bytes]:
    archive = zipfile.ZipFile(io.BytesIO(made))
    assert archive.testzip() is None
    return {f"raw/t1/{name}": archive.read(name) for name in archive.namelist()}


def tag(content: bytes) -> LocalTag:
    hasher = ContentHasher()
    hasher.update(content)
    return hasher.local_tag


# -------------------------------------------------------------------------------------- the entry


def test_a_pack_is_an_entry_with_the_size_of_its_zip(root: Path) -> None:
    entry = packed(root)
    newest = max((root / path).stat().st_mtime_ns for path in TREE)

    assert (PATH, None, None) == (entry.path, entry.etag, entry.digest)
    assert (newest, 0) == (entry.stamp.mtime_ns, entry.stamp.device)
    assert 0 <= entry.stamp.inode < 1 << 63
    assert entry.pack is not None
    assert ["1.dcm", "2.dcm", "sub/ü.dcm"] == [member.name for member in entry.pack.members]


def test_the_order_in_which_members_were_seen_does_not_matter(root: Path) -> None:
    assert packed(root) == packed(root, dict(reversed(TREE.items())))


@pytest.mark.parametrize("what", ["touched", "renamed", "gone", "late"])
def test_whatever_changes_about_a_member_changes_the_stamp(root: Path, what: str) -> None:
    before = packed(root)
    tree = dict(TREE)
    if what == "touched":
        # Older than the newest of them, and of the same size.
        os.utime(root / "raw/t1/1.dcm", ns=(1, 1))
    elif what == "renamed":
        (root / "raw/t1/1.dcm").rename(root / "raw/t1/9.dcm")
        tree["raw/t1/9.dcm"] = tree.pop("raw/t1/1.dcm")
    elif what == "gone":
        del tree["raw/t1/2.dcm"]
    else:
        tree["raw/t1/3.dcm"] = b"late"
        plant(root, tree)

    assert before.stamp != packed(root, tree).stamp


def test_a_pack_has_a_tag_if_all_its_members_have_one(root: Path) -> None:
    members = [
        PackMember(path, replace(local(root, path), etag=tag(body))) for path, body in TREE.items()
    ]
    some = [members[0], replace(members[1], entry=local(root, "raw/t1/2.dcm")), members[2]]
    triples = [(path, len(body), tag(body)) for path, body in TREE.items()]

    assert pack_tag(triples) == pack_entry(PATH, "dicom", members).etag
    assert pack_entry(PATH, "dicom", some).etag is None


def test_the_tag_tells_any_two_lists_of_members_apart() -> None:
    a, b = tag(b"a"), tag(b"b")
    lists = [
        [],
        [("x", 1, a)],
        [("x", 1, b)],
        [("y", 1, a)],
        [("x", 2, a)],
        [("x", 1, a), ("y", 1, b)],
        [("x", 1, b), ("y", 1, a)],
    ]
    tags = [pack_tag(one) for one in lists]

    assert len(lists) == len(set(tags))
    assert all(one.startswith("pack:") and len(one) == 37 for one in tags)
    assert pack_tag(lists[5]) == pack_tag(lists[5][::-1])


def test_a_name_that_is_there_twice_is_refused(root: Path) -> None:
    one = PackMember("1.dcm", local(root, "raw/t1/1.dcm"))

    with pytest.raises(FileProblem, match=r"1\.dcm"):
        pack_entry(PATH, "dicom", [one, one])


def test_a_layout_may_put_a_file_elsewhere(root: Path) -> None:
    entry = local(root, "raw/t1/1.dcm")
    moved = replace(entry, path=RelPath("sub/1.dcm"), source=entry.path)

    assert (entry.path, entry.path) == (entry.indexed, entry.on_disk)
    assert ("raw/t1/1.dcm", "raw/t1/1.dcm") == (moved.indexed, moved.on_disk)
    assert "raw/t1/1.DCM" == replace(moved, disk_path="raw/t1/1.DCM").on_disk


# ------------------------------------------------------------------------------------- the stream


async def test_a_pack_is_read_as_a_zip_of_its_members(root: Path, root_fd: int) -> None:
    entry, told = packed(root), Told()
    source = PackSource(root_fd, entry, told)
    made = await content(source)

    assert TREE == unzipped(made)
    assert entry.size == source.size == len(made) == told.bytes == source.told
    assert digest(made) == source.digest
    assert source.seen is not None
    assert digest(made) == source.seen.digest
    triples = [(path.removeprefix("raw/t1/"), len(one), tag(one)) for path, one in TREE.items()]
    assert pack_tag(triples) == source.seen.etag
    assert source.seen.pack is not None
    assert [tag(one) for one in TREE.values()] == [
        member.entry.etag for member in source.seen.pack.members
    ]


async def test_the_same_members_make_the_same_zip(root: Path, root_fd: int, tmp_path: Path) -> None:
    other = plant(tmp_path / "other", dict(reversed(TREE.items())))
    made = await content(PackSource(root_fd, packed(root), Told()))

    with descriptor(other) as other_fd:
        assert made == await content(PackSource(other_fd, packed(other), Told()))


async def test_a_pack_is_hashed_as_a_file_would_be(root: Path, root_fd: int) -> None:
    entry = packed(root)
    made = await content(PackSource(root_fd, entry, Told()))
    tagged, since_ns = await hash_pack(root_fd, entry, want_digest=False)
    hashed, _ = await hash_pack(root_fd, tagged, want_digest=True)

    assert (tagged.etag, None) == (hashed.etag, tagged.digest)
    assert digest(made) == hashed.digest
    assert hashed.pack == tagged.pack
    assert entry.stamp == tagged.stamp == hashed.stamp
    assert since_ns > 0


async def test_a_pack_is_known_again_unless_it_was_just_written(root: Path, root_fd: int) -> None:
    assert "" == PackSource(root_fd, packed(root), Told()).stamp
    for path in TREE:
        os.utime(root / path, ns=(1_000, 1_000))
    stamp = PackSource(root_fd, packed(root), Told()).stamp
    os.utime(root / "raw/t1/2.dcm", ns=(900, 900))

    assert stamp
    assert stamp != PackSource(root_fd, packed(root), Told()).stamp


async def test_stretches_are_read_side_by_side(root: Path, root_fd: int) -> None:
    told = Told()
    source = PackSource(root_fd, packed(root), told)
    step = 700_000
    parts = await asyncio.gather(
        *(
            content(source, offset, min(step, source.size - offset))
            for offset in range(0, source.size, step)
        )
    )

    before = source.digest
    assert (None, source.size) == (before, told.bytes)
    await source.examine()
    assert digest(b"".join(parts)) == source.digest
    assert source.size == told.bytes
    assert b"".join(parts) == await content(source)
    assert parts[1][5:] == await content(source, step + 5, step - 5)


async def test_reading_again_takes_the_progress_back(root: Path, root_fd: int) -> None:
    told = Told()
    told.bytes = 100
    source = PackSource(root_fd, packed(root), told, told=100)
    blocks = source.read()
    await anext(blocks)
    await anext(blocks)
    await blocks.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert told.bytes == source.told > 0
    await content(source)

    assert source.size == told.bytes == source.told


async def test_a_block_is_about_a_mebibyte(root: Path, root_fd: int) -> None:
    sizes = [len(block) async for block in PackSource(root_fd, packed(root), Told()).read()]

    assert all(packs.BLOCK <= size < 2 * packs.BLOCK for size in sizes[:-1])


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_broken_off_reading_leaves_no_descriptor_open(root: Path, root_fd: int) -> None:
    source = PackSource(root_fd, packed(root), Told())
    await source.prepare()
    before = descriptors()
    blocks = source.read()
    await anext(blocks)
    during = descriptors()
    await blocks.aclose()  # type: ignore[attr-defined]  # it is a generator

    assert (before + 1, before) == (during, descriptors())


async def test_only_a_few_members_are_open_at_a_time(tmp_path: Path) -> None:
    tree = {f"raw/t1/{at:03}": b"%d" % at for at in range(500)}
    root = plant(tmp_path / "many", tree)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with descriptor(root) as root_fd:
        source = PackSource(root_fd, packed(root, tree), Told())
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 20, limits[1]))
        try:
            made = await content(source)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

        assert tree == unzipped(made)


async def test_members_are_summed_up_once(root: Path, root_fd: int) -> None:
    source = PackSource(root_fd, packed(root), Told())
    with opened_names() as first:
        await asyncio.gather(source.prepare(), source.prepare())
    with opened_names() as again:
        await source.prepare()

    assert (1, []) == (first.count("1.dcm"), again)


# --------------------------------------------------------------------------------- compressed


async def test_a_pack_can_be_compressed(root: Path, root_fd: int) -> None:
    told, stored = Told(), packed(root).size
    source = PackSource(root_fd, packed(root, deflated=True), told)
    await source.prepare()
    size = source.size
    made = await content(source)

    assert TREE == unzipped(made)
    assert (len(made), len(made)) == (size, told.bytes)
    assert size < stored / 10
    assert made == await content(PackSource(root_fd, packed(root, deflated=True), Told()))
    seen = source.seen
    assert seen is not None
    assert seen.pack is not None
    assert (digest(made), True, stored) == (seen.digest, seen.pack.deflated, seen.size)


async def test_compressed_or_not_a_pack_has_the_tag_of_its_members(
    root: Path, root_fd: int
) -> None:
    tags = [
        (await PackSource(root_fd, packed(root, deflated=one), Told()).prepare()).etag
        for one in (False, True)
    ]

    assert tags[0] == tags[1] is not None


async def test_parts_of_a_compressed_pack_are_those_of_the_whole(tmp_path: Path) -> None:
    """A member of several chunks among them, of which a part begins in the middle of one."""
    large = b"".join(b"%d" % number for number in range(500_000))
    tree = {"raw/t1/a": b"a" * 5000, "raw/t1/large": large, "raw/t1/z": b"z"}
    root = plant(tmp_path / "large", tree)
    with descriptor(root) as root_fd:
        source, told = PackSource(root_fd, packed(root, tree, deflated=True), Told()), Told()
        whole = await content(source)
        source = PackSource(root_fd, packed(root, tree, deflated=True), told)
        await source.prepare()
        step = len(whole) // 7
        spans = [(at, min(step, len(whole) - at)) for at in range(0, len(whole), step)]
        parts = await asyncio.gather(*(content(source, *span) for span in spans))
        hashed = source.digest is not None
        await source.examine()

        assert tree == unzipped(whole)
        assert (whole, False) == (b"".join(parts), hashed)
        assert (digest(whole), len(whole)) == (source.digest, told.bytes)


async def test_what_cannot_be_compressed_makes_the_stored_zip(tmp_path: Path) -> None:
    tree = {"raw/t1/a": os.urandom(3 << 20), "raw/t1/b": b"b"}
    root = plant(tmp_path / "dense", tree)
    with descriptor(root) as root_fd:
        made = await content(PackSource(root_fd, packed(root, tree, deflated=True), Told()))

        assert made == await content(PackSource(root_fd, packed(root, tree), Told()))


async def test_an_upload_is_not_gone_on_with_in_the_other_form(root: Path, root_fd: int) -> None:
    for path in TREE:
        os.utime(root / path, ns=(1, 1))
    stored, one = (
        PackSource(root_fd, packed(root, deflated=form), Told()).stamp for form in (False, True)
    )

    assert len({"", stored, one}) == 3


@pytest.mark.parametrize("path", ["raw/t1/1.dcm", "raw/t1/sub/ü.dcm"])
async def test_a_member_that_changes_before_it_is_sent_stops_a_compressed_zip(
    root: Path, root_fd: int, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where its stamp does not show it."""
    source = PackSource(root_fd, packed(root, deflated=True), Told())
    await source.prepare()
    plant(root, {path: bytes(reversed(TREE[path][:-1])) + b"!"})
    stamps = {member.entry.stamp.inode: member.entry.stamp for member in members_of(source)}
    monkeypatch.setattr(localfs, "stamp_of", lambda status: stamps[status.st_ino])

    with pytest.raises(SourceChanged):
        await content(source)
    assert source.seen is None


async def test_a_part_of_a_compressed_pack_is_not_of_other_lengths_than_were_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part has no checksum of its own."""
    tree = {"raw/t1/large": b"".join(b"%d" % number for number in range(500_000))}
    root = plant(tmp_path / "large", tree)
    with descriptor(root) as root_fd:
        source = PackSource(root_fd, packed(root, tree, deflated=True), Told())
        await source.prepare()
        plant(root, {"raw/t1/large": bytes(len(tree["raw/t1/large"]))})
        stamp = members_of(source)[0].entry.stamp
        monkeypatch.setattr(localfs, "stamp_of", lambda _: stamp)

        with pytest.raises(SourceChanged):
            await content(source, source.size // 2, 1000)


async def test_a_compressed_pack_takes_little_memory(tmp_path: Path) -> None:
    """However large a member is: it is never whole in memory."""
    size = 64 << 20
    tree = {"raw/t1/large": bytes(size)}
    root = plant(tmp_path / "large", tree)
    with descriptor(root) as root_fd:
        source = PackSource(root_fd, packed(root, tree, deflated=True), Told())
        tracemalloc.start()
        try:
            await source.prepare()
            async for _ in source.read():
                pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert source.size < size / 100
        assert peak < 16 << 20


@pytest.mark.tools
async def test_unzip_finds_nothing_wrong(root: Path, root_fd: int, tmp_path: Path) -> None:
    stored, packed_too = tmp_path / "stored.zip", tmp_path / "deflated.zip"
    for path, form in ((stored, False), (packed_too, True)):
        path.write_bytes(await content(PackSource(root_fd, packed(root, deflated=form), Told())))

        assert 0 == subprocess.run(["unzip", "-tq", path], check=False).returncode


# --------------------------------------------------------------------------- members that change


async def test_a_member_that_changed_since_the_scan_is_not_packed(root: Path, root_fd: int) -> None:
    entry = packed(root)
    plant(root, {"raw/t1/1.dcm": b"two" * 1000})

    with pytest.raises(SourceChanged, match=r"t1\.dicom\.zip: 1\.dcm"):
        await content(PackSource(root_fd, entry, Told()))


async def test_a_member_that_is_gone_is_not_packed(root: Path, root_fd: int) -> None:
    entry = packed(root)
    (root / "raw/t1/1.dcm").unlink()

    with pytest.raises(SourceChanged):
        await content(PackSource(root_fd, entry, Told()))


async def test_a_member_that_became_a_link_is_not_packed(root: Path, root_fd: int) -> None:
    entry = packed(root)
    (root / "raw/t1/1.dcm").unlink()
    (root / "raw/t1/1.dcm").symlink_to("sub/ü.dcm")

    with pytest.raises(Unreadable):
        await content(PackSource(root_fd, entry, Told()))


@pytest.mark.parametrize("path", ["raw/t1/1.dcm", "raw/t1/sub/ü.dcm"])
async def test_a_member_that_changes_before_it_is_read_stops_the_zip(
    root: Path, root_fd: int, path: str
) -> None:
    source = PackSource(root_fd, packed(root), Told())
    await source.prepare()
    plant(root, {path: TREE[path]})

    with pytest.raises(SourceChanged):
        await content(source)
    assert source.seen is None


async def test_a_member_that_changes_while_it_is_read_stops_the_zip_before_its_last_block(
    root: Path, root_fd: int
) -> None:
    source = PackSource(root_fd, packed(root), Told())
    got = []

    async def read() -> None:
        async for block in source.read():
            got.append(len(block))
            os.utime(root / "raw/t1/sub/ü.dcm", ns=(1, 1))

    with pytest.raises(SourceChanged):
        await read()
    assert 0 < sum(got) < source.size
    assert (None, None) == (source.seen, source.digest)


async def test_a_member_that_changes_without_a_trace_does_not_make_a_broken_zip(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tick of the clock a file can change and keep its stamp."""
    source = PackSource(root_fd, packed(root), Told())
    await source.prepare()
    plant(root, {"raw/t1/1.dcm": b"two" * 1000})
    stamps = {member.entry.stamp.inode: member.entry.stamp for member in members_of(source)}
    # A clock that stands still:
    monkeypatch.setattr(localfs, "stamp_of", lambda status: stamps[status.st_ino])

    with pytest.raises(SourceChanged):
        await content(source)


def members_of(source: PackSource) -> tuple[PackMember, ...]:
    pack = source._entry.pack
    assert pack is not None
    return pack.members


async def test_a_member_that_becomes_shorter_is_noticed(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PackSource(root_fd, packed(root), Told())
    await source.prepare()
    blocks = source.read()
    await anext(blocks)
    os.truncate(root / "raw/t1/sub/ü.dcm", 10)

    with pytest.raises(SourceChanged):
        async for _ in blocks:
            pass
