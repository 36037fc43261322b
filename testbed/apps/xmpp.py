"""`xmpp`: a message over a real protocol: slixmpp, an unmodified client, to a friend abroad at an unmodified prosody.

The friend is a client of the same kind beside the server, there from the start. A text counts as delivered when the
friend's receipt is back (XEP-0184). A photo is uploaded to the server first (XEP-0363), its address is sent, and the
friend fetches it before sending the receipt. What a censor sees of it (ports, `<stream:stream to=…>` in clear, then the
TLS hello in the middle of the connection, or TLS from the start) is the protocol's own (RFC 6120, RFC 7590, XEP-0368).
Through a proxy the client gets a connection that stands already, as from `proxychains`; it knows of none itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from slixmpp import ClientXMPP
from slixmpp.xmlstream import ET

from testbed.apps import web
from testbed.apps.connect import Access, connected, is_bogon, resolve, trusting, tunnel
from testbed.apps.outcome import Attempt, Failure, doing, word_for
from testbed.scenario.params import XmppParams

USER, FRIEND, PASSWORD = "aygul", "friend", "between friends"
PORT, TLS_PORT, UPLOAD_PORT = 5222, 5223, 5281
_UPLOAD = "urn:xmpp:http:upload:0"
_GOODBYE_S = 0.5
T = TypeVar("T")


class Person:
    """A client that logs in once. `ended` holds why its connection is over; it does not try again."""

    def __init__(self, jid: str, access: Access, *, direct: bool) -> None:
        self.client: Any = ClientXMPP(jid, PASSWORD, ssl_context=trusting(access.ca))
        self._proxy = access.proxy
        if access.proxy is not None:
            self.client._attempt_connection = self._connect_through
        self.client.enable_direct_tls, self.client.enable_starttls = direct, not direct
        self.client.register_plugin("xep_0184", {"auto_ack": False})
        self.client.start_tls = self._start_tls
        self.logged_in = asyncio.Event()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._operation = ""
        for event, operation in (
            ("connecting", "connect"), ("connected", "tls_handshake"), ("tls_success", "message_round_trip"),
        ):  # fmt: skip
            self.client.add_event_handler(event, lambda _, begun=operation: self._now(begun))
        self.client.add_event_handler("session_start", self._begin)
        self.client.add_event_handler("connection_failed", self._end)
        self.client.add_event_handler("disconnected", self._end)
        self.client.add_event_handler("failed_all_auth", lambda _: self._end(OSError("the server refused the login")))

    def _now(self, operation: str) -> None:
        self._operation = operation
        doing(operation)

    async def _connect_through(self, host: str, port: int, tls: bool, server_hostname: str | None) -> bool:
        """Connect as the client does, by a tunnel; a failure ends it, since it does not try again."""
        client, self._operation = self.client, "connect through the tool"
        client.event_when_connected = "connected"
        try:
            opened = await tunnel(host, port, str(self._proxy))
            if tls:
                self._now("tls_handshake")
            context = client.get_ssl_context() if tls else None
            await client.loop.create_connection(
                lambda: client, sock=opened, ssl=context, server_hostname=server_hostname
            )
        except (Failure, OSError) as error:
            self._end(error)
            return False
        return True

    async def _start_tls(self) -> bool:
        """Shake hands in the middle of the stream, as the client does, which keeps to itself why that failed."""
        client = self.client
        handshake = asyncio.ensure_future(
            client.loop.start_tls(
                client.transport, client, client.get_ssl_context(), server_hostname=client.default_domain
            )
        )
        client._current_connection_attempt = handshake  # what it looks at to know that it is not too late
        try:
            transport = await handshake
        except OSError as error:
            self._end(error)
            return False
        client.connection_made(transport, send_event=False)
        return True

    async def _begin(self, _: object) -> None:
        self.client.send_presence()
        self._now("message_round_trip")
        self.logged_in.set()

    def _end(self, why: object) -> None:
        """Note why it is over: an exception, or a word of the client's; nothing at all is a connection closed."""
        if self.ended.done():
            return
        if isinstance(why, Failure):
            self.ended.set_exception(why)
            self.client.cancel_connection_attempt()
            return
        error = why if isinstance(why, BaseException) else OSError(str(why)) if why else EOFError()
        # with TLS from the start the client doesn't tell connecting from shaking hands; only the latter is ever reset
        reset = isinstance(error, (ConnectionResetError, EOFError)) and self._operation == "connect"
        self.ended.set_exception(Failure(word_for(error), "tls_handshake" if reset else self._operation))
        self.client.cancel_connection_attempt()

    async def sure(self, wanted: Awaitable[T]) -> T:
        """Wait for something; `Failure` if the connection ends before it comes."""
        waiting = asyncio.ensure_future(wanted)
        both: set[asyncio.Future[Any]] = {waiting, self.ended}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            self.ended.result()
        return await waiting

    async def log_in(self, address: str, port: int) -> None:
        """Connect to the server and log in."""
        self.client.connect(address, port)
        await self.sure(self.logged_in.wait())

    async def leave(self) -> None:
        """Say goodbye, if anybody still listens."""
        self.client.del_event_handler("disconnected", self._end)
        await self.client.disconnect(wait=_GOODBYE_S, ignore_send_queue=True)
        self.client.abort()
        if not self.ended.done():
            self.ended.cancel()


