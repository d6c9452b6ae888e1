from __future__ import annotations

import json
from typing import Any

import pytest

from fwsync.sandbox import Sandbox
from tests.sandbox.core2018.old import Old, OldTree, Part

Json = dict[str, Any]


def label(**levels: Json) -> Json:
    """Metadata of a label upload into the planted tree; ``project=…`` and the like add to it."""
    told: Json = {
        "group": {"_id": "lab"},
        "project": {"label": "Project A"},
        "session": {"label": "Sess 1"},
        "acquisition": {"label": "Acq 1"},
    }
    return {level: {**fields, **levels.get(level, {})} for level, fields in told.items()}


def files(*names: str) -> Json:
    return {"files": [{"name": name} for name in names]}


def names(container: Json) -> list[str]:
    return [file["name"] for file in container["files"]]


# ---------------------------------------------------------------------------- where files go


@pytest.mark.row("sandbox-core-2018")
async def test_files_go_where_they_are_named_and_the_reply_says_nothing_of_it(
    old: Old, tree: OldTree
) -> None:
    told = label(
        project=files("p.txt"),
        session={**files("s.txt"), "subject": {"code": "s1", **files("j.txt")}},
        acquisition={"files": [{"name": "a.dcm", "type": "x", "tags": ["t"], "info": {"k": 1}}]},
    )
    answer = await old.place(
        "label", told, a_dcm=b"a", j_txt=b"j", p_txt=b"p", s_txt=b"s", n_txt=b"nobody named it"
    )
    records = {record["name"]: record for record in answer.json}
    project = await old.get(f"/projects/{tree.project}")
    session = await old.get(f"/sessions/{tree.session}")
    acquisition = await old.get(f"/acquisitions/{tree.acquisition}")

    assert answer.status == 200
    assert {"a.dcm", "j.txt", "p.txt", "s.txt"} == records.keys()
    assert ("x", ["t"], {"k": 1}) == tuple(records["a.dcm"][n] for n in ("type", "tags", "info"))
    assert not any({"_id", "parents", "parent_ref"} & record.keys() for record in answer.json)
    assert (["p.txt"], ["s.txt"], ["a.dcm"]) == tuple(map(names, (project, session, acquisition)))
    assert names(session["subject"]) == ["j.txt"]


async def test_the_reply_is_in_no_particular_order(old: Old, tree: OldTree) -> None:
    sent = {f"{number}_txt": b"%d" % number for number in range(9)}
    told = label(acquisition=files(*(name.replace("_", ".") for name in sent)))
    records = (await old.place("label", told, **sent)).json

    assert [record["name"] for record in records] != sorted(record["name"] for record in records)


async def test_the_record_of_a_subject_file_never_has_created(old: Old, tree: OldTree) -> None:
    told = label(session={"subject": {"code": "s1", **files("j.txt")}}, acquisition=files("a.txt"))
    records = (await old.place("label", told, j_txt=b"j", a_txt=b"a")).json

    assert {"j.txt": False, "a.txt": True} == {one["name"]: "created" in one for one in records}


async def test_a_name_in_two_lists_goes_to_the_acquisition(old: Old, tree: OldTree) -> None:
    told = label(session=files("a.txt"), acquisition=files("a.txt"))
    await old.place("label", told, a_txt=b"1")

    assert names(await old.get(f"/sessions/{tree.session}")) == []
    assert names(await old.get(f"/acquisitions/{tree.acquisition}")) == ["a.txt"]


async def test_files_that_are_named_nowhere_are_dropped_and_containers_made(old: Old) -> None:
    await old.ask("POST", "/groups", json={"_id": "lab"})
    answer = await old.place("label", label(acquisition=files("listed.txt")), a_txt=b"1")

    assert (200, []) == (answer.status, answer.json)
    assert [1, 1, 1] == [
        len(await old.get(path)) for path in ("/projects", "/sessions", "/acquisitions")
    ]


async def test_files_of_a_project_alone(old: Old, tree: OldTree) -> None:
    told = {"group": {"_id": "lab"}, "project": {"label": "Project A", **files("p.txt")}}
    answer = await old.place("label", told, p_txt=b"1")

    assert names(await old.get(f"/projects/{tree.project}")) == ["p.txt"]
    assert answer.status == 200


