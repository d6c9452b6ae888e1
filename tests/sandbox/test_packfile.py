from __future__ import annotations

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fwsync.sandbox import Sandbox, running_sandbox
from fwsync.sandbox.kept.records import Pen
from tests.sandbox.api import Answer, Api, Json, Tree, client, plant

FILES = {"b.dcm": b"bb" * 1000, "a.dcm": b"a", "empty": b""}
TEXTS = {
    "token": "Upload token is required",
    "unknown": "Invalid or expired upload token",
    "files": "Packfile directory does not exist or has been deleted",
}


def about(tree: Tree, **changes: Any) -> Json:
    """The metadata of an end; ``changes`` replace members."""
    told: Json = {
        "project": {"_id": tree.project},
        "session": {"label": "s", "subject": {"code": "c9"}},
        "acquisition": {"label": "acq", "timestamp": "2026-01-02T03:04:05+05:00"},
        "packfile": {"type": "dicom"},
    }
    return told | changes


async def begun(api: Api, tree: Tree, files: dict[str, bytes] | None = None) -> str:
    """A token with files."""
    answer = await api.ask("POST", f"/projects/{tree.project}/packfile-start")
    assert answer.status == 200, answer
    token: str = answer.json["token"]
    if files is None:
        files = FILES
    if files:
        added = await add(api, tree, token, files)
        assert added.status == 200, added
    return token


async def add(api: Api, tree: Tree, token: str, files: dict[str, bytes]) -> Answer:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, content in files.items():
        form.add_field("file", io.BytesIO(content), filename=name)
    params = {"token": token} if token else {}
    return await api.ask("POST", f"/projects/{tree.project}/packfile", data=form, params=params)


async def end(
    api: Api,
    tree: Tree,
    token: str,
    metadata: Json | str | None,
    *,
    method: str = "GET",
    **more: str,
) -> Answer:
    text = metadata if isinstance(metadata, str) or metadata is None else json.dumps(metadata)
    params = {"token": token} | ({} if text is None else {"metadata": text}) | more
    return await api.ask(method, f"/projects/{tree.project}/packfile-end", params=params)


def events(answer: Answer) -> list[tuple[str, Json]]:
    """The events of a stream, which must be nothing but events."""
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "text/event-stream"
    told = []
    for block in answer.body.decode().removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        told.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return told


async def packed(api: Api, tree: Tree, metadata: Json, files: dict[str, bytes]) -> Json:
    """The result of a packfile."""
    told = events(await end(api, tree, await begun(api, tree, files), metadata))
    assert told[-1][0] == "result"
    return told[-1][1]


async def zip_of(api: Api, result: Json) -> zipfile.ZipFile:
    where = f"/acquisitions/{result['acquisition_id']}/files/{result['info']['name']}"
    return zipfile.ZipFile(io.BytesIO((await api.ask("GET", where)).body))


@pytest.mark.row("packfile-start", "packfile-add", "packfile-end")
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_files_become_a_zip_and_every_file_is_an_event(
    api: Api, tree: Tree, method: str
) -> None:
    token = await begun(api, tree, {})
    added = await add(api, tree, token, FILES)
    assert [(one["name"], one["size"]) for one in added.json] == [
        ("b.dcm", 2000),
        ("a.dcm", 1),
        ("empty", 0),
    ]
    assert added.json[0]["type"] == "dicom"
    assert added.json[0]["hash"].startswith("v0-sha384-")
    assert await api.get(f"/projects/{tree.project}/sessions") == await api.get("/sessions")

    answer = await end(api, tree, token, about(tree), method=method, file_count="3")

    *progress, (last, result) = events(answer)
    assert progress == [
        ("progress", {"percent": 100 * n / 3, "total": 3, "done": n}) for n in (1, 2, 3)
    ]
    assert last == "result"
    acquisition = await api.get(f"/acquisitions/{result['acquisition_id']}")
    assert acquisition["parents"]["session"] == result["session_id"]
    (stored,) = acquisition["files"]
    assert stored == result["info"]
    assert (stored["name"], stored["type"], stored["zip_member_count"]) == ("acq.zip", "dicom", 3)
    assert (stored["mimetype"], stored["version"]) == ("application/zip", 1)
    assert (await end(api, tree, token, about(tree))).message == TEXTS["unknown"]


