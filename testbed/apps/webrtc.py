"""`webrtc`: a voice call as browsers make it (aiortc: ICE, DTLS, SRTP with Opus) to a friend abroad, over a TURN relay.

Without `direct` only relayed addresses are offered, as where both stand behind a NAT that nobody reaches through. The
relays are tried in order, as a program does that has a list: one that gives no address within 5 s is dead. Offer and
answer cross by one HTTPS request, the friend's figures by another. Quality is that of the worse way, from the loss and
jitter that each end's RTP saw and the round trip that RTCP told (RFC 3550), by the same E-model as `call`.
"""

from __future__ import annotations

import asyncio
import fractions
import json
import math
import random
import time
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.contrib.media import MediaBlackhole
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame

from testbed.apps import emodel
from testbed.apps.call import CODEC_DELAY_S, SLOW_MOS
from testbed.apps.connect import Access, connected, is_bogon, resolve
from testbed.apps.outcome import Attempt, Failure, doing, word_for
from testbed.scenario.params import WebrtcParams

SIGNAL_PORT, USER, PASSWORD, REALM = 8443, "aygul", "between-friends", "call.example"
_RATE_HZ, _FRAME_S = 48_000, 0.02
_SYLLABLES_HZ, _LOUDNESS = 4, 3000


class Voice(MediaStreamTrack):
    """Noise in the rhythm of syllables: as many bytes as speech, and the same in every run."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        chance = random.Random(1)
        second = (
            int(_LOUDNESS * math.sin(math.pi * _SYLLABLES_HZ * n / _RATE_HZ) ** 2 * chance.uniform(-1, 1))
            for n in range(_RATE_HZ)
        )
        self._sound = array("h", second).tobytes()
        self._frame, self._begun = 0, 0.0

    async def recv(self) -> AudioFrame:
        """Return the next 20 ms when they are due."""
        self._begun = self._begun or time.monotonic()
        await asyncio.sleep(self._begun + self._frame * _FRAME_S - time.monotonic())
        samples = round(_RATE_HZ * _FRAME_S)
        frame = AudioFrame(format="s16", layout="mono", samples=samples)
        start = 2 * samples * self._frame % len(self._sound)
        frame.planes[0].update(self._sound[start : start + 2 * samples])
        frame.sample_rate, frame.time_base = _RATE_HZ, fractions.Fraction(1, _RATE_HZ)
        frame.pts = self._frame * samples
        self._frame += 1
        return frame


@dataclass(frozen=True, slots=True)
class Heard:
    """What one end saw: packets that came and that didn't, jitter, and the round trip, None if no report came back."""

    received: int
    lost: int
    jitter_s: float
    rtt_s: float | None

    @property
    def loss(self) -> float:
        """The share of packets that didn't come."""
        return max(0, self.lost) / max(1, self.received + max(0, self.lost))


class Party:
    """One end of a call: speaks, listens, and says what it heard."""

    def __init__(self, servers: list[RTCIceServer], *, relayed: bool = False) -> None:
        policy = RTCIceTransportPolicy.RELAY if relayed else RTCIceTransportPolicy.ALL
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=servers, iceTransportPolicy=policy))
        self._pc.addTrack(Voice())
        self._sink = MediaBlackhole()
        self._pc.on("track", self._sink.addTrack)
        self.settled = asyncio.Event()
        self._pc.on("connectionstatechange", self._look)

    def _look(self) -> None:
        if self.state in ("connected", "failed", "closed"):
            self.settled.set()

    @property
    def state(self) -> str:
        """How far the connection is: new, connecting, connected, failed, closed."""
        return str(self._pc.connectionState)

    async def offer(self) -> str:
        """Gather addresses and return the offer."""
        await self._pc.setLocalDescription(await self._pc.createOffer())
        return str(self._pc.localDescription.sdp)

    async def answer(self, sdp: str) -> str:
        """Take an offer and return the answer."""
        await self._pc.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        await self._sink.start()
        return str(self._pc.localDescription.sdp)

    async def take(self, sdp: str) -> None:
        """Take the answer to the offer."""
        await self._pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        await self._sink.start()

    async def heard(self) -> Heard:
        """Return what was heard so far."""
        received = lost = 0
        jitter_s, rtt_s = 0.0, None
        for stats in (await self._pc.getStats()).values():
            if stats.type == "inbound-rtp":
                received, lost, jitter_s = stats.packetsReceived, stats.packetsLost, stats.jitter / _RATE_HZ
            elif stats.type == "remote-inbound-rtp":
                rtt_s = stats.roundTripTime or None
        return Heard(received, lost, jitter_s, rtt_s)

    async def close(self) -> None:
        """Hang up."""
        await self._sink.stop()
        await self._pc.close()


