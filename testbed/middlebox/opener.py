"""The process that opens taken-over TLS connections: `python -m testbed.middlebox.opener FD AUTHORITIES`.

Over FD (a Unix socket of packets) come pairs of connected sockets, one towards a client, one towards its server. Here
TLS ends on both: with the server first, under the client's name and protocols, then with the client, with a certificate
for that name from the censor's authority and the protocol that the server chose. What one side sends goes to the other;
so do ends, half-closed connections and resets. The server's certificate is not looked at. When FD closes, this ends.

Bytes pass only as fast as the slower side takes them. Whoever is silent for good is found out by keep-alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import signal
import socket
import ssl
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.authority import Authority, folder_of
from testbed.wire.tls import ClientHello, NeedMore, client_hello

_HANDSHAKE_S, _LAST_WORDS_S = 30.0, 5.0
_CHUNK = 65536
_LONGEST_HELLO = 1 << 17
_HANDSHAKE_RECORD, _CLOSING = 22, struct.pack("ii", 1, 0)


class Refused(Exception):
    """A side that won't have this connection; the text says what it said."""


class Leg:
    """One side of a connection: its socket, and TLS on it. `heard` and `said` count bytes of content."""

    def __init__(self, mine: socket.socket) -> None:
        self._socket, self._loop = mine, asyncio.get_running_loop()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._sending = asyncio.Lock()
        self._answering: asyncio.Task[None] | None = None
        self._ahead: list[bytes] = []
        self.beginning = b""
        """What came first, as it came, up to the end of the handshake."""
        self.heard = 0

    @property
    def tls(self) -> ssl.SSLObject:
        """TLS, once it was begun."""
        assert self._tls is not None
        return self._tls

    async def hear_hello(self) -> ClientHello | None:
        """Wait for the ClientHello; None if what comes is none."""
        while len(self.beginning) < _LONGEST_HELLO:
            if not await self._more():
                return None
            try:
                return client_hello(self.beginning, join_records=True)
            except NeedMore:
                continue
            except ValueError:
                return None
        return None

    async def shake_hands(self, context: ssl.SSLContext, *, as_server: bool, name: str | None = None) -> None:
        """Begin TLS; `Refused` if the other side or we won't."""
        try:
            self._tls = context.wrap_bio(self._in, self._out, server_side=as_server, server_hostname=name)
        except ValueError:  # a name that Python's IDNA won't write; then without
            self._tls = context.wrap_bio(self._in, self._out, server_side=as_server)
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                await self._more()
            except ssl.SSLError as error:
                await self.flush()
                raise Refused((error.reason or str(error)).lower().replace("_", " ")) from None
            else:
                await self.flush()
                return

    async def read(self) -> bytes:
        """Return what came, b"" after close_notify; `ssl.SSLEOFError` if the stream ends without."""
        while True:
            try:
                data = self._ahead.pop(0) if self._ahead else self.tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                self._answer()
                await self._more()
            except ssl.SSLZeroReturnError:
                return b""
            else:
                self.heard += len(data)
                return data

    async def write(self, data: bytes) -> None:
        """Send content, as fast as it is taken."""
        self.tls.write(data)
        await self.flush()

    async def close_notify(self) -> None:
        """Say that no more comes; the other direction stays open.

        OpenSSL then looks for the other side's close_notify and throws away content that stands before it, so that
        what has come is read first.
        """
        with contextlib.suppress(ssl.SSLError):
            while data := self.tls.read(_CHUNK):
                self._ahead.append(data)
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        await self.flush()

    async def flush(self) -> None:
        """Send what TLS wants to be sent."""
        async with self._sending:
            while data := self._out.read():
                await self._loop.sock_sendall(self._socket, data)

    def _answer(self) -> None:
        """Send what TLS answers of itself (a new key) without waiting: while one side sends, it must still be read."""

        async def send() -> None:
            with contextlib.suppress(OSError):  # the reader meets it, too
                await self.flush()

        if self._out.pending and not self._sending.locked():
            self._answering = asyncio.create_task(send())

    async def pass_on(self, data: bytes) -> None:
        """Send bytes past TLS."""
        await self._loop.sock_sendall(self._socket, data)

    async def _more(self) -> bool:
        data = await self._loop.sock_recv(self._socket, _CHUNK)
        if self._tls is None or len(self.beginning) < _CHUNK:
            self.beginning += data
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()
        return bool(data)

    async def wait_for_end(self) -> None:
        """Read the stream away until it ends."""
        while await self._loop.sock_recv(self._socket, _CHUNK):
            pass

    def end(self) -> None:
        """Send FIN; the other direction stays open."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with RST."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSING)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class Certificates:
    """The censor's certificates, minted when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = functools.cache(self._load)
        self.context = functools.lru_cache(maxsize=1024)(self._context)

    def _load(self, issuer: str) -> Authority:
        return Authority.at(folder_of(self._folder, issuer), issuer)

    def _context(self, issuer: str, name: str, protocol: str | None) -> ssl.SSLContext:
        """Return how to be a server of that name that speaks one protocol."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if protocol is not None:
            context.set_alpn_protocols([protocol])
        chain, key = self._authority(issuer).mint([name])
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".pem") as file:  # ssl takes certificates from files
            file.write(chain + key)
            file.flush()
            context.load_cert_chain(file.name)
        return context


def towards_server(protocols: tuple[str, ...]) -> ssl.SSLContext:
    """Return how to be a client that offers protocols and believes everything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    offered = [name for name in protocols if name.isascii() and name]  # without GREASE (RFC 8701)
    if offered:
        context.set_alpn_protocols(offered)
    return context


