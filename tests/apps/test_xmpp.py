"""What is written for prosody is what it reads, and how a connection ended becomes a word; the rest is live."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from testbed.apps import prosody, xmpp
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
        person = xmpp.Person("a@chat.example", str(bundle), direct=True)
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
