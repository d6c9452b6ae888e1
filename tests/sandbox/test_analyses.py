from __future__ import annotations

from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.api import Api, Tree, plant

LEVELS = ("project", "subject", "session", "acquisition")
PATH = ["grp", "Proj", "sub-01", "ses-01", "acq-01"]


@pytest.fixture
async def scan(api: Api, tree: Tree) -> dict[str, Any]:
    """A file on the acquisition."""
    return (await api.upload(f"acquisitions/{tree.acquisition}", {"scan.nii": b"first"}))[0]


async def analyse(api: Api, where: str, label: str = "an 1", **fields: Any) -> str:
    made: str = (await api.post(f"/{where}/analyses", {"label": label, **fields}))["_id"]
    return made


def reference(tree: Tree, name: str = "scan.nii", **more: Any) -> dict[str, Any]:
    return {"type": "acquisition", "id": tree.acquisition, "name": name, **more}


@pytest.mark.row("analyses-create", "analyses-get")
@pytest.mark.parametrize("level", LEVELS)
async def test_an_analysis_hangs_on_any_level(api: Api, tree: Tree, level: str) -> None:
    parent = getattr(tree, level)
    made = await analyse(api, f"{level}s/{parent}", info={"a": 1}, description="why")
    entry = await api.get(f"/analyses/{made}")
    above = {kind: getattr(tree, kind) for kind in ("group", *LEVELS)}
    for below in LEVELS[LEVELS.index(level) + 1 :]:
        above[below] = None

    assert (entry["label"], entry["description"], entry["info"]) == ("an 1", "why", {"a": 1})
    assert entry["parent"] == {"type": level, "id": parent}
    assert {kind: entry["parents"][kind] for kind in above} == above
    assert (entry["inputs"], entry["files"], entry["job"]) == ([], [], None)
    assert entry["container_type"] == "analysis"
    assert await api.get(f"/containers/{made}") == entry
    assert (await api.get(f"/{level}s/{parent}"))["analyses"] == [entry]
    assert await api.get(f"/{level}s/{parent}/analyses") == [entry]
    assert await api.get(f"/{level}s/{parent}/analyses/{made}") == entry
    assert await api.get("/analyses", filter='label="an 1"') == [entry]


@pytest.mark.row("analyses-create")
async def test_an_analysis_needs_a_label_and_a_place(api: Api, tree: Tree) -> None:
    where = f"/sessions/{tree.session}/analyses"
    for body in (
        {},
        {"label": 1},
        {"label": "x", "unknown": 1},
        {"label": "x", "inputs": {}},
        {"label": "x", "inputs": ["a"]},
        {"label": "x", "inputs": [{}]},
        {"label": "x", "inputs": [{"type": "session", "id": 1, "name": "x"}]},
        {"label": "x", "inputs": [{"file_id": "x", "version": "1"}]},
        {"label": "x", "inputs": [{"file_id": "x", "version": 1 << 70}]},
    ):
        answer = await api.ask("POST", where, json=body)
        assert (answer.status, answer.json["status_code"]) == (400, 400), body

    nowhere = await api.ask("POST", f"/sessions/{'0' * 24}/analyses", json={"label": "x"})
    group = await api.ask("POST", "/containers/grp/analyses", json={"label": "x"})
    inner = await analyse(api, f"sessions/{tree.session}")
    nested = await api.ask("POST", f"/containers/{inner}/analyses", json={"label": "x"})

    assert (nowhere.status, group.status, nested.status) == (404, 400, 400)


@pytest.mark.row("analyses-inputs")
async def test_an_input_stays_the_version_it_was(
    api: Api, tree: Tree, scan: dict[str, Any]
) -> None:
    first = await analyse(api, f"sessions/{tree.session}", inputs=[reference(tree)])
    await api.upload(f"acquisitions/{tree.acquisition}", {"scan.nii": b"second one"})
    second = await analyse(api, f"projects/{tree.project}", inputs=[{"file_id": scan["file_id"]}])
    third = await analyse(
        api, f"projects/{tree.project}", inputs=[reference(tree, version=1), reference(tree)]
    )
    inputs = [(await api.get(f"/analyses/{one}"))["inputs"] for one in (first, second, third)]

    assert [[(one["version"], one["size"]) for one in some] for some in inputs] == [
        [(1, 5)],
        [(2, 10)],
        [(1, 5), (2, 10)],
    ]
    assert inputs[0][0]["hash"] == scan["hash"]
    assert inputs[0][0]["parent_ref"] == {"type": "acquisition", "id": tree.acquisition}
    assert await api.get(f"/analyses/{first}/input_files/scan.nii/info") == inputs[0]
    assert (await api.ask("GET", f"/analyses/{first}/input_files/x/info")).status == 404


