"""What is selected of a project at a site of 2018, which filters nothing itself."""

from __future__ import annotations

import pytest

from fwsync.errors import UsageError
from fwsync.model import Level
from fwsync.remotes.connect import Connection
from fwsync.remotes.http import Api
from fwsync.remotes.naming import Project
from fwsync.remotes.where import parse_where
from fwsync.sandbox import Sandbox
from fwsync.selection import Selection
from tests.contract.conftest import fresh, listed
from tests.contract.test_selection import (
    plant,
    test_a_container_is_found_by_its_id,
    test_a_path_leads_to_what_lies_there,
    test_a_path_to_nothing_is_refused,
    test_a_place_that_is_gone_since_says_nothing_of_what_lay_there,
    test_no_path_says_what_only_the_server_knew,
    test_what_a_path_says_is_known_of_what_is_not_listed,
    test_what_is_selected_is_listed_and_nothing_else,
)

__all__ = [
    "test_a_container_is_found_by_its_id",
    "test_a_path_leads_to_what_lies_there",
    "test_a_path_to_nothing_is_refused",
    "test_a_place_that_is_gone_since_says_nothing_of_what_lay_there",
    "test_no_path_says_what_only_the_server_knew",
    "test_what_a_path_says_is_known_of_what_is_not_listed",
    "test_what_is_selected_is_listed_and_nothing_else",
]


async def test_only_the_sessions_that_may_hold_it_are_asked_for(
    sandbox: Sandbox, api: Api, site: Connection, project: Project
) -> None:
    await plant(api, project)
    remote = fresh(api, project)
    remote.selection = Selection(subjects=("s1",), sessions=("e2",))
    before = api.requests
    assert {"s1/e2/T2/scan.nii.gz"} == set(await listed(remote))

    assert 4 == api.requests - before  # the project twice, its sessions, and one of them


def test_what_its_lists_leave_empty_is_not_asked_for(site: Connection) -> None:
    for text in ("info.TE<1", "type=nifti,info.a=1"):
        with pytest.raises(UsageError, match="leave empty"):
            site.check_selection(Selection(where=parse_where(text)))
    for selection in (
        Selection(container_tags=((Level.SESSION, "x"),)),
        Selection(not_mlsets=("Training",)),
    ):
        with pytest.raises(UsageError, match="do not say"):
            site.check_selection(selection)
    site.check_selection(Selection(where=parse_where("type=nifti,origin.id=a@b.c")))


async def test_where_a_file_lies_is_part_of_what_can_be_asked(
    api: Api, site: Connection, project: Project
) -> None:
    await plant(api, project)
    place = await site.place_in(project, ("s2", "e1"))
    remote = fresh(api, project)
    remote.selection = Selection(where=parse_where(f"session={place.ids[1]},type=dicom"))
    assert {"s2/e1/bold/scan.dcm"} == set(await listed(remote))

    remote.selection = Selection(where=parse_where("parent_ref.type=project,group=lab"))
    assert {"readme.txt"} == set(await listed(remote))
