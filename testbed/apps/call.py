"""`call`: two-way UDP media between a host and the profile's relay, which sends every packet back.

A media packet carries its number and the monotonic time it was sent (all hosts share this machine's clock). Both ways
are taken as alike: half the round trip is the one-way delay, and the loss of one way squared that of both. Quality
comes from the E-model; jitter is that of RFC 3550 §6.4.1.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import cast

from testbed.apps import emodel
from testbed.apps.connect import is_bogon, resolve
from testbed.apps.outcome import Attempt, Failure, doing
from testbed.apps.profiles import Profile
from testbed.scenario.params import CallParams

_MEDIA = struct.Struct("!Id")
_AFTER_S = 1.5
SLOW_MOS, CODEC_DELAY_S = 3.1, 0.06  # G.107 Annex B: below 3.1 nearly all users are dissatisfied


class Party(asyncio.DatagramProtocol):
    """One end of a call: what came back, when, how evenly."""

    def __init__(self, prefix: bytes, size: int) -> None:
        self.delays: dict[int, float] = {}
        self.jitter_s = 0.0
        self._prefix, self._size = prefix, size
        self._transit: float | None = None

    def packet(self, number: int, now: float) -> bytes:
        """Return a media packet."""
        body = self._prefix + _MEDIA.pack(number, now)
        return body + bytes(max(0, self._size - len(body)))

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Note a packet that came back."""
        self.receive(data, time.monotonic())

    def receive(self, data: bytes, now: float) -> None:
        """Measure a media packet; anything else is none of ours."""
        if len(data) < len(self._prefix) + _MEDIA.size or not data.startswith(self._prefix):
            return
        number, sent = _MEDIA.unpack_from(data, len(self._prefix))
        if number in self.delays or not 0 <= now - sent < 3600:
            return
        transit = (now - sent) / 2
        if self._transit is not None:
            self.jitter_s += (abs(transit - self._transit) - self.jitter_s) / 16
        self._transit = transit
        self.delays[number] = transit


async def talk(profile: Profile, params: CallParams) -> Attempt:
    """Hold a call and report its quality; a call in which nothing comes back is blocked."""
    size, every_s = params.size or profile.call.size, params.every or profile.call.every
    address = await resolve(profile.relay)
    operation = "connect to a forged address" if is_bogon(address) else "media"
    doing(operation)
    prefix = bytes.fromhex(profile.call.media)
    udp, party = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Party(prefix, size), remote_addr=(address, profile.call.port)
    )
    count = max(1, round(params.lasts / every_s))
    try:
        for signature in profile.call.signatures:
            udp.sendto(bytes.fromhex(signature))
        begun = time.monotonic()
        for number in range(count):
            await asyncio.sleep(begun + number * every_s - time.monotonic())
            udp.sendto(party.packet(number, time.monotonic()))
        await asyncio.sleep(_AFTER_S)
    finally:
        udp.close()
    if not party.delays:
        raise Failure("generic_timeout_error", operation)
    kpis = quality(party, count)
    return Attempt(kpis, slow=kpis["mos"] < SLOW_MOS)


def quality(party: Party, count: int) -> dict[str, float]:
    """Return what a call of `count` packets was like."""
    delay_s = sum(party.delays.values()) / len(party.delays)
    one_way_loss = 1 - (len(party.delays) / count) ** 0.5
    score = emodel.mos(emodel.rating(delay_s + CODEC_DELAY_S, one_way_loss))
    return {"mos": score, "loss": one_way_loss, "delay_s": delay_s, "jitter_s": party.jitter_s, "packets": count}


class Relay(asyncio.DatagramProtocol):
    """Sends every packet back to where it came from."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(data, address)
