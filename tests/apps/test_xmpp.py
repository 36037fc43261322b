"""What is written for prosody is what it reads, and how a connection ended becomes a word; the rest is live."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from testbed.apps import prosody, xmpp
from testbed.apps.connect import Access
from testbed.apps.outcome import Failure
from testbed.authority import Authority


def test_names_become_files_as_prosody_makes_them(tmp_path: Path) -> None:
    prosody.write_accounts(["chat.example", "a-b.example"], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a%2db%2eexample", "chat%2eexample"]
    account = tmp_path / "chat%2eexample" / "accounts" / f"{xmpp.FRIEND}.dat"
    assert account.read_text() == 'return { ["password"] = "between friends" };\n'


@pytest.mark.parametrize(
    ("why", "during", "word", "operation"),
    [
        (ConnectionResetError(104, "reset"), "connect", "connection_reset", "tls_handshake"),
        (ConnectionRefusedError(111, "refused"), "connect", "connection_refused", "connect"),
        (ConnectionResetError(104, "reset"), "message_round_trip", "connection_reset", "message_round_trip"),
        (None, "message_round_trip", "eof_error", "message_round_trip"),
        ("No DNS record", "connect", "unknown_failure: OSError: No DNS record", "connect"),
    ],
)
def test_the_end_of_a_connection_has_a_word_and_an_operation(
    why: object, during: str, word: str, operation: str, tmp_path: Path
) -> None:
    bundle = Authority.create(tmp_path).bundle

    async def end() -> Failure:
        person = xmpp.Person("a@chat.example", Access(str(bundle)), direct=True)
        person.client.event("connecting")
        if during != "connect":
            person.client.event("tls_success")
        person.client.event("disconnected", why)
        await asyncio.wait({person.ended})
        found = person.ended.exception()
        assert isinstance(found, Failure)
        return found

    failure = asyncio.run(end())
    assert (failure.word, failure.operation) == (word, operation)


@pytest.mark.parametrize("direct", [False, True])
def test_through_a_proxy_the_name_goes_to_its_far_end_and_the_stream_behind_it(direct: bool, tmp_path: Path) -> None:
    bundle = Authority.create(tmp_path).bundle
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A SOCKS5 proxy (RFC 1928) without a far end."""
        assert await reader.readexactly(3) == b"\5\1\0"
        writer.write(b"\5\0")
        head = await reader.readexactly(5)
        await heard.put(await reader.readexactly(head[4] + 2))
        writer.write(b"\5\0\0\1" + bytes(6))
        await heard.put(await reader.read(9))
        writer.close()

    async def log_in() -> Failure:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        proxy = f"socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        person = xmpp.Person("a@chat.example", Access(str(bundle), proxy), direct=direct)
        with pytest.raises(Failure) as caught:
            await asyncio.wait_for(person.log_in("chat.example", 5222), 10)
        await person.leave()
        server.close()
        return caught.value

    failure = asyncio.run(log_in())
    assert heard.get_nowait() == b"chat.example" + (5222).to_bytes(2, "big")
    assert heard.get_nowait().startswith(b"\x16\x03" if direct else b"<stream:s")
    assert (failure.word in ("eof_error", "connection_reset"), failure.operation) == (True, "tls_handshake")


def test_a_proxy_that_is_not_there_is_to_blame(tmp_path: Path) -> None:
    bundle = Authority.create(tmp_path).bundle

    async def log_in() -> Failure:
        person = xmpp.Person("a@chat.example", Access(str(bundle), "socks5://127.0.0.1:9"), direct=False)
        with pytest.raises(Failure) as caught:
            await asyncio.wait_for(person.log_in("chat.example", 5222), 10)
        await person.leave()
        return caught.value

    failure = asyncio.run(log_in())
    assert (failure.word, failure.operation) == ("connection_refused", "connect through the tool")
