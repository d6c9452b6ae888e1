"""P7: whatever names the server has, they come down, and go up from there as what they were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fwsync.layout import Layout
from tests.properties.cloud import Cloud
from tests.properties.profiles import bounded
from tests.properties.world import World

labels = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.sampled_from(["..", ".", "a/b", "CON", "x.", "x ", "a%id=1", "%2F", ".fwsync", "\u00c9"]),
    st.text(min_size=80, max_size=120, alphabet="é日x"),
)
addresses = st.lists(st.lists(labels, min_size=1, max_size=4), min_size=1, max_size=5)


def labelled(cloud: Cloud) -> set[tuple[tuple[str, ...], str, bytes]]:
    """Every file: the labels above it, its name and its content."""
    found = set()
    for box, file in cloud.root.everything():
        above: list[str] = []
        at = box
        while at.above is not None:
            above.insert(0, at.label)
            at = at.above
        found.add((tuple(above), file.name, file.content))
    return found


@bounded(40)
@given(addresses)
def test_any_names_come_down_and_go_up_again(many: list[list[str]]) -> None:
    first, second = World(), World()
    try:
        for *above, name in many:
            box = first.cloud.root
            for label in above:
                box = first.cloud.make(box, label)
            if all(file.name != name for file in box.files):
                path = Layout.join(box.folder, first.cloud._shown(box, name, "0" * 24))
                content = first.token()
                if first.cloud._shown(box, name, "") == first.cloud._shown(box, name, "0"):
                    assert first.put(path, content), path
        [host], [other] = first.hosts, second.hosts
        there = first.cloud.tree()

        first.settle(host)
        assert dict(host.tree()) == there
        assert [] == host.todo()

        for shown, content in host.tree().items():
            if "%id=" not in shown:
                assert other.write(shown, content)
        second.settle(other)
        expected = {one for one in labelled(first.cloud) if one[2] in other.tree().values()}
        assert expected == labelled(second.cloud)
        assert len(there) == len(host.tree())
    finally:
        first.close()
        second.close()
