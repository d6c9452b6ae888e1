"""Files that the server packs: one zip in the very acquisition, compared member by member."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fwsync.errors import FwsyncError, Garbled
from fwsync.keys import parse_key
from fwsync.layout import name_of
from fwsync.ledger import StateLedger
from fwsync.model import Decision, PackMember, RelPath, Verb
from fwsync.packing import pack_entry
from fwsync.ports import Sent, Upload
from fwsync.remotes.flywheel import Flywheel
from fwsync.remotes.http import Api
from fwsync.remotes.routes import packfile
from fwsync.remotes.routes.events import result_of
from fwsync.state import StateThread, open_state
from fwsync.uploader import Uploader
from tests.contract.meddler import Forward, Meddler
from tests.fixtures.upload import Text
from tests.remotes.routes.pushing import FAULTS, Yard, problems, through, yard
from tests.room.rooms import descriptor, local, plant

SLICES = {f"{n:03}.dcm": bytes([n]) * (100 + n) for n in range(150)}
ZIP = RelPath("s/e/T1 w/T1 w.zip")
END = "POST projects/packfile-end"
START = "POST projects/packfile-start"
ADD = "POST projects/packfile"


def pack(slices: Mapping[str, bytes] = SLICES, path: RelPath = ZIP, **metadata: object) -> Text:
    """A pack as a route sees it; its own content is that of another zip."""
    members = [Text(RelPath(name), content) for name, content in slices.items()]
    told = {"type": "dicom", **metadata}
    return Text(path, b"PK our own zip", metadata=told, members=members)


async def send(remote: Flywheel, upload: Text) -> Sent:
    (sent,) = [one async for one in remote.put([upload])]
    return sent


async def unpacked(here: Yard, path: RelPath = ZIP) -> dict[str, bytes]:
    """The zip that the server holds, opened."""
    content = (await here.held())[path]
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.testzip() is None
        return {
            name.rpartition("/")[2]: opened.read(name)
            for name in opened.namelist()
            if not name.endswith("/")
        }


async def assert_once(here: Yard, slices: Mapping[str, bytes] = SLICES) -> None:
    """There is one zip, once, with these members, and one container of each label."""
    assert await unpacked(here) == slices
    record = await here.record()
    assert [(one["name"], one["version"]) for one in record["files"]] == [("T1 w.zip", 1)]
    listed = await here.api.json("GET", ("projects", here.project.id, "acquisitions"))
    assert isinstance(listed, list)
    assert [one["label"] for one in listed] == ["T1 w"]


@pytest.mark.parametrize(
    "switches",
    [{}, {"empty_hashes": True}, {"signed_url": False}, {"device_uploads": True}],
    ids=str,
)
async def test_the_server_makes_the_zip_of_what_we_read(
    tmp_path: Path, switches: dict[str, Any]
) -> None:
    async with yard(tmp_path, switches) as here:
        sent = await send(here.remote("packfile"), pack())

        assert sent.error is None
        assert (sent.route, sent.checked) == ("packfile", True)
        await assert_once(here)
        asked = here.asked()
        assert asked[START] == asked[END] == 1
        assert asked[ADD] == 3  # 150 members, 64 in one request at most
        assert asked["POST acquisitions/files"] == 0


async def test_the_uploader_takes_the_servers_zip_for_the_pack(here: Yard) -> None:
    root = plant(here.folder / "root", {f"s/e/T1 w/{name}": SLICES[name] for name in SLICES})
    members = [PackMember(name, local(root, f"s/e/T1 w/{name}")) for name in SLICES]
    entry = pack_entry(ZIP, "dicom", members)
    remote = here.remote("packfile")
    with descriptor(root) as root_fd:
        uploader = Uploader(remote, root_fd, lambda *_: None, here.clock.sleep)
        (outcome,) = await uploader.send([Decision(Verb.UPLOAD, ZIP, entry)])

    assert problems([outcome]) == {}
    assert outcome.route == "packfile"
    assert outcome.local is not None
    assert outcome.local.etag
    await assert_once(here)


@pytest.mark.parametrize(
    ("upload", "why"),
    [
        (pack({"a/1.dcm": b"1", "b/1.dcm": b"2"}), "the server would keep one of the two"),
        (pack(path=RelPath("s/e/T1 w/other.zip")), "the server would call it otherwise"),
        (pack(path=RelPath("s/e/e.zip")), "only acquisitions get packfiles"),
        (pack({}), "there is nothing to pack"),
        (pack({'a "b".dcm': b"1"}), "not every server reads such a name as it is"),
        (pack(info={"EchoTime": 3}), "the end of a packfile has no room for it"),
        (pack(modality="MR"), "the same"),
    ],
    ids=["names", "zip", "level", "empty", "quotes", "info", "modality"],
)
async def test_what_the_server_could_not_pack_as_it_is_goes_as_a_zip(
    here: Yard, upload: Text, why: str
) -> None:
    sent = await send(here.remote("packfile"), upload)

    assert sent.error is None, why
    assert sent.route == "multipart"
    assert here.asked()[START] == 0
    assert await here.held() == {upload.path: upload.content}


class Costly(list[Upload]):
    """Members that are made when they are asked for: tens of thousands of a pack."""

    def __iter__(self) -> Iterator[Upload]:
        raise AssertionError("asked for")


async def test_the_members_of_what_is_called_otherwise_are_not_even_made(here: Yard) -> None:
    upload = Text(RelPath("s/e/T1 w/a.zip"), b"PK", members=Costly())

    assert (await send(here.remote("packfile"), upload)).route == "multipart"


@pytest.mark.parametrize(
    ("label", "name"),
    [("T1: w/ t2* x ", "T1 w t2 x.zip"), ("été", "été.zip"), ("a_b-c.d", "a_b-c.d.zip")],
)
async def test_the_zip_is_called_what_the_server_calls_it(
    here: Yard, label: str, name: str
) -> None:
    remote = here.remote("packfile")
    folder = remote.layout.join(RelPath("s/e"), name_of(label))
    upload = pack(SLICES, RelPath(f"{folder}/{name}"))

    sent = await send(remote, upload)

    assert (sent.error, sent.route) == (None, "packfile")
    assert sent.entry is not None
    assert sent.entry.name == name


@pytest.mark.parametrize("kind", ["session", "acquisition"])
async def test_a_label_that_has_a_twin_is_never_left_to_the_server(here: Yard, kind: str) -> None:
    await send(here.remote("multipart"), Text(RelPath("s/e/T1 w/first"), b"1"))
    entry = (await here.listed())[RelPath("s/e/T1 w/first")]
    acquisition = await here.api.json("GET", ("acquisitions", entry.container.id))
    assert isinstance(acquisition, dict)
    above = acquisition["parents"]
    body = {
        "session": {"label": "e", "project": here.project.id, "subject": {"_id": above["subject"]}},
        "acquisition": {"label": "T1 w", "session": above["session"]},
    }[kind]
    await here.api.json("POST", (f"{kind}s",), body=body)
    remote = here.remote("packfile")
    async for _ in remote.entries():
        pass

    sent = await send(remote, pack())

    assert (sent.error, sent.route) == (None, "multipart")
    assert here.asked()[START] == 0


@pytest.mark.parametrize("fault", FAULTS)
async def test_whichever_request_fails_there_is_one_zip(here: Yard, fault: str) -> None:
    here.forget_requests()
    await send(here.remote("packfile"), pack())
    count = here.sandbox.site.requests.total

    for number in range(1, count + 1):
        there = await here.another(f"p{number}")
        there.fail({"match": {"hits": {"nth": number}}, "action": FAULTS[fault]})
        sent = await send(there.remote("packfile"), pack())
        assert there.sandbox.site.faults.report()[0]["fired"] == 1
        there.fail()

        assert sent.error is None, number
        await assert_once(there)


async def test_a_token_that_is_gone_is_followed_by_another(here: Yard) -> None:
    here.fail(
        {
            "match": {"method": "POST", "path": "/projects/*/packfile", "hits": {"nth": 2}},
            "action": {"status": 500, "body": {"message": "Invalid or expired upload token"}},
        }
    )
    sent = await send(here.remote("packfile"), pack())

    assert sent.error is None
    assert here.asked()[START] == 2
    await assert_once(here)


async def test_a_token_that_is_never_good_is_asked_for_three_times(here: Yard) -> None:
    here.fail(
        {
            "match": {"method": "POST", "path": "/projects/*/packfile"},
            "action": {"status": 500, "body": {"message": "Invalid or expired upload token"}},
        }
    )
    sent = await send(here.remote("packfile"), pack())

    assert sent.error is not None
    assert here.asked()[START] == 3
    assert await here.held() == {}


@pytest.mark.parametrize("at", [0, 10, 2000])
async def test_a_stream_that_is_cut_leads_to_a_look_before_anything_is_sent_again(
    here: Yard, at: int
) -> None:
    here.fail(
        {
            "match": {"path": "/projects/*/packfile-end", "hits": {"nth": 1}},
            "action": {"cut_at": at, "cut_with": "end"},
        }
    )
    sent = await send(here.remote("packfile"), pack())
    here.fail()

    assert sent.error is None
    assert await unpacked(here) == SLICES
    listed = await here.api.json("GET", ("projects", here.project.id, "acquisitions"))
    assert isinstance(listed, list)
    assert len(listed) == 1


async def test_a_zip_of_an_earlier_run_is_not_taken_for_the_new_one(here: Yard) -> None:
    await send(here.remote("packfile"), pack())
    changed = {name: content[::-1] for name, content in SLICES.items()} | {"001.dcm": b"z" * 101}
    here.fail(
        {
            "match": {"path": "/projects/*/packfile-end", "hits": {"nth": 1}},
            "action": {"status": 500, "body": {"message": "broken"}},
        }
    )
    sent = await send(here.remote("packfile"), pack(changed))

    assert sent.error is None
    assert await unpacked(here) == changed
    assert here.asked()[START] == 3


async def test_a_file_that_changes_meanwhile_ends_the_pack(here: Yard) -> None:
    class Shrunk(Text):
        @property
        def size(self) -> int:
            return len(self.content) + 1

    upload = pack()
    members = [*upload.members[:-1], Shrunk(RelPath("x.dcm"), b"shorter")]
    sent = await send(
        here.remote("packfile"), Text(ZIP, b"PK", metadata={"type": "dicom"}, members=members)
    )

    assert sent.error is not None
    assert "x.dcm" in sent.error.message
    assert here.asked()[START] == 1
    assert await here.held() == {}


async def test_tokens_are_kept_until_their_zip_is_there(here: Yard) -> None:
    state = await StateThread.open(lambda: open_state(here.folder / "state.db"))
    try:
        ledger = StateLedger(state)
        here.fail({"match": {"path": "/projects/*/packfile-end"}, "action": {"status": 500}})
        await send(here.remote("packfile", ledger=ledger), pack())
        left = await ledger.all()
        assert [one.route for one in left] == ["packfile"] * 3

        here.fail()
        await send(here.remote("packfile", ledger=ledger), pack())
        assert [one.id for one in await ledger.all()] == [one.id for one in left]
    finally:
        await state.close()


async def test_a_later_run_knows_the_zip_of_a_pack_that_it_knows_again(here: Yard) -> None:
    class Known(Text):
        async def tag(self) -> str:
            return "pack:of these"

    sizes = {name: len(content) for name, content in SLICES.items()}
    others = {**sizes, "000.dcm": sizes["000.dcm"] + 1}
    told = pack()
    upload = Known(ZIP, told.content, metadata=told.metadata, members=told.members)
    state = await StateThread.open(lambda: open_state(here.folder / "state.db"))
    try:
        ledger = StateLedger(state)
        here.fail({"match": {"path": "/projects/*/packfile"}, "action": {"status": 400}})
        assert (await send(here.remote("packfile", ledger=ledger), upload)).error is not None
        here.fail()
        sent = await send(here.remote("packfile", ledger=ledger), upload)
        *begun, asked = await ledger.all()
    finally:
        await state.close()

    entry, later = sent.entry, here.remote()
    assert entry is not None
    assert asked.stamp == "pack:of these"
    assert await later.has_made(entry, asked, sizes)
    assert not await later.has_made(entry, asked, others)
    assert not await later.has_made(replace(entry, version=2), asked, sizes), "sent once more"
    elsewhere = replace(entry, container=replace(entry.container, id="5" * 24))
    assert not await later.has_made(elsewhere, asked, sizes)
    assert begun
    assert not await later.has_made(entry, begun[0], sizes), "its end was never asked for"


# -------------------------------------------------------------------------- unlike servers


async def sent_past(here: Yard, meddler: Meddler, step: str, lie: Any, times: int = 99) -> Sent:
    """Send a pack by a server whose answers to one step are others."""
    lied: list[int] = []

    async def meddle(request: web.Request, forward: Forward) -> web.StreamResponse | None:
        if not request.path.endswith(step) or len(lied) >= times:
            return None
        answer = await forward()
        assert isinstance(answer.body, bytes)
        lied.append(answer.status)
        return web.Response(body=lie(answer.body), content_type=answer.content_type)

    meddler.meddle = meddle
    async with through(here, meddler) as api:
        return await send(here.remote("packfile", api=api), pack())


def changed(**fields: Any) -> Any:
    def lie(body: bytes) -> bytes:
        told = json.loads(body)
        return json.dumps([{**told[0], **fields}, *told[1:]]).encode()

    return lie


@pytest.mark.parametrize(
    "lie",
    [
        lambda body: json.dumps(json.loads(body)[1:]).encode(),
        changed(name="other.dcm"),
        changed(size=1),
        changed(hash="v0-sha384-" + "0" * 96),
        lambda _: b"[]",
        lambda _: b"<html>",
    ],
    ids=["fewer", "renamed", "size", "hash", "none", "page"],
)
async def test_members_that_are_not_stored_as_they_were_sent_are_sent_anew(
    here: Yard, meddler: Meddler, lie: Any
) -> None:
    assert (await sent_past(here, meddler, "/packfile", lie, times=1)).error is None
    await assert_once(here)


async def test_members_that_never_are_end_it(here: Yard, meddler: Meddler) -> None:
    sent = await sent_past(here, meddler, "/packfile", changed(size=1))

    assert isinstance(sent.error, FwsyncError)
    assert here.asked()[START] == 3
    assert here.asked()[END] == 0


async def test_a_zip_that_went_elsewhere_is_told(here: Yard, meddler: Meddler) -> None:
    def lie(body: bytes) -> bytes:
        return body.replace(b'"acquisition_id": "', b'"acquisition_id": "0')

    sent = await sent_past(here, meddler, "/packfile-end", lie)

    assert isinstance(sent.error, Garbled)
    assert here.asked()[START] == 1


async def test_a_site_that_says_nothing_until_the_zip_is_made_is_waited_for(
    here: Yard, meddler: Meddler
) -> None:
    async def meddle(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path.endswith("/packfile-end"):
            await asyncio.sleep(1.5)
        return None

    meddler.meddle = meddle
    key = parse_key(here.sandbox.api_key).secret
    async with Api(meddler.url, key, stall_s=1.0, sleep=here.clock.sleep) as api:
        sent = await send(here.remote("packfile", api=api), pack())

    assert sent.error is None
    assert here.asked()[START] == here.asked()[END] == 1
    assert here.asked()["GET acquisitions/files/T1 w.zip/info"] == 1, dict(here.asked())  # before


async def test_a_zip_of_another_name_is_told(here: Yard, meddler: Meddler) -> None:
    sent = await sent_past(
        here, meddler, "/packfile-end", lambda body: body.replace(b"T1 w.zip", b"t1.zip")
    )
    assert sent.error is None  # looked for: it is there, under its own name


async def test_a_zip_without_all_its_members_is_not_believed(here: Yard, meddler: Meddler) -> None:
    def lie(body: bytes) -> bytes:
        if not body.startswith(b'{"comment"'):
            return body
        told = json.loads(body)
        return json.dumps({**told, "members": told["members"][1:]}).encode()

    sent = await sent_past(here, meddler, "/T1 w.zip", lie)

    assert sent.error is not None
    assert "149" in sent.error.message


# ---------------------------------------------------------------------------------- events


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


RESULT = b'event: progress\r\ndata: {"done": 1}\r\n\r\nevent: result\ndata: {"a": 1}\n\n'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_events_are_read_however_they_come(size: int) -> None:
    chunks = [RESULT[at : at + size] for at in range(0, len(RESULT), size)]

    assert await result_of(pieces(*chunks), 1, "x") == {"a": 1}


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        RESULT[:-30],
        RESULT[:-1],
        b'event: progress\ndata: {"done": 1}\n\n{"status_code": 500, "message": "/var/scitran"}',
        b"event: result\ndata: [1]\n\n",
        b"event: result\ndata: {\n\n",
        b'data: {"a": 1}\n\n',
        b"<html>a page</html>",
    ],
)
async def test_a_stream_without_a_result_is_none_and_is_not_shown(stream: bytes) -> None:
    with pytest.raises(Garbled) as told:
        await result_of(pieces(stream), 1, "x.zip")

    assert "/var" not in told.value.message
    assert told.value.message.startswith("x.zip")


async def test_a_stream_that_does_not_end_is_left() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b'event: progress\ndata: {"done": 1}\n\n' * 1000

    with pytest.raises(Garbled):
        await result_of(endless(), 1, "x")


async def test_a_token_cannot_be_taken_back(here: Yard) -> None:
    assert await packfile.cancel(here.api, {"token": "x", "project": here.project.id}) is False
