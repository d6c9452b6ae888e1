"""Names that stay at a server of 2018."""

from __future__ import annotations

from fwsync.layout import Layout
from fwsync.remotes.core2018.asking import Asker
from fwsync.remotes.core2018.remote import Core2018
from fwsync.remotes.given import Given
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project, Who
from tests.contract.conftest import listed, put, text


async def test_the_younger_of_two_sessions_keeps_its_name_when_the_older_is_deleted(
    remote: Core2018, api: Api, project: Project, who: Who
) -> None:
    """S88."""
    given = Given()
    layout = Layout.parse(group=project.group, project=project.label)

    def run() -> Core2018:
        return Core2018(Asker(api, who), [project], layout, given=given)

    [entry] = await put(remote, text("s/e/f", b"first"))
    body = {"label": "e", "project": project.id, "subject": {"code": "s"}}
    made = await api.json("POST", ("sessions",), body=body)
    assert isinstance(made, dict)
    twin = f"s/e%id={made['_id']}"
    again = run()
    await listed(again)
    await put(again, text(f"{twin}/g", b"second"))
    assert {"s/e/f", f"{twin}/g"} == set(await listed(run()))

    await api.json("DELETE", ("sessions", entry.container.id))
    assert {f"{twin}/g"} == set(await listed(run()))

    # What is sent to the plain folder is no matter for the twin.
    last = run()
    await listed(last)
    await put(last, text("s/e/new"))
    assert {f"{twin}/g", "s/e/new"} == set(await listed(run()))
