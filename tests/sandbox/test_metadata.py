"""Info, classification, type and the fields of containers and files."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tests.sandbox.api import Answer, Api, Tree, plant

KINDS = ("project", "subject", "session", "acquisition", "container")
SOME = {"a": 1, "b": {"c": [1, None]}}


def where(tree: Tree, kind: str) -> str:
    return f"/{kind}s/{getattr(tree, kind, tree.session)}"


async def put(api: Api, path: str, body: Any) -> Answer:
    return await api.ask("PUT", path, json=body)


async def patch(api: Api, path: str, body: Any) -> Answer:
    return await api.ask("PATCH", path, json=body)


# ------------------------------------------------------------------------------------- info


@pytest.mark.row("info")
@pytest.mark.parametrize("kind", KINDS)
async def test_info_is_set_deleted_and_replaced(api: Api, tree: Tree, kind: str) -> None:
    path = where(tree, kind)
    before = await api.get(path)
    first = await patch(api, f"{path}/info", {"set": SOME})
    second = await patch(api, f"{path}/info", {"set": {"d": 2}, "delete": ["a", "nothing"]})
    both = await api.get(path)
    third = await patch(api, f"{path}/info", {"replace": {"e": "é"}})
    after = await api.get(path)

    assert [one.json["modified"] for one in (first, second, third)] == [1, 1, 1]
    assert both["info"] == {"b": {"c": [1, None]}, "d": 2}
    assert (after["info"], after["info_exists"]) == ({"e": "é"}, True)
    assert after["revision"] == before["revision"] + 3
    assert after["modified"] > both["modified"] > before["modified"]


@pytest.mark.row("info", "file-info-change")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"set": {"a": 1}, "replace": {}},
        {"delete": ["a"], "replace": {}},
        {"set": {"a": 1}, "delete": ["a"]},
        {"set": {"a.b": 1}, "delete": ["a_b"]},
        {"set": [1]},
        {"delete": "a"},
        {"delete": [1]},
        {"replace": None},
        {"nonsense": {}},
        [],
        "text",
    ],
)
async def test_a_wrong_change_of_info_is_400_and_changes_nothing(
    api: Api, tree: Tree, body: Any
) -> None:
    path = where(tree, "session")
    await api.upload(path[1:], {"a.txt": b"a"}, '{"info": {"k": 1}}')
    await patch(api, f"{path}/info", {"set": {"k": 1}})
    before = await api.get(path)
    answers = [await patch(api, f"{path}{of}/info", body) for of in ("", "/files/a.txt")]

    assert [answer.status for answer in answers] == [400, 400]
    assert await api.get(path) == before


@pytest.mark.row("info")
async def test_keys_of_info_are_cleaned_wherever_they_come_from(api: Api, tree: Tree) -> None:
    dirty = {"a.b": {"$c": [{"d.e$": 1}]}}
    clean = {"a_b": {"-c": [{"d_e-": 1}]}}
    await patch(api, f"/sessions/{tree.session}/info", {"set": dirty})
    await patch(api, f"/projects/{tree.project}/info", {"replace": dirty})
    await put(api, f"/subjects/{tree.subject}", {"info": dirty})
    made = await api.make("acquisition", "new", session=tree.session, info=dirty)
    [entry] = await api.upload(f"acquisitions/{made}", {"a.txt": b"a"}, '{"info": {"x.y": 1}}')
    found = [
        (await api.get(path))["info"]
        for path in (
            f"/sessions/{tree.session}",
            f"/projects/{tree.project}",
            f"/subjects/{tree.subject}",
            f"/acquisitions/{made}",
        )
    ]

    assert found == [clean] * 4
    assert entry["info"] == {"x_y": 1}
    await patch(api, f"/sessions/{tree.session}/info", {"delete": ["a.b"]})
    assert (await api.get(f"/sessions/{tree.session}"))["info"] == {}


async def test_info_of_a_hundred_levels_is_kept_and_deeper_is_400(api: Api, tree: Tree) -> None:
    path = where(tree, "project")
    for levels, status in ((90, 200), (200, 400), (900, 400)):
        deep: Any = 1
        for _ in range(levels):
            deep = {"a": deep}
        answer = await patch(api, f"{path}/info", {"replace": deep})

        assert answer.status == status, levels


async def test_metadata_that_are_too_large_are_413(api: Api, tree: Tree) -> None:
    body = {"set": {str(n): "x" * 1_000_000 for n in range(17)}}
    path = where(tree, "project") + "/info"
    answer = await api.ask("PATCH", path, data=io.BytesIO(json.dumps(body).encode()))

    assert answer.status == 413
    assert (await api.get(where(tree, "project")))["info"] == {}


# ----------------------------------------------------------------------------------- fields


@pytest.mark.row("containers-change")
async def test_a_put_merges_info_and_leaves_the_other_fields(api: Api, tree: Tree) -> None:
    path = where(tree, "session")
    await put(api, path, {"operator": "me", "age": 315576000, "info": {"a": {"x": 1}, "b": 1}})
    await put(api, path, {"weight": 70.5, "info": {"a": {"y": 2}}})
    after = await api.get(path)

    assert after["info"] == {"a": {"x": 1, "y": 2}, "b": 1}
    assert (after["operator"], after["age"], after["weight"]) == ("me", 315576000, 70.5)
    assert after["label"] == "ses-01"


@pytest.mark.row("containers-change")
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("project", {"label": 7}),
        ("project", {"description": 7}),
        ("project", {"info": []}),
        ("project", {"info": "text"}),
        ("project", {"tags": "t"}),
        ("project", {"tags": [1]}),
        ("project", {"tags": [""]}),
        ("project", {"copyable": "yes"}),
        ("project", {"uid": "only sessions and acquisitions have one"}),
        ("subject", {"cohort": "Nobody"}),
        ("subject", {"date_of_birth": "yesterday"}),
        ("subject", {"mlset": 1}),
        ("session", {"age": "ten"}),
        ("session", {"age": True}),
        ("session", {"weight": []}),
        ("session", {"timestamp": 7}),
        ("session", {"timezone": 1}),
        ("acquisition", {"metadata": 1}),
        ("acquisition", {"files": []}),
        ("acquisition", {"_id": "x"}),
    ],
)
async def test_a_field_of_the_wrong_type_is_400(
    api: Api, tree: Tree, kind: str, body: dict[str, Any]
) -> None:
    before = await api.get(where(tree, kind))
    answer = await put(api, where(tree, kind), body)

    assert answer.status == 400
    assert next(iter(body)) in answer.message
    assert await api.get(where(tree, kind)) == before


@pytest.mark.row("containers-change")
async def test_null_empties_a_field(api: Api, tree: Tree) -> None:
    path = where(tree, "session")
    await put(api, path, {"operator": "me", "tags": ["t"], "info": {"a": 1}})
    await put(api, path, {"operator": None, "tags": None, "info": None})
    after = await api.get(path)

    assert (after["operator"], after["tags"], after["info"]) == (None, [], {})
    assert after["info_exists"] is False


@pytest.mark.row("containers-change")
async def test_an_admin_right_is_needed_to_change_a_group_by_any_path(
    api: Api, user: Api, tree: Tree
) -> None:
    await api.post("/groups/grp/permissions", {"_id": "user@sandbox.local", "access": "rw"})
    answers = [await put(user, path, {"label": "x"}) for path in ("/groups/grp", "/containers/grp")]

    assert [answer.status for answer in answers] == [403, 403]
    assert (await put(api, "/groups/grp", {"label": "x"})).status == 200
    assert (await api.get("/groups/grp"))["label"] == "x"


# ------------------------------------------------------------------------------- timestamps


@pytest.mark.row("timestamps")
@pytest.mark.parametrize("kind", ["session", "acquisition"])
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2026-01-02T03:04:05-05:00", "2026-01-02T08:04:05+00:00"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05.25+0530", "2026-01-01T21:34:05.250000+00:00"),
        ("2026-07-01T00:00+00:00", "2026-07-01T00:00:00+00:00"),
    ],
)
async def test_a_time_is_kept_as_utc_and_its_zone_beside_it(
    api: Api, tree: Tree, kind: str, sent: str, kept: str
) -> None:
    above = {"session": tree.session} if kind == "acquisition" else {"subject": tree.subject}
    zoned = {"timestamp": sent, "timezone": "America/Chicago"}
    made = await api.make(kind, "timed", **above, **zoned)
    await put(api, where(tree, kind), zoned)
    found = [await api.get(path) for path in (f"/{kind}s/{made}", where(tree, kind))]

    assert [one["timestamp"] for one in found] == [kept, kept]
    assert [one["timezone"] for one in found] == ["America/Chicago"] * 2


@pytest.mark.row("timestamps")
@pytest.mark.parametrize(
    "sent",
    [
        "2026-01-02T03:04:05",
        "2026-01-02",
        "2026-02-31T00:00:00Z",
        "0001-01-01T00:00:00+10:00",
        "2026-01-02T03:04:05+25:00",
        "noon",
        "",
        1767323045,
    ],
)
async def test_a_time_without_an_offset_or_none_at_all_is_400(
    api: Api, tree: Tree, sent: object
) -> None:
    body = {"label": "timed", "session": tree.session, "timestamp": sent}
    made = await api.ask("POST", "/acquisitions", json=body)
    changed = await put(api, where(tree, "session"), {"timestamp": sent})

    assert (made.status, changed.status) == (400, 400)
    assert "timestamp" not in await api.get(where(tree, "session"))


# ------------------------------------------------------------------------------------ files


@pytest.mark.row("file-change")
@pytest.mark.parametrize("kind", KINDS)
async def test_type_and_modality_of_a_file_change_without_a_version(
    api: Api, tree: Tree, kind: str
) -> None:
    path = where(tree, kind)
    [before] = await api.upload(path[1:], {"a.txt": b"a"})
    answer = await put(api, f"{path}/files/a.txt", {"type": "nifti", "modality": "MR"})
    after = await api.get(f"{path}/files/a.txt/info")

    assert answer.json == {"modified": 1, "jobs_spawned": 0}
    assert (after["type"], after["modality"]) == ("nifti", "MR")
    assert after["modified"] > before["modified"]
    same = ("version", "_id", "file_id", "created", "hash", "size", "replaced")
    assert [after[name] for name in same] == [before[name] for name in same]


@pytest.mark.row("file-change", "files-change")
async def test_a_new_modality_clears_the_classification_but_for_custom(
    api: Api, tree: Tree
) -> None:
    told = '{"modality": "MR", "classification": {"Intent": ["Structural"], "Custom": ["c"]}}'
    [entry] = await api.upload(f"projects/{tree.project}", {"a.nii": b"a"}, told)
    path = f"/files/{entry['file_id']}"
    await put(api, path, {"modality": "MR", "type": None})
    same = await api.get(path)
    await put(api, path, {"modality": "CT"})
    other = await api.get(path)

    assert same["classification"] == {"Intent": ["Structural"], "Custom": ["c"]}
    assert same["type"] is None
    assert (other["modality"], other["classification"]) == ("CT", {"Custom": ["c"]})


@pytest.mark.row("file-change")
@pytest.mark.parametrize("body", [{}, {"type": 1}, {"size": 3}, {"info": {}}, {"modality": []}, 7])
async def test_a_wrong_change_of_a_file_is_400(api: Api, tree: Tree, body: Any) -> None:
    [entry] = await api.upload(f"projects/{tree.project}", {"a.txt": b"a"})
    answers = [
        await put(api, path, body)
        for path in (f"/projects/{tree.project}/files/a.txt", f"/files/{entry['file_id']}")
    ]

    assert [answer.status for answer in answers] == [400, 400]
    assert await api.get(f"/files/{entry['file_id']}") == entry


@pytest.mark.row("file-info-change")
@pytest.mark.parametrize("kind", KINDS)
async def test_info_of_a_file_by_its_name(api: Api, tree: Tree, kind: str) -> None:
    path = where(tree, kind)
    await api.upload(path[1:], {"a.txt": b"a"}, '{"info": {"old": 1}}')
    path = f"{path}/files/a.txt/info"
    await patch(api, path, {"set": {"a": 1, "b": 2}})
    await patch(api, path, {"delete": ["a"]})
    both = await api.get(path)
    await patch(api, path, {"replace": {"c": 3}})
    after = await api.get(path)

    assert both["info"] == {"old": 1, "b": 2}
    assert (after["info"], after["info_exists"], after["version"]) == ({"c": 3}, True, 1)
    assert after["modified"] > both["modified"]


@pytest.mark.row("files-info")
async def test_info_of_a_file_by_its_id(api: Api, tree: Tree) -> None:
    [entry] = await api.upload(f"projects/{tree.project}", {"a.txt": b"a"}, '{"info": {"old": 1}}')
    path = f"/files/{entry['file_id']}/info"
    merged = await patch(api, path, {"a": 1, "set": {"x": 2}})
    both = await api.get(path)
    replaced = await put(api, path, {"c": 3})
    after = await api.get(path)

    assert (merged.json["modified"], replaced.json["modified"]) == (1, 1)
    assert both == {"old": 1, "a": 1, "set": {"x": 2}}
    assert after == {"c": 3}


@pytest.mark.row("file-classification")
@pytest.mark.parametrize("kind", KINDS)
async def test_classification_by_name_adds_deletes_and_replaces(
    api: Api, tree: Tree, kind: str
) -> None:
    path = where(tree, kind)
    await api.upload(path[1:], {"a.nii": b"a"})
    path = f"{path}/files/a.nii"
    added = await patch(
        api, f"{path}/classification", {"add": {"Intent": ["Structural", "Functional"]}}
    )
    await patch(api, f"{path}/classification", {"add": {"Intent": ["Structural"], "M": ["T1"]}})
    one = (await api.get(f"{path}/info"))["classification"]
    await patch(api, f"{path}/classification", {"delete": {"Intent": ["Structural"], "M": ["T1"]}})
    two = (await api.get(f"{path}/info"))["classification"]
    body = {"replace": {"Custom": ["z"]}, "modality": "MR"}
    await patch(api, f"{path}/classification", body)
    three = await api.get(f"{path}/info")

    assert added.json["modified"] == 1
    assert one == {"Intent": ["Structural", "Functional"], "M": ["T1"]}
    assert two == {"Intent": ["Functional"]}
    assert (three["classification"], three["modality"]) == ({"Custom": ["z"]}, "MR")
    assert three["version"] == 1


@pytest.mark.row("files-change")
async def test_classification_by_id(api: Api, tree: Tree) -> None:
    [entry] = await api.upload(f"projects/{tree.project}", {"a.nii": b"a"})
    path = f"/files/{entry['file_id']}"
    body = {"add": {"Intent": ["Structural"]}, "modality": "MR"}
    answer = await put(api, f"{path}/classification", body)
    after = await api.get(path)

    assert answer.json == {"modified": 1, "jobs_spawned": 0}
    assert (after["classification"], after["modality"]) == ({"Intent": ["Structural"]}, "MR")


@pytest.mark.row("file-classification")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"add": {"A": "text"}},
        {"add": {"A": [1]}},
        {"add": []},
        {"replace": {}, "add": {}},
        {"modality": 1},
        {"nonsense": {}},
    ],
)
async def test_a_wrong_classification_is_400(api: Api, tree: Tree, body: Any) -> None:
    [entry] = await api.upload(f"projects/{tree.project}", {"a.nii": b"a"})
    answer = await patch(api, f"/projects/{tree.project}/files/a.nii/classification", body)

    assert answer.status == 400
    assert await api.get(f"/files/{entry['file_id']}") == entry


@pytest.mark.row("upload-metadata", "upload-preserve")
async def test_metadata_that_are_not_repeated_are_reset_unless_they_are_preserved(
    api: Api, tree: Tree
) -> None:
    at = f"projects/{tree.project}"
    told = '{"type": "log", "modality": "MR", "tags": ["t"], "info": {"a": 1}}'
    await api.upload(at, {"a.txt": b"1"}, told)
    path = f"/{at}/files/a.txt"
    await patch(api, f"{path}/classification", {"add": {"Intent": ["x"]}})
    [kept] = await api.upload(at, {"a.txt": b"2"}, '{"tags": null}', preserve_metadata="true")
    [lost] = await api.upload(at, {"a.txt": b"3"})
    names = ("type", "modality", "tags", "info", "classification")

    assert [kept[name] for name in names] == ["log", "MR", ["t"], {"a": 1}, {"Intent": ["x"]}]
    assert [lost[name] for name in names] == ["text", None, [], {}, {}]


@pytest.mark.row("permissions-ro")
async def test_metadata_are_read_by_readers_and_changed_by_writers(
    api: Api, user: Api, tree: Tree
) -> None:
    [entry] = await api.upload(f"sessions/{tree.session}", {"a.txt": b"a"}, '{"tags": ["t"]}')
    note = (await api.post(f"/sessions/{tree.session}/notes", {"text": "n"}))["_id"]
    await api.post(
        f"/projects/{tree.project}/permissions", {"_id": "user@sandbox.local", "access": "ro"}
    )
    session, file = f"/sessions/{tree.session}", f"/files/{entry['file_id']}"
    named = f"{session}/files/a.txt"
    refused = [
        await user.ask(method, path, json=body)
        for method, path, body in (
            ("PATCH", f"{session}/info", {"set": {"a": 1}}),
            ("PUT", session, {"label": "x"}),
            ("POST", f"{session}/tags", {"value": "x"}),
            ("PATCH", f"{session}/tags", ["x"]),
            ("DELETE", f"{session}/tags", ["x"]),
            ("POST", f"{session}/notes", {"text": "x"}),
            ("PUT", f"{session}/notes/{note}", {"text": "x"}),
            ("DELETE", f"{session}/notes/{note}", None),
            ("PUT", named, {"type": "x"}),
            ("PATCH", f"{named}/info", {"set": {"a": 1}}),
            ("PATCH", f"{named}/classification", {"add": {}}),
            ("PUT", file, {"type": "x"}),
            ("PUT", f"{file}/info", {"a": 1}),
            ("PATCH", f"{file}/info", {"a": 1}),
            ("PUT", f"{file}/classification", {"add": {}}),
            ("PUT", f"{file}/tags", ["x"]),
            ("PATCH", f"{file}/tags", ["x"]),
            ("DELETE", f"{file}/tags", ["t"]),
            ("POST", f"{file}/move", {"name": "b.txt"}),
            ("POST", f"{file}/restore?version=1&evaluate_gear_rules=false", None),
            ("DELETE", file, None),
            ("DELETE", "/files", [entry["file_id"]]),
        )
    ]

    assert [answer.status for answer in refused] == [403] * len(refused)
    assert {answer.json["reason"] for answer in refused} == {"permission_denied"}
    assert await user.get(file) == entry
    assert await user.get(f"{file}/tags") == ["t"]
    assert (await user.get(f"{session}/notes/{note}"))["text"] == "n"


# ------------------------------------------------------------------------------------ moves


@pytest.mark.row("containers-move")
async def test_a_session_moves_with_everything_below(api: Api, tree: Tree) -> None:
    other = await plant(api, "other", "Other")
    [entry] = await api.upload(f"acquisitions/{tree.acquisition}", {"a.txt": b"a"})
    answer = await put(api, f"/sessions/{tree.session}", {"subject": {"_id": other.subject}})
    way = {"group": "other", "project": other.project, "subject": other.subject}
    session = await api.get(f"/sessions/{tree.session}")
    acquisition = await api.get(f"/acquisitions/{tree.acquisition}")
    file = await api.get(f"/files/{entry['file_id']}")
    below = await api.get(f"/projects/{other.project}/acquisitions")

    assert answer.json == {"modified": 1, "jobs_spawned": 0}
    assert {name: session["parents"][name] for name in way} == way
    assert (session["project"], session["subject"]["_id"]) == (other.project, other.subject)
    assert {name: acquisition["parents"][name] for name in way} == way
    assert file["parents"] == {
        **way,
        "session": tree.session,
        "acquisition": tree.acquisition,
        "analysis": None,
    }
    assert {one["_id"] for one in below} == {other.acquisition, tree.acquisition}
    assert await api.get(f"/projects/{tree.project}/sessions") == []
    assert (await api.get("/files", filter=f"parents.project={tree.project}"))["results"] == []


@pytest.mark.row("containers-move")
async def test_a_session_in_another_project_keeps_the_label_of_its_subject(
    api: Api, tree: Tree
) -> None:
    target = await api.make("project", "Target", group="grp")
    await put(api, f"/sessions/{tree.session}", {"project": target})
    session = await api.get(f"/sessions/{tree.session}")
    await put(api, f"/sessions/{tree.session}", {"project": tree.project, "label": "back"})
    back = await api.get(f"/sessions/{tree.session}")

    assert (session["project"], session["subject"]["label"]) == (target, "sub-01")
    assert session["subject"]["_id"] != tree.subject
    assert (back["subject"]["_id"], back["label"]) == (tree.subject, "back")


@pytest.mark.row("containers-move")
async def test_a_move_needs_a_parent_that_may_be_written(api: Api, user: Api, tree: Tree) -> None:
    other = await plant(api, "other", "Other")
    await api.post(
        f"/projects/{tree.project}/permissions", {"_id": "user@sandbox.local", "access": "rw"}
    )
    acquisition = f"/acquisitions/{tree.acquisition}"
    statuses = [
        (await put(user, acquisition, {"session": other.session})).status,
        (await put(api, acquisition, {"session": tree.subject})).status,
        (await put(api, acquisition, {"session": "0" * 24})).status,
        (await put(api, acquisition, {"session": {}})).status,
        (await put(api, f"/subjects/{tree.subject}", {"project": other.project})).status,
        (await put(user, f"/projects/{tree.project}", {"group": "other"})).status,
    ]
    same = await put(user, acquisition, {"session": tree.session})

    assert statuses == [403, 404, 404, 400, 422, 403]
    assert same.status == 200
    assert (await api.get(acquisition))["session"] == tree.session


@pytest.mark.row("containers-change")
@pytest.mark.parametrize(
    ("kind", "name"),
    [("project", "origin"), ("project", "templates"), ("acquisition", "metadata")],
)
async def test_no_field_is_deeper_than_the_records_can_be_read(
    api: Api, tree: Tree, kind: str, name: str
) -> None:
    deep: Any = {"a": 1}
    for _ in range(200):
        deep = {"a": deep}
    answer = await put(api, where(tree, kind), {name: [deep] if name == "templates" else deep})

    assert answer.status == 400
    assert "deeper than 100 levels" in answer.message
