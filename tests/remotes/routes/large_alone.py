"""Sends one file by signed parts, in a process of its own, and says what that took.

In the process of the tests, memory that other tests have left would be counted, or reused.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from fwsync.keys import parse_key
from fwsync.remotes.flywheel_tree import Container
from fwsync.remotes.http import Api
from fwsync.remotes.routes.parcel import Parcel
from fwsync.remotes.routes.signed import SignedRoute
from fwsync.sources import Source
from tests.remotes.routes.signing import container_in
from tests.room.rooms import descriptor, local


def memory(name: str) -> int:
    """Bytes, as the kernel counts them for this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


async def send(path: Path, url: str, api_key: str) -> dict[str, Any]:
    """Send the file; its size and digest, as it is and as the server has it, and the cost."""
    with descriptor(path.parent) as root_fd:
        async with Api(url, parse_key(api_key).secret) as api:
            container: Container = await container_in(api)
            source = Source(root_fd, local(path.parent, path.name), lambda *_: None)
            route = SignedRoute(api)
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before = memory("VmRSS")
            began = asyncio.get_running_loop().time()
            [sent] = [one async for one in route.send([Parcel(source, container, path.name)])]
            took_s = asyncio.get_running_loop().time() - began
            more = memory("VmHWM") - before
    if sent.entry is None:
        raise AssertionError(sent.error)
    return {
        "sent": [source.size, str(source.digest)],
        "there": [sent.entry.size, str(sent.entry.digest)],
        "took_s": took_s,
        "more_memory": more,
        "requests": api.requests,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(send(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))))
