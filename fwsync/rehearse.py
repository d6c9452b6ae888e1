"""`fwsync sandbox`: run the embedded server, and say how to use it."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from fwsync import sandbox as server
from fwsync.errors import Exit
from fwsync.progress import SafeStream, say


def sandbox(
    *, port: int, host: str, data: Path | None, tls: bool, groups: Sequence[str], as_json: bool
) -> Exit:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        port: 0 picks a free one.
        host: the address to listen on.
        data: where records and files stay; None: in a folder that goes with the server.
        tls: serve HTTPS.
        groups: ids of groups to make, if they are not there.
        as_json: say that it is ready in one JSON line.
    """
    with ExitStack() as stack:
        folder = data or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="fwsync-sandbox-"))
        )
        settings = server.SandboxSettings(
            data=folder,
            host=host,
            port=port,
            tls=server.TlsSettings() if tls else None,
            groups=tuple(groups),
        )

        def announce(ready: server.Ready) -> None:
            if as_json:
                # No "v" and "event": this line is a contract of its own.
                SafeStream(sys.stdout).write(json.dumps(ready.as_json()) + "\n")
            else:
                _tell(ready, data)
            sys.stdout.flush()

        server.run_sandbox(settings, announce)
    return Exit.IN_STEP


def _tell(ready: server.Ready, data: Path | None) -> None:
    kept = f"kept in {data}" if data else "gone when it stops (--data DIR keeps them)"
    say(f"the sandbox listens at {ready.url}; its data are {kept}")
    say("")
    say("  API key:       " + ready.api_key)
    say("  ordinary user: " + ready.user_api_key)
    say("  device secret: " + ready.device_secret)
    if ready.ca_file:
        say(f"  CA to trust:   export FW_SSL_CERT_FILE={ready.ca_file}")
    say("")
    say("try it from another terminal:")
    say("")
    say(f"  export FWSYNC_API_KEY={ready.api_key}")
    say("  fwsync ls")
    say("")
    say("Ctrl-C stops it")
