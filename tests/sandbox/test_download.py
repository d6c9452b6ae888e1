from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.sandbox import Sandbox
from fwsync.sandbox.formats import tar
from tests.sandbox.api import Api, Tree, client, unpack


async def ticket(api: Api, tree: Tree, level: str = "project", **params: str) -> dict[str, Any]:
    body = {"optional": True, "nodes": [{"level": level, "_id": getattr(tree, level)}]}
    made: dict[str, Any] = await api.post("/download", body, **params)
    return made


@pytest.fixture
async def filled(api: Api, tree: Tree) -> Tree:
    """One file on each level."""
    for kind in ("project", "subject", "session", "acquisition"):
        await api.upload(f"{kind}s/{getattr(tree, kind)}", {f"{kind}.txt": kind.encode()})
    return tree


@pytest.mark.row("download-classic", "download-ticket")
async def test_a_classic_archive_holds_every_file_below_a_node(api: Api, filled: Tree) -> None:
    made = await ticket(api, filled)
    top = "scitran/grp/Proj"

    assert (made["file_cnt"], made["size"]) == (4, 32)
    assert made["filename"].startswith("scitran_")
    assert await api.tar(made["ticket"]) == {
        f"{top}/project.txt": b"project",
        f"{top}/sub-01/subject.txt": b"subject",
        f"{top}/sub-01/ses-01/session.txt": b"session",
        f"{top}/sub-01/ses-01/acq-01/acquisition.txt": b"acquisition",
    }


@pytest.mark.row("download-classic")
async def test_the_prefix_may_be_chosen_or_empty(api: Api, filled: Tree) -> None:
    mine = await ticket(api, filled, "acquisition", prefix="mine")
    none = await ticket(api, filled, "acquisition", prefix="")
    path = "grp/Proj/sub-01/ses-01/acq-01/acquisition.txt"

    assert list(await api.tar(mine["ticket"])) == [f"mine/{path}"]
    assert list(await api.tar(none["ticket"])) == [path]


@pytest.mark.row("download-full")
async def test_a_full_archive_names_the_levels(api: Api, filled: Tree) -> None:
    made = await ticket(api, filled, "session", type="full")

    assert list(await api.tar(made["ticket"])) == [
        "flywheel/Proj/SUBJECTS/sub-01/SESSIONS/ses-01/FILES/session.txt",
        "flywheel/Proj/SUBJECTS/sub-01/SESSIONS/ses-01/ACQUISITIONS/acq-01/FILES/acquisition.txt",
    ]


@pytest.mark.row("download-bulk")
async def test_a_bulk_archive_names_containers_by_id(api: Api, filled: Tree) -> None:
    files = [
        {"container_name": kind, "container_id": getattr(filled, kind), "filename": name}
        for kind, name in (
            ("acquisition", "acquisition.txt"),
            ("session", "session.txt"),
            ("session", "none"),
        )
    ]
    made = await api.post("/download", {"files": files}, type="bulk")
    old_style = await api.post("/download", {"files": files}, bulk="true")

    assert (made["file_cnt"], old_style["file_cnt"]) == (2, 2)
    assert await api.tar(made["ticket"]) == {
        f"acquisition/{filled.acquisition}/acquisition.txt": b"acquisition",
        f"session/{filled.session}/session.txt": b"session",
    }


@pytest.mark.row("download-classic")
async def test_equal_labels_get_numbers_and_odd_ones_are_reduced(api: Api, tree: Tree) -> None:
    for label in ("acq-01", "acq-01", "a/b", "..", "日本", ""):
        made = await api.make("acquisition", label, session=tree.session)
        await api.upload(f"acquisitions/{made}", {"f": b""})
    archive = await api.tar((await ticket(api, tree))["ticket"])
    folders = [name.split("/")[5] for name in archive]

    assert folders == [
        "acq-01_0",
        "acq-01_1",
        "ab",
        "unknown_acquisition",
        "unknown_acquisition_0",
        "unknown_acquisition_1",
    ]


