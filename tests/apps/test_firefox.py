"""What Firefox's profile is told; what it then shows is live."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.apps import firefox
from testbed.apps.connect import Access
from testbed.scenario.params import BrowserParams


def settings(proxy: str | None = None, **keys: object) -> dict[str, bool | int | str]:
    params = BrowserParams.model_validate({"url": "https://news.example/", "browser": "firefox", **keys})
    return firefox.settings_for(params, Access("ca.pem", proxy))


def test_http3_is_forced_or_off() -> None:
    assert settings()["network.http.http3.enable"] is False
    told = settings(http3=True)
    assert told["network.http.http3.alt-svc-mapping-for-testing"] == "news.example;h3=:443"
    assert told["network.http.http3.disable_when_third_party_roots_found"] is False  # the run's authority is one


def test_versions_addresses_and_proxies() -> None:
    assert settings(tls="1.2")["security.tls.version.max"] == 3
    assert settings(address="198.19.0.10")["network.dns.forceResolve"] == "198.19.0.10"
    socks = settings("socks5://127.0.0.1:1080")
    assert (socks["network.proxy.socks"], socks["network.proxy.socks_port"]) == ("127.0.0.1", 1080)
    http = settings("http://127.0.0.1:3128")
    assert (http["network.proxy.ssl"], http["network.proxy.ssl_port"]) == ("127.0.0.1", 3128)
    assert "network.proxy.socks" not in http


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Error: NS_ERROR_NET_RESET", "NS_ERROR_NET_RESET"),
        ("Error: The certificate is not trusted. (SEC_ERROR_UNKNOWN_ISSUER)", "SEC_ERROR_UNKNOWN_ISSUER"),
        ("Error: deniedPortAccess", "deniedPortAccess"),
        ("", ""),
    ],
)
def test_the_code_of_an_error_is_found(said: str, code: str) -> None:
    assert firefox.code_in(said) == code


def test_the_profile_trusts_whom_the_host_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "home" / ".pki" / "nssdb"
    database.mkdir(parents=True)
    (database / "cert9.db").write_bytes(b"trusted")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    profile = tmp_path / "profile"
    profile.mkdir()
    firefox._prepare(profile, {"a.b": True, "c": 'it"s'})
    assert (profile / "cert9.db").read_bytes() == b"trusted"
    assert (profile / "user.js").read_text() == 'user_pref("a.b", true);\nuser_pref("c", "it\\"s");\n'