async def test_field_names_may_repeat(old: Old, tree: OldTree) -> None:
    told = label(acquisition=files("a.txt", "b.txt"))
    answer = await old.place("label", told, a_txt=b"1", b_txt=b"2")

    assert len(answer.json) == 2


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([Part("f", b"1", "a.txt")], "Metadata required"),
        (
            [Part("metadata", b'{"group": {"_id": "lab"}, "project": {"label": "P"}}')],
            "No files selected for upload",
        ),
    ],
)
async def test_without_metadata_or_files_it_is_400(
    old: Old, tree: OldTree, parts: list[Part], message: str
) -> None:
    answer = await old.send("/upload/label", *parts)

    assert (400, message) == (answer.status, answer.message)


# ------------------------------------------------------------------------- what is looked for


@pytest.mark.parametrize(
    ("group", "landed", "project"),
    [
        ("Neuroscience", "neuroscience", "P"),
        ("neurosciense", "neuroscience", "P"),
        ("neuro", "unknown", "neuro_P"),
    ],
)
async def test_a_group_in_any_case_or_one_close_spelling_or_unknown(
    reaper: Old, group: str, landed: str, project: str
) -> None:
    await reaper.ask("POST", "/groups", json={"_id": "neuroscience"})
    told = {"group": {"_id": group}, "project": {"label": "P", **files("p.txt")}}
    answer = await reaper.place("label", told, p_txt=b"1")
    [found] = await reaper.get("/projects")

    assert answer.status == 200
    assert (landed, project) == (found["group"], found["label"])


async def test_the_label_of_a_project_is_found_in_any_case_others_exactly(
    old: Old, tree: OldTree
) -> None:
    told = label(project={"label": "PROJECT a"}, session={"label": "SESS 1"})
    await old.place("label", told, a_txt=b"1")

    assert ["Project A"] == [one["label"] for one in await old.get("/projects")]
    assert ["Sess 1", "SESS 1"] == [one["label"] for one in await old.get("/sessions")]


async def test_with_a_code_a_session_must_have_it(old: Old, tree: OldTree) -> None:
    await old.place("label", label(), a_txt=b"1")
    same = await old.get("/sessions")
    await old.place("label", label(session={"subject": {"code": "s2"}}), a_txt=b"1")
    other = await old.get("/sessions")

    assert [["s1"], ["s1", "s2"]] == [
        [one["subject"]["code"] for one in found] for found in (same, other)
    ]


async def test_existing_containers_are_only_filled_where_empty(old: Old, tree: OldTree) -> None:
    early, late = "2018-03-04T05:06:07+00:00", "2019-03-04T05:06:07+00:00"
    first = {"timestamp": late, "info": {"a": 1}, "subject": {"code": "s1"}}
    second = {
        "timestamp": "2017-01-01T00:00:00+00:00",
        "info": {"a": 2, "b": 3},
        "subject": {"code": "s1", "sex": "female"},
    }
    await old.place("label", label(session=first), a_txt=b"1")
    await old.place("label", label(session=second), a_txt=b"1")
    between = await old.get(f"/sessions/{tree.session}")
    acquired = {"timestamp": early, "timezone": "Europe/Paris"}
    await old.place("label", label(acquisition=acquired), a_txt=b"1")
    after = await old.get(f"/sessions/{tree.session}")

    assert (late, {"a": 1, "b": 3}) == (between["timestamp"], between["info"])
    assert ("s1", "female") == (between["subject"]["code"], between["subject"]["sex"])
    assert (early, "Europe/Paris") == (after["timestamp"], after["timezone"])


async def test_a_deleted_session_is_seen_and_the_file_of_the_project_replaced(
    old: Old, tree: OldTree
) -> None:
    await old.put(f"projects/{tree.project}", "p.txt", b"1")
    await old.ask("DELETE", f"/sessions/{tree.session}")
    told = label(project=files("p.txt"), acquisition=files("a.txt"))
    answer = await old.place("label", told, a_txt=b"1", p_txt=b"22")
    content = await old.ask("GET", f"/projects/{tree.project}/files/p.txt")

    assert answer.status == 404
    assert content.body == b"22"
    assert await old.get("/sessions") == []


async def test_a_deleted_acquisition_takes_files_that_nobody_sees(old: Old, tree: OldTree) -> None:
    await old.ask("DELETE", f"/acquisitions/{tree.acquisition}")
    path = {"path": ["lab", "Project A", "Sess 1", "Acq 1"]}
    before = (await old.post("/resolve", path))["path"][-1]
    answer = await old.place("label", label(acquisition=files("a.txt")), a_txt=b"1")
    after = (await old.post("/resolve", path))["path"][-1]

    assert (200, ["a.txt"]) == (answer.status, [one["name"] for one in answer.json])
    assert await old.get("/acquisitions") == []
    assert (await old.ask("GET", f"/acquisitions/{tree.acquisition}")).status == 404
    assert before["deleted"] == after["deleted"]


