"""The official SDK grows a tree, finds its way in it, and changes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.place import Place
from tests.conformance.sdk.process import Sdk
from tests.house.house import Ground


@pytest.mark.row("containers-create", "groups-create", "sessions-subject", "containers-get")
def test_a_tree_is_grown(sdk: Sdk, ground: Ground) -> None:
    grown = sdk("hierarchy.grow", group="neuro")

    assert ["Group", "Project", "Subject", "Session", "Acquisition"] == [
        one.removesuffix("Output").removeprefix("Container") for one in grown["kinds"]
    ]
    project, subject, session = grown["project"], grown["subject"], grown["session"]
    acquisition = grown["acquisition"]
    assert ("neuro", "Growth", "made by the SDK", {"site": 7}) == tuple(
        project[name] for name in ("group", "label", "description", "info")
    )
    assert ("anx_s1", "anx_s1", "female", "Study") == tuple(
        subject[name] for name in ("label", "code", "sex", "cohort")
    )
    assert (project["id"], subject["id"]) == (session["project"], session["subject"]["id"])
    assert 30 == pytest.approx(grown["age"])
    assert ("Localizer", "1.2.840.1") == (acquisition["label"], acquisition["uid"])
    assert {
        "group": "neuro",
        "project": project["id"],
        "subject": subject["id"],
        "session": session["id"],
    } == {name: value for name, value in acquisition["parents"].items() if value}
    assert "anx_s2" == grown["other"]["subject"]["code"]

    record = ground.ask("GET", "/sandbox/record")["containers"]
    below = {one["parent_id"]: one["label"] for one in record if one["kind"] == "subject"}
    assert project["id"] in below
    assert {"anx_s1", "anx_s2"} <= {one["label"] for one in record if one["kind"] == "subject"}


@pytest.mark.row("lookup", "lookup-file", "lookup-id")
def test_paths_lead_to_the_one_thing(sdk: Sdk, place: Place) -> None:
    sdk("uploads.from_memory", acquisition=place.acquisition, signed=False)

    def look(path: str) -> tuple[str, str]:
        seen = sdk("hierarchy.lookup", path=path)
        return seen["type"], seen["found"].get("id") or seen["found"]["name"]

    top = f"lab/{place.label}"
    assert ("group", "lab") == look("lab")
    assert ("project", place.project) == look(top)
    assert ("subject", place.subject) == look(f"{top}/sub-01")
    assert ("session", place.session) == look(f"{top}/sub-01/ses-01")
    assert ("acquisition", place.acquisition) == look(f"{top}/sub-01/ses-01/T1w")
    assert ("session", place.session) == look(f"lab/<id:{place.project}>/sub-01/ses-01")
    seen = sdk("hierarchy.lookup", path=f"{top}/sub-01/ses-01/T1w/files/note.txt")
    assert ("file", "note.txt", 8) == (seen["type"], seen["found"]["name"], seen["found"]["size"])


@pytest.mark.row("lookup", "error-shape")
def test_a_path_that_leads_nowhere_is_404(sdk: Sdk, place: Place) -> None:
    met = sdk("refusals.of", call="lookup", args=[f"lab/{place.label}/sub-99"])

    assert 404 == met["status"]
    assert "sub-99" in met["reason"]


@pytest.mark.row("resolve", "lookup-root")
def test_resolving_shows_the_way_and_the_children(sdk: Sdk, place: Place) -> None:
    sdk("uploads.from_memory", acquisition=place.acquisition, signed=False)

    root = sdk("hierarchy.resolve", path="")
    middle = sdk("hierarchy.resolve", path=f"lab/{place.label}/sub-01")
    deep = sdk("hierarchy.resolve", path=f"lab/{place.label}/sub-01/ses-01/T1w")

    assert [] == root["path"]
    assert ["group", "lab", "Lab"] in root["children"]
    assert [
        ["group", "lab", "Lab"],
        ["project", place.project, place.label],
        ["subject", place.subject, "sub-01"],
    ] == middle["path"]
    assert [["session", place.session, "ses-01"]] == middle["children"]
    assert ["blob.bin", "note.txt", "table.csv"] == [one[-1] for one in deep["children"]]
    assert {"file"} == {one[0] for one in deep["children"]}


@pytest.fixture
def dozen(place: Place) -> Place:
    """Sessions ses-00 … ses-11, with some info, tags, and one odd label."""
    place.ask("DELETE", f"/sessions/{place.session}")
    for number in range(12):
        info = {"score": number} | ({"kind": "odd"} if number % 2 else {})
        body = {
            "label": f"ses-{number:02}",
            "project": place.project,
            "subject": {"_id": place.subject},
            "info": info,
            "tags": ["seen"] if number in (3, 4) else [],
        }
        place.ask("POST", "/sessions", body)
    odd = {"label": "with, comma", "project": place.project, "subject": {"_id": place.subject}}
    place.ask("POST", "/sessions", odd)
    return place


def ses(*numbers: int) -> list[str]:
    return [f"ses-{number:02}" for number in numbers]


@pytest.mark.row(
    "lists-filter", "lists-sort", "lists-pages", "lists-after-id", "lists-children", "lists-top"
)
def test_sessions_are_found_in_every_way(sdk: Sdk, dozen: Place) -> None:
    found: dict[str, Any] = sdk("hierarchy.find", project=dozen.project)

    every = [*ses(*range(12)), "with, comma"]
    expected = {
        "all": every,
        "none": [],
        "equal": ses(3),
        "not": ses(0, 1, 2, *range(4, 12)),
        "two": ses(3, 4, 5),
        "match": ses(1, 2),
        "in": ses(1, 7),
        "not in": [one for one in every if one not in ses(1, 7)],
        "quoted": ["with, comma"],
        "escaped": ["with, comma"],
        "created": True,
        "info": ses(7, 9, 11),
        "null": [*ses(0, 2, 4, 6, 8, 10), "with, comma"],
        "subject": ses(1),
        "parent": ses(1),
        "tags": ses(3, 4),
        "after": ses(1, 2),
        "sorted": ses(11, 10, 9),
        "two keys": [*ses(10, 8, 6, 4, 2, 0), *ses(11)],
        "page": ses(5, 6, 7, 8, 9),
        "skip": ses(4, 5, 6),
        "first": "ses-11",
        "no first": None,
        "one": "ses-04",
        "many": "Found more results than 1!",
        "zero": "No results found!",
        "iter": every,
        "iter_find": ses(*range(12)),
        "iter sorted": ses(*range(11, -1, -1)),
    }
    assert expected == found


@pytest.mark.row("lists-children", "lists-top")
def test_finders_work_from_the_top_and_from_the_parent(sdk: Sdk, place: Place) -> None:
    seen = sdk("hierarchy.children", project=place.project)

    assert {
        "groups": ["lab"],
        "group": [place.project],
        "projects": [place.project],
        "subjects": [place.subject],
        "sessions": [place.session],
        "acquisitions": [place.acquisition],
        "below": [place.subject, place.session, place.acquisition, place.acquisition],
        "upwards": [place.project, place.subject, "lab"],
    } == seen


@pytest.mark.row("containers-change")
def test_a_change_is_partial(sdk: Sdk, place: Place) -> None:
    seen = sdk("hierarchy.change", session=place.session)

    assert ("renamed", 61.5, "ann") == (seen["label"], seen["weight"], seen["operator"])
    assert place.subject == seen["subject"]["id"]
    assert "renamed" == place.container(place.session)["label"]


@pytest.mark.row("timestamps")
def test_a_time_is_kept_as_utc_with_its_zone_beside_it(sdk: Sdk, place: Place) -> None:
    seen = sdk(
        "hierarchy.times",
        session=place.session,
        timestamp="2026-01-02T03:04:05.678+01:00",
        timezone="Europe/Zurich",
    )

    assert "2026-01-02T02:04:05.678000+00:00" == seen["timestamp"]
    assert "Europe/Zurich" == seen["timezone"]
    assert seen["local"].startswith("2026-01-01T21:04:05.678")  # the driver lives in New York
    assert seen["created"].endswith("+00:00")


@pytest.mark.row("containers-move")
def test_a_session_moves_with_what_is_below(sdk: Sdk, place: Place) -> None:
    other = place.ask("POST", "/subjects", {"label": "sub-02", "project": place.project})["_id"]

    seen = sdk(
        "hierarchy.move", session=place.session, subject=other, acquisition=place.acquisition
    )

    assert other == seen["session"]["subject"]["id"] == seen["session"]["parents"]["subject"]
    assert other == seen["acquisition"]["parents"]["subject"]
    assert other == place.container(place.session)["parent_id"]


@pytest.mark.row("containers-delete")
def test_what_is_deleted_is_gone_and_stays_in_the_record(sdk: Sdk, place: Place) -> None:
    more = [
        place.ask("POST", "/acquisitions", {"label": label, "session": place.session})["_id"]
        for label in ("a", "b")
    ]

    seen = sdk("hierarchy.delete", session=place.session, acquisitions=more)

    assert 2 == seen["several"]["deleted"]
    assert 1 == seen["one"]["deleted"]
    assert [404, 404, 404] == [one["status"] for one in seen["gone"]]
    gone = [place.session, place.acquisition, *more]
    assert [] == [one for one in gone if place.container(one)["deleted"] is None]
    assert place.container(place.subject)["deleted"] is None


@pytest.mark.row("tree")
def test_the_tree_comes_in_one_request(sdk: Sdk, place: Place) -> None:
    seen = sdk("hierarchy.trees", project=place.project)

    (project,) = seen["tree"]
    assert place.label == project["label"]
    assert ["sub-01"] == [one["label"] for one in project["subjects"]]
    assert "projects" in seen["graph"]


@pytest.mark.row("catalog")
def test_projects_are_offered_in_a_page(sdk: Sdk, place: Place) -> None:
    seen = sdk("hierarchy.catalog")

    assert place.label in [one["label"] for one in seen["results"]]
    assert len(seen["results"]) == seen["count"] <= seen["total"]


@pytest.mark.row("uids")
def test_uids_are_checked_in_a_project_and_everywhere(sdk: Sdk, place: Place) -> None:
    uid = f"1.2.{place.project}"
    place.ask("PUT", f"/sessions/{place.session}", {"uid": uid})
    other = place.ask("POST", "/projects", {"label": f"{place.label} b", "group": "lab"})["_id"]

    everywhere = sdk("hierarchy.uids", body={"sessions": [uid, "9.9"]})
    here = sdk("hierarchy.uids", body={"sessions": [uid], "project_id": place.project})
    there = sdk("hierarchy.uids", body={"sessions": [uid], "project_id": other})
    none = sdk("hierarchy.uids", body={"acquisitions": [uid]})

    assert [[uid], [uid], []] == [one["sessions"] for one in (everywhere, here, there)]
    assert [] == none["acquisitions"]


@pytest.mark.row("upsert-hierarchy")
def test_a_hierarchy_is_found_or_made(sdk: Sdk, place: Place) -> None:
    body = {
        "subject": {"label": "sub-01"},
        "session": {"label": "new", "uid": "1.2.3"},
        "acquisition": {"label": "T2w"},
    }

    once = sdk("hierarchy.upsert", project=place.project, body=body)
    again = sdk("hierarchy.upsert", project=place.project, body=body)

    assert place.subject == once["subject"]["id"]
    assert ["created", "created"] == [
        once[level]["upsert_result"] for level in ("session", "acquisition")
    ]
    assert [once[level]["id"] for level in body] == [again[level]["id"] for level in body]
    assert {"created"}.isdisjoint(again[level]["upsert_result"] for level in body)
    assert "new" == place.container(once["session"]["id"])["label"]


@pytest.mark.row("collections")
def test_a_collection_gathers_acquisitions(sdk: Sdk, place: Place) -> None:
    body = {"label": "ses-02", "project": place.project, "subject": {"_id": place.subject}}
    other = place.ask("POST", "/sessions", body)["_id"]
    apart = place.ask("POST", "/acquisitions", {"label": "T2w", "session": other})["_id"]

    seen = sdk("hierarchy.collect", session=place.session, acquisition=apart)

    assert ("Best of", "picked") == (
        seen["collection"]["label"],
        seen["collection"]["description"],
    )
    assert [place.acquisition] == seen["after session"]
    assert {place.acquisition, apart} == set(seen["acquisitions"])
    assert {place.session, other} == set(seen["sessions"])
    assert [seen["collection"]["id"]] == seen["member"] == seen["found"]
    assert 404 == seen["after"]["status"]


@pytest.mark.row("permissions")
def test_permissions_are_given_read_and_taken(sdk: Sdk, ground: Ground, place: Place) -> None:
    user = ground.sandbox.ready.user_id
    role = place.ask("GET", "/roles")[0]["_id"]

    seen = sdk("hierarchy.grant", project=place.project, user=user, role=role)

    assert (user, [role]) == (seen["given"]["id"], seen["given"]["role_ids"])
    assert (user, "ro") == (seen["access"]["id"], seen["access"]["access"])
    assert "admin" == seen["more"]["access"]
    assert user not in seen["left"]
    assert user not in seen["left in group"]


@pytest.mark.row("permissions-none", "permissions-ro")
def test_who_may_only_read_meets_403_for_every_change(
    sdk: Sdk, nobody: Sdk, ground: Ground, place: Place
) -> None:
    def met(call: str, *args: Any) -> int | None:
        status = nobody("refusals.of", call=call, args=list(args))
        return None if status is None else int(status["status"])

    before = met("get", place.project)
    ground.allow(place.project, "ro")
    after = met("get", place.project)
    refused = [
        met("add_subject", {"label": "s", "project": place.project}),
        met("modify_session", place.session, {"label": "x"}),
        met("add_session_tag", place.session, {"value": "x"}),
        met("add_session_note", place.session, {"text": "x"}),
        met("set_session_info", place.session, {"x": 1}),
        met("delete_acquisition", place.acquisition),
        met("start_project_packfile_upload", place.project),
        met("add_project_permission", place.project, {"_id": "a@b.c", "role_ids": []}),
        met("upload_file_to_acquisition", place.acquisition, __file__, False),
        met("upload_file_to_acquisition", place.acquisition, __file__, True),
    ]

    assert 403 == before
    assert after is None
    assert [403] * len(refused) == refused
    assert [] == place.versions(place.acquisition)
    assert "ses-01" == place.container(place.session)["label"]


@pytest.mark.row("permissions-rw")
def test_who_may_write_fills_what_is_below(
    sdk: Sdk, nobody: Sdk, ground: Ground, place: Place
) -> None:
    ground.allow(place.project, "rw")

    entries = nobody("uploads.from_memory", acquisition=place.acquisition, signed=False)
    refused = nobody("refusals.of", call="delete_project", args=[place.project])

    assert 3 == len(entries)
    assert {ground.sandbox.ready.user_id} == {one["origin"]["id"] for one in entries}
    assert 403 == refused["status"]
