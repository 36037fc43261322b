"""The sandbox is shut: no way to the machine, none to another run; each host believes its own files."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.conftest import Testbed
from tests.live.reach import reached

pytestmark = pytest.mark.live
REACH = Path(__file__).parent / "reach.py"
OPEN = ("exec", "--policy", "open", "--link", "none")
NODES = ("client1", "resolver", "isp", "gateway", "nationallink", "border", "web", "dns")


def _machine_addresses() -> list[str]:
    shown = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    return [a for a in re.findall(r"inet6? ([0-9a-f.:]+)/", shown) if not a.startswith(("127.", "fe80", "::1"))]


def test_no_node_reaches_the_machine(testbed: Testbed) -> None:
    name = f"testbed-test-{os.getpid()}"
    with (
        socket.create_server(("0.0.0.0", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as abstract,
    ):  # fmt: skip
        udp.bind(("0.0.0.0", 0))
        abstract.bind("\0" + name)
        abstract.listen()
        ended = threading.Event()
        udp.settimeout(0.1)

        def echo() -> None:
            while not ended.is_set():
                try:
                    udp.sendto(b"!", udp.recvfrom(10)[1])
                except TimeoutError:
                    continue

        answering = threading.Thread(target=echo)
        answering.start()
        ports = (("tcp", tcp.getsockname()[1]), ("udp", udp.getsockname()[1]))
        targets = [f"{kind}:{a}:{port}" for a in ["127.0.0.1", *_machine_addresses()] for kind, port in ports]
        targets = [t for t in [*targets, f"@{name}"] if reached(t)]
        assert {"tcp:127.0.0.1", "udp:127.0.0.1", f"@{name}"} <= {t.rpartition(":")[0] or t for t in targets}
        line = (
            f"for node in {' '.join(NODES)}; do"
            """ pid=$(sed -n "s/.*\\"$node\\": \\([0-9]*\\).*/\\1/p" out/nodes.json);"""
            f" mnexec -a $pid {shlex.join([sys.executable, str(REACH), *targets])}; done"
        )
        done = testbed(*OPEN, "--keep", "out", "--", "sh", "-c", line)
        ended.set()
        answering.join()
    assert done.stdout.splitlines() == ["reached:"] * len(NODES), done.stderr


def test_two_runs_with_the_same_names_do_not_meet(testbed: Testbed, tmp_path: Path) -> None:
    wait = "sleep 1; touch up; until [ -e done ]; do sleep 0.1; done"
    serve = f"{sys.executable} -m http.server 8099 >/dev/null 2>&1 & {wait}"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(testbed, *OPEN, "--node", "client2", "--", "sh", "-c", serve)
        deadline = time.monotonic() + 30
        while not (tmp_path / "up").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        done = testbed(
            *OPEN, "--", "sh", "-c",
            "curl -s -m 2 http://100.64.1.2:8099/; echo $?; ping -c1 -W2 -q 100.64.1.2 | grep -o '1 received'",
        )  # fmt: skip
        (tmp_path / "done").touch()
        assert first.result().returncode == 0
    assert done.stdout.splitlines() == ["7", "1 received"], done.stderr  # refused by its own client2: nobody listens
