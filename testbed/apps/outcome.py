"""Exceptions to OONI's failure words, and an attempt's result. Pure apart from reading exception types.

Words: github.com/ooni/spec, data-formats/df-007-errors.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

_ERRNO_WORDS = {
    errno.ECONNRESET: "connection_reset", errno.EPIPE: "connection_reset", errno.ECONNREFUSED: "connection_refused",
    errno.ECONNABORTED: "connection_aborted", errno.EHOSTUNREACH: "host_unreachable",
    errno.ENETUNREACH: "network_unreachable", errno.ETIMEDOUT: "generic_timeout_error",
}  # fmt: skip
#: OpenSSL's verify codes (x509_vfy.h): not yet valid, expired, wrong host name, wrong address
_CERTIFICATE_WORDS = {
    9: "ssl_invalid_certificate", 10: "ssl_invalid_certificate", 62: "ssl_invalid_hostname", 64: "ssl_invalid_hostname",
}  # fmt: skip
#: asyncio raises these without a number when a connection is lost in the middle of something
_CLASS_WORDS: Mapping[type[BaseException], str] = {
    ConnectionResetError: "connection_reset", BrokenPipeError: "connection_reset",
    ConnectionRefusedError: "connection_refused", ConnectionAbortedError: "connection_aborted",
}  # fmt: skip
_RESOLVER_WORDS = {
    socket.EAI_NONAME: "dns_nxdomain_error", socket.EAI_NODATA: "dns_no_answer",
    socket.EAI_AGAIN: "dns_temporary_failure",
}  # fmt: skip


@dataclass(slots=True)
class Progress:
    """How far an attempt has come: the operation under way, so that a time-out can be blamed on it."""

    operation: str | None = None


_progress: ContextVar[Progress] = ContextVar("progress")


def new_progress() -> Progress:
    """Begin to watch an attempt; the tasks it starts report to the same object."""
    progress = Progress()
    _progress.set(progress)
    return progress


def doing(operation: str) -> None:
    """Say which operation begins: `resolve`, `connect`, `tls_handshake`, …"""
    _progress.get(Progress()).operation = operation


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
        return _CERTIFICATE_WORDS.get(error.verify_code, "ssl_unknown_authority")
    if isinstance(error, (asyncio.IncompleteReadError, EOFError, ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "eof_error"
    if isinstance(error, ssl.SSLError):
        return "ssl_failed_handshake"
    if isinstance(error, socket.gaierror):
        return _RESOLVER_WORDS.get(error.errno or 0, "dns_non_recoverable_failure")
    if isinstance(error, OSError) and error.errno in _ERRNO_WORDS:
        return _ERRNO_WORDS[error.errno]
    if type(error) in _CLASS_WORDS:
        return _CLASS_WORDS[type(error)]
    return f"unknown_failure: {type(error).__name__}: {error}"


_OVER_TLS = frozenset({"tls_handshake", "http_round_trip", "message_round_trip"})


def blocking_of(operation: str | None) -> str | None:
    """Return OONI's kind of blocking for a failed operation, as its Web Connectivity test would."""
    if operation in ("resolve", "connect to a forged address"):
        return "dns"
    if operation == "connect":
        return "tcp_ip"
    return "http-failure" if operation in _OVER_TLS else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one successful attempt measured. `slow`: it worked, but not as people expect."""

    kpis: Mapping[str, float | int | str]
    slow: bool = False
    blocking: str | None = None
    failure: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What else its result line holds."""

    @property
    def verdict(self) -> str:
        """ok, slow or blocked."""
        return "blocked" if self.failure or self.blocking else "slow" if self.slow else "ok"
