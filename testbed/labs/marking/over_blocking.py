"""Lab 4: lists that differ, shown in the capture; strangers counted; and the student's own fair policy, tried."""

from __future__ import annotations

from testbed import shipped
from testbed.dpi.explain import WAYS, explain
from testbed.dpi.names import read_list
from testbed.dpi.policy import Policy, load_policy
from testbed.labs import knock
from testbed.labs.evidence import RST
from testbed.labs.work import Work
from testbed.scenario.topology import GROUPS

_COUNTED = ("t.co", "russia")
_FOR = "twitter.com"
_INNOCENT = ("weather.example", f"x{_FOR}")


def examine(work: Work) -> None:
    """Mark lab 4."""
    work.judge("https_not_http: a name blocked in HTTPS, not in HTTP", lambda: _one_list(work))
    work.judge("the same, shown in your capture", lambda: _shown(work), "name an https_not_http first")
    work.judge("strangers: well-known names that Russia's `t.co` rule hits by accident", lambda: _counted(work),
               "`testbed policy explain t.co --policy russia` counts them")  # fmt: skip
    work.judge("fair.yaml: it stops the name and all below it", lambda: _stops(work))
    work.judge("fair.yaml: and nobody else", lambda: _spares(work))


def _name(work: Work) -> str:
    return next(iter(work.words("https_not_http")), "")


def _one_list(work: Work) -> bool | str:
    name = _name(work)
    ways = {WAYS.get(hit.kind) for hit in load_policy(work.scenario.policy).explain(name)} if name else set()
    return ("HTTPS" in ways and "HTTP" not in ways) or f"it is hit in {', '.join(sorted(map(str, ways))) or 'nothing'}"


def _shown(work: Work) -> bool | str:
    name = _name(work)
    if not name:
        return False
    cut = {f.flow for f in work.injected.values() if f.flags & RST}
    host = f"host: {name}\r\n".encode()
    own = [f for f in work.inside if f.source == work.address]
    hello = {f.flow for f in own if f.server_name == name}
    plain = {f.flow for f in own if host in f.payload.lower()}
    if not hello & cut:
        return "no reset TLS hello with that name in your capture"
    return bool(plain - cut) or "no HTTP request with that name that got through in your capture"


def _well_known() -> list[str]:
    path = shipped.folder("policies") / "lists" / "well-known.txt"
    return [name for _, name in read_list(path.read_text(encoding="utf-8-sig").splitlines())]


def _counted(work: Work) -> bool:
    name, reference = _COUNTED
    found = explain(load_policy(reference, GROUPS), name, _well_known(), lambda listed, hit: listed)
    return work.value("strangers") in {len(each.overblock.by_accident) for each in found}


def _fair(work: Work) -> Policy:
    return load_policy(work.file("fair.yaml"), GROUPS)


def _stops(work: Work) -> bool | str:
    policy = _fair(work)
    for name in (_FOR, f"www.{_FOR}", f"a.b.{_FOR}"):
        ways = {WAYS.get(hit.kind) for hit in policy.explain(name)}
        if missing := sorted({"DNS", "HTTP", "HTTPS"} - ways):
            return f"{name} gets through by {', '.join(missing)}"
        if noted := [way for way in knock.WAYS if not knock.stops(policy, name, way)]:
            return f"{name} is hit by a rule and gets through all the same by {', '.join(noted)}"
    return True


def _spares(work: Work) -> bool | str:
    policy = _fair(work)
    if not policy.rules:
        return "it has no rules"
    twins = [f"x{_FOR}", f"{_FOR}.x.example", f"not-{_FOR}", _FOR.replace(".", "x.")]
    if any(
        rule.match.everything or rule.match.addresses or rule.match.ports for rule in policy.rules if not _named(rule)
    ):
        return "a rule of it hits without looking at a name"
    names = [name for name in (*twins, *_well_known()) if name != _FOR and not name.endswith(f".{_FOR}")]
    hit = [name for name in names if policy.explain(name)]
    hit += [f"{name} by {way}" for name in _INNOCENT for way in knock.WAYS if knock.stops(policy, name, way)]
    return f"it hits {', '.join(hit[:3])}" if hit else True


def _named(rule: object) -> bool:
    match = getattr(rule, "match", None)
    return any(getattr(match, kind, None) for kind in WAYS)
