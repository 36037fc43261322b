"""The E-model against published values: G.107 (defaults, Annex B), G.113 (loss), and a published fit of its delay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.apps.emodel import mos, rating


def test_all_defaults_give_the_published_rating() -> None:
    assert rating(0, 0) == pytest.approx(93.2, abs=0.05)  # G.107 clause 7.7
    assert mos(93.2) == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(
    ("r", "score"), [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58), (100, 4.5), (0, 1)]
)
def test_ratings_are_the_scores_of_annex_b(r: float, score: float) -> None:
    assert mos(r) == pytest.approx(score, abs=0.01)


@pytest.mark.parametrize("ms", [0, 25, 50, 100, 150, 200, 250, 300])
def test_delay_costs_what_cole_and_rosenbluth_fitted(ms: float) -> None:
    """Cole and Rosenbluth, Voice over IP performance monitoring, CCR 31(2), 2001; its corner is not in the list."""
    fitted = 93.2 - 0.024 * ms - (0.11 * (ms - 177.3) if ms > 177.3 else 0)
    assert rating(ms / 1000, 0) == pytest.approx(fitted, abs=0.3)


@pytest.mark.parametrize(
    ("loss", "impairment"), [(0.01, 3.64), (0.02, 7.01), (0.05, 15.78), (0.1, 27.07), (0.2, 42.13)]
)
def test_loss_costs_what_concealment_leaves(loss: float, impairment: float) -> None:
    """Ie,eff = 95 Ppl / (Ppl + 25.1) for G.711 with concealment, G.113 appendix I."""
    assert rating(0, 0) - rating(0, loss) == pytest.approx(impairment, abs=0.01)


@given(st.floats(0, 2), st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.2))
def test_more_delay_and_more_loss_never_help(delay_s: float, loss: float, more_s: float, more_loss: float) -> None:
    worse = rating(delay_s + more_s, min(1.0, loss + more_loss))
    assert worse <= rating(delay_s, loss) + 0.01
    assert 1 <= mos(worse) <= 4.5
