"""What the SDK makes of an answer that is a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flywheel


def refusal(act: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Status and reason of the error that a call meets; ``None`` if it meets none."""
    try:
        act(*args, **named)
    except flywheel.ApiException as error:
        return {"status": error.status, "reason": error.reason}
    return None


def of(fw: Any, call: str, args: list[Any]) -> Any:
    """That of a method of the client."""
    return refusal(getattr(fw, call), *args)
