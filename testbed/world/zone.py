"""The world's authority: answers for any name, over UDP and TCP. `python -m testbed.world.zone CONFIG.json`."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from testbed.world.names import addresses_for

TTL_S = 300


def answer(query: dns.message.Message, zone: Mapping[str, Sequence[str]], ipv6: bool) -> dns.message.Message:
    """Answer one query: A, AAAA if the run has IPv6, SOA and NS of the root; other types exist but are empty."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    if len(query.question) != 1:
        response.set_rcode(dns.rcode.FORMERR)
        return response
    question = query.question[0]
    found = addresses_for(question.name.to_text(), zone)
    if not found:
        response.set_rcode(dns.rcode.NXDOMAIN)
    kind = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6 if ipv6 else 0}.get(question.rdtype, 0)
    for address in found:
        if ipaddress.ip_address(address).version == kind:
            response.answer.append(dns.rrset.from_text(question.name, TTL_S, "IN", question.rdtype, address))
    if not response.answer:
        soa = "authority.test. hostmaster.test. 1 3600 600 86400 300"
        response.authority.append(dns.rrset.from_text(dns.name.root, TTL_S, "IN", "SOA", soa))
    return response


class _Authority(asyncio.DatagramProtocol):
    def __init__(self, zone: Mapping[str, Sequence[str]], ipv6: bool) -> None:
        self._zone, self._ipv6 = zone, ipv6

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        reply = self.reply(data)
        if reply is not None:
            self._transport.sendto(reply, address)

    def reply(self, data: bytes) -> bytes | None:
        """Return the answer to a message in wire format, None to what is no query."""
        try:
            query = dns.message.from_wire(data)
            return None if query.flags & dns.flags.QR else answer(query, self._zone, self._ipv6).to_wire()
        except dns.exception.DNSException:
            return None

    async def serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the queries of one TCP connection (RFC 7766)."""
        try:
            while True:
                (length,) = struct.unpack("!H", await asyncio.wait_for(reader.readexactly(2), 30))
                reply = self.reply(await reader.readexactly(length))
                if reply is None:
                    break
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            pass  # the client went away
        writer.close()


async def serve(address: str, zone: Mapping[str, Sequence[str]], ipv6: bool) -> None:
    """Serve until cancelled."""
    authority = _Authority(zone, ipv6)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: authority, local_addr=(address, 53))
    server = await asyncio.start_server(authority.serve_stream, address, 53)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    asyncio.run(serve(config["address"], config["zone"], config["ipv6"]))