async def talk(params: WebrtcParams, access: Access) -> Attempt:
    """Call the friend, talk, and report the quality; a call that does not come about is blocked."""
    begun = time.monotonic()
    address = await resolve(params.server)
    party, relay = await _first_alive(params, forged=is_bogon(address))
    try:
        answer = await _post(params.server, "/call", {"sdp": await party.offer()}, access)
        doing("media")
        await party.take(answer["sdp"])
        await party.settled.wait()
        if party.state != "connected":
            raise Failure("generic_timeout_error", "media")
        connect_s = time.monotonic() - begun
        await asyncio.sleep(params.lasts)
        here = await party.heard()
        there = Heard(**await _post(params.server, "/end", {"call": answer["call"]}, access))
    finally:
        await party.close()
    if not here.received or not there.received:
        raise Failure("generic_timeout_error", "media")
    kpis = {**quality(here, there), "connect_s": connect_s, "relay": relay}
    return Attempt(kpis, slow=float(kpis["mos"]) < SLOW_MOS)


async def _first_alive(params: WebrtcParams, *, forged: bool) -> tuple[Party, str]:
    """Return a party with an address at the first relay that answers, and which that is."""
    operation = "connect to a forged address" if forged else "relay"
    doing(operation)
    for relay in params.relays:
        party = Party([server_of(params.server, relay)], relayed=not params.direct)
        try:
            offer = await party.offer()
        except BaseException:
            await party.close()
            raise
        if " typ relay" in offer or params.direct:
            return party, relay if " typ relay" in offer else "direct"
        await party.close()
    raise Failure("generic_timeout_error", operation)


def server_of(name: str, relay: str) -> RTCIceServer:
    """Return a relay as WebRTC wants it: `udp 3478` at a name is `turn:NAME:3478?transport=udp` (RFC 7065)."""
    transport, port = relay.split()
    scheme, carried = ("turns", "tcp") if transport == "tls" else ("turn", transport)
    return RTCIceServer(f"{scheme}:{name}:{port}?transport={carried}", USER, PASSWORD)


def quality(here: Heard, there: Heard) -> dict[str, float | int | str]:
    """Return what the call was like: of the two ways the worse one counts."""
    rtts = [end.rtt_s for end in (here, there) if end.rtt_s is not None]
    delay_s = sum(rtts) / len(rtts) / 2 if rtts else 0.0
    loss = max(here.loss, there.loss)
    score = emodel.mos(emodel.rating(delay_s + CODEC_DELAY_S, loss))
    return {
        "mos": score, "loss_down": here.loss, "loss_up": there.loss, "delay_s": delay_s,
        "jitter_s": max(here.jitter_s, there.jitter_s), "packets": here.received + there.received,
    }  # fmt: skip


async def _post(server: str, path: str, document: Mapping[str, Any], access: Access) -> dict[str, Any]:
    """Ask the friend's side something over HTTPS."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {server}:{SIGNAL_PORT}\r\nContent-Length: {len(body)}\r\n\r\n"
    async with connected(server, SIGNAL_PORT, access, secure=True) as (reader, writer):
        doing("http_round_trip")
        try:
            writer.write(head.encode() + body)
            await reader.readuntil(b"\r\n\r\n")
            return dict(json.loads(await reader.read(1 << 20)))
        except (OSError, EOFError, ValueError) as error:
            raise Failure(word_for(error), "http_round_trip") from error


class Friend:
    """The other end, abroad: answers calls and says what it heard of each."""

    def __init__(self) -> None:
        self._calls: dict[int, Party] = {}

    async def respond(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to a request: an offer, or the end of a call."""
        if path == "/call":
            number = len(self._calls)
            self._calls[number] = Party([])
            return {"call": number, "sdp": await self._calls[number].answer(document["sdp"])}
        party = self._calls[document["call"]]
        heard = asdict(await party.heard())
        await party.close()
        return heard

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to one request, then close."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            size = int(head.partition("content-length:")[2].split("\r\n")[0])
            response = await self.respond(head.split()[1], json.loads(await reader.readexactly(size)))
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + json.dumps(response).encode())
            await writer.drain()
        except (OSError, EOFError, ValueError, KeyError, IndexError, asyncio.LimitOverrunError):
            pass  # no request of ours, or the caller is gone
        finally:
            writer.close()
