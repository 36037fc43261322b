"""Connections as apps make them: the system's resolver, TCP, TLS with the run's authority; each step can be blamed."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from testbed.apps.outcome import Failure, word_for

FORGED = frozenset({"127.0.0.1"})


async def resolve(name: str) -> str:
    """Return a name's first IPv4 address by the host's resolver; a forged loopback answer is a failure of its own."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Failure(word_for(error), "resolve") from error
    return str(found[0][4][0])


@asynccontextmanager
async def connected(
    name: str, port: int, *, tls: ssl.SSLContext | None = None, preamble: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a name and yield the stream; failures name their operation."""
    address = await resolve(name)
    try:
        reader, writer = await asyncio.open_connection(address, port)
    except OSError as error:
        raise Failure(word_for(error), "connect" if address not in FORGED else "connect to a forged address") from error
    try:
        if preamble:
            writer.write(preamble)
        if tls is not None:
            try:
                await writer.start_tls(tls, server_hostname=name)
            except (OSError, EOFError) as error:
                raise Failure(word_for(error), "tls_handshake") from error
        yield reader, writer
    finally:
        writer.transport.abort()


def trusting(ca: str) -> ssl.SSLContext:
    """Return a client's TLS context that trusts the run's authority and nothing else."""
    return ssl.create_default_context(cafile=ca)
