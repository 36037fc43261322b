"""Name lists at the measured size: 122,000 names and 6,000 over-blocking rules (facts §1), from a policy's files.

Prints load time, growth of memory and the time of one look-up, with the naive forms of the same search in the same run
as the reference: `set` + suffix loop + `part in name` over all parts, and one compiled alternation of all parts.
`.venv/bin/python bench/names.py`
"""

from __future__ import annotations

import gc
import random
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.dpi.policy import load_policy

NAMES, PARTS, LOOKED_UP = 122_000, 6_000, 20_000
_POLICY = """policy: big
title: as large as the measured list
rules:
  - name: names
    match: {dns: {lists: [names.txt, parts.txt]}}
    action: {dns_answer: {}}
    evidence: {mark: M, source: ABS}
"""
_LETTERS = "eeeeaaaaooooiiiinnnnttttrrrssslllccuuddpmhgbfywkvxzjq0123-"
_TLDS = (".com",) * 5 + (".net", ".org", ".ru", ".info", ".co.uk", ".tm", ".online")


def resident_mb() -> float:
    """Return this process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def word(chance: random.Random, shortest: int, longest: int) -> str:
    """Return letters about as frequent as in names."""
    return "".join(chance.choices(_LETTERS, k=chance.randint(shortest, longest)))


def domain(chance: random.Random) -> str:
    """Return a name of the usual length, 12 to 30 characters."""
    return chance.choice(("", "", "www.", "m.", "cdn3.static.")) + word(chance, 5, 16) + chance.choice(_TLDS)


def micros(find: Callable[[str], object], names: Sequence[str]) -> float:
    """Return the best of three rounds' mean time of one look-up, in microseconds."""
    rounds = []
    for _ in range(3):
        begun = time.perf_counter()
        for name in names:
            find(name)
        rounds.append((time.perf_counter() - begun) / len(names) * 1e6)
    return min(rounds)


def main() -> None:
    """Load, look up, compare, print."""
    chance = random.Random(2023)
    names = [domain(chance) for _ in range(NAMES)]
    parts = sorted({word(chance, 4, 9) + chance.choice(("", "", ".com")) for _ in range(PARTS + 300)})
    chance.shuffle(parts)
    parts = parts[:PARTS]
    with tempfile.TemporaryDirectory() as folder:
        lists = Path(folder) / "lists"
        lists.mkdir()
        (lists / "names.txt").write_text("".join(f"{chance.choice('=.')}{name}\n" for name in names))
        (lists / "parts.txt").write_text("".join(f"*{part}*\n" for part in parts))
        (policy_path := Path(folder) / "big.yaml").write_text(_POLICY)
        gc.collect()
        before_mb, begun = resident_mb(), time.perf_counter()
        policy = load_policy(policy_path)
        spec = policy.rules[0].match.dns
        assert spec is not None
        index = policy.index(spec)
        load_s, grown_mb = time.perf_counter() - begun, resident_mb() - before_mb
    print(f"load: {len(index)} patterns in {load_s:.2f} s (bound 3), {grown_mb:.0f} MB (bound 150)")
    asked = {
        "miss": [domain(chance) for _ in range(LOOKED_UP)],
        "hit, whole name": chance.sample(names, LOOKED_UP),
        "hit, under a suffix": ["img2.a." + name for name in chance.sample(names, LOOKED_UP)],
        "hit, substring": [f"my{chance.choice(parts)}-mirror.net" for _ in range(LOOKED_UP)],
    }
    listed = set(names)
    alternation = re.compile("|".join(map(re.escape, parts)))

    def naive(name: str) -> bool:
        tails = name.split(".")
        found = any(".".join(tails[start:]) in listed for start in range(len(tails)))
        return found or any(part in name for part in parts)

    for kind, wanted in asked.items():
        ours = micros(index.find, wanted)
        loop, regex = micros(naive, wanted[:300]), micros(alternation.search, wanted[:300])
        share = sum(index.find(name) is not None for name in wanted) / len(wanted)
        print(
            f"{kind:20} {ours:5.2f} µs (bound 5), {share:4.0%} hit; naive loop {loop:6.1f} µs, {loop / ours:5.1f}×; "
            f"regex alternation {regex:7.1f} µs, {regex / ours:5.1f}×"
        )


if __name__ == "__main__":
    main()