@pytest.mark.row("download-filters")
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, ["a.nii", "b.dcm", "c"]),
        ({"types": {}}, ["a.nii", "b.dcm", "c"]),
        ({"types": {"plus": ["nifti"]}}, ["a.nii"]),
        ({"types": {"+": ["nifti", "dicom"]}}, ["a.nii", "b.dcm"]),
        ({"types": {"minus": ["nifti"]}}, ["b.dcm", "c"]),
        ({"types": {"-": ["null"]}}, ["a.nii", "b.dcm"]),
        ({"tags": {"plus": ["t"]}}, ["c"]),
        ({"since": "2020-01-01"}, ["a.nii", "b.dcm", "c"]),
        ({"since": 4_000_000_000}, None),
    ],
)
@pytest.mark.row("download-filters")
async def test_filters_choose_files(
    api: Api, tree: Tree, rule: dict[str, Any], expected: list[str] | None
) -> None:
    await api.upload(f"projects/{tree.project}", {"a.nii": b"", "b.dcm": b""})
    await api.upload(f"projects/{tree.project}", {"c": b""}, '{"tags": ["t"]}')
    body = {"nodes": [{"level": "project", "_id": tree.project}], "filters": [rule]}
    answer = await api.ask("POST", "/download", json=body)

    if expected is None:
        assert answer.status == 404
    else:
        archive = await api.tar(answer.json["ticket"])
        assert [name.rpartition("/")[2] for name in archive] == expected


@pytest.mark.row("download-filters")
async def test_any_filter_may_accept(api: Api, tree: Tree) -> None:
    await api.upload(f"projects/{tree.project}", {"a.nii": b"", "b.dcm": b"", "c": b""})
    filters = [{"types": {"plus": ["nifti"]}}, {"types": {"plus": ["null"]}}]
    body = {"nodes": [{"level": "project", "_id": tree.project}], "filters": filters}

    assert (await api.post("/download", body))["file_cnt"] == 2


@pytest.mark.row("download-ticket")
async def test_the_archive_shows_the_site_as_it_was_at_the_ticket(api: Api, filled: Tree) -> None:
    made = await ticket(api, filled, "acquisition", prefix="")
    where = f"acquisitions/{filled.acquisition}"
    await api.upload(where, {"acquisition.txt": b"newer", "another.txt": b"x"})
    await api.ask("DELETE", f"/{where}/files/acquisition.txt")
    first = await api.tar(made["ticket"])
    await api.ask("DELETE", f"/projects/{filled.project}")

    assert list(first.values()) == [b"acquisition"]
    assert await api.tar(made["ticket"]) == first


@pytest.mark.row("download-tar")
async def test_the_stream_is_a_plain_tar(api: Api, filled: Tree) -> None:
    long_name = "ü" * 120 + ".txt"
    await api.upload(f"acquisitions/{filled.acquisition}", {long_name: b"long"})
    made = await ticket(api, filled, "acquisition")
    answer = await api.ask("GET", "/download", params={"ticket": made["ticket"], "format": "tar"})
    with tarfile.open(fileobj=io.BytesIO(answer.body), mode="r|") as stream:
        members = list(stream)

    assert "Content-Length" not in answer.headers
    assert answer.body.endswith(bytes(1024))
    assert len(answer.body) == 2 * 1024 + 2 * 512 + 1024  # two files, a long name, the end
    assert all(member.isreg() and member.mode == 0o644 for member in members)
    assert members[1].name.endswith(long_name)
    assert (members[0].uid, members[0].uname) == (0, "root")
    assert members[0].mtime > 1_700_000_000


@pytest.mark.row("download-missing")
async def test_a_blob_that_is_gone_becomes_a_member_that_says_so(
    sandbox: Sandbox, api: Api, filled: Tree
) -> None:
    entry = await api.get(f"/sessions/{filled.session}/files/session.txt/info")
    sandbox.site.blobs.path(entry["hash"].removeprefix("v0-sha384-")).unlink()
    archive = await api.tar((await ticket(api, filled, "session", prefix=""))["ticket"])
    alone = await api.ask("GET", f"/sessions/{filled.session}/files/session.txt")

    assert archive["grp/Proj/sub-01/ses-01/session.txt.MISSING"] == b""
    assert len(archive) == 2
    assert alone.status == 404


@pytest.mark.row("download-tar")
async def test_a_large_archive_comes_whole(api: Api, tree: Tree) -> None:
    files = {f"{n}.bin": bytes([n % 256]) * (n * 997) for n in range(120)}
    files["big.bin"] = b"big" * 2_000_000
    await api.upload(f"acquisitions/{tree.acquisition}", files)
    archive = await api.tar((await ticket(api, tree))["ticket"])

    assert {name.rpartition("/")[2]: content for name, content in archive.items()} == files


@pytest.mark.row("download-ticket")
async def test_tickets_need_no_key_and_can_be_used_again(
    sandbox: Sandbox, api: Api, filled: Tree
) -> None:
    made = await ticket(api, filled)
    async with client(sandbox.url, "") as nobody:
        twice = [await nobody.tar(made["ticket"]) for _ in range(2)]
        unknown = await nobody.ask("GET", "/download", params={"ticket": "nonsense"})
        none = await nobody.ask("GET", "/download")

    assert twice[0] == twice[1]
    assert (unknown.status, none.status) == (404, 401)


