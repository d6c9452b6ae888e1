"""The house's end of the driver: flows are called here, and run there."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[3]


class FlowFailed(Exception):
    """A flow raised; ``status`` is that of the answer, if the SDK's ``ApiException`` it was."""

    def __init__(self, trace: str, status: int | None) -> None:
        super().__init__(trace)
        self.status = status


class Driver:
    """The SDK's interpreter; started when first needed, and again after it was stopped.

    Args:
        python: the interpreter that has the SDK.
        home: its home and working folder; nothing of this process's environment is handed on.
    """

    def __init__(self, python: Path, home: Path) -> None:
        self._python = python
        self._home = home
        self._process: subprocess.Popen[str] | None = None

    def call(self, flow: str, key: str, args: dict[str, Any]) -> Any:
        """Run a flow and return its facts.

        Raises:
            FlowFailed: the flow raised.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            asked = {"flow": flow, "key": key, "args": args}
            print(json.dumps(asked, default=_plain), file=process.stdin, flush=True)
            line = process.stdout.readline()
        except BaseException:  # a time-out: its answer would be taken for that of the next flow
            self.stop()
            raise
        if not line:
            self.stop()
            raise AssertionError(f"the driver ended:\n{(self._home / 'stderr').read_text()}")
        answer = json.loads(line, object_hook=_revived)
        if "failed" in answer:
            raise FlowFailed(**answer["failed"])
        return answer["facts"]

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        home = str(self._home)
        with (self._home / "stderr").open("ab") as said:
            self._process = subprocess.Popen(
                [self._python, "-m", "tests.conformance.sdk.driver"],
                cwd=ROOT,
                env={"HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "TZ": "America/New_York"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                encoding="utf-8",
            )
        return self._process


@dataclass(frozen=True, slots=True)
class Sdk:
    """The official SDK with a key; ``key`` may be empty: the flow makes its own client."""

    driver: Driver
    key: str

    def __call__(self, flow: str, **args: Any) -> Any:
        """Run ``module.function`` of the flows.

        Raises:
            FlowFailed: it raised.
        """
        return self.driver.call(flow, self.key, args)

    def with_key(self, key: str) -> Sdk:
        """The same, as somebody else."""
        return Sdk(self.driver, key)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    return str(value)


def _revived(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else value
