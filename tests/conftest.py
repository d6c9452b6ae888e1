"""What holds for every test; a room's own fixtures live beside its tests."""

import inspect
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import aioresponses.core
import hypothesis
import pytest
from blockbuster import BlockBuster, blockbuster_ctx

# -------------------------------------------------------------------------------- hypothesis
#
# No deadline: a slow machine is not a bug, and pytest-timeout catches what hangs.
# Not derandomized by default: every run looks somewhere new, and a failure prints the blob that
# replays it. "ci" is derandomized: a change is not blamed for what it did not touch. The search
# for the new goes on in "torture", and at every desk.

hypothesis.settings.register_profile("default", deadline=None, max_examples=60, print_blob=True)
hypothesis.settings.register_profile(
    "ci", deadline=None, max_examples=200, derandomize=True, database=None, print_blob=True
)
hypothesis.settings.register_profile(
    "torture", deadline=None, max_examples=5_000, stateful_step_count=100, print_blob=True
)
hypothesis.settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
)

# ------------------------------------------------------------------------------ aioresponses


def _with_stream_writer(build: Callable[..., Any]) -> Callable[..., Any]:
    """Give the responses that aioresponses builds the argument that aiohttp 3.14 added."""

    def built(self: object, *args: Any, **kwargs: Any) -> Any:
        base = kwargs.get("response_class") or aiohttp.ClientResponse

        class Response(base):  # type: ignore[misc, valid-type]  # the base is chosen at run time
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
                super().__init__(*args, **kwargs)

        kwargs["response_class"] = Response
        return build(self, *args, **kwargs)

    return built


# aioresponses 0.7.9 knows aiohttp up to 3.13 (pnuckowski/aioresponses#289). The shim steps aside
# once aioresponses passes the argument itself, or aiohttp no longer wants it.
_match = aioresponses.core.RequestMatch
if "stream_writer" in inspect.signature(
    aiohttp.ClientResponse.__init__
).parameters and "stream_writer" not in inspect.getsource(_match):
    shimmed = _with_stream_writer(_match._build_response)
    _match._build_response = shimmed  # type: ignore[method-assign]  # that is the shim

# ------------------------------------------------------------------------------- blockbuster

#: (function of blockbuster, file, functions in it): where fwsync may block the loop, and why.
MAY_BLOCK: tuple[tuple[str, str, frozenset[str]], ...] = (
    # A lazy import (start-up under 0.15 s) reads files once, in whatever task comes first.
    *(
        (call, "<frozen importlib._bootstrap>", frozenset({"_find_and_load"}))
        for call in (
            "io.BufferedReader.read",
            "io.TextIOWrapper.read",
            "os.listdir",
            "os.stat",
            "os.getcwd",
        )
    ),
    # The log goes to stderr as journald and people read it: a line at a time.
    ("io.TextIOWrapper.write", "logging/__init__.py", frozenset({"emit"})),
    # So do progress and notes, through a stream that may break.
    ("io.TextIOWrapper.write", "fwsync/progress.py", frozenset({"write"})),
    ("io.BufferedWriter.write", "fwsync/progress.py", frozenset({"write", "flush"})),
)


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Raises where fwsync blocks the event loop; tests themselves may touch small files in it."""
    with blockbuster_ctx("fwsync") as guard:
        for call, file, functions in MAY_BLOCK:
            if call in guard.functions:
                guard.functions[call].can_block_in(file, functions)
        yield guard
