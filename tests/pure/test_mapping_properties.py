"""What holds for every mapping, whatever the path: found by looking for paths where it does not."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fwsync.layout import Layout, Unmappable
from fwsync.mapping.placing import Mapping, Placed
from fwsync.model import Address, RelPath
from tests.pure.mappings import component, mapping, paths

DICOM = {"*.dcm": "dicom"}

TWO_WAY = {
    "the default": mapping(),
    "the default, with packs": mapping(pack=DICOM),
    "a folder of slices": mapping(pack_folders=["dicom"]),
    "two ways into one pack": mapping(pack=DICOM, pack_folders={"dicom": "dicom", "raw": "raw"}),
    "packs that share a name": mapping(
        pack={"*.dcm": "dicom", "*.nii": "nifti"}, pack_name="all.zip"
    ),
    "everything in packs": mapping(pack_acquisitions="dicom"),
    "prefixes": mapping(layout="sub-{subject}/ses-{session}/{acquisition}/{file}", pack=DICOM),
    "a fixed folder": mapping(layout="{sub}/{ses}/{acq}/dicom/{file}", pack=DICOM),
    "two in one": mapping(layout="{sub}_{ses}/{acq}/*", pack=DICOM),
    "said twice": mapping(layout="{sub}/{sub}_{ses}/{acq}/{file}"),
    "of a form": mapping(layout=r"{sub:s\d+}/{ses:%Y%m%d}/{acq}/{file}"),
    "the file's name": mapping(layout="{sub}/{ses}/{acq}/x{file}"),
    "named by its acquisition": mapping(layout="{sub}/{ses}-{acq}.nii"),
    "no subjects": mapping(no_subjects=True),
    "no sessions": mapping(no_sessions=True, pack=DICOM),
    "a set subject": mapping(subject="pilot"),
    "the full form": mapping(layout="full"),
    "the full form, with packs": mapping(layout="full", pack=DICOM),
    "unpacked": mapping(unpack=True),
    "unpacked, with packs": mapping(unpack=True, pack=DICOM),
    "the full form, unpacked": mapping(layout="full", unpack=True),
    "files named by containers": mapping(layout="{sub}/{ses}_{acq}_{file}"),
    "bids": mapping(layout="bids"),
    "bids and all else": mapping(layout="bids", bids_extra=["*"]),
    "rules": mapping(
        {"path": "mri/**", "layout": "{sub}/{ses}/{acq}/dicom/{file}", "pack": DICOM},
        {"path": "eeg/**", "layout": "{sub}/{file}", "session": "s1", "acquisition": "T1"},
        {"path": "*", "bids": True, "project": "aging"},
        both_ways=True,
    ),
}
ONE_WAY = {
    "optional": mapping(layout="{sub}/[{ses}/]{acq}/{file}", defaults={"session": "one"}),
    "a star": mapping(layout="{sub}/*/{ses}/{acq}/{file}", pack=DICOM),
    "root dirs": mapping(root_dirs=1),
    "flattened": mapping(layout="{sub}/{ses}/{acq}/**"),
    "an override": mapping(layout="{sub}/{ses}/{acq}/{file}", subject="pilot"),
    "an expression": mapping(regex="(?P<sub>[^/]+)/(?P<ses>[^/]+)/(?P<acq>.+)/(?P<file>[^/]+)"),
    "single files": mapping(pack=DICOM, zip_single=False),
}
two_way = st.sampled_from(sorted(TWO_WAY))
every = st.sampled_from(sorted(TWO_WAY | ONE_WAY))


@pytest.mark.parametrize("name", TWO_WAY)
def test_it_says_that_it_leads_back(name: str) -> None:
    assert TWO_WAY[name].two_way


@pytest.mark.parametrize("name", ONE_WAY)
def test_it_says_that_it_does_not_lead_back(name: str) -> None:
    assert not ONE_WAY[name].two_way


@given(two_way, paths)
@example("two in one", RelPath("a_b_c/T1/x.dcm"))
@example("the default, with packs", RelPath("a/b/T1/d/x.dcm"))
@example("bids", RelPath("sub-01/meg/sub-01_meg.ds/a/b"))
@example("bids and all else", RelPath("code/a/b"))
@example("rules", RelPath("mri/a/s1/T1/dicom/x.dcm"))
@example("unpacked", RelPath("a/b/T1/x.dicom/d/y"))
@example("unpacked, with packs", RelPath("a/b/T1/x.dicom/y.dcm"))
@example("the full form", RelPath("SUBJECTS/FILES/FILES/FILES"))
@example("the full form, unpacked", RelPath("SUBJECTS/a/SESSIONS/b/ACQUISITIONS/c/FILES/x.dcm/y"))
def test_a_place_leads_back_to_its_path(name: str, path: RelPath) -> None:
    one = TWO_WAY[name]
    place = one.place(path)

    if isinstance(place, Placed):
        assert path == one.disk_path(place.address, place.member)


labels = st.lists(component, max_size=3).map(lambda below: ("lab", "aging", *below))


@given(two_way, labels, component, st.one_of(st.just(""), component))
@example("the default, with packs", ("lab", "aging", "a", "b", "T1"), "T1.dicom.zip", "")
@example("two in one", ("lab", "aging", "a_b", "c", "T1"), "x", "")
@example("no subjects", ("lab", "aging", "a", "b", "T1"), "x", "")
@example("bids", ("lab", "aging", "sub-01", "ses-", "anat-T1w"), "sub-01_T1w.nii.gz", "")
def test_a_path_on_disk_is_placed_where_it_came_from(
    name: str, labels: tuple[str, ...], file: str, member: str
) -> None:
    one = TWO_WAY[name]
    path = one.disk_path(Address(labels, file), member)

    if not isinstance(path, Unmappable):
        place = one.place(path)
        assert isinstance(place, Placed)
        assert (labels, file, member) == (place.address.labels, place.address.name, place.member)


@given(two_way, paths, paths)
@example("the default, with packs", RelPath("a/b/T1/x.dcm"), RelPath("a/b/T1/T1.dicom.zip"))
@example("packs that share a name", RelPath("a/b/T1/x.dcm"), RelPath("a/b/T1/x.nii"))
@example("a folder of slices", RelPath("a/b/T1/dicom/x"), RelPath("a/b/T1/x"))
def test_no_two_paths_share_a_place(name: str, one: RelPath, other: RelPath) -> None:
    places = [TWO_WAY[name].place(path) for path in (one, other)]

    if one != other and all(isinstance(place, Placed) for place in places):
        first, second = places
        assert isinstance(first, Placed)
        assert isinstance(second, Placed)
        if first.address == second.address:
            # A file that is called like a pack may lie beside its members: it is reported.
            assert first.member != second.member
            assert not (first.member and second.member) or first.kind == second.kind


@given(every, paths)
def test_nothing_is_placed_without_a_reason_nor_refused_without_one(
    name: str, path: RelPath
) -> None:
    place = (TWO_WAY | ONE_WAY)[name].place(path)

    assert place.rule if isinstance(place, Placed) else place.reason


@given(every, paths, paths)
def test_what_came_before_changes_nothing(name: str, before: RelPath, path: RelPath) -> None:
    one = (TWO_WAY | ONE_WAY)[name]
    alone = one.place(path)
    one.place(before)

    assert alone == one.place(path)


@pytest.mark.parametrize("top", ["", "{project}/", "{group}/{project}/"])
@given(path=paths)
@example(path=RelPath("lab/aging/a/b/c/d"))
@example(path=RelPath("lab/aging/%empty/b"))
@example(path=RelPath("a%+/%+b/c/d"))
def test_the_layouts_of_old_are_what_they_were(top: str, path: RelPath) -> None:
    template = top + "{subject}/{session}/{acquisition}/{file}"
    layout = Layout.parse(template, group="lab", project="aging")
    one = mapping(layout=template)

    expected = layout.address_of(path)
    place = one.place(path)

    if isinstance(expected, Unmappable):
        assert isinstance(place, Unmappable)
    else:
        assert isinstance(place, Placed)
        assert expected == place.address
        assert layout.path_of(expected) == one.disk_path(expected)


def test_a_mapping_that_is_for_sending_says_so() -> None:
    one: Mapping = ONE_WAY["root dirs"]

    with pytest.raises(Exception, match="from the disk to the platform only"):
        one.disk_path(Address(("lab", "aging"), "x"))
