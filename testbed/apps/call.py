"""`call`: two-way UDP media between a host and the profile's relay, which sends every packet back.

A media packet carries its number and the monotonic time it was sent (all hosts share this machine's clock), so loss,
jitter (RFC 3550 §6.4.1) and one-way delay are exact; their quality comes from the E-model.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import cast

from testbed.apps import emodel
from testbed.apps.connect import resolve
from testbed.apps.outcome import Attempt, Failure
from testbed.apps.profiles import Profile
from testbed.scenario.params import CallParams

_MEDIA = struct.Struct("!Id")
_MAGIC = b"\x88\x49\x1a\x00"
_AFTER_S = 1.5
_SLOW_MOS, _CODEC_DELAY_S = 3.1, 0.06


class _Party(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.delays: dict[int, float] = {}
        self.jitter_s = 0.0
        self._transit: float | None = None

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if len(data) < len(_MAGIC) + _MEDIA.size or not data.startswith(_MAGIC):
            return
        number, sent = _MEDIA.unpack_from(data, len(_MAGIC))
        transit = (time.monotonic() - sent) / 2  # there and back through the relay
        if self._transit is not None:
            self.jitter_s += (abs(transit - self._transit) - self.jitter_s) / 16
        self._transit = transit
        self.delays[number] = transit


async def talk(profile: Profile, params: CallParams) -> Attempt:
    """Hold a call and report its quality; a call in which nothing comes back is blocked."""
    size, every_s = params.size or profile.call.size, params.every or profile.call.every
    address = await resolve(profile.relay)
    udp, party = await asyncio.get_running_loop().create_datagram_endpoint(
        _Party, remote_addr=(address, profile.call.port)
    )
    count = max(1, round(params.lasts / every_s))
    try:
        for signature in profile.call.signatures:
            if len(bytes.fromhex(signature)) > len(_MAGIC):
                udp.sendto(bytes.fromhex(signature))
        begun = time.monotonic()
        for number in range(count):
            await asyncio.sleep(begun + number * every_s - time.monotonic())
            body = _MAGIC + _MEDIA.pack(number, time.monotonic())
            udp.sendto(body + bytes(max(0, size - len(body))))
        await asyncio.sleep(_AFTER_S)
    finally:
        udp.close()
    if not party.delays:
        raise Failure("generic_timeout_error", "media")
    loss = 1 - len(party.delays) / count
    delay_s = sum(party.delays.values()) / len(party.delays)
    one_way_loss = 1 - (1 - loss) ** 0.5
    score = emodel.mos(emodel.rating(delay_s + _CODEC_DELAY_S, one_way_loss))
    kpis = {"mos": score, "loss": one_way_loss, "delay_s": delay_s, "jitter_s": party.jitter_s, "packets": count}
    return Attempt(kpis, slow=score < _SLOW_MOS)


class Relay(asyncio.DatagramProtocol):
    """Sends every media packet back to where it came from."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if data.startswith(_MAGIC):
            self._transport.sendto(data, address)
