"""What a handler raises when the answer is an error: a status and a message.

One place turns it into the JSON of the wire (:mod:`fwsync.sandbox.app`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Set


class ApiError(Exception):
    """An answer that is not 2xx.

    Args:
        status: of HTTP.
        message: for people; clients must not match it.
        extra: more members of the JSON body, such as ``reason``.
    """

    def __init__(self, status: int, message: str, **extra: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.extra = extra
        #: Of the answer, besides its type.
        self.headers: dict[str, str] = {}


def invalid(message: str) -> ApiError:
    """400: the request itself is wrong."""
    return ApiError(400, message)


def forbidden(message: str) -> ApiError:
    """403: the caller may not."""
    return ApiError(403, message, reason="permission_denied")


def missing(message: str) -> ApiError:
    """404: there is no such thing."""
    return ApiError(404, message)


def unprocessable(message: str) -> ApiError:
    """422: a parameter of a list, or a value, breaks a rule."""
    return ApiError(422, message, core_status_code="input_validation_error")


def request_id() -> str:
    """What an answer names its request by."""
    return f"{secrets.token_hex(4)}-{int(time.time())}"


def refuse_others(told: Iterable[str], known: Set[str], where: str = "") -> None:
    """Refuse an object with names that are not known: what they say would be lost.

    Args:
        where: which object it is, for the message.

    Raises:
        ApiError: 400.
    """
    if unknown := sorted(set(told) - known):
        place, names = f" in {where}" if where else "", ", ".join(unknown)
        raise invalid(f"Additional properties are not allowed{place} ({names} unexpected)")
