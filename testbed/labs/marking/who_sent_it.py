"""Lab 3: which reset is the censor's, which a server's own, and what drew each: all by the two captures."""

from __future__ import annotations

from testbed.labs.evidence import ACK, RST, SYN, Frame
from testbed.labs.work import Work


def examine(work: Work) -> None:
    """Mark lab 3."""
    work.judge("forged_frame: a reset that no server sent", lambda: _forged(work))
    work.judge("trigger_frame: the packet that drew it", lambda: _is_trigger(work),
               "your host's last packet with a name, in the connection of forged_frame and before it")  # fmt: skip
    work.judge("forged_ttl, forged_ip_id: its marks", lambda: _marks(work),
               "ip.ttl and ip.id of forged_frame, in the inner capture, as decimal numbers")  # fmt: skip
    work.judge("server_ttl: the TTL of that server's SYN+ACK", lambda: _server_ttl(work),
               "ip.ttl of the SYN+ACK in the connection of forged_frame, in the inner capture")  # fmt: skip
    work.judge("true_frame: a reset that a host really sent", lambda: _true(work))
    work.judge("residual_frame: a reset drawn by a packet without a name", lambda: _residual(work))


def _is_reset(frame: Frame | None, work: Work) -> bool:
    return frame is not None and bool(frame.flags & RST) and frame.target == work.address


def _forged(work: Work) -> bool | str:
    frame = work.frame("forged_frame")
    if not _is_reset(frame, work):
        return "that frame is no reset to your host"
    assert frame is not None
    return frame.number in work.injected or "it came in from the outside"


def _before(work: Work, frame: Frame) -> Frame | None:
    """Return the student's last packet of a flow before a frame that the censor can have answered: not an empty ACK."""
    earlier = [f for f in work.inside if f.flow == frame.flow and f.source == work.address and f.number < frame.number]
    named = [f for f in earlier if f.server_name or f.payload.startswith(b"GET ")]
    found = named or earlier
    return found[-1] if found else None


def _is_trigger(work: Work) -> bool:
    frame = work.frame("forged_frame")
    found = _before(work, frame) if frame is not None and _is_reset(frame, work) else None
    return found is not None and work.value("trigger_frame") == found.number


def _marks(work: Work) -> bool:
    frame = work.frame("forged_frame")
    if not _is_reset(frame, work) or frame is None or frame.number not in work.injected:
        return False
    return (work.value("forged_ttl"), work.value("forged_ip_id")) == (frame.packet.ttl, frame.packet.ident)


def _server_ttl(work: Work) -> bool:
    forged = work.frame("forged_frame")
    shakes = SYN | ACK
    return forged is not None and any(
        f.flow == forged.flow and f.target == work.address and f.flags & shakes == shakes
        and f.packet.ttl == work.value("server_ttl")
        for f in work.inside
    )  # fmt: skip


def _true(work: Work) -> bool | str:
    frame = work.frame("true_frame")
    if not _is_reset(frame, work):
        return "that frame is no reset to your host"
    assert frame is not None
    return frame.number not in work.injected or "nobody outside sent it"


def _residual(work: Work) -> bool | str:
    frame = work.frame("residual_frame")
    if not _is_reset(frame, work) or frame is None or frame.number not in work.injected:
        return "that frame is no reset of the censor's to your host"
    asked = [f for f in work.inside if f.flow == frame.flow and f.source == work.address and f.number < frame.number]
    return (bool(asked) and not asked[-1].payload) or "the packet before it has a name, or other data, in it"
