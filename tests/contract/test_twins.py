"""Two hosts make one container at the same time, in whatever order the server shows them."""

from __future__ import annotations

import pytest

from fwsync.model import RelPath
from fwsync.remotes import flywheel_containers
from fwsync.remotes.flywheel import Flywheel, Project
from fwsync.remotes.flywheel_children import Children
from fwsync.remotes.flywheel_tree import Container
from fwsync.remotes.http import Api
from tests.contract.conftest import listed, put, text


@pytest.mark.parametrize("stays", [True, False])
async def test_a_younger_twin_whose_maker_did_not_see_ours_is_used(
    stays: bool, remote: Flywheel, api: Api, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flywheel_containers, "SEEN_S", (0.0, 0.0))
    await put(remote, text("s/e/b/first"))
    real, asked, others = Children.ids, [0], list[str]()

    async def ids(self: Children, parent: Container, label: str) -> list[str]:
        if label == "a":
            asked[0] += 1
            found = await real(self, parent, label)
            if found and not others:  # ours is there: theirs was made at the same moment
                body = {"label": "a", "session": parent.id}
                made = await api.json("POST", ("acquisitions",), body=body)
                assert isinstance(made, dict)
                others.append(str(made["_id"]))
            elif others and not stays:
                await api.json("DELETE", ("acquisitions", others[0]))
        return await real(self, parent, label)

    monkeypatch.setattr(Children, "ids", ids)
    [entry] = await put(remote, text("s/e/a/f"))

    assert stays == (others == [entry.container.id])
    assert RelPath("s/e/a/f") in await listed(remote)
    kept = await api.json("GET", ("projects", project.id, "acquisitions"))
    assert isinstance(kept, list)
    assert 2 == len(kept)
