"""Connections as apps make them: the system's resolver, TCP, TLS with the run's authority; each step can be blamed."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from python_socks.async_.asyncio import Proxy

from testbed.apps.outcome import Failure, doing, word_for

_BOGONS = tuple(
    ipaddress.ip_network(prefix)
    for prefix in (
        "0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3",
        "::/127", "fc00::/7", "fe80::/10", "ff00::/8",
    )
)  # fmt: skip


def is_bogon(address: str) -> bool:
    """Say whether no server of the world can have this address, so that an answer with it is forged."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in _BOGONS)


async def resolve(name: str) -> str:
    """Return a name's first IPv4 address by the host's resolver."""
    doing("resolve")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Failure(word_for(error), "resolve") from error
    return str(found[0][4][0])


@dataclass(frozen=True, slots=True)
class Access:
    """How an app reaches the world: whom it trusts, and through which proxy it goes (`socks5://…`, `http://…`).

    `address` stands for every name, as if it had been looked up before: a forged answer then blocks nothing.
    """

    ca: str
    proxy: str | None = None
    address: str | None = None


async def tunnel(name: str, port: int, proxy: str) -> socket.socket:
    """Open a TCP connection through a proxy, which resolves the name at its far end."""
    doing("connect through the tool")
    try:
        opened: socket.socket = await Proxy.from_url(proxy, rdns=True).connect(dest_host=name, dest_port=port)
    except (OSError, EOFError, ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
        raise Failure(word_for(error.__cause__ or error), "connect through the tool") from error
    return opened


async def _open(
    name: str, port: int, access: Access, address: str | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a TCP connection: by the host's own resolver, or through a proxy that resolves the name at its far end."""
    if access.proxy is not None:
        return await asyncio.open_connection(sock=await tunnel(name, port, access.proxy))
    address = address or access.address or await resolve(name)
    operation = "connect to a forged address" if is_bogon(address) else "connect"
    doing(operation)
    try:
        return await asyncio.open_connection(address, port)
    except OSError as error:
        raise Failure(word_for(error), operation) from error


@asynccontextmanager
async def connected(
    name: str, port: int, access: Access, *, secure: bool, preamble: bytes = b"", address: str | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a name and yield the stream; failures name their operation."""
    reader, writer = await _open(name, port, access, address)
    try:
        if preamble:
            writer.write(preamble)
        if secure:
            doing("tls_handshake")
            try:
                await writer.start_tls(trusting(access.ca), server_hostname=name)
            except (OSError, EOFError) as error:
                raise Failure(word_for(error), "tls_handshake") from error
        yield reader, writer
    finally:
        writer.transport.abort()


def trusting(ca: str) -> ssl.SSLContext:
    """Return a client's TLS context that trusts the run's authority and nothing else."""
    return ssl.create_default_context(cafile=ca)


async def listening(address: str, port: int) -> None:
    """Wait until something listens on a port."""
    while True:
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
