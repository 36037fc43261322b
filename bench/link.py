"""The national link through a real kernel with real programs: what was asked, what came, and the bound.

At 0.5 Mbit/s and 205 ms, all in one sandbox, the link changed while it runs: TCP goodput over 20 s (curl), idle RTT
(ping, less what the same path takes without a link), loss (ping both ways), and two downloads that share the link by
tail drop and fairly. Then the highest rate that user space carries faithfully, which is where `backend: auto` hands
over to the kernel, and the kernel at twice that. Where the kernel has netem, it carries the national link, too, and is
held to the same bounds (it has no fair queue).

`.venv/bin/python bench/link.py [--quick] [--kernel]`; exit 1 if a bound is broken. `--kernel`: the kernel's part alone.
"""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from testbed.clock import RunClock
from testbed.link.fidelity import Departure
from testbed.link.spec import USER_LIMIT_BPS, LinkSpec
from testbed.net import sandbox
from testbed.net.probes import PROBES, examine
from testbed.run import faithful
from testbed.run.country import Country
from testbed.run.directory import RunDirectory
from testbed.run.resolve import country_spec, default_scenario

_PAYLOAD_SHARE = 1448 / 1500  # TCP with timestamps
_WORLD = "198.18.0.80"
_NATIONAL = {"rate": "0.5 Mbit/s", "rtt": "205 ms"}
_RATES = (25e6, 50e6, 75e6, 100e6, 150e6, 200e6)


def link(**spec: Any) -> LinkSpec:
    """Return a link."""
    return LinkSpec.model_validate(spec)