@pytest.mark.row("packfile-zip")
async def test_the_zip_has_a_folder_of_its_name_and_the_time_of_the_clock(
    api: Api, tree: Tree
) -> None:
    told = about(tree)
    told["acquisition"]["label"] = "T1: w/ t2* x "

    result = await packed(api, tree, told, FILES)

    assert result["info"]["name"] == "T1 w t2 x.zip"
    archive = await zip_of(api, result)
    assert archive.testzip() is None
    assert archive.namelist() == [f"T1 w t2 x/{name}" for name in sorted(FILES)]
    for info in archive.infolist():
        assert archive.read(info) == FILES[info.filename.rpartition("/")[2]]
        assert info.date_time == (2026, 1, 2, 3, 4, 4)  # in steps of two seconds
        assert info.compress_type == zipfile.ZIP_DEFLATED
    assert archive.infolist()[1].compress_size < 100
    acquisition = await api.get(f"/acquisitions/{result['acquisition_id']}")
    assert acquisition["label"] == "T1: w/ t2* x "
    assert acquisition["timestamp"].startswith("2026-01-01T22:04:05")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("..", "untitled"),
        ("", "untitled"),
        ("../../etc", "....etc"),
        ("/", "untitled"),
        ("Ä ß_-.x", "Ä ß_-.x"),
        ("a\0b\\c", "abc"),
    ],
)
async def test_a_label_cannot_lead_out_of_the_folder(
    api: Api, tree: Tree, label: str, expected: str
) -> None:
    told = about(tree, acquisition={"label": label})

    result = await packed(api, tree, told, {"x": b"1"})

    assert result["info"]["name"] == f"{expected}.zip"
    assert (await zip_of(api, result)).namelist() == [f"{expected}/x"]


async def test_a_name_that_is_too_long_for_a_zip_is_told_before_the_stream(
    api: Api, tree: Tree
) -> None:
    token = await begun(api, tree)

    refused = await end(api, tree, token, about(tree, acquisition={"label": "ä" * 200}))

    assert refused.status == 400


@pytest.mark.parametrize("timestamp", [None, "1970-01-01T00:00:00Z", "2200-01-01T00:00:00Z"])
async def test_without_a_time_that_a_zip_can_say_it_is_1980(
    api: Api, tree: Tree, timestamp: str | None
) -> None:
    told = about(tree, acquisition={"label": "acq", "timestamp": timestamp})

    archive = await zip_of(api, await packed(api, tree, told, {"x": b"1"}))

    assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


@pytest.mark.row("packfile-zip")
async def test_the_same_labels_lead_to_the_same_place_and_the_zip_is_replaced(
    api: Api, tree: Tree
) -> None:
    first = await packed(api, tree, about(tree), {"x": b"1"})
    second = await packed(api, tree, about(tree), {"x": b"1", "y": b"2"})

    assert second["acquisition_id"] == first["acquisition_id"]
    assert second["session_id"] == first["session_id"]
    assert second["info"]["file_id"] == first["info"]["file_id"]
    assert (second["info"]["version"], second["info"]["zip_member_count"]) == (2, 2)
    subject = (await api.get(f"/sessions/{first['session_id']}"))["subject"]
    assert subject["label"] == "c9"


@pytest.mark.row("packfile-zip")
async def test_a_code_and_a_timestamp_count_where_they_are_given(api: Api, tree: Tree) -> None:
    first = await packed(api, tree, about(tree), {"x": b"1"})
    bare = about(tree, session={"label": "s"}, acquisition={"label": "acq"})
    same = await packed(api, tree, bare, {"x": b"1"})
    other_time = about(tree, acquisition={"label": "acq", "timestamp": "2027-01-01T00:00:00Z"})
    later = await packed(api, tree, other_time, {"x": b"1"})
    other_code = about(tree, session={"label": "s", "subject": {"code": "c10"}})
    other = await packed(api, tree, other_code, {"x": b"1"})

    assert same["acquisition_id"] == first["acquisition_id"]
    assert later["session_id"] == first["session_id"]
    assert later["acquisition_id"] != first["acquisition_id"]
    assert other["session_id"] != first["session_id"]


