"""Start-up: `testbed exec --policy open -- true` against bare Mininet bringing the same nodes up and down.

Prints both medians in seconds and their ratio; run inside a checkout as `.venv/bin/python bench/startup.py [ROUNDS]`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from testbed.net.sandbox import unshare_argv

_BARE = """
import sys
sys.path.append("/usr/lib/python3/dist-packages")
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
net = Mininet(controller=None, switch=LinuxBridge)
access, exchange = net.addSwitch("s1"), net.addSwitch("s2")
hosts = {name: net.addHost(name) for name in
         ("client1", "client2", "resolver", "isp", "gateway", "link", "border",
          "web", "dns", "messenger", "media", "relay", "tools", "blockpage")}
for name in ("client1", "client2", "resolver", "isp"):
    net.addLink(hosts[name], access)
for one, other in (("isp", "gateway"), ("gateway", "link"), ("link", "border")):
    net.addLink(hosts[one], hosts[other])
for name in ("border", "web", "dns", "messenger", "media", "relay", "tools", "blockpage"):
    net.addLink(hosts[name], exchange)
net.start()
net.stop()
"""


def seconds(argv: list[str]) -> float:
    """Return how long a command takes; it must succeed."""
    begun = time.monotonic()
    subprocess.run(argv, check=True, capture_output=True)
    return time.monotonic() - begun


def main(rounds: int) -> None:
    """Measure both in turn and print the ratio."""
    ours = [sys.executable, "-m", "testbed.cli.main", "exec", "--policy", "open", "--", "true"]
    bare = [*unshare_argv(False), sys.executable, "-c", _BARE]
    pairs = [(seconds(ours), seconds(bare)) for _ in range(rounds)]
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"testbed exec {first:.2f} s   bare mininet {second:.2f} s   ratio {first / second:.2f} (bound 3)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