@pytest.mark.row("analyses-inputs")
async def test_an_input_must_be_there_and_be_readable(
    sandbox: Sandbox, api: Api, user: Api, tree: Tree, scan: dict[str, Any]
) -> None:
    mine = await api.make("project", "Mine", group="grp")
    name = (await user.get("/users/self"))["_id"]
    await api.post(f"/projects/{mine}/permissions", {"_id": name, "access": "rw"})
    where = f"/projects/{mine}/analyses"
    wrong = [
        reference(tree, "none"),
        reference(tree, version=2),
        {"file_id": "0" * 24},
        reference(replace(tree, acquisition="0" * 24)),
    ]

    for told in wrong:
        answer = await api.ask("POST", where, json={"label": "x", "inputs": [told]})
        assert answer.status == 404, told
    refused = await user.ask("POST", where, json={"label": "x", "inputs": [reference(tree)]})
    assert refused.status == 403
    assert await api.get(where) == []


@pytest.mark.row("analyses-outputs", "analyses-nested")
async def test_outputs_are_files_of_the_analysis(api: Api, tree: Tree) -> None:
    made = await analyse(api, f"sessions/{tree.session}")
    (entry,) = await api.upload(f"analyses/{made}", {"out.txt": b"one"}, '{"tags": ["t"]}')
    (nested,) = await api.upload(f"sessions/{tree.session}/analyses/{made}", {"more.txt": b"two"})
    again = await api.get(f"/analyses/{made}")
    paths = [
        f"/analyses/{made}/files/out.txt",
        f"/containers/{made}/files/out.txt",
        f"/sessions/{tree.session}/analyses/{made}/files/out.txt",
        f"/containers/{tree.session}/analyses/{made}/files/out.txt",
    ]

    assert entry["parent_ref"] == {"type": "analysis", "id": made}
    assert entry["parents"] == {
        "group": "grp",
        "project": tree.project,
        "subject": tree.subject,
        "session": tree.session,
        "acquisition": None,
        "analysis": made,
    }
    assert [file["name"] for file in again["files"]] == ["more.txt", "out.txt"]
    assert nested["parent_ref"]["id"] == made
    assert [(await api.ask("GET", path)).body for path in paths] == [b"one"] * 4
    assert (await api.get(f"/sessions/{tree.session}"))["files"] == []


@pytest.mark.row("analyses-outputs", "analyses-nested")
async def test_an_output_can_be_read_with_a_ticket(sandbox: Sandbox, api: Api, tree: Tree) -> None:
    made = await analyse(api, f"sessions/{tree.session}")
    await api.upload(f"analyses/{made}", {"out.txt": b"one"})
    for path in (
        f"/analyses/{made}/files/out.txt",
        f"/sessions/{tree.session}/analyses/{made}/files/out.txt",
    ):
        ticket = (await api.get(path, ticket=""))["ticket"]
        answer = await api.ask("GET", path, params={"ticket": ticket})
        assert (answer.status, answer.body) == (200, b"one")


@pytest.mark.row("analyses-nested")
async def test_the_nested_path_must_be_true(api: Api, tree: Tree) -> None:
    made = await analyse(api, f"sessions/{tree.session}")
    await api.upload(f"analyses/{made}", {"out.txt": b"one"})
    wrong = f"/acquisitions/{tree.acquisition}/analyses/{made}"

    for method, path in (
        ("GET", wrong),
        ("DELETE", wrong),
        ("GET", f"{wrong}/files/out.txt"),
        ("DELETE", f"{wrong}/files/out.txt"),
    ):
        assert (await api.ask(method, path)).status == 404, (method, path)


@pytest.mark.row("analyses-get", "analyses-nested")
async def test_an_analysis_is_changed(api: Api, tree: Tree) -> None:
    made = await analyse(api, f"sessions/{tree.session}")
    first = await api.ask("PUT", f"/analyses/{made}", json={"label": "two"})
    second = await api.ask(
        "PUT", f"/sessions/{tree.session}/analyses/{made}", json={"description": "d"}
    )
    wrong = await api.ask("PUT", f"/analyses/{made}", json={"inputs": []})
    entry = await api.get(f"/analyses/{made}")

    assert (first.status, second.status, wrong.status) == (200, 200, 400)
    assert (entry["label"], entry["description"]) == ("two", "d")