@dataclass(frozen=True, slots=True)
class Opening:
    """One connection to open: who issues, and for which address if the client names nobody."""

    client: Leg
    server: Leg
    issuer: str
    address: str
    certificates: Certificates

    async def play(self) -> dict[str, Any]:
        """Open the connection and carry it to its end; return what to report."""
        told: dict[str, Any] = {"issuer": self.issuer}
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                told["reason"] = await self._open(told)
        except (OSError, TimeoutError) as error:
            told["reason"] = "not opened: " + ("no answer in time" if isinstance(error, TimeoutError) else str(error))
            self._reset()
            return told
        if told["reason"] == "opened":
            told["end"] = await self._carry()
            told["up_bytes"], told["down_bytes"] = self.client.heard, self.server.heard
        else:
            self.client.end()
            self.server.end()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await asyncio.gather(self.client.wait_for_end(), self.server.wait_for_end(), return_exceptions=True)
        return told

    async def _open(self, told: dict[str, Any]) -> str:
        hello = await self.client.hear_hello()
        if hello is None:
            return "not opened: no ClientHello came"
        name = hello.sni or self.address
        told["name"] = name
        try:
            await self.server.shake_hands(towards_server(hello.alpn), as_server=False, name=hello.sni)
        except Refused as error:
            if self.server.beginning[:1] != bytes([_HANDSHAKE_RECORD]):  # its refusal, for the client to read
                await self.client.pass_on(self.server.beginning)
            return f"not opened: the server said {error}"
        protocol = self.server.tls.selected_alpn_protocol()
        try:
            context = self.certificates.context(self.issuer, name, protocol)
        except ValueError as error:
            return f"not opened: {error}"
        try:
            await self.client.shake_hands(context, as_server=True)
        except Refused as error:
            await self.server.close_notify()
            return f"the client refused the certificate: {error}"
        told.update(protocol=protocol, version=self.client.tls.version())
        return "opened"

    async def _carry(self) -> str:
        ended = "closed"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(self.client, self.server))
                group.create_task(_pump(self.server, self.client))
        except* OSError as errors:
            self._reset()
            ended = str(errors.exceptions[0])
        return ended

    def _reset(self) -> None:
        self.client.reset()
        self.server.reset()


async def _pump(source: Leg, sink: Leg) -> None:
    """Carry one direction to its end, which is carried over as it comes: with close_notify or without."""
    try:
        while data := await source.read():
            await sink.write(data)
    except ssl.SSLEOFError:
        pass
    else:
        await sink.close_notify()
        await source.wait_for_end()
    sink.end()


class Opener:
    """Takes pairs of sockets from the box, reports each when it is over."""

    def __init__(self, channel: socket.socket, certificates: Certificates) -> None:
        self._channel, self._certificates = channel, certificates
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._reporting = asyncio.Lock()

    async def serve(self) -> None:
        """Serve until the box is gone; then reset what is under way."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel, self._receive)
        await self._over.wait()
        loop.remove_reader(self._channel)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _receive(self) -> None:
        data, numbers, _, _ = socket.recv_fds(self._channel, _CHUNK, 2)
        if not data:
            self._over.set()
            return
        client, server = (socket.socket(fileno=number) for number in numbers)
        task = asyncio.create_task(self._play(client, server, json.loads(data)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, client: socket.socket, server: socket.socket, about: dict[str, Any]) -> None:
        legs = Leg(client), Leg(server)
        try:
            told = await Opening(*legs, about["issuer"], about["address"], self._certificates).play()
        except BaseException:
            for leg in legs:
                leg.reset()
            raise
        finally:
            for leg in legs:
                leg.close()
        report = {"rule": about["rule"], "flow": about["flow"], **told}
        async with self._reporting:
            with contextlib.suppress(OSError):  # the box is gone
                await asyncio.get_running_loop().sock_sendall(self._channel, json.dumps(report).encode())


async def main(number: int, folder: Path) -> None:
    """Serve the box at the other end of a descriptor."""
    folder.mkdir(parents=True, exist_ok=True)
    channel = socket.socket(fileno=number)
    channel.setblocking(False)
    with channel:
        await Opener(channel, Certificates(folder)).serve()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
