"""Tags of containers and files: one by one, or several at once.

Source: the routes of SDK 23 and what their descriptions say; core18 for what is there twice (409).
"""

from __future__ import annotations

from aiohttp import web

from fwsync.sandbox import targets
from fwsync.sandbox.kept import metadata
from fwsync.sandbox.problems import missing
from fwsync.sandbox.site import Call, answer


async def listing(call: Call) -> web.Response:
    """``GET …/tags``; of a file at any version."""
    return answer((await targets.document(call)).get("tags") or [])


async def get(call: Call) -> web.Response:
    """``GET …/tags/{tag}``: the tag itself, if it is there."""
    tag = call.part("tag")
    if tag not in ((await targets.document(call)).get("tags") or []):
        raise missing(f"no such tag: {tag}")
    return answer(tag)


async def add(call: Call) -> web.Response:
    """``POST …/tags`` with ``{"value": …}``."""
    body = await call.json_object()
    await targets.change(call, lambda doc: metadata.add_tag(doc, body))
    return answer({"modified": 1, "jobs_spawned": 0})


async def rename(call: Call) -> web.Response:
    """``PUT …/tags/{tag}`` with ``{"value": …}``; answers the new tag."""
    body, old = await call.json_object(), call.part("tag")
    return answer(await targets.change(call, lambda doc: metadata.rename_tag(doc, old, body)))


async def remove(call: Call) -> web.Response:
    """``DELETE …/tags/{tag}``."""
    old = call.part("tag")
    await targets.change(call, lambda doc: metadata.remove_tag(doc, old))
    return answer({"deleted": 1, "not_found": 0, "delete_scheduled": 0})


async def replace(call: Call) -> web.Response:
    """``PUT …/tags`` with a list: these and no others."""
    wanted = metadata.tags(await call.json())
    await targets.change(call, lambda doc: metadata.set_tags(doc, wanted))
    return answer({"modified": 1, "jobs_spawned": 0})


async def add_many(call: Call) -> web.Response:
    """``PATCH …/tags`` with a list; answers all tags that are there now."""
    more = metadata.tags(await call.json())
    return answer(await targets.change(call, lambda doc: metadata.add_tags(doc, more)))


async def remove_many(call: Call) -> web.Response:
    """``DELETE …/tags`` with a list; those that are not there are passed over."""
    gone = metadata.tags(await call.json() if call.request.can_read_body else [])
    count = await targets.change(call, lambda doc: metadata.remove_tags(doc, gone))
    result = {"deleted": count, "not_found": len(gone) - count, "delete_scheduled": 0}
    return answer(result)