@asynccontextmanager
async def _person(jid: str, access: Access, *, direct: bool) -> AsyncIterator[Person]:
    person = Person(jid, access, direct=direct)
    try:
        yield person
    finally:
        await person.leave()


async def send(params: XmppParams, access: Access) -> Attempt:
    """Log in, send one message and wait for the friend's receipt."""
    begun = time.monotonic()
    if access.proxy is not None:  # it resolves the name at its far end
        address = params.address or params.server
    else:
        address = params.address or await resolve(params.server)
    doing("connect to a forged address" if is_bogon(address) else "connect")
    direct = params.tls == "direct"
    async with _person(f"{USER}@{params.server}", access, direct=direct) as person:
        try:
            await person.log_in(address, params.port or (TLS_PORT if direct else PORT))
        except Failure as failure:
            forged = is_bogon(address) and failure.operation == "connect"
            raise (Failure(failure.word, "connect to a forged address") if forged else failure) from None
        session_s = time.monotonic() - begun
        size = params.size or (400 if params.kind == "text" else 60_000)
        body = "." * size if params.kind == "text" else await _upload(person, params, access, size)
        receipt = asyncio.Event()
        person.client.add_event_handler("receipt_received", lambda _: receipt.set())
        message = person.client.make_message(mto=f"{FRIEND}@{params.server}", mbody=body, mtype="chat")
        message["request_receipt"] = True
        message.send()
        await person.sure(receipt.wait())
    delivery_s = time.monotonic() - begun
    kpis = {"session_s": session_s, "delivery_s": delivery_s, "bytes": size}
    return Attempt(kpis, slow=delivery_s > params.slow_s)


async def _upload(person: Person, params: XmppParams, access: Access, size: int) -> str:
    """Ask the server for a place, put a photo there, and return its address."""
    question = person.client.make_iq_get(ito=f"upload.{params.server}")
    request = {"filename": "photo.jpg", "size": str(size), "content-type": "image/jpeg"}
    question.append(ET.Element(f"{{{_UPLOAD}}}request", request))
    answer = await person.sure(question.send())
    put = answer.xml.find(f".//{{{_UPLOAD}}}put")
    got = answer.xml.find(f".//{{{_UPLOAD}}}get")
    headers = {header.get("name"): header.text for header in put}
    parts = urlsplit(put.get("url"))
    host, port = parts.hostname or "", parts.port or 443
    head = [f"PUT {parts.path} HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {size}", "Connection: close"]
    head += ["Content-Type: image/jpeg", *(f"{name}: {value}" for name, value in headers.items())]
    async with connected(host, port, access, secure=True, address=params.address) as (reader, writer):
        doing("http_round_trip")
        try:
            writer.write("\r\n".join([*head, "", ""]).encode() + bytes(size))
            await writer.drain()
            status = (await reader.readline()).split(b" ")[1:2]
        except (OSError, EOFError) as error:
            raise Failure(word_for(error), "http_round_trip") from error
    if status != [b"201"]:
        raise Failure("unknown_failure: the server does not take the photo", "http_round_trip")
    doing("message_round_trip")
    return str(got.get("url"))


async def befriend(server: str, access: Access) -> Person:
    """Log the friend in, who answers every message with a receipt, and fetches a photo before."""
    person = Person(f"{FRIEND}@{server}", access, direct=False)

    async def answer(message: Any) -> None:
        body = str(message["body"])
        if body.startswith("https://"):
            await web.get(body, access)
        person.client["xep_0184"].ack(message)

    person.client.add_event_handler("message", answer)
    await person.log_in(access.address or server, PORT)
    return person
