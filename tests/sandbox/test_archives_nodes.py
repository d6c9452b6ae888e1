"""Which nodes an archive takes, and which filters: containers, collections, what overlaps."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.api import Api, Tree, plant

Json = dict[str, Any]
ACQUISITION = "grp/Proj/sub-01/ses-01/acq-01"


async def ask(api: Api, *nodes: tuple[str, str], body: Json | None = None, **params: str) -> Any:
    asked = {
        "optional": True,
        "nodes": [{"level": level, "_id": container} for level, container in nodes],
        **(body or {}),
    }
    return await api.ask("POST", "/download", json=asked, params={"prefix": "", **params})


async def paths(
    api: Api, *nodes: tuple[str, str], body: Json | None = None, **params: str
) -> list[str]:
    """What is in the archive; the ticket must have said as much."""
    answer = await ask(api, *nodes, body=body, **params)
    if answer.status == 404:
        return []
    assert answer.status == 200, answer
    archive = await api.tar(answer.json["ticket"])
    assert answer.json["file_cnt"] == len(archive)
    assert answer.json["size"] == sum(map(len, archive.values()))
    return list(archive)


@pytest.fixture
async def filled(api: Api, tree: Tree) -> Tree:
    """A file on the session, and one on the acquisition."""
    await api.upload(f"sessions/{tree.session}", {"s.txt": b"session"})
    await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b"acquisition"})
    return tree


@pytest.mark.row("download-classic")
async def test_nodes_that_are_missing_are_left_out(api: Api, user: Api, filled: Tree) -> None:
    there, nowhere = ("session", filled.session), ("session", "0" * 24)
    wrong_level = ("project", filled.session)
    name = (await user.get("/users/self"))["_id"]
    other = await plant(api, project="Other")
    await api.upload(f"sessions/{other.session}", {"o.txt": b"other"})
    await api.post(f"/projects/{other.project}/permissions", {"_id": name, "access": "ro"})

    assert len(await paths(api, nowhere, there, wrong_level)) == 2
    assert await paths(api, nowhere) == []
    assert await paths(user, there, ("session", other.session)) == ["grp/Other/sub-01/ses-01/o.txt"]
    assert (await ask(user, there)).status == 404


@pytest.mark.row("download-classic")
async def test_a_node_below_another_does_not_come_twice(api: Api, filled: Tree) -> None:
    nodes = [
        ("acquisition", filled.acquisition),
        ("session", filled.session),
        ("project", filled.project),
        ("session", filled.session),
    ]

    assert await paths(api, *nodes) == ["grp/Proj/sub-01/ses-01/s.txt", f"{ACQUISITION}/a.txt"]


@pytest.mark.row("download-classic")
async def test_nodes_of_one_label_get_numbers(api: Api, filled: Tree) -> None:
    second = await api.make("acquisition", "acq-01", session=filled.session)
    await api.upload(f"acquisitions/{second}", {"a.txt": b"2"})

    assert await paths(api, ("acquisition", second), ("acquisition", filled.acquisition)) == [
        f"{ACQUISITION}/a.txt",
        f"{ACQUISITION}_0/a.txt",
    ]


@pytest.mark.row("download-filters")
@pytest.mark.parametrize("inside", [True, False], ids=["SDK 23", "CLI 18.5.1"])
@pytest.mark.parametrize(
    ("level", "rule", "expected"),
    [
        ("session", {"plus": ["yes"]}, ["tagged", "sub"]),
        ("session", {"minus": ["yes"]}, ["ses-01", "sub"]),
        ("session", {"plus": ["null"]}, ["ses-01", "sub"]),
        ("session", {"minus": ["null"]}, ["tagged", "sub"]),
        ("session", {"plus": ["no"]}, ["sub"]),
        ("subject", {"plus": ["yes"]}, []),
        ("acquisition", {"minus": ["null"]}, ["ses-01.txt", "tagged", "sub"]),
        ("session", {}, ["ses-01", "tagged", "sub"]),
    ],
)
async def test_containers_are_chosen_by_their_tags(
    api: Api, filled: Tree, level: str, rule: Json, expected: list[str], *, inside: bool
) -> None:
    subject = {"_id": filled.subject}
    tagged = await api.make(
        "session", "tagged", project=filled.project, subject=subject, tags=["yes", "also"]
    )
    await api.upload(f"sessions/{tagged}", {"t.txt": b"t"})
    await api.upload(f"subjects/{filled.subject}", {"u.txt": b"u"})
    one = {"tags": {"type": level, **rule}} if inside else {"type": level, "tags": rule}
    found = await paths(api, ("project", filled.project), body={"container_filters": [one]})
    sub = "grp/Proj/sub-01"
    every = {
        "sub": [f"{sub}/u.txt"],
        "ses-01": [f"{sub}/ses-01/s.txt", f"{ACQUISITION}/a.txt"],
        "ses-01.txt": [f"{sub}/ses-01/s.txt"],
        "tagged": [f"{sub}/tagged/t.txt"],
    }

    assert sorted(found) == sorted(path for name in expected for path in every[name])


@pytest.mark.row("download-filters")
async def test_filters_of_containers_must_all_be_passed(api: Api, filled: Tree) -> None:
    project = ("project", filled.project)
    await api.ask("PUT", f"/subjects/{filled.subject}", json={"mlset": "Training"})
    await api.ask("PUT", f"/sessions/{filled.session}", json={"tags": ["a", "b"]})
    both = [{"type": "session", "tags": {"plus": ["a"]}}]

    def body(*filters: Json, **more: Json) -> Json:
        return {"container_filters": list(filters), **more}

    assert len(await paths(api, project, body=body(*both))) == 2
    minus = {"type": "session", "tags": {"minus": ["b"]}}
    assert await paths(api, project, body=body(*both, minus)) == []
    plus = {"plus": ["Training"]}
    assert len(await paths(api, project, body=body(*both, mlset_filters=plus))) == 2
    assert await paths(api, project, body=body(mlset_filters={"minus": ["Training"]})) == []
    assert await paths(api, project, body=body(mlset_filters={"plus": ["Testing"]})) == []


@pytest.mark.row("download-filters")
async def test_analyses_are_chosen_by_their_tags(api: Api, filled: Tree) -> None:
    for label, tags in (("one", ["yes"]), ("two", [])):
        body = {"label": label, "tags": tags}
        made = (await api.post(f"/sessions/{filled.session}/analyses", body))["_id"]
        await api.upload(f"analyses/{made}", {"out.txt": label.encode()})
    rule = {"container_filters": [{"type": "analysis", "tags": {"plus": ["yes"]}}]}
    found = await paths(
        api, ("session", filled.session), body=rule, type="full", analyses="true", prefix=""
    )

    assert [path for path in found if "ANALYSES" in path] == [
        "Proj/SUBJECTS/sub-01/SESSIONS/ses-01/ANALYSES/one/OUTPUT/out.txt"
    ]
    assert len(found) == 3


@pytest.mark.row("download-filters")
@pytest.mark.parametrize(
    "body",
    [
        {"container_filters": 1},
        {"container_filters": [1]},
        {"container_filters": [{}]},
        {"container_filters": [{"tags": 1, "type": "session"}]},
        {"container_filters": [{"tags": {"plus": ["a"]}, "type": "project"}]},
        {"container_filters": [{"tags": {"plus": "a"}, "type": "session"}]},
        {"mlset_filters": []},
        {"mlset_filters": {"plus": [1]}},
        {"filters": [{"types": {"plus": 1}}]},
        {"filters": [{"tags": {"minus": "abc"}}]},
        {"filters": [{"types": {"plus": [None]}}]},
        {"filters": [{"since": "yesterday"}]},
    ],
)
async def test_filters_that_cannot_be_read(api: Api, filled: Tree, body: Json) -> None:
    answer = await ask(api, ("project", filled.project), body=body)

    assert (answer.status, answer.json["status_code"]) == (400, 400)


@pytest.mark.row("download-filters")
async def test_templates_of_an_export_change_nothing(api: Api, filled: Tree) -> None:
    body = {"export_templates": [{"name": "x", "container": "session"}]}

    assert len(await paths(api, ("project", filled.project), body=body)) == 2


@pytest.mark.row("collections", "download-classic")
async def test_a_collection_comes_with_its_own_files_and_its_acquisitions(
    api: Api, user: Api, filled: Tree
) -> None:
    other = await plant(api, project="Other")
    await api.upload(f"acquisitions/{other.acquisition}", {"o.txt": b"other"})
    nodes = [
        {"level": "session", "_id": filled.session},
        {"level": "acquisition", "_id": other.acquisition},
    ]
    contents = {"operation": "add", "nodes": nodes}
    made = await api.make("collection", "Mine", contents=contents)
    await api.upload(f"collections/{made}", {"c.txt": b"collection"})
    name = (await user.get("/users/self"))["_id"]
    await api.post(f"/collections/{made}/permissions", {"_id": name, "access": "ro"})
    await api.post(f"/projects/{other.project}/permissions", {"_id": name, "access": "ro"})
    node = ("collection", made)

    assert await paths(api, node) == [
        "Mine/c.txt",
        f"{ACQUISITION}/a.txt",
        "grp/Other/sub-01/ses-01/acq-01/o.txt",
    ]
    assert await paths(api, node, type="full") == [
        "Mine/FILES/c.txt",
        "Proj/SUBJECTS/sub-01/SESSIONS/ses-01/ACQUISITIONS/acq-01/FILES/a.txt",
        "Other/SUBJECTS/sub-01/SESSIONS/ses-01/ACQUISITIONS/acq-01/FILES/o.txt",
    ]
    assert await paths(user, node) == ["Mine/c.txt", "grp/Other/sub-01/ses-01/acq-01/o.txt"]


@pytest.mark.row("collections", "download-filters")
async def test_an_archive_narrows_to_the_acquisitions_of_a_collection(
    api: Api, filled: Tree
) -> None:
    second = await api.make("acquisition", "acq-02", session=filled.session)
    await api.upload(f"acquisitions/{second}", {"b.txt": b"second"})
    contents = {"operation": "add", "nodes": [{"level": "acquisition", "_id": second}]}
    made = await api.make("collection", "Mine", contents=contents)
    nowhere = await ask(api, ("session", filled.session), collection="0" * 24)

    assert await paths(api, ("session", filled.session), collection=made) == [
        "grp/Proj/sub-01/ses-01/s.txt",
        "grp/Proj/sub-01/ses-01/acq-02/b.txt",
    ]
    assert nowhere.status == 404


@pytest.mark.row("download-bulk")
async def test_a_bulk_archive_takes_files_of_analyses(api: Api, filled: Tree) -> None:
    made = (await api.post(f"/sessions/{filled.session}/analyses", {"label": "an"}))["_id"]
    await api.upload(f"analyses/{made}", {"out.txt": b"out"})
    files = [{"container_name": "analysis", "container_id": made, "filename": "out.txt"}]
    ticket = await api.post("/download", {"files": files * 2}, type="bulk")

    assert ticket["file_cnt"] == 1
    assert await api.tar(ticket["ticket"]) == {f"analysis/{made}/out.txt": b"out"}


@pytest.mark.row("download-ticket")
async def test_the_count_is_that_of_the_moment_of_the_ticket(api: Api, filled: Tree) -> None:
    await api.upload(f"sessions/{filled.session}", {"s.txt": b"a longer session", "n.txt": b"n"})
    await api.ask("DELETE", f"/acquisitions/{filled.acquisition}")
    answer = await ask(api, ("project", filled.project))
    await api.upload(f"sessions/{filled.session}", {"s.txt": b"x", "m.txt": b"m"})
    await api.ask("DELETE", f"/sessions/{filled.session}/files/n.txt")

    assert (answer.json["file_cnt"], answer.json["size"]) == (2, 17)
    assert await api.tar(answer.json["ticket"]) == {
        "grp/Proj/sub-01/ses-01/s.txt": b"a longer session",
        "grp/Proj/sub-01/ses-01/n.txt": b"n",
    }


@pytest.mark.row("download-ticket")
async def test_a_prefix_that_could_not_be_a_path_is_refused(api: Api, filled: Tree) -> None:
    answer = await ask(api, ("project", filled.project), prefix="a\0b")

    assert answer.status == 400


@pytest.mark.row("download-full")
async def test_an_analysis_of_a_node_is_in_the_archive_once(api: Api, filled: Tree) -> None:
    analysis = (await api.post(f"/sessions/{filled.session}/analyses", {"label": "an"}))["_id"]
    await api.upload(f"analyses/{analysis}", {"out.txt": b"out"})
    nodes = ("project", filled.project), ("analysis", analysis)
    output = "Proj/SUBJECTS/sub-01/SESSIONS/ses-01/ANALYSES/an/OUTPUT/out.txt"

    both = await api.post(
        "/download",
        {"nodes": [{"level": level, "_id": one} for level, one in nodes]},
        type="full",
        analyses="true",
        prefix="",
    )

    assert 3 == both["file_cnt"]
    assert output in await paths(api, *nodes, type="full", analyses="true")
    assert output in await paths(api, *nodes, type="full")  # where the session has none of them


@pytest.mark.parametrize("level", ["project", "session", "acquisition"])
@pytest.mark.parametrize("first", ["collection", "other"])
async def test_a_member_of_a_collection_that_lies_below_a_node_is_in_the_archive_once(
    api: Api, filled: Tree, level: str, first: str
) -> None:
    contents = {"operation": "add", "nodes": [{"level": "project", "_id": filled.project}]}
    made = (await api.post("/collections", {"label": "c", "contents": contents}))["_id"]
    await api.upload(f"collections/{made}", {"c.txt": b""})
    nodes = [("collection", made), (level, getattr(filled, level))]

    found = await paths(api, *(nodes if first == "collection" else nodes[::-1]))

    expected = {"c/c.txt", f"{ACQUISITION}/a.txt"}
    if level != "acquisition":
        expected.add("grp/Proj/sub-01/ses-01/s.txt")
    assert expected == set(found)
