"""Packs that are compressed, or once were: what is agreed on is what their members hold."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fwsync.audit import AuditLog
from fwsync.model import ConflictPolicy, Decision, Mode, PackMember, Verb
from fwsync.packing import pack_entry
from fwsync.progress import LogProgress
from fwsync.state import State
from fwsync.uploader import Uploader
from fwsync.zipcheck import MOST_RATIO
from fwsync.zipstream import CHUNK, deflate
from tests.room.packed import PACKED, ZIP
from tests.room.rooms import (
    Bench,
    Shelf,
    age,
    descriptor,
    did,
    digest,
    done,
    failed,
    grown,
    is_busy,
    local,
    named,
    opened_names,
    plant,
    stores_and_loses_the_answer,
    stores_less,
    stores_other_bytes,
    upload,
    workbench,
)

SERIES = {f"s1/ses/T1/{number:03}.dcm": b"slice %d " % number * 2000 for number in range(5)}
LATE = {"s1/ses/T1/005.dcm": b"a late one " * 2000}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def bench(tmp_path: Path, shelf: Shelf) -> AsyncIterator[Bench]:
    async with workbench(tmp_path, lambda: shelf) as made:
        planted(made, SERIES)
        yield made


def planted(bench: Bench, tree: dict[str, bytes]) -> None:
    plant(bench.root, tree)
    age(bench.root)


async def run(bench: Bench, *, deflates: bool = True, **more: Any) -> dict[str, object]:
    """What a cycle did, but for how many bytes it took."""
    found = did(await bench.cycle(placement=PACKED, deflates=deflates, **more))
    return {name: value for name, value in found.items() if name != "bytes"}


def held(shelf: Shelf) -> dict[str, bytes]:
    archive = zipfile.ZipFile(io.BytesIO(shelf.content[ZIP]))
    assert archive.testzip() is None
    return {f"s1/ses/T1/{name}": archive.read(name) for name in archive.namelist()}


def is_compressed(shelf: Shelf) -> bool:
    return len(shelf.content[ZIP]) < sum(map(len, SERIES.values())) / 2


async def test_a_compressed_pack_is_sent_once(bench: Bench, shelf: Shelf) -> None:
    report = await bench.cycle(placement=PACKED, deflates=True)

    assert (1, len(shelf.content[ZIP])) == (report.uploaded, report.bytes)
    assert (SERIES, True) == (held(shelf), is_compressed(shelf))
    assert {} == await run(bench)
    assert 1 == shelf.tries("put", ZIP)


@pytest.mark.parametrize("touched", [False, True])
@pytest.mark.parametrize("before", [False, True])
async def test_the_setting_alone_sends_nothing_again(
    bench: Bench, shelf: Shelf, before: bool, touched: bool
) -> None:
    await run(bench, deflates=before)
    if touched:
        planted(bench, SERIES)

    assert {} == await run(bench, deflates=not before)
    assert {} == await run(bench, deflates=before)
    assert (1, before) == (shelf.tries("put", ZIP), is_compressed(shelf))


async def test_a_pack_that_has_changed_goes_as_the_setting_says_now(
    bench: Bench, shelf: Shelf
) -> None:
    await run(bench, deflates=False)
    planted(bench, LATE)

    assert {"uploaded": 1} == await run(bench)
    assert (SERIES | LATE, True) == (held(shelf), is_compressed(shelf))
    assert {} == await run(bench)
    planted(bench, {name: content[::-1] for name, content in LATE.items()})
    assert {"uploaded": 1} == await run(bench, deflates=False)
    assert not is_compressed(shelf)
    assert {} == await run(bench)


async def test_a_late_slice_goes_both_ways(bench: Bench, shelf: Shelf, tmp_path: Path) -> None:
    await run(bench)
    async with workbench(tmp_path / "elsewhere", lambda: shelf) as other:
        assert {"downloaded": 1} == await run(other)
        assert {} == await run(other)
        planted(other, LATE)
        assert {"uploaded": 1} == await run(other)
    assert {"downloaded": 1} == await run(bench)

    assert SERIES | LATE == grown(bench.root) == held(shelf)
    assert {} == await run(bench)


@pytest.mark.parametrize("mode", [Mode.UP, Mode.BOTH])
@pytest.mark.parametrize("was", [False, True])
async def test_a_pack_is_known_again_in_either_form_without_a_state(
    bench: Bench, shelf: Shelf, tmp_path: Path, was: bool, mode: Mode
) -> None:
    await run(bench, deflates=was)
    async with workbench(tmp_path / "anew", lambda: shelf) as anew:
        planted(anew, SERIES)

        assert {"adopted": 1} == await run(anew, mode=mode)
        assert {} == await run(anew, mode=mode)
        assert {} == await run(anew, mode=mode, deflates=False)
    assert 1 == shelf.tries("put", ZIP)


async def test_a_compressed_pack_without_a_state_and_without_the_setting_is_left_alone(
    bench: Bench, shelf: Shelf, tmp_path: Path
) -> None:
    await run(bench)
    async with workbench(tmp_path / "anew", lambda: shelf) as anew:
        planted(anew, SERIES)

        assert {"conflicts": 1} == await run(anew, deflates=False)
        assert {"adopted": 1} == await run(anew)
    assert 1 == shelf.tries("put", ZIP)


async def test_a_run_that_died_before_it_said_so_is_made_good(
    bench: Bench, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_args: Any, **_kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(State, "record", killed)
        with pytest.raises(Killed):
            await run(bench)

    assert {"adopted": 1} == await run(bench)
    assert {} == await run(bench)
    assert 1 == shelf.tries("put", ZIP)


class Killed(Exception):
    """As far as the next run can tell."""


async def test_the_zip_of_somebody_else_is_compared_once(bench: Bench, shelf: Shelf) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("other.dcm", b"other")
    shelf.store(ZIP, made.getvalue())
    with opened_names() as first:
        found = await run(bench, mode=Mode.UP)
    with opened_names() as again:
        later = await run(bench, mode=Mode.UP)

    assert {"conflicts": 1} == found == later
    assert "000.dcm" in first
    assert "000.dcm" not in again


async def test_a_conflict_that_is_won_here_is_sent_compressed(bench: Bench, shelf: Shelf) -> None:
    shelf.store(ZIP, b"P" * (len(b"slice") * 20_000))

    assert {"uploaded": 1} == await run(bench, conflict=ConflictPolicy.LOCAL)
    assert (SERIES, True) == (held(shelf), is_compressed(shelf))


async def test_no_digest_of_an_older_pack_is_kept(bench: Bench) -> None:
    for content in (b"1", b"2", b"3"):
        planted(bench, {"s1/ses/T1/000.dcm": content * 9000})
        await run(bench)

    rows = await bench.state.call(lambda state: state._db.ask("SELECT etag FROM pack_digest"))
    assert 1 == len(rows)


async def test_a_lost_answer_does_not_send_a_compressed_pack_twice(
    bench: Bench, shelf: Shelf
) -> None:
    shelf.replies[ZIP] = iter([stores_and_loses_the_answer])

    assert {"uploaded": 1} == await run(bench)
    assert 1 == shelf.tries("put", ZIP)
    assert {} == await run(bench)


async def test_a_busy_server_gets_the_same_bytes_again(bench: Bench, shelf: Shelf) -> None:
    shelf.replies[ZIP] = iter([is_busy])

    assert {"uploaded": 1} == await run(bench)
    assert (SERIES, 2) == (held(shelf), shelf.tries("put", ZIP))


@pytest.mark.parametrize("lie", [stores_less, stores_other_bytes])
async def test_a_server_that_holds_something_else_is_found_out(
    bench: Bench, shelf: Shelf, lie: Any
) -> None:
    shelf.replies[ZIP] = iter([lie] * 9)
    report = await bench.cycle(mode=Mode.UP, placement=PACKED, deflates=True)

    assert [ZIP] == named(report)
    assert "was sent" in report.problem_list[0].message or "were sent" in (
        report.problem_list[0].message
    )


async def test_what_was_sent_is_what_is_agreed_on(bench: Bench, shelf: Shelf) -> None:
    await run(bench)
    [base] = await bench.state.call(lambda state: list(state.base_entries()))

    assert digest(shelf.content[ZIP]) == base.digest
    assert base.local_etag.startswith("pack:")


async def test_a_member_that_changed_stops_its_pack_and_the_rest_is_sent(
    bench: Bench, shelf: Shelf
) -> None:
    planted(bench, {"s1/ses/T1/notes.txt": b"text"})
    members = [PackMember(name.rpartition("/")[2], local(bench.root, name)) for name in SERIES]
    plant(bench.root, {"s1/ses/T1/000.dcm": b"by hand"})
    with descriptor(bench.root) as root_fd:
        uploader = Uploader(shelf, root_fd, lambda _path, _size: None, deflates=True)
        pack = Decision(Verb.UPLOAD, ZIP, pack_entry(ZIP, "dicom", members))
        outcomes = await uploader.send([pack, upload(bench.root, "s1/ses/T1/notes.txt")])

    assert "changed since the folder was scanned" in failed(outcomes)[ZIP]
    assert ["s1/ses/T1/notes.txt"] == done(outcomes) == sorted(shelf.content)


async def test_the_audit_log_has_the_size_and_digest_of_what_is_there(
    bench: Bench, shelf: Shelf, tmp_path: Path
) -> None:
    file = tmp_path / "log.jsonl"
    await run(bench, audit=AuditLog(file, "lab/aging"))

    told = json.loads(file.read_text(encoding="utf-8"))
    content = shelf.content[ZIP]
    assert (len(content), digest(content)) == (told["size"], told["sha384"])


async def test_the_progress_ends_with_what_was_sent(bench: Bench, shelf: Shelf) -> None:
    """What a pack is compressed to is not known when the progress begins."""
    progress = LogProgress(io.StringIO())
    bench.notes = progress  # type: ignore[assignment]  # it is told the same
    report = await bench.cycle(placement=PACKED, deflates=True)

    assert report.bytes == len(shelf.content[ZIP]) == progress.bytes == progress.total_bytes


def test_what_compresses_best_can_be_unpacked_again() -> None:
    """Blank images: a pack of ours is never taken for a zip bomb."""
    assert CHUNK < len(deflate(bytes(CHUNK), last=False)) * MOST_RATIO
