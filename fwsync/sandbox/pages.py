"""The answer to a list: one page of it, plain or as the page object."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from fwsync.sandbox.kept.listing import ListQuery, Source, Where, page
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
Shape = Callable[[sqlite3.Connection, list[Json]], list[Json]]


async def answer_page(
    call: Call,
    shown: Source,
    where: Where,
    query: ListQuery,
    *,
    always: bool = False,
    shape: Shape | None = None,
) -> web.Response:
    """A list as the wire has it: plain, or the page object where the client asks for it.

    Args:
        always: the page object, whatever the client asks for.
        shape: makes of the entries of the page what is sent of them.
    """
    as_page = always or "pagination" in call.accepts
    query = query.at_most(call.site.switches.page_limit)
    known: int | None = None
    counted = ""
    generation = call.site.records.generation
    if as_page:
        counted = repr((shown.table, where, query.filter_text, call.past))
        # Whoever goes on with `after_id` keeps the total of the first page: counted anew on each
        # page, a long list that is written to meanwhile would cost its length every time.
        known = call.site.totals.get(counted, None if query.after_id is not None else generation)

    def produce(db: sqlite3.Connection) -> tuple[int | None, bytes]:
        found = page(db, shown, where, query, total=known)
        if found.total is not None and len(found.results) > found.total:  # it is outdated
            found = page(db, shown, where, query, total=-1)
        results = found.results if shape is None else shape(db, found.results)
        if _leaves_out_info(call):
            results = [_without_info(one) for one in results]
        body: object = results
        if as_page:
            body = {"total": found.total, "count": len(results), "results": results}
        return found.total, msgspec.json.encode(body)

    total, body = await call.read(produce)
    if total is not None and total != known:
        call.site.totals.keep(counted, generation, total)
    return answer(body)


def _leaves_out_info(call: Call) -> bool:
    """Whether this list says no more than whether there is any ``info``."""
    when = call.site.switches.info_in_lists
    return when == "never" or (when == "asked" and not call.flag("include_all_info"))


def _without_info(entry: Json) -> Json:
    """An entry of a list, and the files in it, as ``info_exists`` alone tells of them."""
    slim = {**entry, "info": {}} if "info" in entry else entry
    if isinstance(slim.get("files"), list):
        slim = {**slim, "files": [_without_info(one) for one in slim["files"]]}
    return slim