@pytest.mark.row("packfile-add")
async def test_of_one_name_the_last_counts(api: Api, tree: Tree) -> None:
    token = await begun(api, tree, {"x": b"old", "y": b"y"})
    form = aiohttp.FormData(default_to_multipart=True)
    for content in (b"newer", b"newest"):
        form.add_field("file", io.BytesIO(content), filename="dir/x")
    where = f"/projects/{tree.project}/packfile"
    added = await api.ask("POST", where, data=form, params={"token": token})
    assert [(one["name"], one["size"]) for one in added.json] == [("x", 6)]

    *_, (_, result) = events(await end(api, tree, token, about(tree), file_count="2"))

    archive = await zip_of(api, result)
    assert {name: archive.read(name) for name in archive.namelist()} == {
        "acq/x": b"newest",
        "acq/y": b"y",
    }


async def test_a_large_packfile_is_packed_in_pieces(api: Api, tree: Tree) -> None:
    content = bytes(range(256)) * (12 << 10)  # 3 MiB
    many = {f"{n:04}": b"%d" % n for n in range(600)} | {"large": content}

    token = await begun(api, tree, many)
    *progress, (_, result) = events(await end(api, tree, token, about(tree)))

    assert [told["done"] for _, told in progress] == list(range(1, 602))
    archive = await zip_of(api, result)
    assert {name: archive.read(name) for name in archive.namelist()} == {
        f"acq/{name}": body for name, body in many.items()
    }


# -------------------------------------------------------------------------------- the token


@pytest.mark.row("packfile-errors")
async def test_what_is_wrong_is_told_before_the_stream(api: Api, tree: Tree) -> None:
    token = await begun(api, tree)
    good = about(tree)
    wrong: list[tuple[int, str | None, Answer]] = [
        (400, TEXTS["token"], await add(api, tree, "", {"x": b""})),
        (404, TEXTS["unknown"], await add(api, tree, "x", {"x": b""})),
        (400, TEXTS["token"], await end(api, tree, "", good)),
        (404, TEXTS["unknown"], await end(api, tree, "x", good)),
        (400, "Metadata required", await end(api, tree, token, None)),
        (400, "metadata is not valid JSON", await end(api, tree, token, "{")),
        (400, None, await end(api, tree, token, "[]")),
        (400, None, await end(api, tree, token, {})),
        (400, None, await end(api, tree, token, good | {"more": 1})),
        (400, None, await end(api, tree, token, about(tree, project={"_id": tree.session}))),
        (400, None, await end(api, tree, token, about(tree, project={}))),
        (400, None, await end(api, tree, token, about(tree, session={"label": 1}))),
        (400, None, await end(api, tree, token, about(tree, session={"label": "s", "uid": "1"}))),
        (400, None, await end(api, tree, token, about(tree, acquisition={"timestamp": "x"}))),
        (400, None, await end(api, tree, token, about(tree, packfile={}))),
        (400, None, await end(api, tree, token, about(tree, packfile={"type": 1}))),
        (400, None, await end(api, tree, token, good, file_count="2")),
        (400, None, await end(api, tree, token, good, file_count="x")),
        (400, TEXTS["files"], await end(api, tree, await begun(api, tree, {}), good)),
    ]

    for number, (status, message, answer) in enumerate(wrong):
        assert answer.status == status, (number, answer)
        assert answer.json["status_code"] == status
        assert message in (None, answer.message), (number, answer)
    # None of that used the token up.
    assert events(await end(api, tree, token, good))[-1][0] == "result"


@pytest.mark.row("packfile-errors")
async def test_a_token_is_of_one_project(api: Api, tree: Tree) -> None:
    other = await plant(api, "other")
    token = await begun(api, tree)

    assert (await add(api, other, token, {"x": b""})).status == 404
    assert (await end(api, other, token, about(other))).status == 404
    for kind, container in (("sessions", tree.session), ("projects", "x" * 24)):
        answer = await api.ask("POST", f"/{kind}/{container}/packfile-start")
        assert answer.status == 404


@pytest.mark.row("packfile-errors", "packfile-start", "permissions-ro")
async def test_a_token_is_of_one_user_who_may_write(api: Api, user: Api, tree: Tree) -> None:
    where = f"/projects/{tree.project}"
    grant = {"_id": "user@sandbox.local", "access": "ro"}
    assert (await user.ask("POST", f"{where}/packfile-start")).status == 403
    await api.ask("POST", f"{where}/permissions", json=grant)
    assert (await user.ask("POST", f"{where}/packfile-start")).status == 403
    await api.ask("POST", f"{where}/permissions", json=grant | {"access": "rw"})

    mine = await begun(user, tree)
    refused = await add(api, tree, mine, {"x": b""})
    assert (refused.status, refused.message) == (404, TEXTS["unknown"])

    # Whoever may write the project may end it; it stays the work of who began.
    *_, (_, result) = events(await end(api, tree, mine, about(tree)))
    assert result["info"]["origin"] == {"type": "user", "id": "user@sandbox.local"}


