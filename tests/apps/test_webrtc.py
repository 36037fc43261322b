"""The figures of a call from what both ends heard, and what the relay is told; calls themselves are live."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from testbed.apps import coturn, webrtc
from testbed.apps.webrtc import Heard, quality, server_of
from testbed.scenario.params import WebrtcParams

CLEAR = Heard(received=250, lost=0, jitter_s=0.001, rtt_s=0.21)


def test_the_worse_way_counts() -> None:
    lossy = Heard(received=190, lost=10, jitter_s=0.03, rtt_s=0.41)
    down = quality(lossy, CLEAR)
    assert (down["loss_down"], down["loss_up"], down["jitter_s"], down["packets"]) == (0.05, 0.0, 0.03, 440)
    assert down["delay_s"] == pytest.approx(0.155)  # half the mean of both round trips
    assert quality(CLEAR, lossy)["mos"] == down["mos"]
    assert float(down["mos"]) < float(quality(CLEAR, CLEAR)["mos"])


def test_a_call_without_reports_is_rated_by_its_loss_alone() -> None:
    silent = replace(CLEAR, rtt_s=None)
    assert quality(silent, silent)["delay_s"] == 0
    assert quality(silent, CLEAR)["delay_s"] == 0.105


def test_more_than_was_sent_is_no_loss() -> None:
    assert Heard(received=10, lost=-2, jitter_s=0, rtt_s=None).loss == 0  # duplicates, RFC 3550 §6.4.1


@pytest.mark.parametrize(
    ("relay", "url"),
    [
        ("udp 3478", "turn:call.example:3478?transport=udp"),
        ("tcp 80", "turn:call.example:80?transport=tcp"),
        ("tls 443", "turns:call.example:443?transport=tcp"),
    ],
)
def test_relays_become_what_rfc_7065_says(relay: str, url: str) -> None:
    assert server_of("call.example", relay).urls == url


@pytest.mark.parametrize("relay", ["3478", "udp", "sctp 3478", "udp 0", "udp 65536", "udp 3478 now"])
def test_what_is_no_relay_is_refused(relay: str) -> None:
    with pytest.raises(ValidationError, match="is not a relay; write it like `udp 3478`"):
        WebrtcParams.model_validate({"relays": [relay]})


def test_coturn_listens_on_every_port(tmp_path: Path) -> None:
    argv = coturn.command("198.18.0.30", [443, 3478, 3479], tmp_path, "c.pem", "c.key")
    assert argv[argv.index("-p") + 1] == "443"
    assert [argv[n + 1] for n, word in enumerate(argv) if word == "--aux-server"] == [
        "198.18.0.30:3478", "198.18.0.30:3479",
    ]  # fmt: skip


def test_a_voice_is_the_same_each_time_and_comes_in_time() -> None:
    async def frames() -> list[bytes]:
        voice = webrtc.Voice()
        return [bytes(frame.planes[0]) for frame in [await voice.recv() for _ in range(3)]]

    first, again = asyncio.run(frames()), asyncio.run(frames())
    assert first == again
    assert len(set(first)) == 3
    assert {len(frame) for frame in first} == {1920}  # 20 ms of 48 kHz, 16 bits


def test_what_is_no_request_ends_the_connection_and_nothing_else() -> None:
    async def ask(data: bytes) -> bytes:
        server = await asyncio.start_server(webrtc.Friend().serve_one, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        found = await reader.read()
        writer.close()
        server.close()
        return found

    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b'POST /end HTTP/1.1\r\nContent-Length: 10\r\n\r\n{"call":9}'):
        assert asyncio.run(asyncio.wait_for(ask(data), 10)) == b""
