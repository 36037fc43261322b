"""What a link is: rate, queue, delay, jitter, loss, duplicates, each direction its own, and their change by the clock.

A rate counts IP bytes. `rtt` is the time there and back on an empty link, half of it each way. What a key means is said
beside it; what the kernel backend can't honour is refused when the link is loaded (`kernel.refusals`).
"""

from __future__ import annotations

import contextlib
import math
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, model_validator

from testbed.documents import Strict
from testbed.units import Duration, Fraction, Rate, Size, TimeOfDay, parse_duration, parse_size

#: The highest rate that user space carries faithfully on the slowest machine we support (`bench/link.py` measures it).
USER_LIMIT_BPS = 50e6
DAY_S = 86400.0


def _exact(number: float) -> str:
    """Write a number so that it reads back the same, without an exponent."""
    return format(Decimal(repr(number)), "f")


class GilbertElliott(Strict):
    """Bursty loss: chance per packet to enter (`p`) and to leave (`r`) the bad state, loss in each."""

    p: Fraction
    r: Fraction
    bad: Fraction = 1.0
    good: Fraction = 0.0

    @model_validator(mode="after")
    def _moves(self) -> GilbertElliott:
        if self.p + self.r == 0:
            raise ValueError("both `p` and `r` are 0; give `r` a value, the mean burst lasts 1 / r packets")
        return self

    @property
    def mean(self) -> float:
        """The share of packets lost in the long run."""
        bad_share = self.p / (self.p + self.r)
        return bad_share * self.bad + (1 - bad_share) * self.good

    @property
    def variance(self) -> float:
        """The variance that each packet adds to the number lost: a binomial's, and more because losses come in bursts.

        The indicator of a two-state Markov chain has the autocorrelation (1 - p - r)^k.
        """
        bad_share, memory = self.p / (self.p + self.r), 1 - self.p - self.r
        apart = bad_share * (1 - bad_share) * (self.bad - self.good) ** 2
        return self.mean * (1 - self.mean) + 2 * apart * memory / (1 - memory)


_QUEUE_EXAMPLES = "`queue: 500 ms` or `queue: 64 kB`"


