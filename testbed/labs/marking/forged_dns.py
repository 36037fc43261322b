"""Lab 2: the forged answer by the two captures, the strangers by the policy's own patterns, the way round it live."""

from __future__ import annotations

import re
import secrets

from testbed.dpi.policy import load_policy
from testbed.labs.work import Work, near
from testbed.scenario.topology import PUBLIC_RESOLVER
from testbed.wire import dns
from testbed.world.names import addresses_for

_NAME = "twitter.com"
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")


def examine(work: Work) -> None:
    """Mark lab 2."""
    work.judge("forged_frame: the answer that nobody outside sent", lambda: _forged(work))
    work.judge("true_frame: the true answer to the same question", lambda: _true(work),
               f"an answer about {_NAME} to your host, which both sides of the box saw")  # fmt: skip
    work.judge("forged_ttl_s: how long the lie may be remembered", lambda: _ttl(work), "dns.resp.ttl of forged_frame")
    work.judge("true_address: where the name really is", lambda: work.words("true_address") == _addresses(work),
               "dns.a of true_frame")  # fmt: skip
    work.judge("strangers: three names that are hit and were not meant", lambda: _strangers(work))
    work.judge("resolve.sh: the true address of any name, from inside", lambda: _resolve(work))


def _message(work: Work, key: str) -> dns.Message | None:
    frame = work.frame(key)
    if frame is None or frame.datagram is None or frame.target != work.address or frame.datagram.sport != 53:
        return None
    message = dns.parse(frame.payload)
    asked = message.questions[0].name.lower().rstrip(".") if message.questions else ""
    return message if message.is_response and asked == _NAME else None


def _forged(work: Work) -> bool | str:
    if _message(work, "forged_frame") is None:
        return f"that frame is no answer to your host about {_NAME}"
    return work.value("forged_frame") in work.injected or "that one came in from the outside"


def _true(work: Work) -> bool | str:
    message, forged = _message(work, "true_frame"), _message(work, "forged_frame")
    if message is None or work.value("true_frame") in work.injected:
        return False
    return forged is None or message.id == forged.id or "it answers another question than the forged one"


def _ttl(work: Work) -> bool:
    message = _message(work, "forged_frame")
    return message is not None and any(near(work.number("forged_ttl_s"), r.ttl, 0, 0.5) for r in message.answers)


def _addresses(work: Work) -> list[str]:
    return list(addresses_for(_NAME, work.scenario.topology.names)[:1])


def _strangers(work: Work) -> bool | str:
    policy, page = load_policy(work.scenario.policy), work.lab.page("en").read_text(encoding="utf-8").lower()
    found = {name: _is_stranger(name, [h.pattern for h in policy.explain(name) if h.kind == "dns"])
             for name in map(_bare, work.words("strangers"))}  # fmt: skip
    wrong = sorted(name for name, right in found.items() if not right)
    if wrong:
        return f"not hit, or rightly hit: {', '.join(wrong)}"
    told = [name for name in found if name in page]
    return f"the page names it: {told[0]}" if told else len(found) >= 3 or f"{len(found)} names"


def _bare(name: str) -> str:
    """Return a name without the dot of the root, which makes no other name of it."""
    return name.removesuffix(".")


def _is_stranger(name: str, patterns: list[str]) -> bool:
    """Say whether a part of the name is hit anywhere, while the name does not belong to the pattern's own."""
    owned = [pattern.strip("*") for pattern in patterns if pattern.startswith("*")]
    labels = name.split(".")
    mine = any(own in labels or name == own or name.endswith(f".{own}") for own in owned)
    return bool(owned) and _HOST.fullmatch(name) is not None and not mine


def _resolve(work: Work) -> bool | str:
    names = [f"{secrets.token_hex(4)}.{_NAME}", f"{secrets.token_hex(4)}.facebook.com"]
    script = (
        f"dig +short +tries=1 +time=4 @{PUBLIC_RESOLVER} {names[0]}; echo --; "
        f"sh ./resolve.sh {names[0]}; echo --; sh ./resolve.sh {names[1]}"
    )
    if not work.file("resolve.sh").is_file():
        return "there is no resolve.sh"
    done = work.in_country(["sh", "-c", script])
    parts = [part.split() for part in done.stdout.split("--\n")]
    if len(parts) != 3:
        return done.stderr.strip()[-200:] or "it printed nothing"
    truth = [addresses_for(name, {})[0] for name in names]
    if truth[0] in parts[0][:1]:
        return "the censor was not there: this proves nothing, try again"
    wrong = [name for name, true, said in zip(names, truth, parts[1:], strict=True) if said != [true]]
    return f"for {wrong[0]} it printed {' '.join(parts[1 + names.index(wrong[0])]) or 'nothing'}" if wrong else True
