"""Opening TLS between real TLS ends over socket pairs: what each side sees, and how ends of every kind cross over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509

from testbed.authority import Authority, folder_of
from testbed.middlebox.opener import Certificates, Leg, Opening

ISSUER = "Qaznet Trust Network"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ends:
    """A client's socket, a server's socket, and the report to come."""

    client: socket.socket
    server: socket.socket
    report: asyncio.Task[dict[str, Any]]


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Ends]:
    pairs = [socket.socketpair() for _ in range(2)]
    for mine in (mine for pair in pairs for mine in pair):
        mine.setblocking(False)
    (client, inner), (outer, server) = pairs
    legs = Leg(inner), Leg(outer)

    async def play() -> dict[str, Any]:
        try:
            return await Opening(*legs, ISSUER, "198.18.0.80", Certificates(folder)).play()
        finally:
            for leg in legs:
                leg.close()

    report = asyncio.create_task(play())
    try:
        yield Ends(client, server, report)
    finally:
        report.cancel()
        await asyncio.gather(report, return_exceptions=True)
        client.close()
        server.close()


def serving(folder: Path, protocols: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain, key = Authority.create(folder / "world").issue(["true.example"])
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(protocols)
    return context


def trusting(folder: Path, name: str, protocols: list[str]) -> ssl.SSLContext:
    bundle = Authority.at(folder_of(folder, name), name).bundle
    context = ssl.create_default_context(cafile=str(bundle))
    context.set_alpn_protocols(protocols)
    return context


async def start_server(mine: socket.socket, context: ssl.SSLContext, serve: Serve) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, mine, ssl=context)
    await serve(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


async def echo_then_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"heard " + await reader.readexactly(5))
    writer.close()


def test_the_client_sees_the_censors_certificate_and_the_servers_bytes(tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(tmp_path) as ends:
            server = asyncio.create_task(
                start_server(ends.server, serving(tmp_path, ["h2", "http/1.1"]), echo_then_close)
            )
            context = trusting(tmp_path, ISSUER, ["h2", "http/1.1"])
            reader, writer = await asyncio.open_connection(sock=ends.client, ssl=context, server_hostname="google.com")
            tls = writer.get_extra_info("ssl_object")
            shown = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
            assert shown.issuer.rfc4514_string() == f"CN={ISSUER}"
            assert tls.selected_alpn_protocol() == "h2"
            writer.write(b"hello")
            assert await reader.read() == b"heard hello"
            writer.close()
            await server
            told = await asyncio.wait_for(ends.report, 5)
        assert told["reason"] == "opened"
        assert (told["name"], told["protocol"], told["end"]) == ("google.com", "h2", "closed")
        assert (told["up_bytes"], told["down_bytes"]) == (5, 11)

    asyncio.run(play())


def test_a_protocol_that_the_server_does_not_choose_is_not_offered(tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(tmp_path) as ends:
            server = asyncio.create_task(start_server(ends.server, serving(tmp_path, ["http/1.1"]), echo_then_close))
            context = trusting(tmp_path, ISSUER, ["h2", "http/1.1"])
            _, writer = await asyncio.open_connection(sock=ends.client, ssl=context, server_hostname="google.com")
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            writer.write(b"hello")
            await server
            writer.close()

    asyncio.run(play())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_refuses_the_certificate_ends_both_sides(tmp_path: Path, version: ssl.TLSVersion) -> None:
    async def play() -> None:
        ended = asyncio.Event()

        async def wait_for_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.read() == b""
            writer.close()
            ended.set()

        async with opened(tmp_path) as ends:
            server = asyncio.create_task(start_server(ends.server, serving(tmp_path, ["http/1.1"]), wait_for_end))
            context = trusting(tmp_path, "Another authority", ["http/1.1"])
            context.maximum_version = version
            with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate in certificate chain"):
                await asyncio.to_thread(_Plain, ends.client, context, server_hostname="google.com")
            await server
            told = await asyncio.wait_for(ends.report, 5)
        assert ended.is_set()
        assert told["reason"] == "the client refused the certificate: tlsv1 alert unknown ca"

    asyncio.run(play())


def test_megabytes_cross_unchanged_both_ways(tmp_path: Path) -> None:
    up, down = bytes(range(256)) * 8000, bytes(reversed(range(256))) * 16000

    async def swap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(down)
        assert await reader.readexactly(len(up)) == up
        await writer.drain()
        writer.close()

    async def play() -> None:
        async with opened(tmp_path) as ends:
            server = asyncio.create_task(start_server(ends.server, serving(tmp_path, ["h2"]), swap))
            context = trusting(tmp_path, ISSUER, ["h2"])
            reader, writer = await asyncio.open_connection(sock=ends.client, ssl=context, server_hostname="google.com")
            writer.write(up)
            assert await reader.read() == down
            writer.close()
            await server
            told = await asyncio.wait_for(ends.report, 5)
        assert (told["up_bytes"], told["down_bytes"]) == (len(up), len(down))

    asyncio.run(play())


class _Plain:
    """TLS on a blocking socket without anybody's idea of its end: asyncio's closes both halves together."""

    def __init__(self, mine: socket.socket, context: ssl.SSLContext, **how: Any) -> None:
        self._socket, self._into, self._out = mine, ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._into, self._out, **how)
        mine.settimeout(5)
        self._until(self._tls.do_handshake)

    def _until(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                if unsent := self._out.read():
                    self._socket.sendall(unsent)
                data = self._socket.recv(65536)
                assert data, "the stream ends without close_notify"
                self._into.write(data)
            except ssl.SSLCertVerificationError:
                self._socket.sendall(self._out.read())
                self._socket.shutdown(socket.SHUT_WR)
                raise
            else:
                if unsent := self._out.read():
                    self._socket.sendall(unsent)
                return done

    def read_until_notified(self) -> bytes:
        """Return what comes until close_notify."""
        got = b""
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while data := self._until(lambda: self._tls.read(65536)):
                got += data
        return got

    def read_to_the_end(self) -> bytes:
        """Return what comes until close_notify, behind which must be FIN."""
        got = self.read_until_notified()
        assert self._socket.recv(1) == b""
        return got

    def say(self, data: bytes) -> None:
        """Send data."""
        self._tls.write(data)
        self._socket.sendall(self._out.read())

    def say_and_end(self, data: bytes) -> None:
        """Send data, close_notify and FIN."""
        self._tls.write(data)
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._socket.sendall(self._out.read())
        self._socket.shutdown(socket.SHUT_WR)


def test_a_server_that_sends_before_it_reads_is_read_meanwhile(tmp_path: Path) -> None:
    up, down = bytes(2_000_000), bytes(4_000_000)

    async def play() -> None:
        async with opened(tmp_path) as ends:

            def serve() -> None:
                tls = _Plain(ends.server, serving(tmp_path, ["h2"]), server_side=True)
                tls.say(down)
                assert len(tls.read_until_notified()) == len(up)
                tls.say_and_end(b"")

            server = asyncio.create_task(asyncio.to_thread(serve))
            context = trusting(tmp_path, ISSUER, ["h2"])
            reader, writer = await asyncio.open_connection(sock=ends.client, ssl=context, server_hostname="google.com")
            writer.write(up)
            assert len(await reader.readexactly(len(down))) == len(down)
            await writer.drain()
            writer.close()
            await server
            told = await asyncio.wait_for(ends.report, 5)
        assert (told["up_bytes"], told["down_bytes"]) == (len(up), len(down))

    asyncio.run(play())


def test_a_client_may_end_its_half_and_still_be_answered(tmp_path: Path) -> None:
    """TLS 1.3 lets each side close its own half (RFC 8446 §6.1): the request ends, the answer follows."""

    async def play() -> None:
        async with opened(tmp_path) as ends:
            answered: list[bytes] = []

            def serve() -> None:
                tls = _Plain(ends.server, serving(tmp_path, ["h2"]), server_side=True)
                tls.say_and_end(b"answer to " + tls.read_to_the_end())

            def ask() -> None:
                tls = _Plain(ends.client, trusting(tmp_path, ISSUER, ["h2"]), server_hostname="google.com")
                tls.say_and_end(b"question")
                answered.append(tls.read_to_the_end())

            threads = [Thread(target=serve), Thread(target=ask)]
            for thread in threads:
                thread.start()
            told = await asyncio.wait_for(ends.report, 5)
            for thread in threads:
                thread.join()
        assert answered == [b"answer to question"]
        assert told["end"] == "closed"

    asyncio.run(play())


def test_what_a_server_says_instead_of_tls_reaches_the_client(tmp_path: Path) -> None:
    refusal = bytes.fromhex("15030300020228")  # a fatal handshake_failure

    async def play() -> None:
        async with opened(tmp_path) as ends:
            loop = asyncio.get_running_loop()
            context = trusting(tmp_path, ISSUER, ["h2"])
            client = asyncio.create_task(
                asyncio.open_connection(sock=ends.client, ssl=context, server_hostname="google.com")
            )
            assert (await loop.sock_recv(ends.server, 65536))[:1] == b"\x16"
            await loop.sock_sendall(ends.server, refusal)
            ends.server.shutdown(socket.SHUT_WR)
            with pytest.raises(ssl.SSLError, match="ALERT_HANDSHAKE_FAILURE"):
                await client
            ends.server.close()
            told = await asyncio.wait_for(ends.report, 5)
        assert told["reason"] == "not opened: the server said sslv3 alert handshake failure"

    asyncio.run(play())


def test_bytes_that_are_no_hello_end_it(tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(tmp_path) as ends:
            await asyncio.get_running_loop().sock_sendall(ends.client, b"GET / HTTP/1.1\r\n\r\n")
            ends.client.close()
            ends.server.close()
            told = await asyncio.wait_for(ends.report, 5)
        assert told["reason"] == "not opened: no ClientHello came"

    asyncio.run(play())
