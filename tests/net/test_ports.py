"""What listens, as the kernel says it in two ways."""

from __future__ import annotations

import os
import socket

import pytest

from testbed.net import ports


def test_it_finds_what_listens_and_nothing_else() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.create_connection(server.getsockname()) as client, socket.socket() as bound,
    ):  # fmt: skip
        datagrams.bind(("127.0.0.1", 0))
        bound.bind(("127.0.0.1", 0))
        found = ports.listening(os.getpid())
        assert f"tcp/{server.getsockname()[1]}" in found
        assert f"udp/{datagrams.getsockname()[1]}" in found
        assert not {f"tcp/{client.getsockname()[1]}", f"tcp/{bound.getsockname()[1]}"} & found


def test_diagnosis_and_proc_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port in ports._diagnosed(socket.AF_INET)
        assert port not in ports._diagnosed(socket.AF_INET6)

        def refuses(family: int) -> list[int]:
            raise OSError("no such protocol")

        monkeypatch.setattr(ports, "_diagnosed", refuses)
        assert f"tcp/{port}" in ports.listening(os.getpid())


def test_a_process_that_is_gone_listens_on_nothing() -> None:
    assert ports.listening(2**22 + 1) == set()
