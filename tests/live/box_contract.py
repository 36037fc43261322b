"""One conversation with a box, from inside a run: what programs see, what the control socket says, how it ends.

Arguments: the run directory. Prints one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from testbed import control
from testbed.errors import InputError

LISTED, FREE = "twitter.com", "weather.example"
AT = ("--resolve", f"{LISTED}:80:198.19.3.4", "--resolve", f"{LISTED}:443:198.19.3.4")


def curl(url: str) -> list[Any]:
    argv = ["curl", "-sS", "--max-time", "10", *AT, "-o", "/dev/null", "-w", "%{http_code}", url]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return [done.returncode, done.stdout]


def dig(name: str, server: str) -> list[str]:
    argv = ["dig", "+short", "+time=3", "+tries=1", f"@{server}", name]
    lines = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
    return sorted(line for line in lines if not line.startswith(";"))


def main(run: Path) -> None:
    socket = run / "control" / "gateway.sock"
    seen = {
        "dns": [dig(LISTED, "198.18.0.53"), dig(LISTED, "198.18.0.20"), dig(f"www.{LISTED}", "198.18.0.53")],
        "free dns": [dig(FREE, "198.18.0.53"), dig(FREE, "198.18.0.20")],
        "http": [curl(f"http://{LISTED}/"), curl(f"http://{FREE}/"), curl(f"http://{FREE}/bytes/300000")],
        "https": [curl(f"https://{LISTED}/"), curl(f"https://{FREE}/"), curl(f"https://{FREE}/bytes/300000")],
    }
    stats = control.call(socket, {"op": "stats"})
    told = {key: stats[key] for key in ("dropped", "queue_drops", "unparsed")}
    control.call(socket, {"op": "clock", "t0": time.monotonic() - 5000, "epoch": 1e9})
    dig(LISTED, "198.18.0.53")
    with contextlib.suppress(InputError):
        control.call(socket, {"op": "sing"})
        told["sang"] = True
    answer = {"seen": seen, "stats": told, "acted": stats["decisions"] > 0, "keys": sorted(stats)}
    print(json.dumps(answer), flush=True)
    box = _process("gateway.config.json")
    os.kill(box, signal.SIGTERM)
    until = time.monotonic() + 5
    while time.monotonic() < until and Path(f"/proc/{box}/exe").exists():
        time.sleep(0.05)


def _process(argument: str) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if any(word.endswith(argument.encode()) for word in words) and b"python" in words[0]:
                return int(folder.name)
    raise LookupError(argument)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