class Queue(Strict):
    """The packets that wait to be sent, bounded in bytes or in the time they take to send.

    At least one packet may wait, however small the bound. The packet on the wire does not count.
    """

    size: Size | None = None
    time: Duration | None = None
    fair: bool = False
    """False: one queue, a packet that finds it full is dropped. True: one queue a flow, served in turn byte by byte
    (deficit round robin); when the space is used up, the longest gives way."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        try:
            return {"time": f"{_exact(parse_duration(value))} s"}
        except ValueError:
            pass
        try:
            return {"size": f"{parse_size(value)} B"}
        except ValueError:
            raise ValueError(f"{value!r} is no bound of a queue; write it like {_QUEUE_EXAMPLES}") from None

    @model_validator(mode="after")
    def _one(self) -> Queue:
        if (self.size is None) == (self.time is None):
            raise ValueError(f"a queue is bounded by a size or by a time; write it like {_QUEUE_EXAMPLES}")
        return self

    def limit_bytes(self, rate_bps: float) -> float:
        """Return the bound in bytes at a rate."""
        if self.size is not None:
            return float(self.size)
        return float(self.time or 0.0) * rate_bps / 8


class Hours(Strict):
    """Other values for some hours of each emulated day (UTC); `from` may be later than `to` (over midnight)."""

    start: TimeOfDay = Field(alias="from")
    end: TimeOfDay = Field(alias="to")
    rate: Rate | None = Field(default=None, gt=0)
    loss: Fraction | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Hours:
        if self.start == DAY_S:
            raise ValueError("`from` is where a day ends; write `00:00`")
        if self.start == self.end:
            raise ValueError("`from` and `to` are the same time of day; write `00:00` and `24:00` for the whole day")
        if self.rate is None and self.loss is None:
            raise ValueError("these hours change nothing; give `rate` or `loss`")
        return self

    def holds(self, second_of_day: float) -> bool:
        """Say whether these hours hold at a second of the day."""
        if self.start <= self.end:
            return self.start <= second_of_day < self.end
        return second_of_day >= self.start or second_of_day < self.end


class DirectionSpec(Strict):
    """One direction of a link."""

    rate: Rate | None = Field(default=None, gt=0)
    """None: as fast as the machine."""
    delay: Duration = 0.0
    """One way, added to every packet after it is sent."""
    jitter: Duration = 0.0
    """The delay varies evenly within plus or minus this."""
    reorder: bool = False
    """Whether jitter may let a packet overtake another."""
    loss: Fraction = 0.0
    """The share of packets lost at random after they were sent."""
    bursts: GilbertElliott | None = None
    """Losses that come together, instead of `loss`."""
    duplicate: Fraction = 0.0
    """The share of packets that arrive twice."""
    queue: Queue = Queue.model_construct(time=0.5)
    """U: no source says how long the national queue is; default 500 ms."""
    by_clock: tuple[Hours, ...] = ()
    """The first entry whose hours hold counts; its loss takes the place of `loss` and of `bursts`."""

    @model_validator(mode="after")
    def _consistent(self) -> DirectionSpec:
        if self.jitter > self.delay:
            raise ValueError("jitter is larger than the delay; a packet can't leave before it came")
        if self.loss and self.bursts:
            raise ValueError("both `loss` and `bursts`; give one")
        if self.reorder and not self.jitter:
            raise ValueError("`reorder` without `jitter` changes nothing; give `jitter`")
        if "queue" in self.model_fields_set and not self.highest_rate:
            raise ValueError("`queue` without a rate: nothing would wait in it; give `rate`")
        return self

    def hours(self, second_of_day: float) -> Hours | None:
        """Return the hours that hold, if any."""
        return next((hours for hours in self.by_clock if hours.holds(second_of_day)), None)

    def rate_at(self, now: float) -> float | None:
        """Return the rate at a Unix time, None if nothing limits it."""
        if self.by_clock:
            hours = self.hours(now % DAY_S)
            if hours is not None and hours.rate is not None:
                return hours.rate
        return self.rate

    def next_turn(self, now: float) -> float:
        """Return when the clock next changes something, after `now`; infinity if it never does."""
        if not self.by_clock:
            return math.inf
        second = now % DAY_S
        turns = {turn % DAY_S for hours in self.by_clock for turn in (hours.start, hours.end)}
        wait_s = min((turn - second) % DAY_S or DAY_S for turn in turns)
        return max(now + wait_s, math.nextafter(now, math.inf))

    @property
    def highest_rate(self) -> float:
        """The highest rate of the day in bit/s, 0 if nothing limits it."""
        return max((rate for rate in (self.rate, *(hours.rate for hours in self.by_clock)) if rate), default=0.0)


class LinkSpec(Strict):
    """A link of two directions: `down` is toward the inside."""

    link: str = "link"
    title: str = ""
    sources: tuple[str, ...] = ()
    backend: Literal["auto", "user", "kernel"] = "auto"
    """`user`: our model in a process of the run, exact and seeded. `kernel`: tbf, and netem where it exists.
    `auto`: the model up to 50 Mbit/s, the kernel above (`bench/link.py` says why)."""
    rtt: Duration | None = None
    """There and back on an empty link; half of it is the `delay` of each direction."""
    up: DirectionSpec = DirectionSpec()
    down: DirectionSpec = DirectionSpec()

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, value: Any) -> Any:
        """Copy what is said for both directions into each; `rtt` becomes half a delay each way."""
        if not isinstance(value, dict):
            return value
        data = dict(value)
        shared = {key: data.pop(key) for key in list(data) if key in DirectionSpec.model_fields}
        if data.get("rtt") is not None:
            if "delay" in shared:
                raise ValueError("both `rtt` and `delay`; give one")
            with contextlib.suppress(ValueError):  # a wrong one is reported by its own field
                shared["delay"] = f"{_exact(parse_duration(data['rtt']) / 2)} s"
        for side in ("up", "down"):
            own = data.get(side, {})
            if isinstance(own, dict):
                data[side] = {**shared, **own}
        return data

    @property
    def uses_kernel(self) -> bool:
        """Say whether the kernel shapes this link."""
        if self.backend == "auto":
            return max(self.up.highest_rate, self.down.highest_rate) > USER_LIMIT_BPS
        return self.backend == "kernel"


def plain(spec: LinkSpec) -> dict[str, Any]:
    """Return a link as data that `LinkSpec` reads back, each quantity with its unit."""
    return {"link": spec.link, "backend": spec.backend, "up": _plain(spec.up), "down": _plain(spec.down)}


def _plain(side: DirectionSpec) -> dict[str, Any]:
    data: dict[str, Any] = {
        "delay": f"{_exact(side.delay)} s", "jitter": f"{_exact(side.jitter)} s", "reorder": side.reorder,
        "loss": side.loss, "duplicate": side.duplicate, "by_clock": [_plain_hours(hours) for hours in side.by_clock],
    }  # fmt: skip
    if side.highest_rate:
        data["queue"] = _plain_queue(side.queue)
    if side.rate is not None:
        data["rate"] = f"{_exact(side.rate)} bit/s"
    if side.bursts is not None:
        data["bursts"] = side.bursts.model_dump()
    return data


def _plain_queue(queue: Queue) -> dict[str, Any]:
    bound = {"time": f"{_exact(queue.time or 0.0)} s"} if queue.size is None else {"size": f"{queue.size} B"}
    return {**bound, "fair": queue.fair}


def _plain_hours(hours: Hours) -> dict[str, Any]:
    data: dict[str, Any] = {"from": _clock(hours.start), "to": _clock(hours.end)}
    if hours.rate is not None:
        data["rate"] = f"{_exact(hours.rate)} bit/s"
    if hours.loss is not None:
        data["loss"] = hours.loss
    return data


def _clock(second: float) -> str:
    return f"{int(second) // 3600:02}:{int(second) % 3600 // 60:02}"
