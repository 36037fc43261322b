"""1 → 100 inside hosts: time and memory to bring the country up and down, against bare Mininet with the same nodes.

`.venv/bin/python bench/hosts.py [COUNTS…]`; memory is what the machine had less while everything was up.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from testbed.net.sandbox import unshare_argv

_COUNTS = (1, 10, 30, 100)
#: the country is up, the memory is read inside it: /proc/meminfo is the machine's
_READ = "grep MemAvailable /proc/meminfo"
_BARE = f"""
import subprocess, sys
sys.path.append("/usr/lib/python3/dist-packages")
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
net = Mininet(controller=None, switch=LinuxBridge)
access, exchange = net.addSwitch("s1"), net.addSwitch("s2")
inside = [f"client{{number}}" for number in range(1, int(sys.argv[1]) + 1)] + ["resolver", "isp"]
world = ["border", "web", "dns", "messenger", "media", "relay", "tools", "blockpage"]
hosts = {{name: net.addHost(name) for name in [*inside, "gateway", "link", *world]}}
for name in inside:
    net.addLink(hosts[name], access)
for one, other in (("isp", "gateway"), ("gateway", "link"), ("link", "border")):
    net.addLink(hosts[one], hosts[other])
for name in world:
    net.addLink(hosts[name], exchange)
net.start()
print(subprocess.run({_READ.split()!r}, capture_output=True, text=True).stdout, flush=True)
net.stop()
"""


def available_mb() -> float:
    """Return the memory that the machine has left."""
    return _read(Path("/proc/meminfo").read_text())


def _read(text: str) -> float:
    line = next(line for line in text.splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) / 1024


def measure(argv: list[str]) -> tuple[float, float]:
    """Return seconds and megabytes that a command takes; it prints what was left while it was up."""
    before, begun = available_mb(), time.monotonic()
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return time.monotonic() - begun, before - _read(done.stdout)


def main(counts: list[int]) -> None:
    """Print a line for each number of hosts."""
    print("hosts   testbed s    bare s   ratio   testbed MB   bare MB   MB a host more")
    first: tuple[int, float] | None = None
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            scenario = Path(folder, f"hosts-{count}.yaml")
            scenario.write_text(
                f"scenario: hosts-{count}\ntitle: t\npolicy: open\nlink: none\ntopology: {{clients: {count}}}\n"
            )
            verb = [sys.executable, "-m", "testbed.cli.main", "exec", "--scenario", str(scenario), "--"]
            ours_s, ours_mb = measure([*verb, *_READ.split()])
            bare_s, bare_mb = measure([*unshare_argv(False), sys.executable, "-c", _BARE, str(count)])
            first = first or (count, ours_mb)
            more = (ours_mb - first[1]) / (count - first[0]) if count > first[0] else 0.0
            print(f"{count:5d} {ours_s:11.2f} {bare_s:9.2f} {ours_s / bare_s:7.2f} {ours_mb:12.0f} {bare_mb:9.0f} "
                  f"{more:16.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or list(_COUNTS))
