"""A defect of fwsync itself: said in two lines, and written down where it can be sent from.

The one rule: what is written down is the way through the program, the arguments and the
version. No key is among the arguments, and values of variables are not written.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime

from fwsync._version import __version__


def write_down(error: BaseException, arguments: Sequence[str]) -> str:
    """Write a report of an error that nobody foresaw.

    Args:
        error: as it was caught.
        arguments: of the command.

    Returns:
        The file, which only its owner may read; empty where none can be written.
    """
    text = "".join(
        (
            f"fwsync {__version__}, Python {platform.python_version()}, {platform.platform()}\n",
            f"{datetime.now(UTC).isoformat(timespec='seconds')}\n",
            f"arguments: {list(arguments)!r}\n\n",
            *traceback.format_exception(error),
        )
    )
    try:
        fd, name = tempfile.mkstemp(prefix="fwsync-defect-", suffix=".txt")
        with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as out:
            out.write(text)
    except OSError:
        sys.stderr.write(text)
        return ""
    return name