# ------------------------------------------------------------------------------------- by uid


def by_uid(session: str, acquisition: str, project: Json | None = None, *listed: str) -> Json:
    return label(
        session={"uid": session},
        acquisition={"uid": acquisition, **files(*listed)},
        project=project or {},
    )


@pytest.mark.parametrize("strategy", ["uid", "uid-match", "reaper"])
async def test_uids_are_required(old: Old, tree: OldTree, strategy: str) -> None:
    answer = await old.place(strategy, label(), a_txt=b"1")

    assert answer.status == 400
    assert answer.message.startswith("u'uid' is a required property")


async def test_uid_finds_and_makes_below_the_project(old: Old, tree: OldTree) -> None:
    for name in ("a.txt", "b.txt"):
        told = by_uid("9", "9.1", None, name)
        await old.place("uid", told, **{name.replace(".", "_"): b"1"})
    [_, session] = await old.get("/sessions")
    [_, acquisition] = await old.get("/acquisitions")

    assert ("9", "9.1") == (session["uid"], acquisition["uid"])
    assert names(acquisition) == ["a.txt", "b.txt"]


async def test_uid_match_makes_nothing_and_needs_no_group(old: Old, tree: OldTree) -> None:
    told = by_uid("9", "9.1", None, "a.txt")
    no_session = await old.place("uid-match", told, a_txt=b"1")
    session = await old.make("session", "S", project=tree.project, uid="9")
    no_acquisition = await old.place("uid-match", told, a_txt=b"1")
    acquisition = await old.make("acquisition", "A", session=session, uid="9.1")
    bare = {"session": told["session"], "acquisition": told["acquisition"]}
    found = await old.place("uid-match", bare, a_txt=b"1")

    assert [
        (404, "Session with uid 9 does not exist"),
        (404, "Acquisition with uid 9.1 does not exist"),
    ] == [(one.status, one.message) for one in (no_session, no_acquisition)]
    assert found.status == 200
    assert names(await old.get(f"/acquisitions/{acquisition}")) == ["a.txt"]


async def test_with_reaper_a_session_keeps_its_place(reaper: Old, old: Old, tree: OldTree) -> None:
    session = await old.make("session", "S", project=tree.project, uid="9")
    told = by_uid("9", "9.1", {"label": "Elsewhere"}, "a.txt")
    answer = await reaper.place("reaper", told, a_txt=b"1")
    [acquisition] = await reaper.get(f"/sessions/{session}/acquisitions")
    elsewhere = by_uid("10", "10.1", {"label": "Elsewhere"})
    await reaper.place("reaper", elsewhere, a_txt=b"1")

    assert answer.json[0]["origin"] == {
        "type": "device",
        "id": "reaper_scanner_1",
        "method": "reaper",
        "name": "scanner 1",
    }
    assert names(acquisition) == ["a.txt"]
    assert ["Project A", "Elsewhere"] == [one["label"] for one in await reaper.get("/projects")]


# ---------------------------------------------------------------------------------- who may


async def test_without_rw_it_is_403_and_nothing_is_stored(
    server: Sandbox, old: Old, uma: Old, tree: OldTree
) -> None:
    path = f"/projects/{tree.project}/permissions"
    await old.post(path, {"_id": "user@sandbox.local", "access": "ro"})
    answer = await uma.place("label", label(project=files("p.txt")), p_txt=b"1")

    assert (
        403,
        "User user@sandbox.local does not have read-write access to project Project A",
    ) == (answer.status, answer.message)
    assert names(await old.get(f"/projects/{tree.project}")) == []


async def test_even_a_site_admin_needs_rights_on_the_group_for_the_rest(
    old: Old, tree: OldTree
) -> None:
    told = {"group": {"_id": "elsewhere"}, "project": {"label": "P", **files("p.txt")}}
    plain = await old.place("label", told, p_txt=b"1")
    form = [Part("metadata", json.dumps(told).encode()), Part("f", b"1", "p.txt")]
    root = await old.send("/upload/label", *form, root="true")

    assert [403, 200] == [plain.status, root.status]
