"""Quantities as people write them: `0.5 Mbit/s`, `205 ms`, `1 %`, `64 kB`.

Text becomes a plain number in one fixed unit (bit/s, seconds, a fraction of one, bytes). A bare number is refused,
because 500 may be kilobits or milliseconds and a wrong guess would be a silently wrong experiment; only 0 needs no
unit. Pure: used by every specification class.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_RATES: Mapping[str, float] = {
    "bit/s": 1, "bps": 1, "kbit/s": 1e3, "kbps": 1e3, "kb/s": 1e3, "mbit/s": 1e6, "mbps": 1e6, "mb/s": 1e6,
    "gbit/s": 1e9, "gbps": 1e9, "gb/s": 1e9,
}  # fmt: skip
_DURATIONS: Mapping[str, float] = {
    "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "second": 1, "seconds": 1, "min": 60, "minute": 60,
    "minutes": 60, "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
}  # fmt: skip
_SIZES: Mapping[str, float] = {
    "b": 1, "byte": 1, "bytes": 1, "kb": 1e3, "kib": 1024, "mb": 1e6, "mib": 1024**2, "gb": 1e9, "gib": 1024**3,
}  # fmt: skip
_FRACTIONS: Mapping[str, float] = {"%": 0.01, "percent": 0.01}
_MOST = 1e15  # beyond it a float of bits or bytes is no longer exact
#: in these units people write `b` for bits and `B` for bytes, and mean it
_MISTAKABLE: Mapping[str, tuple[str, ...]] = {
    "rate": ("B/s", "Bps"),
    "size": ("kb", "Kb", "mb", "Mb", "gb", "Gb", "ib"),
}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([^\s0-9.].*?)?\s*", re.DOTALL)


def _parse(value: object, kind: str, units: Mapping[str, float], examples: str) -> float:
    """Read one quantity; `ValueError` says which units there are."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match = _QUANTITY.fullmatch(str(value)) if is_number or isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a {kind}; write it like {examples}")
    number, unit = Decimal(match[1]), match[2]
    if unit is None:
        if number == 0:
            return 0.0
        raise ValueError(f"{value!r} has no unit; write it like {examples}")
    scale = units.get(unit.lower())
    if unit.endswith(_MISTAKABLE.get(kind, ())):
        raise ValueError(f"{unit!r} may mean bits or bytes; write it like {examples}")
    if scale is None:
        raise ValueError(f"{unit!r} is not a unit of {kind}; write it like {examples}")
    value_in_units = float(number * Decimal(str(scale)))
    if value_in_units > _MOST:
        raise ValueError(f"{str(value)[:40]!r} is too large; write it like {examples}")
    return value_in_units


def parse_rate(value: object) -> float:
    """Read a rate in bit/s from text like `0.5 Mbit/s`; `Mb/s` means megabits, as Internet providers write it."""
    return _parse(value, "rate", _RATES, "`0.5 Mbit/s` or `40 kbit/s`")


def parse_duration(value: object) -> float:
    """Read a duration in seconds from text like `205 ms`, `30 s`, `2 min`."""
    return _parse(value, "duration", _DURATIONS, "`205 ms`, `30 s` or `2 min`")


def parse_size(value: object) -> int:
    """Read a size in bytes from text like `64 kB` (1000) or `64 KiB` (1024)."""
    return round(_parse(value, "size", _SIZES, "`64 kB` or `1500 B`"))


def parse_fraction(value: object) -> float:
    """Read a share between 0 and 1 from text like `1 %`; a bare number from 0 to 1 is a share already."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    share = _parse(value, "share", _FRACTIONS, "`1 %` or `0.01`")
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r} is not between 0 % and 100 %")
    return share


_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])|(24):(00)")


def parse_time_of_day(value: object) -> float:
    """Read a time of day in seconds since midnight from text like `18:00`; a day ends at `24:00`."""
    if isinstance(value, float):
        return value
    match = _CLOCK.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a time of day; write it like `18:00`")
    hour, minute = (part for part in match.groups() if part is not None)
    return int(hour) * 3600.0 + int(minute) * 60.0


def format_time_of_day(value_s: float) -> str:
    """Write a time of day the way `parse_time_of_day` reads it."""
    return f"{int(value_s) // 3600:02d}:{int(value_s) % 3600 // 60:02d}"


def _written(write: Callable[[float], str], unit: str) -> PlainSerializer:
    """Write a quantity with its unit, to the last digit if the short form would lose some."""
    return PlainSerializer(lambda value: _exact(value, write(value), unit), return_type=str, when_used="json")


def _exact(value: float, short: str, unit: str) -> str:
    for units in (_RATES, _DURATIONS, _SIZES):
        if unit.lower() in units and _parse(short, "quantity", units, "") == value:
            return short
    return f"{Decimal(repr(value)):f} {unit}"


def _quantity(
    parse: Callable[[object], float], example: str, write: Callable[[float], str], unit: str
) -> tuple[BeforeValidator, WithJsonSchema, PlainSerializer]:
    schema = {"anyOf": [{"type": "string"}, {"const": 0}], "examples": [example]}
    return BeforeValidator(parse), WithJsonSchema(schema), _written(write, unit)


def format_rate(rate_bps: float) -> str:
    """Write a rate the way `parse_rate` reads it."""
    for unit, scale in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if rate_bps >= scale or (unit == "Mbit/s" and rate_bps >= 5e5):
            return f"{rate_bps / scale:.6g} {unit}"
    return f"{rate_bps:.6g} bit/s"


def format_duration(duration_s: float) -> str:
    """Write a duration the way `parse_duration` reads it."""
    if duration_s >= 1e6:  # where six digits would need a power of ten, which nothing here reads
        return f"{duration_s:.0f} s"
    if duration_s >= 1 or duration_s == 0:
        return f"{duration_s:.6g} s"
    return f"{duration_s * 1e3:.6g} ms" if duration_s >= 1e-3 else f"{duration_s * 1e6:.6g} us"


def format_size(size_bytes: float) -> str:
    """Write a size the way `parse_size` reads it."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.6g} {unit}"
    return f"{size_bytes:.6g} B"


Rate = Annotated[float, *_quantity(parse_rate, "0.5 Mbit/s", format_rate, "bit/s")]
Duration = Annotated[float, *_quantity(parse_duration, "205 ms", format_duration, "s")]
Size = Annotated[int, *_quantity(parse_size, "64 kB", format_size, "B")]
TimeOfDay = Annotated[
    float,
    BeforeValidator(parse_time_of_day),
    WithJsonSchema({"type": "string", "pattern": "^(([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00)$", "examples": ["18:00"]}),
    PlainSerializer(format_time_of_day, return_type=str, when_used="json"),
]
Fraction = Annotated[
    float,
    BeforeValidator(parse_fraction),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0, "maximum": 1}], "examples": ["1 %"]}
    ),
]
