"""Lab 1: times and rates against the capture and the link's own model; the student's link through that model."""

from __future__ import annotations

from testbed.errors import InputError, Problem
from testbed.labs.evidence import SYN
from testbed.labs.work import Work, near
from testbed.link.load import load_link
from testbed.link.model import LinkModel
from testbed.link.spec import DirectionSpec, LinkSpec

_SEGMENT, _PACKET = 1448, 1500
_ECHO_REPLY, _ECHO = 0, 8


def examine(work: Work) -> None:
    """Mark lab 1."""
    link = work.scenario.link_spec
    assert link is not None
    rate_bps = link.down.rate or 0.0
    work.judge("ping_ms: the smallest time there and back", lambda: _ping(work),
               "ping printed another one: the least of its `time=`, in milliseconds")  # fmt: skip
    work.judge("download_s: how long 60,000 bytes took", lambda: _download(work),
               "your capture shows another time: curl's time_total, in seconds")  # fmt: skip
    work.judge("rate_kbit_s: the rate of the national link",
               lambda: near(work.number("rate_kbit_s"), rate_bps / 1e3, 0.15),
               "the bits that one download has more than the other, by the seconds it takes more")  # fmt: skip
    work.judge("photo_s: what 300,000 bytes will take", lambda: _photo(work, link),
               "bytes · 8 / rate, headers counted, and the round trips before")  # fmt: skip
    work.judge("evening.yaml: a link of that evening", lambda: _evening(work))


def _ping(work: Work) -> bool | str:
    asked = {f.echo[1]: f.time for f in work.inside if f.source == work.address and f.echo and f.echo[0] == _ECHO}
    times = [
        f.time - asked[f.echo[1]]
        for f in work.inside
        if f.target == work.address and f.echo and f.echo[0] == _ECHO_REPLY and f.echo[1] in asked
    ]
    if not times:
        return "no answered ping of your host is in the capture"
    return near(work.number("ping_ms"), min(times) * 1e3, 0.1, 8)


def _download(work: Work) -> bool | str:
    """Compare with each connection that carried so much: its time, and a little for the question of the name."""
    begun: dict[object, float] = {}
    carried: dict[object, tuple[int, float]] = {}
    for frame in work.inside:
        if frame.source == work.address and frame.flags & SYN:
            begun.setdefault(frame.flow, frame.time)
        elif frame.target == work.address and frame.segment is not None and frame.payload:
            size = carried.get(frame.flow, (0, 0.0))[0]
            carried[frame.flow] = size + len(frame.payload), frame.time
    times = [end - begun[f] for f, (size, end) in carried.items() if 58_000 < size < 75_000 and f in begun]
    if not times:
        return "no download of 60,000 bytes to your host is in the capture"
    said = work.number("download_s")
    return any(-0.15 <= said - time <= 1.0 for time in times)


def _photo(work: Work, link: LinkSpec) -> bool:
    return near(work.number("photo_s"), transfer_s(link.down, 300_000), 0.25)


def _evening(work: Work) -> bool | str:
    path = work.file("evening.yaml")
    try:
        link = load_link(path)
    except OSError as error:
        raise InputError([Problem(str(path), f"can't be read: {error}", "write the file")]) from None
    if link is None:
        return "it is unshaped"
    rtt_s, seconds = link.up.delay + link.down.delay, transfer_s(link.down, 60_000)
    if not 0.26 <= rtt_s <= 0.29:
        return f"there and back takes {rtt_s * 1e3:.0f} ms on it"
    return 12 <= seconds <= 20 or f"60,000 bytes take {seconds:.1f} s on it"


def transfer_s(spec: DirectionSpec, size: int) -> float:
    """Return how long so many bytes take one way through the model, packet behind packet, losses sent again."""
    model: LinkModel[int] = LinkModel(spec.model_copy(update={"jitter": 0.0}), seed=1)
    now = end = 0.0
    left = -(-size // _SEGMENT)
    while left:
        model.enqueue(_PACKET, left, now)
        due = model.next_due()
        arrived = model.due(due) if due is not None else []
        step = _PACKET * 8 / (spec.rate_at(now) or 1e9)
        now += step
        if arrived:
            end, left = arrived[-1][0], left - 1
        if now > 3600:
            return float("inf")
    return end