@pytest.mark.row("analyses-get")
async def test_analyses_are_listed_by_the_level_they_hang_on(api: Api, tree: Tree) -> None:
    made = {kind: await analyse(api, f"{kind}s/{getattr(tree, kind)}") for kind in LEVELS}
    project = f"/projects/{tree.project}"

    async def ids(path: str) -> list[str]:
        return [entry["_id"] for entry in await api.get(path)]

    assert await ids("/analyses") == list(made.values())
    assert await ids(f"{project}/analyses") == [made["project"]]
    assert await ids(f"{project}/subjects/analyses") == [made["subject"]]
    assert await ids(f"{project}/sessions/analyses") == [made["session"]]
    assert await ids(f"{project}/acquisitions/analyses") == [made["acquisition"]]
    assert await ids(f"{project}/all/analyses") == list(made.values())
    assert await ids("/groups/grp/all/analyses") == list(made.values())
    assert await ids(f"/sessions/{tree.session}/all/analyses") == [
        made["session"],
        made["acquisition"],
    ]


async def test_lists_of_children_do_not_show_analyses(api: Api, tree: Tree) -> None:
    made = await analyse(api, f"projects/{tree.project}")
    subjects = await api.get(f"/projects/{tree.project}/subjects")
    (listed,) = await api.get("/projects")

    assert [entry["_id"] for entry in subjects] == [tree.subject]
    assert [entry["_id"] for entry in listed["analyses"]] == [made]


@pytest.mark.row("analyses-delete")
async def test_an_analysis_goes_and_its_inputs_stay(
    api: Api, tree: Tree, scan: dict[str, Any]
) -> None:
    made = await analyse(api, f"sessions/{tree.session}", inputs=[reference(tree)])
    await api.upload(f"analyses/{made}", {"out.txt": b"one"})
    answer = await api.ask("DELETE", f"/analyses/{made}")
    gone = [f"/analyses/{made}", f"/analyses/{made}/files/out.txt", f"/containers/{made}"]

    assert answer.json["deleted"] == 1
    assert [(await api.ask("GET", path)).status for path in gone] == [404] * 3
    assert (await api.get(f"/files/{scan['file_id']}"))["version"] == 1
    assert (await api.get("/files"))["total"] == 1


@pytest.mark.row("analyses-delete", "analyses-nested")
async def test_analyses_are_deleted_with_what_they_hang_on(api: Api, tree: Tree) -> None:
    made = await analyse(api, f"acquisitions/{tree.acquisition}")
    nested = await analyse(api, f"sessions/{tree.session}")
    await api.upload(f"analyses/{made}", {"out.txt": b"one"})
    one = await api.ask("DELETE", f"/sessions/{tree.session}/analyses/{nested}")
    await api.ask("DELETE", f"/projects/{tree.project}")

    assert one.json["deleted"] == 1
    assert await api.get("/analyses") == []
    assert (await api.get("/files"))["total"] == 0


async def test_an_input_that_is_deleted_stays_an_input(
    api: Api, tree: Tree, scan: dict[str, Any]
) -> None:
    made = await analyse(api, f"sessions/{tree.session}", inputs=[reference(tree)])
    await api.ask("DELETE", f"/files/{scan['file_id']}")
    (kept,) = (await api.get(f"/analyses/{made}"))["inputs"]

    assert (kept["name"], kept["deleted"] is not None) == ("scan.nii", True)


@pytest.mark.row("lookup-analysis")
async def test_paths_lead_to_analyses_and_their_files(api: Api, tree: Tree) -> None:
    first = await analyse(api, f"sessions/{tree.session}", "same")
    second = await analyse(api, f"sessions/{tree.session}", "same")
    await api.upload(f"analyses/{first}", {"out.txt": b"one"})
    path = [*PATH[:4], "analyses", "same"]
    found = await api.post("/lookup", {"path": path})
    other = await api.post("/lookup", {"path": [*path[:-1], f"<id:{second}>"]})
    file = await api.post("/lookup", {"path": [*path, "files", "out.txt"]})
    resolved = await api.post("/resolve", {"path": path})
    deeper = await api.post("/resolve", {"path": [*path, "files", "out.txt"]})

    assert (found["_id"], other["_id"]) == (first, second)
    assert (found["container_type"], found["node_type"]) == ("analysis", "analysis")
    assert (file["container_type"], file["parent_ref"]["id"]) == ("file", first)
    assert [node["container_type"] for node in resolved["path"]] == [
        *("group", "project", "subject", "session", "analysis")
    ]
    assert [node["name"] for node in resolved["children"]] == ["out.txt"]
    assert deeper["path"][-1]["name"] == "out.txt"


@pytest.mark.row("lookup-analysis", "resolve")
async def test_a_path_shows_containers_then_analyses_then_files(api: Api, tree: Tree) -> None:
    await analyse(api, f"sessions/{tree.session}")
    await api.upload(f"sessions/{tree.session}", {"a.txt": b""})
    session = PATH[:4]

    async def children(*more: str) -> list[str]:
        found = await api.post("/resolve", {"path": [*session, *more]})
        return [node["container_type"] for node in found["children"]]

    assert await children() == ["acquisition", "analysis", "file"]
    assert await children("analyses") == ["analysis"]
    assert await children("files") == ["file"]


