"""Both sides of a verdict: a censor that does nothing and a net that is dead are both found out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from testbed.errors import UnfaithfulError
from testbed.run.controls import PASSING_ONES
from testbed.session.controls import Controls
from testbed.session.seen import Page


class Country:
    """A net by its outcome alone: which words of a URL each policy blocks, and whether anything works at all."""

    def __init__(self, **blocks: tuple[str, ...]) -> None:
        self.blocks, self.policy, self.dead = blocks, "open", False
        self.fetched: list[tuple[str, tuple[str, ...], float]] = []

    def set_policy(self, policy: str) -> None:
        self.policy = policy

    def fetch(self, urls: Sequence[str], within_s: float) -> list[Page]:
        self.fetched.append((self.policy, tuple(urls), within_s))
        return [self._page(url) for url in urls]

    def _page(self, url: str) -> Page:
        stopped = self.dead or any(word in url for word in self.blocks.get(self.policy, ()))
        failure = "connection_reset" if stopped else None
        operation = "tls_handshake" if stopped else None
        return Page(url, "client2", failure, operation, None, 0, None, 0.1, None, 0.0)


def controls(country: Country) -> Controls:
    return Controls(country.fetch, country.set_policy)


def test_a_site_that_is_blocked_and_one_that_passes_are_found_then_tried_again() -> None:
    country = Country(**{"tm-2022": ("facebook",)})
    own = controls(country)
    seen = own.show("tm-2022", None)
    assert (seen.blocked, seen.passes) == ("https://www.facebook.com/", PASSING_ONES[0])
    assert seen.how == "connection_reset at tls_handshake"
    assert country.policy == "tm-2022"
    country.fetched.clear()
    assert own.show("tm-2022", None) == seen
    assert country.fetched == [("tm-2022", (PASSING_ONES[0], "https://www.facebook.com/"), 2.0)]


def test_a_censor_that_blocks_nothing_is_found_out() -> None:
    with pytest.raises(UnfaithfulError, match="under tm-2022 the control host was not blocked from any"):
        controls(Country()).show("tm-2022", None)


def test_a_censor_that_stopped_blocking_is_found_out_the_second_time() -> None:
    country = Country(**{"tm-2022": ("facebook",)})
    own = controls(country)
    own.show("tm-2022", None)
    country.blocks = {}
    with pytest.raises(UnfaithfulError, match=r"not blocked from https://www\.facebook\.com/"):
        own.show("tm-2022", None)


def test_what_fails_without_a_censor_too_is_no_sign_of_one() -> None:
    country = Country(**{"open": ("facebook",), "tm-2022": ("facebook",)})
    with pytest.raises(UnfaithfulError, match="was not blocked"):
        controls(country).show("tm-2022", None)


def test_a_control_of_ones_own_is_the_only_one_tried() -> None:
    country = Country(**{"tm-2022": ("own.example",)})
    assert controls(country).show("tm-2022", "https://own.example/").blocked == "https://own.example/"
    assert country.fetched[0] == ("open", ("https://own.example/",), 10.0)


def test_a_dead_net_is_not_a_censored_one() -> None:
    country = Country()
    country.dead = True
    with pytest.raises(UnfaithfulError, match="the net is dead"):
        controls(country).show("open", None)
    with pytest.raises(UnfaithfulError, match="the net is dead"):
        controls(country).show("tm-2022", None)


def test_a_shutdown_is_told_from_a_dead_net_with_the_censor_off_for_a_moment() -> None:
    country = Country(**{"tm-shutdown": ("https:",)})
    seen = controls(country).show("tm-shutdown", None)
    assert seen.passes is None
    assert seen.blocked is not None
    assert "nothing passes" in str(seen)
    assert country.policy == "tm-shutdown"


def test_without_a_censor_nothing_has_to_be_blocked() -> None:
    seen = controls(Country()).show("open", None)
    assert (seen.blocked, seen.passes) == (None, PASSING_ONES[0])


@pytest.mark.parametrize("policy", ["geneva-2", "geneva-3"])
def test_a_censor_that_sees_one_connection_is_shown_one_page_and_forgets_it(policy: str) -> None:
    country = Country(**{policy: ("ultrasurf",)})
    seen = controls(country).show(policy, None)
    assert seen.blocked == "http://www.example.org/ultrasurf"
    asked = [urls for under, urls, _ in country.fetched if under == policy]
    assert asked == [PASSING_ONES, (seen.blocked,)]


def test_a_reset_may_come_too_late_now_and_then() -> None:
    country, late = Country(**{"geneva-5": ("ultrasurf",)}), iter([True, False])
    taken: list[str] = []

    def fetch(urls: Sequence[str], within_s: float) -> list[Page]:
        if country.policy == "geneva-5" and urls != PASSING_ONES:
            country.blocks = {} if next(late) else {"geneva-5": ("ultrasurf",)}
        return country.fetch(urls, within_s)

    def set_policy(policy: str) -> None:
        taken.append(policy)
        country.set_policy(policy)

    assert Controls(fetch, set_policy).show("geneva-5", None).blocked == "http://www.example.org/ultrasurf"
    assert taken == ["geneva-5", "open", *["geneva-5"] * 4], "each time a censor that has seen nobody"


def test_a_server_that_the_control_had_silenced_is_heard_again() -> None:
    """Geneva's censor 8b resets all that either address sends from then on, whoever asks."""
    country = Country(**{"geneva-8b": ("ultrasurf",)})
    taken: list[str] = []

    def set_policy(policy: str) -> None:
        taken.append(policy)
        country.set_policy(policy)

    Controls(country.fetch, set_policy).show("geneva-8b", None)
    assert taken == ["geneva-8b", "open", "geneva-8b", "geneva-8b"], "on, off to see what passes, on, and afresh"
