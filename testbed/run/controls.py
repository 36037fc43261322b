"""Sites by which a control shows that a censor is alive: well-known ones, and those of a policy's own rules. Pure.

A site here is a URL; which of them a policy really blocks is found out by trying them without a tool. What a rule acts
on decides what has to be fetched: the front page of a name it lists, a large file where it throttles or freezes, a word
in a path or a name where it reads payloads. Sites that a policy names come before those that it may block by the way: a
censor that silences a client for what it said elsewhere keeps it from pages that a tool's host would load at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from testbed.dpi.match import Match
from testbed.dpi.policy import Policy
from testbed.dpi.rule import Rule
from testbed.tools.recipe import Use

BLOCKED_ONES = (
    "https://twitter.com/", "https://www.azathabar.com/", "https://www.facebook.com/", "https://chat.imo.im/",
    "https://www.torproject.org/", "https://www.youtube.com/", "https://www.google.com/", "https://www.wikipedia.org/",
)  # fmt: skip
PASSING_ONES = ("https://science.gov.tm/headers", "https://www.example.org/headers", "https://city.example/headers")
#: the world's web on a port that a censor may not let pass whatever is said there
OTHER_PORT = "https://www.example.org:8443/"
RACES = 3
"""A reset can come after the answer that it was to prevent; a censor that loses so often is taken for a dead one."""
_NAMES_EACH, _HOST, _WORD = 2, re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+"), re.compile(r"[A-Za-z0-9]{4,}")
_LONGER, _MOST_BYTES, _BEYOND_BYTES = 1.5, 1_000_000, 64_000


def sites_of(policy: Policy, within_s: float = 10.0) -> list[str]:
    """Return pages that a policy's rules are about; a throttled one can't be had within `within_s` seconds."""
    found: dict[str, None] = {}
    for rule in policy.rules:
        path, most = _path(rule, within_s)
        for match in _whole(rule.match):
            for scheme, host in _hosts(policy, match, most):
                found[f"{scheme}://{host}{path}"] = None
            for signature in match.payload:
                for word in (*signature.contains, signature.regex or ""):
                    if _WORD.fullmatch(word):
                        found |= {f"http://www.example.org/{word}": None, f"https://{word.lower()}.example.org/": None}
    return list(found)


def candidates(policy: Policy, within_s: float = 10.0) -> list[str]:
    """Return sites that a policy may block, surest first: well-known ones that it lists, its own, all others."""
    listed = [url for url in BLOCKED_ONES if policy.explain(urlsplit(url).hostname or "")]
    return list(dict.fromkeys([*listed, *sites_of(policy, within_s), *BLOCKED_ONES, OTHER_PORT]))


def sees_one_at_a_time(policy: Policy) -> bool:
    """Say whether a censor follows one connection only, so that of pages loaded side by side it may see none."""
    return policy.tracking.entries == "one"


def bears_a_grudge(policy: Policy) -> bool:
    """Say whether what one host said may turn a censor against others: it silences the server that was spoken to."""
    return any(rule.residual is not None and rule.residual.key in ("server", "sources") for rule in policy.rules)


def _whole(match: Match) -> Iterator[Match]:
    """Yield a match and those it is made of, but not what it leaves out."""
    yield match
    for part in (*match.all_of, *match.any_of):
        yield from _whole(part)


def _hosts(policy: Policy, match: Match, most: int) -> Iterator[tuple[str, str]]:
    for names, scheme in ((match.sni, "https"), (match.http_host, "http"), (match.dns, "https")):
        if names is not None:
            patterns = [*names.patterns, *(n for text in names.lists for n in policy.names.get(text, ()))]
            hosts = [pattern.strip("*").lstrip("=.") for pattern in patterns]
            yield from ((scheme, host) for host in hosts[:most] if _HOST.fullmatch(host))


def _path(rule: Rule, within_s: float) -> tuple[str, int]:
    """Return what to fetch of a rule's site, and of how many sites: large files would slow each other down."""
    throttle, freeze = rule.action.throttle, rule.action.freeze
    if throttle is not None:
        size = throttle.burst + throttle.rate / 8 * within_s * _LONGER
        return f"/bytes/{min(_MOST_BYTES, int(size))}", 1
    if freeze is not None and (after := freeze.up_to_bytes or freeze.after_bytes):
        return f"/bytes/{int(after) + _BEYOND_BYTES}", 1
    return "/", _NAMES_EACH


def fit(use: Use, urls: list[str]) -> list[str]:
    """Return what a way of use can ask for: names, pages without TLS, or all; a tool's own client fetches HTTPS."""
    if use.carries == "names":
        return list(dict.fromkeys(f"dns:{urlsplit(url).hostname}" for url in urls))
    if use.carries == "http":
        return list(dict.fromkeys(f"http:{url.partition(':')[2]}" for url in urls if not urlsplit(url).port))
    return [url for url in dict.fromkeys(urls) if url.startswith("https:") or not use.command]


def with_path(url: str, path: str) -> str:
    """Return a page of the same site."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{path}"
