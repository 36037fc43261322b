"""Exceptions to OONI's failure words, and an attempt's result. Pure apart from reading exception types.

Words: github.com/ooni/spec, data-formats/df-007-errors.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ERRNO_WORDS = {
    errno.ECONNRESET: "connection_reset", errno.EPIPE: "connection_reset", errno.ECONNREFUSED: "connection_refused",
    errno.ECONNABORTED: "connection_aborted", errno.EHOSTUNREACH: "host_unreachable",
    errno.ENETUNREACH: "network_unreachable", errno.ETIMEDOUT: "generic_timeout_error",
}  # fmt: skip


class Failure(Exception):
    """An attempt that failed for a reason we know: OONI's word and the operation that failed."""

    def __init__(self, word: str, operation: str) -> None:
        super().__init__(word)
        self.word, self.operation = word, operation


def word_for(error: BaseException) -> str:
    """Return OONI's word for an exception."""
    if isinstance(error, Failure):
        return error.word
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return "generic_timeout_error"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "ssl_invalid_hostname" if "ostname" in str(error) else "ssl_unknown_authority"
    if isinstance(error, (asyncio.IncompleteReadError, EOFError, ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "eof_error"
    if isinstance(error, ssl.SSLError):
        return "ssl_failed_handshake"
    if isinstance(error, socket.gaierror):
        return "dns_nxdomain_error" if error.errno == socket.EAI_NONAME else "dns_temporary_failure"
    if isinstance(error, OSError) and error.errno in _ERRNO_WORDS:
        return _ERRNO_WORDS[error.errno]
    return f"unknown_failure: {type(error).__name__}: {error}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one successful attempt measured. `slow`: it worked, but not as people expect."""

    kpis: Mapping[str, float | int | str]
    slow: bool = False
    blocking: str | None = None
    failure: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """ok, slow or blocked."""
        return "blocked" if self.failure else "slow" if self.slow else "ok"
