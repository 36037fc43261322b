"""IMO in 2018: calls stop, photos and voice messages stop, text goes on (facts §4)."""

from __future__ import annotations

import pytest

from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from tests.dpi.playbook import client_hello, datagram, dropped, opened, playbook, silence

CALLS = [b"\x09\x02" + bytes(8), b"\0\x09\x03" + bytes(8), b"\x88\x49\x1a\0" + bytes(1095)]
CONTROL = b"\x09\x02" + bytes(9)
BOTH = ("tm-2018-imo", "tm-2018-imo-media")


@pytest.mark.parametrize("name", [*BOTH, "tm-2018-imo-calls"])
@pytest.mark.parametrize("content", CALLS)
def test_a_call_dies_by_its_signature_and_stays_dead(name: str, content: bytes) -> None:
    book = playbook(Engine(load_policy(name), seed=1))
    book >> datagram(content, 40001) << dropped()
    book >> datagram(b"anything later", 40001) << dropped()
    book >> datagram(b"anything later", 40002) << silence()


@pytest.mark.parametrize("name", [*BOTH, "tm-2018-imo-calls"])
def test_other_datagrams_pass(name: str) -> None:
    playbook(Engine(load_policy(name), seed=1)) >> datagram(CONTROL, 40001) << silence()


@pytest.mark.parametrize("name", BOTH)
def test_media_stalls_and_chat_does_not(name: str) -> None:
    opened(playbook(Engine(load_policy(name), seed=1))) >> client_hello("photos.media.imo.im") << dropped()
    opened(playbook(Engine(load_policy(name), seed=1))) >> client_hello("chat.imo.im") << silence()


def test_with_calls_alone_media_passes() -> None:
    book = opened(playbook(Engine(load_policy("tm-2018-imo-calls"), seed=1)))
    book >> client_hello("photos.media.imo.im") << silence()
