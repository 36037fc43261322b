"""What a link is: rate, queue, delay, jitter, loss, duplicates, each direction its own, and their change by the clock.

A rate counts IP bytes. `rtt` is the time there and back on an empty link, half of it each way. What a key means is said
beside it; what the kernel backend can't honour it refuses (`kernel.shape_commands`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from testbed.documents import Strict
from testbed.units import Duration, Fraction, Rate, Size, TimeOfDay, parse_duration, parse_size


class GilbertElliott(Strict):
    """Bursty loss: chance per packet to enter (`p`) and to leave (`r`) the bad state, loss in each."""

    p: Fraction
    r: Fraction
    bad: Fraction = 1.0
    good: Fraction = 0.0


class Queue(Strict):
    """A tail-drop queue, bounded in bytes or in the time its contents take to send."""

    size: Size | None = None
    time: Duration | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return {"time": f"{parse_duration(value)} s"}
        except ValueError:
            return {"size": f"{parse_size(value)} B"}

    @model_validator(mode="after")
    def _one(self) -> Queue:
        if (self.size is None) == (self.time is None):
            raise ValueError("a queue is bounded by a size or by a time; write `queue: 500 ms` or `queue: 64 kB`")
        return self

    def limit_bytes(self, rate_bps: float) -> float:
        """Return the bound in bytes at a rate."""
        if self.size is not None:
            return float(self.size)
        return float(self.time or 0.0) * rate_bps / 8


class Hours(Strict):
    """Other values for some hours of each emulated day; `from` may be later than `to` (over midnight)."""

    start: TimeOfDay = Field(alias="from")
    end: TimeOfDay = Field(alias="to")
    rate: Rate | None = Field(default=None, gt=0)
    loss: Fraction | None = None

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
    bursts: GilbertElliott | None = None
    duplicate: Fraction = 0.0
    queue: Queue = Queue.model_construct(time=0.5)
    """U: no source says how long the national queue is; default 500 ms."""
    by_clock: tuple[Hours, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> DirectionSpec:
        if self.jitter > self.delay:
            raise ValueError("jitter is larger than the delay; a packet can't leave before it came")
        if self.loss and self.bursts:
            raise ValueError("both `loss` and `bursts`; give one")
        return self

    def hours(self, second_of_day: float) -> Hours | None:
        """Return the hours that hold, if any."""
        return next((hours for hours in self.by_clock if hours.holds(second_of_day)), None)


class LinkSpec(Strict):
    """A link of two directions: `down` is toward the inside."""

    link: str = "link"
    title: str = ""
    sources: tuple[str, ...] = ()
    backend: Literal["user", "kernel"] = "user"
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
        if "rtt" in data:
            if "delay" in shared:
                raise ValueError("both `rtt` and `delay`; give one")
            shared["delay"] = f"{parse_duration(data.pop('rtt')) / 2} s"
        for side in ("up", "down"):
            own = data.get(side, {})
            if isinstance(own, dict):
                data[side] = {**shared, **own}
        return data

    @property
    def uses_kernel(self) -> bool:
        """Say whether the kernel shapes this link."""
        return self.backend == "kernel"


def plain(spec: LinkSpec) -> dict[str, Any]:
    """Return a link as data that `LinkSpec` reads back, each quantity with its unit."""
    return {"link": spec.link, "backend": spec.backend, "up": _plain(spec.up), "down": _plain(spec.down)}


def _plain(side: DirectionSpec) -> dict[str, Any]:
    data: dict[str, Any] = {
        "delay": f"{side.delay!r} s", "jitter": f"{side.jitter!r} s", "reorder": side.reorder, "loss": side.loss,
        "duplicate": side.duplicate,
        "queue": {"size": f"{side.queue.size} B"} if side.queue.size is not None else {"time": f"{side.queue.time} s"},
        "by_clock": [_plain_hours(hours) for hours in side.by_clock],
    }  # fmt: skip
    if side.rate is not None:
        data["rate"] = f"{side.rate!r} bit/s"
    if side.bursts is not None:
        data["bursts"] = side.bursts.model_dump()
    return data


def _plain_hours(hours: Hours) -> dict[str, Any]:
    data: dict[str, Any] = {"from": _clock(hours.start), "to": _clock(hours.end)}
    if hours.rate is not None:
        data["rate"] = f"{hours.rate!r} bit/s"
    if hours.loss is not None:
        data["loss"] = hours.loss
    return data


def _clock(second: float) -> str:
    return f"{int(second) // 3600:02}:{int(second) % 3600 // 60:02}"
