"""Lab 5: the student's box in the path of a real country, and somebody inside who knocks on it."""

from __future__ import annotations

import json
import secrets
import shlex
import sys
from collections.abc import Mapping
from functools import partial

from testbed.labs.work import Work
from testbed.world.names import addresses_for

_MOST_LINES = 200
_RESET, _PASSED = {35, 56}, {0}
_RESET_SOON = _RESET | {7}  # drawn by the handshake's last packet, it comes before curl looks
_VANISHED, _REFUSED = {1}, {3}
_SEEN = {
    0: "it got through", 1: "it vanished", 3: "it got through", 7: "it was reset", 28: "nothing came back",
    35: "it was reset", 56: "it was reset", 60: "somebody else's certificate came", 124: "it took too long",
}  # fmt: skip
#: a host without a server there says so (ICMP), unless the question never came
_STUN = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1.5)
s.connect(("198.18.0.22", int(sys.argv[1])))
s.send(bytes.fromhex("000100002112a442") + bytes(12))
try:
    s.recv(64)
except ConnectionRefusedError:
    sys.exit(3)
"""


def examine(work: Work) -> None:
    """Mark lab 5."""
    work.judge("my_box.py: under 200 lines", lambda: _short(work))
    names = work.words("blocked")
    chosen = len(set(names)) >= 2 and all(name.endswith(".example") and len(name) > 8 for name in names)
    work.judge("blocked: two names of your own", lambda: chosen, "two different names that end in .example, as a list")
    statuses = _knock(work, names[:2]) if chosen and work.file("my_box.py").is_file() else {}
    said = str(statuses.get("said", "the box was not tried"))
    found = {key: value for key, value in statuses.items() if isinstance(value, int)}
    tasks: Mapping[str, tuple[str, set[int]]] = {
        "control": ("who did nothing gets through", _PASSED),
        "beside": ("and whose name only looks like it", _PASSED),
        "hello": ("your names are reset in TLS", _RESET),
        "below": ("and names below them", _RESET),
        "stun": ("calls: packets to port 3478 vanish", _VANISHED),
        "other": ("and those to the next port don't", _REFUSED),
        "residual": ("memory: the same connection draws resets for a while", _RESET_SOON),
    }
    for key, (task, right) in tasks.items():
        work.judge(task, partial(_fared, found.get(key), right, said))


def _fared(status: int | None, right: set[int], said: str) -> bool | str:
    return said if status is None else status in right or _SEEN.get(status, f"curl ended with status {status}")


def _short(work: Work) -> bool | str:
    path = work.file("my_box.py")
    if not path.is_file():
        return "there is no my_box.py"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    return lines < _MOST_LINES or f"{lines} lines"


def _curl(name: str, *, port: int = 0, then: str = "") -> str:
    """Return a command that asks a site by its true address, whatever DNS says."""
    own = f"--local-port {port} " if port else ""
    address = addresses_for(then or name, {})[0]
    quoted = shlex.quote(name)
    return f"curl -sS -o /dev/null --max-time 12 {own}--resolve {quoted}:443:{address} https://{quoted}/ 2>/dev/null"


def _knock(work: Work, names: list[str]) -> dict[str, int | str]:
    """Try the box; return curl's status for each probe, or what was said if it did not come up."""
    token, port = secrets.token_hex(3), 42000 + secrets.randbelow(2000)
    probes = {
        "control": _curl(f"{token}.example"),
        "beside": _curl(f"{token}{names[0]}"),
        "hello": _curl(names[1]),
        "below": _curl(f"{token}.{names[0]}"),
        **{
            key: f"{shlex.join([sys.executable, '-c', _STUN, number])} 2>/dev/null"
            for key, number in (("stun", "3478"), ("other", "3479"))
        },
        "residual": f"{_curl(names[0], port=port)}; {_curl(f'{token}.example', port=port, then=names[0])}",
    }
    script = "; ".join(f"{probe}; echo {key} $?" for key, probe in probes.items())
    done = work.in_country(["sh", "-c", script], policy=str(work.file("my_box.py").resolve()))
    lines = [line.split() for line in done.stdout.splitlines()]
    seen: dict[str, int | str] = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}
    return seen or {"said": json.dumps(done.stderr.strip()[-200:])}
