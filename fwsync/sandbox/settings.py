"""What a sandbox is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

#: What ``GET /config`` publishes under ``features``; later switches join here.
FEATURES: dict[str, bool] = {
    "signed_url": False,
    "multipart_signed_url": False,
    "multiproject": False,
    "audit_trail": False,
    "deid_log": False,
    "deid_profile": False,
    "project_locking": False,
    "malware_scanning": False,
    "tags_in_lists": True,
}

MAX_UPLOAD = 5 << 40  # bytes; the largest object of the common stores


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The certificate to make; what is not given is as it should be.

    ``hostname`` and ``expires`` let a test offer a certificate for another host, or one that has
    expired.
    """

    hostname: str | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How to start.

    Args:
        data: folder of the records and files; made when missing.
        port: 0 picks a free one.
        durable: uploads survive a power loss too, each one flushed to the disk; without it they
            survive the end of the process, however sudden.
        features: changes to what ``GET /config`` publishes.
        max_upload: bytes of one file.
        groups: ids of groups that are made at the start, if they are not there.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 0
    tls: TlsSettings | None = None
    durable: bool = False
    features: dict[str, bool] = field(default_factory=dict)
    max_upload: int = MAX_UPLOAD
    groups: tuple[str, ...] = ()
