"""What is selected is listed, and what is known of the rest; at every site."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest
from aiohttp import web

from fwsync.errors import UsageError
from fwsync.keys import parse_key
from fwsync.layout import Layout
from fwsync.model import Level, RelPath
from fwsync.remotes.chosen import FEW, Chosen
from fwsync.remotes.connect import Connection, connect
from fwsync.remotes.flywheel_tree import Tree
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project
from fwsync.remotes.where import parse_where
from fwsync.sandbox import Sandbox
from fwsync.selection import Selection
from tests.contract.conftest import fresh, listed, listed_with_unknown, put, text
from tests.contract.meddler import Forward, Meddler

TREE = {
    "readme.txt": b"of the project",
    "s1/e1/notes.txt": b"of a session",
    "s1/e1/T1/scan.nii.gz": b"n1",
    "s1/e1/T1/scan.dcm": b"d1",
    "s1/e2/T2/scan.nii.gz": b"n2",
    "s2/e1/T1/scan.nii.gz": b"n3",
    "s2/e1/bold/scan.dcm": b"d3",
    "s3/e1/T1/table.csv": b"t",
}
NIFTI = {path for path in TREE if path.endswith(".nii.gz")}
DICOM = {path for path in TREE if path.endswith(".dcm")}


def below(*folders: str) -> set[str]:
    return {path for path in TREE if path.startswith(folders)}


@pytest.fixture
async def site(api: Api) -> Connection:
    return await connect(api)


async def plant(api: Api, project: Project, paths: Iterable[str] = TREE) -> None:
    await put(fresh(api, project), *(text(path, TREE.get(path, b"x")) for path in paths))


async def selected(api: Api, project: Project, selection: Selection) -> set[str]:
    remote = fresh(api, project)
    remote.selection = selection
    return set(await listed(remote))


CASES = [
    (Selection(types=("nifti",)), NIFTI),
    (Selection(types=("nifti", "dicom")), NIFTI | DICOM),
    (Selection(types=("null",)), set()),
    (Selection(not_types=("nifti", "dicom", "text")), {"s3/e1/T1/table.csv"}),
    (Selection(tags=("raw",)), set()),
    (Selection(not_tags=("raw",)), set(TREE)),
    (Selection(names=(re.compile(r"\.dcm$"),)), DICOM),
    (Selection(subjects=("s1",)), below("s1/")),
    (Selection(subjects=("s[12]",), acquisitions=("T?",)), below("s1/e1/T", "s1/e2/", "s2/e1/T")),
    (Selection(sessions=("e2",)), below("s1/e2/")),
    (Selection(subjects=("nobody",)), set()),
    (Selection(after_ns=10**18), set(TREE)),
    (Selection(before_ns=10**18), set()),
    (Selection(where=parse_where("type=nifti,name=~^scan")), NIFTI),
    (Selection(where=parse_where("size>2,modified>2020-01-01")), {"readme.txt", "s1/e1/notes.txt"}),
    (Selection(types=("nifti",), subjects=("s2",)), {"s2/e1/T1/scan.nii.gz"}),
]  # fmt: skip


async def test_what_is_selected_is_listed_and_nothing_else(api: Api, project: Project) -> None:
    await plant(api, project)
    for selection, taken in CASES:
        assert taken == await selected(api, project, selection), selection


PLACES = [
    (("s1",), below("s1/")),
    (("s1", "e1"), below("s1/e1/")),
    (("s2", "e1", "bold"), below("s2/e1/bold/")),
    (("s1", "e1", "T1", "scan.nii.gz"), {"s1/e1/T1/scan.nii.gz"}),
    (("s1", "e1", "T1", "files", "scan.dcm"), {"s1/e1/T1/scan.dcm"}),
    (("s1", "e1", "notes.txt"), {"s1/e1/notes.txt"}),
    (("readme.txt",), {"readme.txt"}),
]


async def test_a_path_leads_to_what_lies_there(
    api: Api, site: Connection, project: Project
) -> None:
    await plant(api, project)
    for segments, taken in PLACES:
        place = await site.place_in(project, segments)
        assert taken == await selected(api, project, Selection(place=place)), segments


@pytest.mark.parametrize(
    "segments",
    [
        ("s9",), ("s1", "nothing"), ("s1", "e1", "T1", "nothing"), ("files",), ("files", "s1"),
        ("a", "b", "c", "d", "e"), ("analyses", "x"), ("s1", "analyses", "x"), ("s1", "files"),
    ],
)  # fmt: skip
async def test_a_path_to_nothing_is_refused(
    segments: tuple[str, ...], api: Api, site: Connection, project: Project
) -> None:
    await plant(api, project, ["s1/e1/T1/scan.nii.gz"])
    with pytest.raises(UsageError, match=re.escape("/".join(segments))):
        await site.place_in(project, segments)


async def test_a_container_is_found_by_its_id(api: Api, site: Connection, project: Project) -> None:
    await plant(api, project)
    place = await site.place_in(project, ("s2", "e1"))
    again = await site.place_in(project, ("s2", f"<id:{place.ids[-1]}>"))

    assert place.ids == again.ids
    assert below("s2/") == await selected(api, project, Selection(place=again))


async def test_what_a_path_says_is_known_of_what_is_not_listed(
    api: Api, site: Connection, project: Project
) -> None:
    await plant(api, project)
    place = await site.place_in(project, ("s1", "e1"))
    cases = [
        (Selection(subjects=("s1",)), "s1/e1/T1/gone", "s2/e1/T1/gone"),
        (Selection(subjects=("s*",)), "s9/e1/T1/gone", "t9/e1/T1/gone"),
        (Selection(sessions=("e1",)), "s1/e1/gone", "s1/gone"),
        (Selection(names=(re.compile("^scan"),)), "s1/scan.old", "s1/e1/other"),
        (Selection(place=place), "s1/e1/T1/gone", "s1/e2/gone"),
        (Selection(place=replace(place, name="gone")), "s1/e1/gone", "s1/e1/gone/gone"),
    ]
    for selection, there, elsewhere in cases:
        remote = fresh(api, project)
        remote.selection = selection
        await listed(remote)
        covers = remote.reach().covers

        assert covers is not None
        assert (True, False) == (covers(RelPath(there)), covers(RelPath(elsewhere))), selection


async def test_no_path_says_what_only_the_server_knew(api: Api, project: Project) -> None:
    await plant(api, project)
    for selection in (Selection(types=("a",)), Selection(where=parse_where("type=a"))):
        remote = fresh(api, project)
        remote.selection = selection
        await listed(remote)

        assert remote.reach().covers is None


async def test_a_place_that_is_gone_since_says_nothing_of_what_lay_there(
    api: Api, site: Connection, project: Project
) -> None:
    await plant(api, project)
    place = await site.place_in(project, ("s1", "e1"))
    gone = replace(place, ids=(*place.ids[:-1], "5f" * 12))
    remote = fresh(api, project)
    remote.selection = Selection(place=gone)

    assert {} == await listed(remote)
    covers = remote.reach().covers
    assert covers is not None
    assert not covers(RelPath("s1/e1/T1/scan.dcm"))


# ----------------------------------------------------------------------- a site of today


async def tag(api: Api, project: Project, path: str, *tags: str) -> None:
    entry = (await listed(fresh(api, project)))[path]
    await api.json("PUT", ("files", entry.file_id, "tags"), body=list(tags))


async def test_tags_are_those_of_the_file(api: Api, project: Project) -> None:
    await plant(api, project)
    await tag(api, project, "s1/e1/T1/scan.dcm", "raw", "2024")
    await tag(api, project, "readme.txt", "good one")
    cases = [
        (Selection(tags=("raw",)), {"s1/e1/T1/scan.dcm"}),
        (Selection(tags=("2024",)), {"s1/e1/T1/scan.dcm"}),
        (Selection(tags=("good one",)), {"readme.txt"}),
        (Selection(tags=("raw", "good one")), {"readme.txt", "s1/e1/T1/scan.dcm"}),
        (Selection(not_tags=("raw", "good one"), types=("dicom",)), {"s2/e1/bold/scan.dcm"}),
    ]  # fmt: skip
    for selection, taken in cases:
        assert taken == await selected(api, project, selection), selection


async def test_tags_and_sets_of_containers_are_asked_for_level_by_level(
    api: Api, site: Connection, project: Project
) -> None:
    await plant(api, project)
    subject = (await site.place_in(project, ("s1",))).ids[0]
    session = (await site.place_in(project, ("s2", "e1"))).ids[1]
    await api.json("PUT", ("subjects", subject), body={"mlset": "Training"})
    for plural, id_, name in (
        ("subjects", subject, "control"), ("sessions", session, "baseline"),
        ("sessions", session, "checked"),
    ):  # fmt: skip
        await api.json("POST", (plural, id_, "tags"), body={"value": name})
    control, baseline = (Level.SUBJECT, "control"), (Level.SESSION, "baseline")
    cases = [
        (Selection(container_tags=(control,)), below("s1/")),
        (Selection(container_tags=(baseline, (Level.SESSION, "other"))), below("s2/")),
        (Selection(container_tags=(control, baseline)), set()),
        (Selection(container_tags=((Level.ACQUISITION, "control"),)), set()),
        (Selection(not_container_tags=(control,)), TREE.keys() - below("s1/")),
        (Selection(not_container_tags=(control, (Level.SESSION, "checked"))),
            below("s3/") | {"readme.txt"}),
        (Selection(mlsets=("Training",)), below("s1/")),
        (Selection(mlsets=("null",)), below("s2/", "s3/")),
        (Selection(not_mlsets=("Training",)), TREE.keys() - below("s1/")),
        (Selection(mlsets=("Training",), types=("nifti",)), NIFTI & below("s1/")),
    ]  # fmt: skip
    for selection, taken in cases:
        assert taken == await selected(api, project, selection), selection
        assert selection.asks_the_server


async def test_a_subject_has_files_of_its_own(api: Api, site: Connection, project: Project) -> None:
    await plant(api, project, ["s1/own.txt", "s1/e1/T1/scan.dcm"])
    place = await site.place_in(project, ("s1", "own.txt"))

    assert Level.SUBJECT is place.level
    assert {"s1/own.txt"} == await selected(api, project, Selection(place=place))
    assert {"s1/own.txt"} == await selected(
        api, project, Selection(subjects=("s1",), names=(re.compile("own"),))
    )


async def test_the_younger_of_two_namesakes_keeps_its_name_when_it_comes_alone(
    api: Api, site: Connection, project: Project
) -> None:
    await plant(api, project, ["s1/e1/T1/scan.dcm"])
    subject = (await site.place_in(project, ("s1",))).ids[0]
    body = {"label": "e1", "project": project.id, "subject": {"_id": subject}}
    answer = await api.json("POST", ("sessions",), body=body)
    assert isinstance(answer, dict)
    younger = str(answer["_id"])
    body = {"label": "T1", "session": younger}
    await api.json("POST", ("acquisitions",), body=body)
    whole = fresh(api, project)
    await listed(whole)
    folder = f"s1/e1%id={younger}"
    await put(whole, text(f"{folder}/T1/other.dcm"))
    place = await site.place_in(project, ("s1", f"<id:{younger}>"))

    assert {f"{folder}/T1/other.dcm"} == await selected(api, project, Selection(place=place))
    assert {"s1/e1/T1/scan.dcm"} == await selected(
        api, project, Selection(place=await site.place_in(project, ("s1", "e1")))
    )


async def test_a_file_named_like_a_folder_keeps_its_name_when_it_comes_alone(
    api: Api, site: Connection, project: Project
) -> None:
    await plant(api, project, ["s1/e1/T1/scan.dcm", "s2/x/T1/y"])
    form = fresh(api, project)
    await listed(form)
    await put(form, text("s1/e1/T1/x"))
    for segments in (("s1", "e1", "T1", "files", "x"), ("s1", "e1", "T1", "x")):
        place = await site.place_in(project, segments)
        assert {"s1/e1/T1/x"} == await selected(api, project, Selection(place=place))


async def test_one_subject_costs_one_subject(
    sandbox: Sandbox, api: Api, site: Connection, project: Project
) -> None:
    await plant(api, project)
    place = await site.place_in(project, ("s1", "e1", "T1"))
    for selection in (Selection(place=place), Selection(subjects=("s1",))):
        before = api.requests
        await selected(api, project, selection)

        assert 4 == api.requests - before
        asked = list(sandbox.site.requests.recent)[-1]
        assert "/api/files" == asked["path"]


async def test_many_subjects_cost_what_the_project_costs(api: Api, project: Project) -> None:
    await plant(api, project, [f"s{n:02}/e/a/x" for n in range(FEW + 1)])
    before = api.requests
    assert FEW + 1 == len(await selected(api, project, Selection(subjects=("s*",))))

    assert 4 == api.requests - before
    assert {"s03/e/a/x"} == await selected(api, project, Selection(subjects=("s03",)))


@pytest.mark.parametrize("fails", ["sessions", "acquisitions", "files"])
async def test_of_a_part_that_could_not_be_listed_nothing_is_known(
    fails: str, meddler: Meddler, sandbox: Sandbox, api: Api, project: Project
) -> None:
    await plant(api, project)

    async def breaks(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.method == "GET" and request.path.endswith(f"/{fails}"):
            return web.json_response({"message": "not yours"}, status=403)
        return None

    meddler.meddle = breaks
    async with Api(meddler.url, parse_key(sandbox.api_key).secret, patience_s=2) as spoilt:
        remote = fresh(spoilt, project)
        remote.selection = Selection(subjects=("s1",))
        entries, unknown = await listed_with_unknown(remote)

    assert "s1" in {one.scope for one in unknown}
    assert entries.keys() <= below("s1/")


async def test_what_the_server_can_leave_out_it_is_asked_to(api: Api, project: Project) -> None:
    remote = fresh(api, project)
    remote.selection = Selection(types=("nifti",), tags=("raw",), after_ns=1_600_000_000 * 10**9)

    assert "type=nifti,tags=raw,modified>=2020-09-12" == filter_of(remote.selection, project)


def filter_of(selection: Selection, project: Project) -> str:
    return Chosen(selection, Tree(Layout.parse(group="lab", project=project.label))).filter


@pytest.mark.parametrize("odd", ["null", "2024", "a,b", 'a"b', "true", "x=y", "1e3", "é"])
def test_what_a_filter_could_misread_is_left_out_here(odd: str) -> None:
    project = Project("lab", "aging", "1")

    assert "" == filter_of(Selection(types=(odd,), tags=(odd,)), project)


async def test_a_filter_that_the_server_does_not_take_ends_the_run(
    meddler: Meddler, sandbox: Sandbox, api: Api, project: Project
) -> None:
    await plant(api, project)

    async def refuses(request: web.Request, _: Forward) -> web.StreamResponse | None:
        if request.path != "/api/files":
            return None
        return web.json_response({"message": "no such key"}, status=422)

    meddler.meddle = refuses
    async with Api(meddler.url, parse_key(sandbox.api_key).secret, patience_s=2) as spoilt:
        remote = fresh(spoilt, project)
        remote.selection = Selection(where=parse_where("no.such.key=1"))
        with pytest.raises(UsageError, match="no such key"):
            await listed(remote)

        remote.selection = Selection(types=("nifti",))
        entries, unknown = await listed_with_unknown(remote)
        assert ({}, [""]) == (entries, [one.scope for one in unknown])
