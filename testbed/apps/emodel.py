"""Mean opinion score of a call by the ITU-T G.107 E-model, reduced to delay and loss (G.711 with concealment)."""

from __future__ import annotations

_R0, _BPL, _IE = 93.2, 25.1, 0.0


def rating(delay_s: float, loss: float) -> float:
    """Return the R factor: one-way mouth-to-ear delay in seconds, loss as a share (G.107 §3, G.113 App. I)."""
    ms = delay_s * 1000
    impairment = 0.024 * ms + (0.11 * (ms - 177.3) if ms > 177.3 else 0.0)
    percent = loss * 100
    return _R0 - impairment - (_IE + (95 - _IE) * percent / (percent + _BPL))


def mos(r: float) -> float:
    """Return the mean opinion score from 1 to 4.5 of an R factor (G.107 Annex B)."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)
