"""What kind of site answers, and what it can do: asked once, before anything is sent.

Its rule: what a site can do is what it says of itself, never what its errors seem to mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fwsync.errors import NotFound
from fwsync.remotes.flywheel_wire import Json, item_of
from fwsync.remotes.http import Api


class Generation(StrEnum):
    """Which API a site speaks."""

    CURRENT = "current"
    CORE_2018 = "core-2018"  #: the last open version: no ``/auth/status``, no subject containers


@dataclass(frozen=True, slots=True)
class Site:
    """What a site says that it can do."""

    generation: Generation = Generation.CURRENT
    signed_url: bool = False  #: hands out signed URLs for uploads
    multipart_signed_url: bool = False  #: several of them for one file
    largest_upload: int | None = None  #: bytes of one file; None: it does not say


async def ask_site(api: Api) -> Site:
    """What the site says of itself, by one request; by two where it is an old one.

    Raises:
        RemoteError: it does not answer, or not as a Flywheel site would.

    Source: ``GET /config`` as flywheel-sdk 23 and flywheel-cli 18.5.1 read it. scitran/core of
    2018 has no ``features`` there, and no ``/auth/status``.
    """
    what = "asking what the site can do"
    answer = item_of(await api.json("GET", ("config",), what=what), what)
    features = answer.get("features")
    generation = Generation.CURRENT
    if not isinstance(features, Mapping):
        features = {}
        generation = await _generation(api, what)
    return Site(
        generation,
        signed_url=bool(features.get("signed_url") or answer.get("signed_url")),
        multipart_signed_url=bool(features.get("multipart_signed_url")),
        largest_upload=_largest_upload(answer),
    )


async def _generation(api: Api, what: str) -> Generation:
    try:
        await api.json("GET", ("auth", "status"), what=what)
    except NotFound:
        return Generation.CORE_2018
    return Generation.CURRENT


def _largest_upload(answer: Json) -> int | None:
    """``site.upload_maximum_bytes``, which is a text of digits, or a number."""
    site = answer.get("site")
    told = site.get("upload_maximum_bytes") if isinstance(site, Mapping) else None
    text = str(told) if isinstance(told, int | str) and not isinstance(told, bool) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
