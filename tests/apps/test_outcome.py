"""Exceptions become OONI's words, as github.com/ooni/spec df-007 and ooni/probe-cli write them."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

import pytest

from testbed.apps.outcome import Attempt, Failure, doing, new_progress, word_for
from testbed.scenario.params import FAILURES, is_failure


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), "connection_reset"),
        (ConnectionResetError(), "connection_reset"),  # as asyncio raises it, without a number
        (BrokenPipeError(errno.EPIPE, "pipe"), "connection_reset"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "connection_refused"),
        (ConnectionAbortedError(errno.ECONNABORTED, "aborted"), "connection_aborted"),
        (OSError(errno.EHOSTUNREACH, "no route"), "host_unreachable"),
        (OSError(errno.ENETUNREACH, "no net"), "network_unreachable"),
        (TimeoutError(), "generic_timeout_error"),
        (OSError(errno.ETIMEDOUT, "timed out"), "generic_timeout_error"),
        (asyncio.IncompleteReadError(b"", 4), "eof_error"),
        (EOFError(), "eof_error"),
        (ssl.SSLEOFError(8, "eof"), "eof_error"),
        (ssl.SSLError(1, "wrong version number"), "ssl_failed_handshake"),
        (certificate_error(18), "ssl_unknown_authority"),
        (certificate_error(20), "ssl_unknown_authority"),
        (certificate_error(10), "ssl_invalid_certificate"),
        (certificate_error(62), "ssl_invalid_hostname"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "dns_nxdomain_error"),
        (socket.gaierror(socket.EAI_AGAIN, "later"), "dns_temporary_failure"),
        (socket.gaierror(socket.EAI_NODATA, "no data"), "dns_no_answer"),
        (socket.gaierror(socket.EAI_FAIL, "failed"), "dns_non_recoverable_failure"),
        (Failure("connection_reset", "connect"), "connection_reset"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_error_has_its_word(error: BaseException, word: str) -> None:
    assert word_for(error) == word
    assert word in FAILURES


def test_any_other_error_is_unknown_with_its_text() -> None:
    word = word_for(OSError(errno.EIO, "input/output error"))
    assert word.startswith("unknown_failure: OSError")
    assert is_failure(word)
    assert not is_failure("connection_rest")


@pytest.mark.parametrize(
    ("attempt", "verdict"),
    [
        (Attempt({}), "ok"),
        (Attempt({}, slow=True), "slow"),
        (Attempt({}, failure="eof_error"), "blocked"),
        (Attempt({}, blocking="http-diff"), "blocked"),
    ],
)
def test_verdicts(attempt: Attempt, verdict: str) -> None:
    assert attempt.verdict == verdict


def test_a_time_out_is_blamed_on_the_operation_under_way() -> None:
    async def connect() -> None:
        doing("connect")
        await asyncio.sleep(60)

    async def attempt() -> str | None:
        progress = new_progress()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connect(), 0.01)
        return progress.operation

    assert asyncio.run(attempt()) == "connect"
