"""Quantities: what is read, what is refused, and that writing and reading agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed import units


@pytest.mark.parametrize(
    ("text", "bps"),
    [("0.5 Mbit/s", 5e5), ("0.5Mb/s", 5e5), ("40 kbit/s", 4e4), ("1 Gbps", 1e9), ("64 bit/s", 64), (0, 0), ("0", 0)],
)
def test_rates(text: object, bps: float) -> None:
    assert units.parse_rate(text) == bps


@pytest.mark.parametrize(("text", "seconds"), [("205 ms", 0.205), ("30 s", 30), ("2 min", 120), ("250 us", 0.00025)])
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("64 kB", 64000), ("64 KiB", 65536), ("1500 B", 1500), ("1.5 MB", 1500000)])
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(("text", "share"), [("1 %", 0.01), ("0.5%", 0.005), (0.25, 0.25), (1, 1.0), ("100 %", 1.0)])
def test_fractions(text: object, share: float) -> None:
    assert units.parse_fraction(text) == share


@pytest.mark.parametrize("value", ["500", 500, "fast", "5 furlongs/s", None, True, "-1 Mbit/s", "1 Mbit/s 2", ""])
def test_a_rate_that_is_not_one_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match=r"write it like `0\.5 Mbit/s`"):
        units.parse_rate(value)


@pytest.mark.parametrize("value", ["1 MB/s", "64 kB/s", "1 MBps"])
def test_bytes_are_not_taken_for_bits(value: str) -> None:
    with pytest.raises(ValueError, match="may mean bits or bytes"):
        units.parse_rate(value)


@pytest.mark.parametrize("value", ["64 kb", "64 Kb", "1 Mb", "1 kib"])
def test_bits_are_not_taken_for_bytes(value: str) -> None:
    with pytest.raises(ValueError, match="may mean bits or bytes"):
        units.parse_size(value)


@pytest.mark.parametrize("value", ["101 %", 2, "1 ms"])
def test_a_share_beyond_one_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="%"):
        units.parse_fraction(value)


@given(st.floats(1, 1e11))
def test_a_written_rate_reads_back(rate_bps: float) -> None:
    assert units.parse_rate(units.format_rate(rate_bps)) == pytest.approx(rate_bps, rel=1e-5)


@given(st.floats(1e-6, 1e10))
def test_a_written_duration_reads_back(duration_s: float) -> None:
    assert units.parse_duration(units.format_duration(duration_s)) == pytest.approx(duration_s, rel=1e-5)