class Bench:
    """One country and what was measured in it."""

    def __init__(self, country: Country, broken: int = 0) -> None:
        self.country, self.broken = country, broken

    def say(self, what: str, found: float, low: float, high: float, unit: str) -> None:
        """Print a figure beside its bounds."""
        holds = low <= found <= high
        self.broken += not holds
        print(
            f"{what:<44} {found:>10.3f} {unit:<7} {low:.3f} … {high:.3f}  {'holds' if holds else 'BROKEN'}", flush=True
        )

    def download(self, warm_s: float, seconds: float, clients: int = 1, host: str = "bench.example") -> list[float]:
        """Return the bit/s of payload that each of some parallel downloads gets after a time to warm up."""
        argv = ["curl", "-sS", "--max-time", str(warm_s + seconds + 5), f"http://{host}/bytes/1000000000"]
        procs = [
            self.country.fabric.popen(
                f"client{1 + number % 2}", argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            for number in range(clients)
        ]
        got = [0] * clients

        def drain(number: int) -> None:
            stream = procs[number].stdout
            assert stream is not None
            while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined]
                got[number] += len(chunk)

        threads = [threading.Thread(target=drain, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        time.sleep(warm_s)
        before, begun = list(got), time.monotonic()
        time.sleep(seconds)
        after, took = list(got), time.monotonic() - begun
        for proc in procs:
            proc.kill()
            proc.wait()
        for thread in threads:
            thread.join()
        return [(b - a) * 8 / took for a, b in zip(before, after, strict=True)]

    def ping(self, count: int, gap_s: float) -> tuple[int, float]:
        """Return how many echoes were lost and the mean round-trip time in ms of the others."""
        argv = ["ping", "-n", "-q", "-c", str(count), "-i", str(gap_s), "-W", "2", _WORLD]
        done = self.country.fabric.run("client1", argv, check=False, timeout_s=count * gap_s + 20)
        received = re.search(r"(\d+) received", done.stdout)
        mean = re.search(r"rtt min/avg/max/mdev = [\d.]+/([\d.]+)/", done.stdout)
        assert received is not None and mean is not None, done.stdout
        return count - int(received[1]), float(mean[1])

    def lateness(self, since: float) -> tuple[float, float, float, list[Departure]]:
        """Return p50, p99 and worst lateness in ms of the departures since a time."""
        self.country.stats()  # the log is on disk then
        own = [d for d in faithful.read_departures(self.country.departures) if d.entered >= since]
        late = sorted((d.actual - d.due) * 1e3 for d in own) or [0.0]
        return late[len(late) // 2], late[int(len(late) * 0.99)], late[-1], own


def undisturbed(bench: Bench, quick: bool, own_ms: float) -> None:
    """Print the round trip, less the path's own, and the goodput of the national link against their bounds."""
    _, mean = bench.ping(20 if quick else 50, 0.25)
    ideal = 205 + 2 * 84 * 8 / 5e5 * 1e3
    bench.say("idle RTT, mean of pings of 84 bytes", mean - own_ms, ideal - 0.5, ideal + 1, "ms")
    (goodput,) = bench.download(8 if not quick else 4, 20)
    ideal = 500 * _PAYLOAD_SHARE
    bench.say("TCP goodput over 20 s, one curl", goodput / 1e3, ideal * 0.99, ideal * 1.01, "kbit/s")


def changed(bench: Bench, quick: bool, backend: str) -> None:
    """Change the national link while it runs: print the loss that it has then, and how two downloads share it."""
    asked, ideal = {**_NATIONAL, "backend": backend}, 500 * _PAYLOAD_SHARE
    loss, count = 0.01, 1000 if quick else 4000
    bench.country.set_link(link(**asked, loss=loss))
    lost, _ = bench.ping(count, 0.004)
    both = 1 - (1 - loss) ** 2
    spread = 2.576 * math.sqrt(both * (1 - both) / count)
    bench.say(
        f"loss of {count} echoes, 1 % each way", lost / count * 100, (both - spread) * 100, (both + spread) * 100, "%"
    )
    for fair in (False, True) if backend == "user" else (False,):
        bench.country.set_link(link(**asked, queue={"time": "500 ms", "fair": fair}))
        shares = sorted(bench.download(6, 6 if quick else 12, clients=2))
        kind = "fair queue" if fair else "tail drop"
        bench.say(f"two curls by {kind}: sum", sum(shares) / 1e3, ideal * 0.96, ideal * 1.01, "kbit/s")
        bench.say(f"two curls by {kind}: lesser share", shares[0] / sum(shares) * 100, 48 if fair else 5, 50, "%")


def highest(bench: Bench, seconds: float) -> float:
    """Print how faithful each rate is; return the highest that is."""
    print(f"\n{'rate':>12} {'payload':>10} {'of ideal':>9} {'p50':>8} {'p99':>8} {'worst':>8} ms")
    best = 0.0
    for rate in _RATES:
        bench.country.set_link(link(rate=f"{rate} bit/s", rtt="20 ms", queue="50 ms", backend="user"))
        since = bench.country.clock.elapsed() + 1.0
        (goodput,) = bench.download(1.0, seconds)
        p50, p99, worst, _ = bench.lateness(since)
        share = goodput / (rate * _PAYLOAD_SHARE)
        good = p99 <= 5 and worst <= 50 and share >= 0.95
        best = rate if good and best == max((r for r in _RATES if r < rate), default=0.0) else best
        print(f"{rate / 1e6:>7.0f} Mb/s {goodput / 1e6:>10.2f} {share:>9.1%} {p50:>8.2f} {p99:>8.2f} {worst:>8.2f}"
              f"   {'faithful' if good else 'not faithful'}", flush=True)  # fmt: skip
    return best


def in_country(folder: Path, chosen: LinkSpec | None) -> Country:
    """Return a country, not yet up, with an open policy and a link, or none."""
    folder.mkdir()
    directory = RunDirectory.prepared(folder)
    job: dict[str, Any] = {"policy": "open", "capture": False}
    spec = dataclasses.replace(country_spec(default_scenario(), directory, job), link=chosen)
    return Country(spec, directory, RunClock.start())


def own_round_trip(folder: Path, quick: bool) -> float:
    """Return the round trip in ms of the same path without a link: hosts, switches and box, on this machine."""
    with in_country(folder / "bare", None) as country:
        _, mean = Bench(country).ping(20 if quick else 50, 0.25)
    print(f"the path's own round trip, without a link: {mean:.3f} ms", flush=True)
    return mean


def by_user_space(folder: Path, quick: bool, own_ms: float) -> int:
    """Measure what our own process carries; return how many bounds are broken."""
    with in_country(folder / "user", link(**_NATIONAL)) as country:
        bench = Bench(country)
        undisturbed(bench, quick, own_ms)
        late = bench.lateness(0.0)
        bench.say("lateness p99", late[1], 0, 5, "ms")
        bench.say("lateness worst", late[2], 0, 50, "ms")
        changed(bench, quick, "user")
        best = highest(bench, 2 if quick else 4)
    bench.say("highest faithful rate in user space", best / 1e6, USER_LIMIT_BPS / 1e6, math.inf, "Mbit/s")
    return bench.broken


def by_the_kernel(folder: Path, quick: bool, own_ms: float) -> int:
    """Measure what the kernel carries, which is judged from captures; return how many bounds are broken."""
    broken = 0
    (netem,) = examine([probe for probe in PROBES if probe.name == "netem"])
    if netem.works:
        print("\nthe national link by the kernel")
        with in_country(folder / "national", link(**_NATIONAL, backend="kernel")) as country:
            bench = Bench(country)
            undisturbed(bench, quick, own_ms)
            judged(bench)
        with in_country(folder / "changed", link(**_NATIONAL, backend="kernel")) as country:
            bench = Bench(country, bench.broken)
            changed(bench, quick, "kernel")
            broken += bench.broken
    else:
        print(f"\nno netem, so the kernel can't carry the national link: {netem.probe.remedy}")
    rate = 2 * USER_LIMIT_BPS
    print(f"\n{rate / 1e6:.0f} Mbit/s by the kernel")
    with in_country(folder / "kernel", link(rate=f"{rate} bit/s", queue="50 ms")) as country:
        bench = Bench(country)
        goodput = bench.download(1, 2 if quick else 4)[0]
        bench.say("payload", goodput / 1e6, rate * _PAYLOAD_SHARE * 0.95 / 1e6, rate / 1e6, "Mbit/s")
        judged(bench)
    return broken + bench.broken


def judged(bench: Bench) -> None:
    """End the country and print how faithful its kernel was."""
    stats = bench.country.stats()
    bench.country.stop()
    found = faithful.measure(bench.country, stats)
    for key in ("p99", "worst"):
        bench.say(f"the kernel's lateness {key}", found["lateness_s"][key] * 1e3, -5, 5 if key == "p99" else 50, "ms")
    print("the kernel was", "faithful" if found["faithful"] else f"not faithful: {found['reasons']}")


def inside(folder: Path, quick: bool, kernel_alone: bool) -> int:
    """Measure, as the first program of a sandbox."""
    own_ms = own_round_trip(folder, quick)
    broken = 0 if kernel_alone else by_user_space(folder, quick, own_ms)
    return 1 if broken + by_the_kernel(folder, quick, own_ms) else 0


def main() -> int:
    """Enter a sandbox and measure there."""
    wishes = [word for word in ("--quick", "--kernel") if word in sys.argv]
    if sys.argv[1:2] == ["inside"]:
        return inside(Path(sys.argv[2]), "--quick" in wishes, "--kernel" in wishes)
    with tempfile.TemporaryDirectory(prefix="testbed-bench-") as folder:
        argv = [sys.executable, __file__, "inside", folder, *wishes]
        return sandbox.enter(argv, run_dir=Path(folder))


if __name__ == "__main__":
    sys.exit(main())
