"""Quality of a call by the E-model of ITU-T G.107 (narrow band), with its default values (G.107 table 2).

What a call in this testbed measures are delay and loss; sidetone, loudness, room noise and echo path are the defaults.
The codec is G.711 with concealment (G.113 table I.3: Ie 0, Bpl 25.1). Pure.
"""

from __future__ import annotations

from math import exp, log2, log10

_SLR, _RLR, _STMR, _LSTR, _DS = 8.0, 2.0, 15.0, 18.0, 3.0
_TELR, _WEPL = 65.0, 110.0
_NC, _NFOR, _PS, _PR = -70.0, -64.0, 35.0, 35.0
_QDU, _IE, _BPL = 1.0, 0.0, 25.1
_OLR = _SLR + _RLR


def rating(delay_s: float, loss: float) -> float:
    """Return the transmission rating R: one-way mouth-to-ear delay in seconds, loss as a share (G.107 eq. 7-1)."""
    ms = delay_s * 1000
    noise = _noise()
    ro = 15 - 1.5 * (_SLR + noise)
    return ro - _simultaneous(ro, noise, ms) - _delay(ro, noise, ms) - _equipment(loss * 100)


def mos(r: float) -> float:
    """Return the mean opinion score from 1 to 4.5 of a rating (G.107 Annex B)."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def _decibel_sum(*levels: float) -> float:
    return 10 * log10(sum((10.0 ** (level / 10) for level in levels), 0.0))


def _noise() -> float:
    """Return all noise referred to the 0 dBr point (eq. 7-3 to 7-7)."""
    sender = _PS - _SLR - _DS - 100 + 0.004 * (_PS - _OLR - _DS - 14) ** 2
    room = _PR + 10 * log10(1 + 10 ** ((10 - _LSTR) / 10))
    receiver = _RLR - 121 + room + 0.008 * (room - 35) ** 2
    return _decibel_sum(_NC, sender, receiver, _NFOR + _RLR)


def _simultaneous(ro: float, noise: float, ms: float) -> float:
    """Return what comes with the voice: wrong loudness, sidetone, quantization (eq. 7-8 to 7-17)."""
    x: float = _OLR + 0.2 * (64 + noise - _RLR)
    loudness = 20 * ((1 + (x / 8) ** 8) ** (1 / 8) - x / 8)
    own = -10 * log10(10 ** (-_STMR / 10) + exp(-ms / 4) * 10 ** (-_TELR / 10))
    sidetone = 12 * (1 + ((own - 13) / 6) ** 8) ** (1 / 8) - 28 * (1 + ((own + 1) / 19.4) ** 35) ** (1 / 35)
    sidetone += 29 - 13 * (1 + ((own - 3) / 33) ** 13) ** (1 / 13)
    q = 37 - 15 * log10(_QDU)
    g = 1.07 + 0.258 * q + 0.0602 * q * q
    y = (ro - 100) / 15 + 46 / 8.4 - g / 9
    quantization = 15 * log10(1 + 10.0**y + 10 ** (46 / 30 - g / 40))
    return float(loudness + sidetone + quantization)


def _delay(ro: float, noise: float, ms: float) -> float:
    """Return the impairment by talker echo, listener echo, and delay itself (eq. 7-18 to 7-28)."""
    masked = _TELR - 40 * log10((1 + ms / 10) / (1 + ms / 150)) + 6 * exp(-0.3 * ms * ms)
    talker = _root(-1.5 * (noise - _RLR), 80 + 2.5 * (masked - 14), 100) - 1
    listener = _root(ro, 10.5 * (_WEPL + 7) * (2 * ms + 1) ** -0.25, 169)
    late = 0.0
    if ms > 100:
        x = log2(ms / 100)
        late = 25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2)
    return talker * (1 - exp(-ms)) + listener + late


def _root(without: float, rating_of_echo: float, softness: float) -> float:
    half = (without - rating_of_echo) / 2
    return float(half + (half * half + softness) ** 0.5)


def _equipment(percent: float) -> float:
    """Return the impairment by codec and random loss (eq. 7-29, BurstR 1)."""
    return _IE + (95 - _IE) * percent / (percent + _BPL)