@pytest.mark.row("lookup-analysis")
async def test_paths_that_lead_to_no_analysis(api: Api, tree: Tree) -> None:
    made = await analyse(api, f"sessions/{tree.session}")
    for path in (
        [*PATH[:4], "analyses", "none"],
        [*PATH[:4], "analyses"],
        [*PATH, "analyses", f"<id:{made}>"],
        [*PATH[:2], "analyses", f"<id:{made}>"],
        [*PATH[:4], "analyses", "an 1", "analyses", "an 1"],
        ["grp", "analyses", "an 1"],
        ["analyses", "an 1"],
    ):
        assert (await api.ask("POST", "/lookup", json={"path": path})).status == 404, path


@pytest.mark.row("permissions-ro")
async def test_who_may_only_read_makes_no_analysis(api: Api, user: Api, tree: Tree) -> None:
    made = await analyse(api, f"sessions/{tree.session}")
    await api.upload(f"analyses/{made}", {"out.txt": b"one"})
    hidden = await user.ask("GET", f"/analyses/{made}")
    name = (await user.get("/users/self"))["_id"]
    await api.post(f"/projects/{tree.project}/permissions", {"_id": name, "access": "ro"})
    tries = [
        ("POST", f"/sessions/{tree.session}/analyses", {"label": "x"}),
        ("PUT", f"/analyses/{made}", {"label": "x"}),
        ("DELETE", f"/analyses/{made}", None),
        ("DELETE", f"/analyses/{made}/files/out.txt", None),
    ]

    assert hidden.status == 403
    for method, path, body in tries:
        assert (await user.ask(method, path, json=body)).status == 403, path
    assert (await user.ask("GET", f"/analyses/{made}/files/out.txt")).body == b"one"
    assert [entry["_id"] for entry in await user.get("/analyses")] == [made]


@pytest.mark.row("analyses-outputs")
async def test_an_output_comes_by_a_signed_url(api: Api, tree: Tree) -> None:
    made = await analyse(api, f"sessions/{tree.session}")
    where = f"/analyses/{made}/files"
    told = {"metadata": [{"name": "out.txt", "type": "nifti", "size": 3}], "filenames": ["out.txt"]}
    ticket = await api.post(where, told, ticket="")
    async with aiohttp.ClientSession() as store:
        url = ticket["urls"]["out.txt"]
        async with store.put(url, data=b"one", headers=ticket["headers"]) as answer:
            assert answer.status < 300
    (entry,) = (await api.ask("POST", where, params={"ticket": ticket["ticket"]})).json

    assert (entry["name"], entry["type"], entry["size"]) == ("out.txt", "nifti", 3)
    assert entry["parent_ref"] == {"type": "analysis", "id": made}
    assert (await api.ask("GET", f"{where}/out.txt")).body == b"one"


async def test_inputs_that_the_caller_may_not_read_are_left_out(
    api: Api, user: Api, tree: Tree
) -> None:
    hidden = await plant(api, "secret", "Hidden")
    [told] = await api.upload(f"acquisitions/{hidden.acquisition}", {"in.txt": b"hidden"})
    [near] = await api.upload(f"acquisitions/{tree.acquisition}", {"near.txt": b"near"})
    inputs = [{"file_id": told["file_id"]}, {"file_id": near["file_id"]}]
    body = {"label": "an", "inputs": inputs}
    analysis = (await api.post(f"/sessions/{tree.session}/analyses", body))["_id"]
    name = (await user.get("/users/self"))["_id"]
    grant = {"_id": name, "access": "admin"}
    await api.ask("POST", f"/projects/{tree.project}/permissions", json=grant)

    fields = {"analyses": {"fields": ["inputs"]}}
    path = ["grp", "Proj", "sub-01", "ses-01", "analyses", "an"]

    async def seen(who: Api) -> list[list[str]]:
        shown = [
            await who.get(f"/analyses/{analysis}"),
            (await who.get("/analyses"))[0],
            (await who.get(f"/sessions/{tree.session}"))["analyses"][0],
            (await who.get("/sessions"))[0]["analyses"][0],
            await who.post("/lookup", {"path": path}),
            (await who.post("/tree", fields))[0],
        ]
        return [[file["name"] for file in entry["inputs"]] for entry in shown]

    info = f"/analyses/{analysis}/input_files/in.txt/info"
    filtered = await user.get("/analyses", filter="inputs.name=in.txt")
    assert [["in.txt", "near.txt"]] * 6 == await seen(api)
    assert [["near.txt"]] * 6 == await seen(user)
    assert 200 == (await api.ask("GET", info)).status
    assert 404 == (await user.ask("GET", info)).status
    assert [] == filtered
