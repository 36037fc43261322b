"""Lab 6: the student's way past the censor, tried with names the page does not have; and the censor's answer to it."""

from __future__ import annotations

import ipaddress
import secrets
import tempfile
from pathlib import Path

from testbed.dpi.policy import load_policy
from testbed.labs import knock
from testbed.labs.evidence import RST, Frame, read_frames
from testbed.labs.rehearsal import rehearse
from testbed.labs.work import Work
from testbed.run.directory import RunDirectory
from testbed.wire import tls
from testbed.world.names import addresses_for

_BLOCKED_S = 35
_CLIENTS = ipaddress.ip_network("100.64.1.0/24")


def examine(work: Work) -> None:
    """Mark lab 6."""
    work.judge("evade.sh: a blocked page, through your own way", lambda: _evades(work))
    work.judge("capture: a blocked name in a hello that drew no reset", lambda: bool(_evaded(work)),
               "use evade.sh in your host, then end the country with `testbed lab stop`")  # fmt: skip
    work.judge("stronger.yaml: the same censor, no longer fooled", lambda: _stronger(work))
    work.judge("stronger.yaml: and hits no more names than before", lambda: _same_names(work))


def _evades(work: Work) -> bool | str:
    if not work.file("evade.sh").is_file():
        return "there is no evade.sh"
    size, name = 20_000 + secrets.randbelow(10_000), f"{secrets.token_hex(4)}.twitter.com"
    url = f"https://{name}/bytes/{size}"
    control = f"curl -sS -o /dev/null --max-time 12 --resolve {name}:443:{addresses_for(name, {})[0]} {url}; echo $?"
    script = f"{control}; echo --; sh ./evade.sh {url} | wc -c"
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "run"
        done = work.in_country(["timeout", str(_BLOCKED_S), "sh", "-c", script], keep=kept)
        capture = RunDirectory(kept).capture("gateway", "inside")
        came = sum(len(f.payload) for f in read_frames(capture) if _is_inside(f.target)) if capture.exists() else 0
    plain, _, evaded = done.stdout.partition("--\n")
    if plain.strip() == "0":
        return "the censor was not there: this proves nothing, try again"
    if evaded.strip() != str(size):
        return f"{evaded.strip() or 0} of {size} bytes came; {done.stderr.strip()[-160:]}"
    return came >= size or f"it printed {size} bytes, and {came} crossed the border"


def _is_inside(address: str) -> bool:
    return ipaddress.ip_address(address) in _CLIENTS


def _evaded(work: Work) -> list[tuple[tuple[str, int], ...]]:
    """Return the flows whose joined hello has a name on the censor's list, and that drew no reset."""
    policy = load_policy(work.scenario.policy)
    sent: dict[tuple[tuple[str, int], ...], dict[int, Frame]] = {}
    for frame in work.inside:
        if frame.source == work.address and frame.segment is not None and frame.payload:
            sent.setdefault(frame.flow, {}).setdefault(frame.segment.seq, frame)
    cut = {frame.flow for frame in work.injected.values() if frame.flags & RST}
    found = []
    for flow, segments in sent.items():
        name = tls.sni_of_beginning(b"".join(segments[seq].payload for seq in sorted(segments)))
        answered = any(f.flow == flow and f.target == work.address and len(f.payload) > 100 for f in work.inside)
        if name and flow not in cut and answered and any(hit.kind == "sni" for hit in policy.explain(name)):
            found.append(flow)
    return found


def _stronger(work: Work) -> bool | str:
    evaded = _evaded(work)
    if not evaded:
        return "your capture holds nothing that got past the censor"
    stopped = rehearse(work.run.capture("gateway", "inside"), work.file("stronger.yaml"))
    hit = {frame.flow for frame in work.inside if frame.number in stopped.all}
    missed = [flow for flow in evaded if flow not in hit]
    return f"{len(missed)} of {len(evaded)} connections still get past it" if missed else True


def _same_names(work: Work) -> bool | str:
    mine, theirs = load_policy(work.file("stronger.yaml")), load_policy(work.scenario.policy)
    for name in ("weather.example", "xtwitter.com", "twitter.com", "kernel.org", "wikipedia.org", "any.example"):
        if {hit.kind for hit in mine.explain(name)} != {hit.kind for hit in theirs.explain(name)}:
            return f"it treats {name} in another way"
    stopped = [way for way in knock.WAYS if knock.stops(mine, "weather.example", way)]
    return f"it stops everybody's {', '.join(stopped)}" if stopped else True
