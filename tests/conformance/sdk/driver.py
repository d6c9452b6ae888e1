"""What runs in the SDK's own interpreter: flows, called by name, one after the other.

A line of JSON comes in, ``{"flow": "uploads.by_form", "key": …, "args": {…}}``, and one goes out:
``{"facts": …}``, or ``{"failed": {"status", "trace"}}``. The process lives as
long as its stdin: the SDK takes a second to be imported.

A warning is a failure: the SDK warns where a server is not what it expects.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
import warnings
from datetime import datetime
from typing import Any

import flywheel

FLOWS = "tests.conformance.sdk.flows"


def main() -> None:
    """Serve until stdin ends. Whatever the SDK prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("error", UserWarning)
    for line in sys.stdin:
        asked = json.loads(line, object_hook=revived)
        print(json.dumps(_answer(asked), default=plain), file=answers, flush=True)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    room, _, name = asked["flow"].rpartition(".")
    flow = getattr(importlib.import_module(f"{FLOWS}.{room}"), name)
    try:
        fw = flywheel.Client(asked["key"]) if asked["key"] else None
        return {"facts": flow(fw, **asked["args"])}
    except Exception as error:
        return {
            "failed": {
                "status": getattr(error, "status", None),
                "trace": "".join(traceback.format_exception(error, limit=2)),
            }
        }


def plain(value: Any) -> Any:
    """What JSON has no word for: models, moments, bytes."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, datetime):
        return value.isoformat()
    return value.to_dict()


def revived(value: dict[str, Any]) -> Any:
    """Bytes, out of what :func:`plain` made of them."""
    return bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else value


if __name__ == "__main__":
    main()
