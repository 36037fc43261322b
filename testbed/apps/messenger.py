"""`messenger`: text, photo and voice message over TLS to the chat and media names of a profile.

The protocol is ours and small, because the real ones are secret: a 4-byte length, the message, and the server's 4-byte
receipt once the whole message is there. What the censor sees (names, ports, preamble, sizes) is the profile's.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import time

from testbed.apps.connect import Access, connected
from testbed.apps.outcome import Attempt, Failure, doing, word_for
from testbed.apps.profiles import Profile
from testbed.scenario.params import MessengerParams

_LENGTH = struct.Struct("!I")
_RECEIPT = b"DLVD"


async def send(profile: Profile, params: MessengerParams, access: Access) -> Attempt:
    """Send one message and wait for the receipt."""
    size = int(getattr(profile, params.kind)) if params.size is None else params.size
    name = profile.chat if params.kind == "text" else profile.media
    begun = time.monotonic()
    port = params.port or profile.port
    preamble = bytes.fromhex(profile.preamble if port == profile.port else "")
    async with connected(name, port, access, secure=True, preamble=preamble) as stream:
        reader, writer = stream
        doing("message_round_trip")
        try:
            writer.write(_LENGTH.pack(size) + bytes(size))
            await writer.drain()
            receipt = await reader.readexactly(len(_RECEIPT))
        except (OSError, EOFError) as error:
            raise Failure(word_for(error), "message_round_trip") from error
    if receipt != _RECEIPT:
        raise Failure("unknown_failure: not a receipt", "message_round_trip")
    delivery_s = time.monotonic() - begun
    slow_s = profile.slow_after
    return Attempt({"delivery_s": delivery_s, "bytes": size}, slow=delivery_s > slow_s)


async def serve(port: int, preamble: bytes, context: ssl.SSLContext) -> asyncio.Server:
    """Serve chat or media on a port of every address of the node."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if preamble:
                await reader.readexactly(len(preamble))
                await writer.start_tls(context)
            while True:
                (size,) = _LENGTH.unpack(await reader.readexactly(4))
                while size > 0:
                    chunk = await reader.read(min(size, 65536))
                    if not chunk:
                        return
                    size -= len(chunk)
                writer.write(_RECEIPT)
                await writer.drain()
        except (OSError, EOFError):
            pass  # the client went away or was cut off
        finally:
            writer.transport.abort()

    return await asyncio.start_server(answer, "0.0.0.0", port, ssl=None if preamble else context)
