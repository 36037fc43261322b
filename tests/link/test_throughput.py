"""What loss costs: a table of throughput against loss, as a snapshot.

The table is of our own making, so it is checked against the law of Mathis et al. (CCR 1997): where loss and not the
rate is the bound, TCP's throughput is MSS / RTT × C / √p with C near 1.22 and below it once timeouts come in.
`scripts/make-golden` writes it anew; read the diff.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from testbed.link.model import LinkModel
from testbed.link.spec import DirectionSpec
from tests.link.reno import goodput

TABLE = Path(__file__).parent / "throughput.txt"
LOSSES = (0.0, 0.001, 0.0035, 0.01, 0.02, 0.05, 0.1, 0.2)


def flood(loss: float, queue: str) -> tuple[float, float]:
    """Offer twice the rate for 60 s; return the bit/s that arrive and the share that overflowed."""
    spec = DirectionSpec.model_validate({"rate": "0.5 Mbit/s", "loss": loss, "queue": queue})
    link: LinkModel[int] = LinkModel(spec, seed=1)
    for number in range(5000):
        link.enqueue(1500, number, 43200.0 + number * 0.012)
    arrived = sum(1500 for _ in link.due(43260.0))
    return arrived * 8 / 60, link.counters.overflowed / link.counters.entered


def table() -> str:
    """Return the table."""
    lines = ["loss     UDP kbit/s  overflow %  Reno kbit/s"]
    for loss in LOSSES:
        rate, overflow = flood(loss, "500 ms")
        tcp = sum(goodput(loss, seed=seed) for seed in range(5)) / 5
        lines.append(f"{loss:<8.2%} {rate / 1e3:>9.1f}  {overflow * 100:>9.1f}  {tcp / 1e3:>10.1f}")
    return "\n".join(lines) + "\n"


def test_the_table_of_throughput_against_loss() -> None:
    assert table() == TABLE.read_text()


def test_without_loss_tcp_fills_the_link_with_its_share_of_payload() -> None:
    assert goodput(0.0) == pytest.approx(5e5 * 1448 / 1500, rel=0.01)


@pytest.mark.parametrize("loss", [0.005, 0.01, 0.02])
def test_where_loss_is_the_bound_mathis_law_holds(loss: float) -> None:
    found = sum(goodput(loss, seed=seed, rate="20 Mbit/s", seconds=300) for seed in range(3)) / 3
    law = 1448 * 8 / 0.206 * math.sqrt(1.5 / loss)
    assert 0.75 * law < found < 1.1 * law