async def test_a_stranger_cannot_end_it(sandbox: Sandbox, api: Api, user: Api, tree: Tree) -> None:
    token = await begun(api, tree)
    async with client(sandbox.url, "") as nobody:
        assert (await end(nobody, tree, token, about(tree))).status == 401
    assert (await end(user, tree, token, about(tree))).status == 403


async def test_of_two_ends_at_the_same_time_one_gets_the_result(api: Api, tree: Tree) -> None:
    token = await begun(api, tree, {f"{n}": bytes(1000) for n in range(300)})

    answers = await asyncio.gather(*(end(api, tree, token, about(tree)) for _ in range(4)))

    assert [answer.status for answer in answers].count(200) == 1
    assert {answer.status for answer in answers} <= {200, 404, 409}
    ((file,),) = [one["files"] for one in await api.get("/acquisitions") if one["label"] == "acq"]
    assert file["version"] == 1


async def test_a_token_survives_a_restart(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path) as site, client(site.url, site.api_key) as api:
        tree = await plant(api)
        token = await begun(api, tree)
    async with running_sandbox(tmp_path) as site, client(site.url, site.api_key) as api:
        *_, (_, result) = events(await end(api, tree, token, about(tree)))
        archive = await zip_of(api, result)

        assert archive.read("acq/a.dcm") == FILES["a.dcm"]


@pytest.mark.row("packfile-end")
async def test_a_fault_in_the_stream_ends_it_without_a_result(
    sandbox: Sandbox, api: Api, tree: Tree, tmp_path: Path
) -> None:
    token = await begun(api, tree, FILES)
    (lost,) = [
        path
        for path in (tmp_path / "data/blobs").rglob("*")
        if path.is_file() and path.stat().st_size == 2000
    ]
    content = lost.read_bytes()
    lost.unlink()

    with pytest.raises(aiohttp.ClientPayloadError):
        await end(api, tree, token, about(tree))

    assert not list((tmp_path / "data/incoming").iterdir())
    lost.write_bytes(content)
    *_, (name, _) = events(await end(api, tree, token, about(tree)))
    assert name == "result"


# --------------------------------------------------------------------------------- clean-up


async def age(sandbox: Sandbox, token: str) -> None:
    def write(pen: Pen) -> None:
        old = "2020-01-01T00:00:00.000000+00:00"
        pen.db.execute("UPDATE packfiles SET touched = ? WHERE token = ?", (old, token))

    await sandbox.site.records.write(write)


@pytest.mark.row("packfile-clean")
async def test_idle_tokens_go_with_their_files(
    sandbox: Sandbox, api: Api, user: Api, tree: Tree
) -> None:
    idle, used, fresh = [await begun(api, tree) for _ in range(3)]
    await age(sandbox, idle)
    await age(sandbox, used)
    await add(api, tree, used, {"more": b""})  # a use touches it
    refused = await user.ask("POST", "/clean-packfiles")
    assert refused.status == 402

    answer = await api.ask("POST", "/clean-packfiles")

    assert answer.json == {"removed": {"tokens": 1, "files": 3}}
    assert (await end(api, tree, idle, about(tree))).status == 404
    for token in (used, fresh):
        assert events(await end(api, tree, token, about(tree)))[-1][0] == "result"
    again = await api.ask("POST", "/clean-packfiles")
    assert again.json == {"removed": {"tokens": 0, "files": 0}}


async def test_a_device_may_clean_up(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    await age(sandbox, await begun(api, tree))
    headers = {
        "Authorization": "",
        "X-SciTran-Auth": sandbox.device_secret,
        "X-SciTran-Method": "reaper",
        "X-SciTran-Name": "scanner-1",
    }

    answer = await api.ask("POST", "/clean-packfiles", headers=headers)

    assert answer.json == {"removed": {"tokens": 1, "files": 3}}


async def test_a_project_that_is_gone_takes_no_packfile(api: Api, tree: Tree) -> None:
    token = await begun(api, tree)
    await api.ask("DELETE", f"/projects/{tree.project}")

    assert (await end(api, tree, token, about(tree))).status == 404
