"""The root and the configuration.

Source: core18.
"""

from __future__ import annotations

from aiohttp import web

from fwsync.sandbox.core2018.wire import NOT_FOUND
from fwsync.sandbox.problems import ApiError
from fwsync.sandbox.site import Call, answer


async def root(call: Call) -> web.Response:
    """``GET /``, and the one HEAD that is answered."""
    return web.Response(text="<html><body>fwsync sandbox</body></html>", content_type="text/html")


async def config(call: Call) -> web.Response:
    """``GET /config``; public. It knows of no features."""
    url = f"{call.request.scheme}://{call.request.host}/api"
    return answer(
        {
            "site": {
                "id": "sandbox",
                "name": "fwsync sandbox",
                "api_url": url,
                "central_url": None,
                "registered": False,
                "ssl_cert": None,
            },
            "auth": {"basic": {}},
        }
    )


async def version(call: Call) -> web.Response:
    """``GET /version``: nobody has written one down in a new database."""
    raise ApiError(404, NOT_FOUND)
