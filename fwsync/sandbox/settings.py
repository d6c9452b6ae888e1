"""What a sandbox is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fwsync.sandbox.faults.script import Rule
from fwsync.sandbox.stores import Dialect

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
        switches: what is not as :class:`~fwsync.sandbox.switches.Switches` has it.
        faults: the script of a bad network, see docs/guides/bad-network.md.
        max_upload: bytes of one file.
        groups: ids of groups that are made at the start, if they are not there.
        store: the dialect of what signed URLs lead to.
        store_port: of a store that imitates a cloud; 0 picks a free one.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 0
    tls: TlsSettings | None = None
    durable: bool = False
    switches: dict[str, Any] = field(default_factory=dict)
    faults: tuple[Rule, ...] = ()
    max_upload: int = MAX_UPLOAD
    groups: tuple[str, ...] = ()
    store: Dialect = "local"
    store_port: int = 0

    @property
    def is_old(self) -> bool:
        """Whether it starts as an older server."""
        return bool(self.switches.get("compat"))
