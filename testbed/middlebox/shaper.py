"""The national link's process where the kernel carries it: sets the disciplines, changes them, says how they fare.

`python -m testbed.middlebox.shaper CONFIG.json`, in the link's namespaces. No packet comes here: the two ports are one
bridge, shaped by the commands of `link.kernel`. The control socket and the samples are those of `pipe`, so that the
live page and the reports need not know who carries the link. A link that loses everything both ways is a cut cable,
which needs no netem: the bridge goes down.
"""

from __future__ import annotations

import json
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed import control, proc
from testbed.documents import Document, validate
from testbed.errors import InputError, MachineError, Problem, TestbedError
from testbed.link import kernel
from testbed.link.spec import USER_LIMIT_BPS, DirectionSpec, LinkSpec, plain
from testbed.middlebox.qdiscs import Discipline, Disciplines
from testbed.middlebox.samples import EVERY_S, Samples, State
from testbed.units import format_rate


class Shaper:
    """Both directions of the link."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._epoch, self._t0 = float(config["epoch"]), float(config["t0"])
        self._inside, self._outside = str(config["inside_if"]), str(config["outside_if"])
        self._spec, self._changed = _link_spec(config["link"]), False
        _check_netem(self._spec)
        for argv in kernel.bridge_commands(self._inside, self._outside):
            proc.run(argv)
        self._shape()
        self._disciplines = Disciplines()
        self._samples = Samples(Path(config["samples"]))
        self._control = control.serve(Path(config["control"]), self._answer)
        self._running = True

    def now(self) -> float:
        """Return the emulated Unix time."""
        return self._epoch + time.monotonic() - self._t0

    def run(self) -> None:
        """Answer and sample until told to stop."""
        while self._running:
            if select.select([self._control.fileno()], (), (), EVERY_S)[0]:
                self._control.accept_ready()
            self._samples.take(self.now(), self._epoch, self._sampled)

    def stop(self) -> None:
        """End `run`."""
        self._running = False

    def _shape(self) -> None:
        if kernel.is_cut(self._spec):
            proc.run(["ip", "link", "set", "br0", "down"])
            return
        for argv in kernel.unshape_commands(self._inside, self._outside):
            proc.run(argv, check=False)  # there is nothing yet, the first time
        for argv in kernel.shape_commands(self._spec, self._inside, self._outside):
            proc.run(argv)
        proc.run(["ip", "link", "set", "br0", "up"])

    def _change(self, spec: LinkSpec) -> None:
        """Change the link. What waits in a queue that is changed is lost, which the model in user space spares it."""
        for name, side in (("up", spec.up), ("down", spec.down)):
            for key, reason in kernel.refusals(side):
                raise InputError([Problem(f"{name}.{key}", reason, "leave it out, or steer a link in user space")])
        _check_netem(spec)
        self._spec, self._changed = spec, True
        self._shape()
        self._samples.hurry()

    def _sides(self) -> tuple[tuple[DirectionSpec, dict[str, Discipline]], ...]:
        """Each direction, up and down, with the disciplines of the port by which its packets leave."""
        outside, inside = self._disciplines.of(self._outside, self._inside)
        return (self._spec.up, outside), (self._spec.down, inside)

    def _sampled(self, now: float) -> State:
        up, down = (_sample(side, found) for side, found in self._sides())
        return up, down

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = request["op"]
        if operation == "set":
            self._change(_link_spec(request["link"]))
            return {"ok": True}
        if operation == "get":
            return {"link": plain(self._spec)}
        if operation == "clock":
            self._epoch, self._t0 = float(request["epoch"]), float(request["t0"])
            self._samples.restart()
            self._changed = False
            return {"ok": True}
        if operation == "stats":
            up, down = ({"overflowed": found.get("tbf", Discipline()).drops} for _, found in self._sides())
            return {"changed": self._changed, "up": up, "down": down}
        if operation == "stop":
            self.stop()
            return {"ok": True}
        raise ValueError(f"unknown operation {operation!r}")

    def close(self) -> None:
        """Let go of sockets and the file."""
        self._control.close()
        self._samples.close()
        self._disciplines.close()


def _link_spec(data: dict[str, Any]) -> LinkSpec:
    return validate(Document("link", data, {}), LinkSpec)


def _check_netem(spec: LinkSpec) -> None:
    keys = () if kernel.is_cut(spec) else kernel.netem_keys(spec)
    if not keys:
        return
    tried = proc.run(["tc", "qdisc", "add", "dev", "lo", "root", "netem"], check=False)
    if tried.status:
        what = f"this kernel has no netem, which a link of the kernel needs for {' and '.join(keys)}"
        limit = f"`backend: user` with {format_rate(USER_LIMIT_BPS)} at most"
        raise MachineError(what, f"`modprobe sch_netem`, or write {limit}, or leave {' and '.join(keys)} out")
    proc.run(["tc", "qdisc", "del", "dev", "lo", "root"])


def _sample(side: DirectionSpec, found: Mapping[str, Discipline]) -> dict[str, Any]:
    """Return a direction's part of a sample. netem, at the root, counts as its own what the queue below it dropped."""
    queue, root = found.get("tbf", Discipline()), found.get("netem", Discipline())
    first = root if root.kind else queue
    last = queue if queue.kind else root
    lost = max(0, root.drops - queue.drops)
    return {
        "rate_bps": side.rate, "delay_s": side.delay, "queue_bytes": queue.waiting_bytes,
        "entered": first.sent + first.waiting + lost + queue.drops, "lost": lost, "overflowed": queue.drops,
        "arrived": last.sent, "arrived_bytes": last.sent_bytes,
    }  # fmt: skip


def main(path: Path) -> int:
    """Serve as the link that a file describes; return the exit status."""
    try:
        shaper = Shaper(json.loads(path.read_text(encoding="utf-8")))
    except TestbedError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    signal.signal(signal.SIGTERM, lambda number, frame: shaper.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    try:
        shaper.run()
    finally:
        shaper.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
