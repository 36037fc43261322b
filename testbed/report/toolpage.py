"""`docs/tools.md` from results: which recipe gets through which policy, and what stopped the others. Pure.

The results are kept beside the page (`docs/tools.json`), reduced to what another machine must find again: verdicts and
the rules behind them. Times and rates are printed by `testbed tool`, not kept: they are this machine's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Chances = Mapping[str, Mapping[str, float]]
_MARKS = {"passes": "✓", "unstable": "~", "blocked": "✗", "broken": "broken", "invalid": "–"}
_INTRODUCTION = """---
hide: [navigation, toc]
---
# Tools against policies

Made from results by `scripts/tools-page`, never by hand. Each cell is a two-sided test (`testbed tool RECIPE --policy
P`): the control without the tool was blocked, a control site passed, and the net was faithful. The tests hold a part of
the table on every change, `make table` all that a machine has the tools for.

| mark | what it says |
|---|---|
| ✓ | gets through, with at least four connections of five |
| ~ `rule` | gets through sometimes; the rule that stops the others |
| ✗ `rule` | blocked, and by which rule; with its chance, if it acts on a share of the connections only |
| ✗ `everything` | no net: a shutdown lets nothing cross, whatever the tool |
| – | nothing is proven: the policy does nothing to a client that asks as this tool does ([why](#where-a-dash-stands)) |
"""
_GROUPS = (
    ("Turkmenistan, by date", "tm-", "policies/turkmenistan.md"),
    ("Other countries", "", None),
    ("Geneva's mock censors", "geneva-", "policies/geneva.md"),
)
_ABOUT = {
    "geneva-": """
Censors of a test bench (Bock et al. 2019): they look for the word `ultrasurf` in what passes in the clear. Most follow
one connection at a time, some are blinded for good by the end of any; each test asks a fresh one.
""",
}
_DASHES = """
## Where a dash stands

- Tools that only resolve names prove nothing under a policy that knows no names in DNS, those that carry only pages
  without TLS nothing under one that judges no such page, and clients that ask for HTTPS themselves nothing where only
  pages without TLS are judged.
- A VPN or a packet filter that brings no resolver is tested with names looked up before: it proves nothing where only
  names are judged.
- `tm-2018-imo-calls` acts on the media of IMO's calls alone, over UDP: no page is kept from anybody. `testbed run
  imo-goes-dark` shows the calls stop.

"""
_FACTS = """
## Where the facts speak

The tests hold these cells (`tests/report/test_toolpage.py`); the letters name rows of the policies' evidence.

- *Segmentation evades* (ART, tm-2022): `geneva` with its default strategy passes; the censor puts nothing together.
  So do the reset before the SYN (`geneva-rst-before-syn`) and the four published forms of a request (`http-newline`,
  `http-space-version`, `http-space-host`, `http-padded-hosts`); `http-case`, published for other countries, does not.
- *Private obfs4 bridges have a good chance* (BBS80): `obfs4` passes under every policy of Turkmenistan but the
  shutdown; China's rule against fully encrypted traffic stops it, and Shadowsocks with it.
- *Names of DoH services are poisoned* (BBS80): `doh-listed` is blocked by the resolver's own name, `doh`, `dot` and
  `doq` with a name nobody listed pass. `resolver-public` is forged on the way, as measured.
- *Direct Tor is dead* since 2021-10-29 (SNOW): by the addresses of its relays, which a consensus gives to anybody
  (`tor`). By a bridge whose address nobody lists it lives (`tor-obfs4`).
- *Snowflake's STUN on 3478 is dead, on 3479 only on Turkmentelecom* (SNOW): `snowflake` is blocked from tm-2022 on,
  `snowflake-3479` by the policies of Turkmentelecom alone. Its front's name was blocked too, from 2021-10-24: the
  front of the recipe is one that no list has.
- *No fingerprinting of VPN protocols was found* (facts): OpenVPN, WireGuard and the others pass under every policy of
  Turkmenistan until their server's address is listed. What the servers here stand for is an address that nobody
  listed.

## What is only sometimes so, and why

- China's `encrypted` acts on 26.3 % of the connections and then blocks the server for three minutes: a fully
  encrypted tool works until the first hit.
- `browser-hello`: Chrome's hello takes two packets, and its extensions come in another order each time. Where the
  name comes in the second packet, a censor that puts nothing together misses it.
- `outline-split`: this version of the SDK counts its cuts over all connections of the program together, so that only
  the first one is cut.
- `geneva-5` resets the server alone, and the word has passed it by then: now and then the answer is quicker.

## What may surprise

- Behind `iran-2025` any tool lives whose server is on TCP 80 or 443 or that speaks on UDP 53, and none else: the site
  that its control can't reach is one on port 8443, so that tools that go to the site themselves are stopped like it.
- Behind `iran-2020` a tool on another port than 53, 80 and 443 is not looked at: obfs4 and SSH pass, OpenVPN over TCP
  on 443 does not, since its first packets look like none of the three protocols.
- `allow-list` passes what is named: it stands for the extreme, and stops every cover but one that is listed. A first
  packet is judged in its place: a hello whose end comes before its beginning is not seen (`geneva-reversed`).
- Tor and the VPNs pass behind `china` and `russia`: their blocks of relays and of VPN protocols stand in no row of our
  facts, and a policy has no rule without one.
- `tm-2023-08`, `tm-2024-mobile` and `tm-2025-volume` block nearly all addresses, and later what was much used: 20 to
  150 GB, or a day. The servers here have addresses that nobody listed, and a test lasts seconds.
- `tm-2020` and `tm-2018-imo` know no names in DNS and no pages without TLS, as far as was measured.
"""


def reduce(tools: Sequence[Mapping[str, Any]], known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what is kept of results, laid over what was kept before."""
    found = {name: {**entry, "policies": dict(entry["policies"])} for name, entry in (known or {}).items()}
    for tool in tools:
        entry = found.setdefault(tool["recipe"], {"title": tool["title"], "policies": {}})
        entry["title"] = tool["title"]
        if tool.get("skipped"):
            if not entry["policies"]:
                entry["skipped"] = tool["skipped"]
            continue
        entry.pop("skipped", None)
        entry["policies"] |= {
            item["policy"]: _cell(item) for item in tool["policies"] if _is_worth_keeping(item, entry)
        }
    return dict(sorted(found.items()))


def differences(kept: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return where results say something else than what is kept; a cell that isn't kept is none.

    A kept `unstable` says "sometimes": any of passes, unstable and blocked agrees with it.
    """
    found: list[str] = []
    for tool in tools:
        cells = kept.get(tool["recipe"], {"policies": {}})["policies"]
        tried = {item["policy"]: item for item in tool["policies"]}
        for policy, item in tried.items():
            was, now = cells.get(policy, {}).get("verdict"), item["verdict"]
            sometimes = was == "unstable" and now in ("passes", "blocked")
            if was is not None and was != now and not sometimes:
                why = "; ".join([*item["why"], *(f"by `{rule}`" for rule in _cell(item).get("by", []))])
                found.append(
                    f"{tool['recipe']} under {policy}: {now}, the table says {was}{f' ({why})' if why else ''}"
                )
    return found


def _is_worth_keeping(item: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """A test that proves nothing counts only if the policy has nothing against such clients, and nothing was proven."""
    if item["verdict"] != "invalid":
        return True
    proven = entry["policies"].get(item["policy"], {"verdict": "invalid"})["verdict"] != "invalid"
    return not proven and all(why.startswith("the control client was not blocked") for why in item["why"])


def _cell(item: Mapping[str, Any]) -> dict[str, Any]:
    rules = sorted({entry["rule"] for entry in item.get("blocked_by", [])}) if item["verdict"] != "passes" else []
    return {"verdict": item["verdict"], "by": rules} if rules else {"verdict": item["verdict"]}


def page(kept: Mapping[str, Any], chances: Chances | None = None) -> str:
    """Return the page in Markdown; `chances`: policy → rule → the share of connections on which it acts, if not all."""
    cells = [cell for entry in kept.values() for cell in entry["policies"].values()]
    proven = sum(cell["verdict"] != "invalid" for cell in cells)
    tried = {name: entry for name, entry in sorted(kept.items()) if entry["policies"]}
    lines = [
        _INTRODUCTION,
        f"{len(tried)} recipes, {len(cells)} cells, of which {proven} prove something. Without a censor",
    ]
    lines += ["every tool here gets through; one that doesn't would be called broken."]
    rest = sorted({policy for entry in tried.values() for policy in entry["policies"]} - {"open"}, key=_natural)
    for title, prefix, about in _GROUPS:
        columns = [policy for policy in rest if _prefix(policy) == prefix]
        if columns:
            lines += ["", f"## {title}", *([_ABOUT[prefix]] if prefix in _ABOUT else [""])]
            lines += _table(tried, columns, about, chances or {}, titled=prefix == "tm-")
    lines += [_DASHES.rstrip("\n"), *_dashes(tried)]
    skipped = [(name, entry) for name, entry in sorted(kept.items()) if not entry["policies"]]
    if skipped:
        lines += ["", "## Not run where this page was made", ""]
        lines += [f"- [{name}](../recipes/{name}.yaml) {entry['title']}: {entry['skipped']}" for name, entry in skipped]
    return "\n".join(lines) + "\n" + _FACTS


def _table(
    tried: Mapping[str, Any], columns: Sequence[str], about: str | None, chances: Chances, *, titled: bool
) -> list[str]:
    """Return one table; the heads are what tells its policies apart, and lead to what is known of them."""
    lines = [
        f"| recipe | {' | '.join(_head(column, about) for column in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, entry in tried.items():
        cells = [_text(entry["policies"].get(column), chances.get(column, {})) for column in columns]
        title = f"<br>{entry['title']}" if titled else ""
        lines.append(f"| [{name}](../recipes/{name}.yaml){title} | {' | '.join(cells)} |")
    return lines


def _head(policy: str, about: str | None) -> str:
    short = policy.removeprefix(_prefix(policy)).replace("-", " ")
    return f"[{short}]({about}#{policy})" if about else f"[{short}](../policies/{policy}.yaml)"


def _prefix(policy: str) -> str:
    return next((prefix for _, prefix, _ in _GROUPS if prefix and policy.startswith(prefix)), "")


def _natural(policy: str) -> list[tuple[int, str]]:
    """Sort the numbers in names as numbers."""
    return [(int(part or 0), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", policy)]


def _dashes(tried: Mapping[str, Any]) -> list[str]:
    """Return who has a dash under what, those with the same ones together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, entry in tried.items():
        policies = [policy for policy, cell in entry["policies"].items() if cell["verdict"] == "invalid"]
        if policies:
            found.setdefault(tuple(sorted(policies, key=_natural)), []).append(name)
    listed = sorted(found.items(), key=lambda item: item[1])
    return ["- " + ", ".join(names) + ": under " + ", ".join(f"`{p}`" for p in policies) for policies, names in listed]


def _text(cell: Mapping[str, Any] | None, chances: Mapping[str, float]) -> str:
    if cell is None:
        return ""
    rules = ", ".join(f"`{rule}`{_chance(chances.get(rule, 1.0))}" for rule in cell.get("by", []))
    return f"{_MARKS[cell['verdict']]} {rules}".strip()


def _chance(share: float) -> str:
    return "" if share == 1 else f" ({share:.1%})"
