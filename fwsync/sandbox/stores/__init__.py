"""Object stores inside the sandbox: they sign URLs and judge them as the clouds do.

``local`` is a site's own disk; ``s3``, ``azure`` and ``gcs`` are strict imitations, so that a
client meets there what it would meet in the cloud. What comes is held until the API is told that
it is complete, and then moves to the blobs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from fwsync.sandbox.kept.blobs import Blobs
from fwsync.sandbox.stores.azure import Azure
from fwsync.sandbox.stores.gcs import Gcs
from fwsync.sandbox.stores.local import Local
from fwsync.sandbox.stores.objects import Incomplete
from fwsync.sandbox.stores.s3 import S3
from fwsync.sandbox.stores.store import Download, SignedUpload, Store, part_count

Dialect = Literal["local", "s3", "azure", "gcs"]

_DIALECTS: Final[dict[Dialect, Callable[[Blobs], Store]]] = {
    "local": Local,
    "s3": S3,
    "azure": Azure,
    "gcs": Gcs,
}


def make_store(dialect: Dialect, blobs: Blobs) -> Store:
    """A store of a dialect; its secrets are drawn anew, so URLs end with the sandbox."""
    return _DIALECTS[dialect](blobs)


__all__ = [
    "S3",
    "Azure",
    "Dialect",
    "Download",
    "Gcs",
    "Incomplete",
    "Local",
    "SignedUpload",
    "Store",
    "make_store",
    "part_count",
]
