"""The script changed while the sandbox runs: ``/sandbox/faults``. For the admin's key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from fwsync.errors import UsageError
from fwsync.sandbox.problems import invalid, missing
from fwsync.sandbox.site import Call, answer


async def show(call: Call) -> web.Response:
    """``GET``: the rules, each with how often it matched (``hits``) and how often it fired."""
    call.only_admins()
    return answer({"rules": call.site.faults.report()})


async def add(call: Call) -> web.Response:
    """``POST`` one rule, or a list."""
    call.only_admins()
    return answer({"ids": _told(call.site.faults.add, await call.json())})


async def replace(call: Call) -> web.Response:
    """``PUT`` the whole script."""
    call.only_admins()
    return answer({"ids": _told(call.site.faults.replace, await call.json())})


async def clear(call: Call) -> web.Response:
    """``DELETE`` all rules."""
    call.only_admins()
    return answer({"deleted": call.site.faults.clear()})


async def remove(call: Call) -> web.Response:
    """``DELETE`` one rule."""
    call.only_admins()
    name = call.part("id")
    if not call.site.faults.remove(name):
        raise missing(f"there is no rule {name!r}")
    return answer({"deleted": 1})


def _told(change: Callable[[Any], list[str]], rules: Any) -> list[str]:
    try:
        return change(rules)
    except UsageError as error:
        raise invalid(error.message) from error
