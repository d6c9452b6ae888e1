"""Siblings with one label, in layouts that know labels only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fwsync.layout import Layout, Unmappable, name_of
from fwsync.mapping import twins
from fwsync.model import RelPath
from tests.pure.mappings import mapping

LAYOUT = Layout.parse(group="lab", project="aging")
LAYOUTS = [mapping(layout=one) for one in ("full", "x-{sub}/{ses}/{acq}/{file}")]

LABELS = st.text(max_size=10)
IDS = st.text("0123456789abcdef", min_size=1, max_size=24)


@given(st.lists(st.tuples(LABELS, st.one_of(st.none(), IDS)), min_size=4, max_size=4))
def test_a_path_with_twins_leads_to_the_disk_and_back(names: list[tuple[str, str | None]]) -> None:
    spelled = [name_of(one) if id_ is None else Layout.twin_name(one, id_) for one, id_ in names]
    path = RelPath("/".join(spelled))
    if not twins.names_twin(path):
        return
    address = LAYOUT.address_of(twins.as_label(path))
    if isinstance(address, Unmappable):  # too long, or too odd: it is reported
        return
    for one in LAYOUTS:
        disk = one.disk_path(address)
        assert not isinstance(disk, Unmappable)

        back = one.place(twins.as_label(twins.as_twin(disk)))

        assert not isinstance(back, Unmappable)
        assert path == twins.as_twin(str(LAYOUT.path_of(back.address)))


def test_a_path_that_has_a_twin_and_the_label_that_stands_for_one_is_left() -> None:
    assert twins.names_twin("a%id=5/x")
    assert not twins.names_twin("a/x")
    assert not twins.names_twin("a%id=5/b%25id=6")
