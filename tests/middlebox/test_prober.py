"""Probes against real sockets on loopback: a server that answers, one that is silent, one that isn't there."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from testbed.dpi.decision import Probe
from testbed.middlebox.prober import Answered, Prober

LOOPBACK = bytes([127, 0, 0, 1])


def run(prober: Prober, probes: list[Probe], seconds: float = 3.0) -> list[Answered]:
    begun = time.monotonic()
    for probe in probes:
        prober.start(probe, 0.0)
    found: list[Answered] = []
    while len(found) < len(probes) and time.monotonic() - begun < seconds:
        reading, writing = prober.sockets()
        ready = select.select(reading, writing, (), 0.02)
        found += prober.step({*ready[0], *ready[1]}, time.monotonic() - begun)
    prober.close()
    return found


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_an_answer_is_reported_with_what_was_sent(server: socket.socket) -> None:
    got: list[bytes] = []

    def serve() -> None:
        connection, _ = server.accept()
        got.append(connection.recv(100))
        connection.sendall(b"HTTP/1.1 400")
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    (answered,) = run(Prober(), [Probe("r", LOOPBACK, server.getsockname()[1], "http", b"GET /", 0.05)])
    thread.join()
    assert (answered.connected, answered.answer, got) == (True, b"HTTP/1.1 400", [b"GET /"])


def test_silence_and_absence_are_told_apart(server: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        absent = gone.getsockname()[1]
    probes = [Probe("r", LOOPBACK, port, "random", b"x" * 221) for port in (server.getsockname()[1], absent)]
    found = {answered.probe.port: answered for answered in run(Prober(patience_s=0.3), probes)}
    assert (found[probes[0].port].connected, found[probes[0].port].answer) == (True, b"")
    assert (found[absent].connected, found[absent].answer) == (False, b"")


def test_no_more_at_once_than_allowed(server: socket.socket) -> None:
    prober = Prober(patience_s=5.0, most=2)
    for _ in range(5):
        prober.start(Probe("r", LOOPBACK, server.getsockname()[1], "nothing", b""), 0.0)
    assert list(prober.step(set(), 0.0)) == []
    assert sum(map(len, prober.sockets())) == 2
    assert prober.next_due() == 5.0
    assert len(list(prober.step(set(), 6.0))) == 2
    prober.close()
