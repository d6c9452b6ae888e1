"""Conditions on the ETag of an object, at each of the clouds."""

from __future__ import annotations

import pytest

from tests.sandbox.api import Answer
from tests.sandbox.stores.flow import CLOUDS, Flow, only

pytestmark = [pytest.mark.row("stores"), only(*CLOUDS)]


async def test_a_download_may_depend_on_the_etag(flow: Flow) -> None:
    entry = await flow.upload("a.txt", b"hello")
    where = await flow.api.get(f"/files/{entry['file_id']}/signed_url")
    etag = (await flow.send("GET", where)).headers["ETag"]

    async def get(**conditions: str) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in conditions.items()}
        return await flow.send("GET", where, headers=headers)

    for met in (etag, "*", f'"other", {etag}'):
        assert (200, b"hello") == ((answer := await get(If_Match=met)).status, answer.body), met
    unmet = await get(If_Match='"other"')
    assert 412 == unmet.status
    assert b"ConditionNotMet" in unmet.body or b"PreconditionFailed" in unmet.body
    unchanged = await get(If_None_Match=etag)
    assert (304, b"", etag) == (unchanged.status, unchanged.body, unchanged.headers["ETag"])
    assert 200 == (await get(If_None_Match='"other"')).status
    same = await get(If_Range=etag, Range="bytes=1-2")
    assert (206, b"el") == (same.status, same.body)
    other = await get(If_Range='"other"', Range="bytes=1-2")
    assert (200, b"hello") == (other.status, other.body)
