"""What is decided about sidecars and files of analyses, and the folder that no label leads to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.digest import Digest, LocalTag, tag_of
from fwsync.extra import Extra, Kind, Written, judge, judge_unlisted
from fwsync.layout import ANALYSES, Layout, Unmappable, label_of, name_of
from fwsync.model import (
    Address,
    ContainerRef,
    Holder,
    Level,
    LocalEntry,
    RelPath,
    RemoteEntry,
    Stamp,
    Verb,
)

PATH = RelPath("s/e/a/x.flywheel.json")
TAGS = [tag_of(text) for text in (b"a", b"b", b"c")]


def extra(etag: str, digest: Digest | None = None) -> Extra:
    holder = ContainerRef(Level.ACQUISITION, "a1")
    entry = RemoteEntry(PATH, 1, etag, digest, holder, "x.flywheel.json")
    return Extra(Kind.SIDECAR, entry, RelPath("s/e/a/x"), "sidecar:x", True)


def here(tag: LocalTag, digest: Digest | None = None) -> LocalEntry:
    return LocalEntry(PATH, Stamp(1, 1, 1, 1, 1), tag, digest)


def written(remote: str, local: LocalTag) -> Written:
    return Written(PATH, Kind.SIDECAR, remote, local)


@given(
    st.sampled_from(TAGS),
    st.none() | st.builds(written, st.sampled_from(TAGS), st.sampled_from(TAGS)),
    st.none() | st.sampled_from(TAGS),
)
def test_only_what_is_as_we_wrote_it_is_replaced(
    now: LocalTag, record: Written | None, tag: LocalTag | None
) -> None:
    decision = judge(extra(now), record, None if tag is None else here(tag))

    if tag is None:
        assert Verb.DOWNLOAD is decision.verb
    elif decision.verb is Verb.DOWNLOAD:
        assert record is not None
        assert tag == record.local_etag
        assert record.remote_etag != now
    elif decision.verb is Verb.REPORT:
        assert tag != now
        assert record is None or tag != record.local_etag
    else:
        assert Verb.ADOPT is decision.verb


def test_the_same_bytes_are_known_by_their_digest_too() -> None:
    digest = Digest("sha384:" + "0" * 96)

    decision = judge(extra("v1:f:1", digest), None, here(TAGS[0], digest))

    assert Verb.ADOPT is decision.verb


@pytest.mark.parametrize(
    ("tag", "is_gone", "delete", "verb"),
    [
        (None, True, False, Verb.FORGET),
        (None, False, True, Verb.NOTHING),
        (TAGS[1], True, True, Verb.REPORT),  # edited: never to the trash
        (TAGS[1], False, False, Verb.REPORT),
        (TAGS[0], False, True, Verb.ADOPT),
        (TAGS[0], True, False, Verb.HOLD),
        (TAGS[0], True, True, Verb.DELETE_LOCAL),
    ],
)
def test_what_is_not_listed_goes_only_where_it_is_gone_there_and_unchanged_here(
    tag: LocalTag | None, is_gone: bool, delete: bool, verb: Verb
) -> None:
    record = written(TAGS[0], TAGS[0])
    entry = None if tag is None else here(tag)

    assert verb is judge_unlisted(record, entry, is_gone=is_gone, delete=delete).verb


def test_no_label_leads_to_the_folder_of_analyses() -> None:
    layout = Layout.parse(group="lab", project="aging")
    address = Address(("lab", "aging", ANALYSES, "e", "a"), "x")

    assert f"%25{ANALYSES[1:]}" == name_of(ANALYSES)
    assert ANALYSES == label_of(name_of(ANALYSES))
    assert label_of(ANALYSES) is None
    path = layout.path_of(address)
    assert not isinstance(path, Unmappable)
    assert address == layout.address_of(path)
    for folder in ("", "s/", "s/e/", "s/e/a/"):
        found = layout.address_of(RelPath(f"{folder}{ANALYSES}/fit/OUTPUT/x"))
        assert isinstance(found, Unmappable)
        assert "analyses" in found.reason


def test_an_analysis_is_no_level() -> None:
    assert Holder.ANALYSIS.value not in [level.value for level in Level]