@pytest.mark.row("download-ticket")
async def test_a_ticket_is_for_the_address_that_asked(
    sandbox: Sandbox, api: Api, filled: Tree
) -> None:
    made = await ticket(api, filled)
    elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=elsewhere) as session:
        answer = await Api(session, sandbox.url).ask(
            "GET", "/download", params={"ticket": made["ticket"]}
        )

    assert (answer.status, answer.message) == (400, "ticket not for this resource or source IP")
    assert await api.tar(made["ticket"])


@pytest.mark.row("download-ticket")
async def test_only_tar_and_zip_are_offered(api: Api, filled: Tree) -> None:
    made = await ticket(api, filled)
    params = {"ticket": made["ticket"], "format": "rar"}

    assert (await api.ask("GET", "/download", params=params)).status == 400


@pytest.mark.row("download-tar")
async def test_files_may_come_as_links_into_the_store(api: Api, filled: Tree) -> None:
    entry = await api.get(f"/sessions/{filled.session}/files/session.txt/info")
    made = await ticket(api, filled, "session")
    params = {"ticket": made["ticket"], "symlinks": "true"}
    answer = await api.ask("GET", "/download", params=params)
    with tarfile.open(fileobj=io.BytesIO(answer.body), mode="r|") as stream:
        members = list(stream)
    sha384 = entry["hash"].removeprefix("v0-sha384-")

    assert answer.body.endswith(bytes(1024))
    assert all(member.issym() and member.size == 0 for member in members)
    assert members[0].name == "scitran/grp/Proj/sub-01/ses-01/session.txt"
    assert members[0].linkname == (f"v0/sha384/{sha384[:2]}/{sha384[2:4]}/v0-sha384-{sha384}")


@pytest.mark.row("download-ticket")
async def test_nothing_to_download_is_404_and_nonsense_is_400(api: Api, tree: Tree) -> None:
    empty = {"nodes": [{"level": "project", "_id": tree.project}]}
    wrong = [
        {},
        {"nodes": {}},
        {"nodes": [1]},
        {"nodes": [{"level": "group", "_id": "grp"}]},
        {"nodes": [{"level": "project"}]},
        {"nodes": [], "filters": 1},
        {"nodes": [], "filters": [{"types": 1}]},
        {"nodes": [], "filters": [{"since": "x"}]},
    ]

    assert (await api.ask("POST", "/download", json=empty)).status == 404
    assert (await api.ask("POST", "/download", params={"type": "x"}, json=empty)).status == 400
    for body in wrong:
        assert (await api.ask("POST", "/download", json=body)).status == 400


@pytest.mark.row("download-targets")
async def test_targets_are_lines_of_json(api: Api, filled: Tree) -> None:
    body = {"nodes": [{"level": "project", "_id": filled.project}]}
    answer = await api.ask("POST", "/download/targets", params={"type": "full"}, json=body)
    lines = [json.loads(line) for line in answer.body.splitlines()]
    entry = await api.get(f"/subjects/{filled.subject}/files/subject.txt/info")

    assert len(lines) == 4
    assert lines[1] == {
        "download_type": "file",
        "dst_path": "flywheel/Proj/SUBJECTS/sub-01/FILES/subject.txt",
        "size": 7,
        "modified": entry["modified"],
        "container_id": filled.subject,
        "container_type": "subject",
        "filename": "subject.txt",
        "filetype": "text",
        "file_id": entry["file_id"],
    }


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
        lambda name: not name.endswith("/")
    ),
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 33),
)
def test_any_name_and_size_can_be_said_in_a_header(name: str, size: int, mtime: int) -> None:
    header = tar.member(name, size, mtime)
    with tarfile.open(fileobj=io.BytesIO(header + bytes(1024)), mode="r|") as stream:
        member = stream.next()

    assert member is not None
    assert (member.name, member.size, member.mtime) == (name, size, mtime)
    assert member.isreg()
    assert len(header) % 512 == 0


@given(st.dictionaries(st.text(st.characters(categories=["L"]), min_size=1), st.binary()))
def test_what_is_written_as_tar_reads_back(files: dict[str, bytes]) -> None:
    body = b"".join(
        tar.member(name, len(content), 0) + content + bytes(tar.padding(len(content)))
        for name, content in files.items()
    )

    assert unpack(body + tar.END) == files
