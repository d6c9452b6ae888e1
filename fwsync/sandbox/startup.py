"""Start-up: configuration, version, who asks, roles, settings."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fwsync._version import __version__
from fwsync.sandbox.kept.access import ACTIONS, ROLE_LABELS, ROLES
from fwsync.sandbox.problems import missing
from fwsync.sandbox.site import Call, answer

Json = dict[str, Any]
PAGINATION_LIMIT = 100  # the default of SDK 23; only the switch page_limit caps lists


async def config(call: Call) -> web.Response:
    """``GET /config``; public, for the CLI asks before it has a key."""
    features = call.site.switches.published()
    url = f"{call.request.scheme}://{call.request.host}/api"
    return answer(
        {
            "site": {
                "id": "sandbox",
                "name": "fwsync sandbox",
                "api_url": url,
                "redirect_url": url,
                "registered": False,
                "inactivity_timeout": None,
                "upload_maximum_bytes": str(call.site.settings.max_upload),
                "pagination_limit": call.site.switches.page_limit or PAGINATION_LIMIT,
            },
            "features": features,
            "signed_url": features["signed_url"],
            "auth": {"basic": {}},
        }
    )


async def version(call: Call) -> web.Response:
    """``GET /version``."""
    return answer(
        {
            "_id": "version",
            "database": 1,
            "release": f"fwsync sandbox {__version__}",
            "flywheel_release": "sandbox",
            "cli_version": "18.5.1",
            "applied_fixes": {},
        }
    )


async def status(call: Call) -> web.Response:
    """``GET /auth/status``."""
    caller = call.caller
    device = caller.kind == "device"
    roles = ["public"]
    if caller.kind == "user":
        roles += ["user", "site_admin"] if caller.root else ["user"]
    elif device:
        roles += ["drone"]
    return answer(
        {
            "origin": {"type": caller.kind, "id": caller.id},
            "user_id": caller.id if caller.kind == "user" else None,
            "user_is_admin": caller.root,
            "is_device": device,
            "roles": roles,
        }
    )


async def roles(call: Call) -> web.Response:
    """``GET /roles``."""
    return answer([_role(access) for access in ROLES])


async def role(call: Call) -> web.Response:
    """``GET /roles/{id}``; the CLI reads ``actions``."""
    for access, known in ROLES.items():
        if known == call.part("id"):
            return answer(_role(access))
    raise missing("no such role")


def _role(access: str) -> Json:
    return {"_id": ROLES[access], "label": ROLE_LABELS[access], "actions": list(ACTIONS[access])}


async def settings(call: Call) -> web.Response:
    """``GET /site/settings`` and those of a group or project: no profile of de-identification.

    The CLI asks only where the switch ``deid_profile`` is on.
    """
    if call.kind:
        await call.place(call.part("id"), "ro")
    if not call.site.switches.deid_profile:
        raise missing("this site has no settings")
    return answer({"deid_profile": None})
