"""Messengers as data: what the facts measured stands in the files, what is ours is marked."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.apps import profiles
from testbed.apps.plan import serve_specs, zone_for
from testbed.apps.profiles import Profile, load_profile
from testbed.errors import InputError
from testbed.scenario.spec import AppSpec

#: facts/turkmenistan §4, by nDPI: TCP ports, UDP port of calls, seconds and bytes of media; None is not measured
MEASURED = {
    "imo": (None, None, 0.1, 1099),
    "whatsapp": ({5222, 443}, 3478, 0.04, 145),
    "viber": ({4244, 5242, 5243, 443}, 7985, None, None),
    "telegram": ({443}, 533, 0.06, 230),
    "signal": ({443}, 3478, None, None),
}


def test_these_messengers_ship() -> None:
    assert set(profiles.names()) == set(MEASURED)


@pytest.mark.parametrize("name", MEASURED)
def test_measured_values_stand_in_the_file(name: str) -> None:
    profile = load_profile(name)
    ports, call_port, every_s, size = MEASURED[name]
    for key, measured, value in (
        ("port", ports, {profile.port, *profile.also}), ("call.port", call_port, profile.call.port),
        ("call.every", every_s, profile.call.every), ("call.size", size, profile.call.size),
    ):  # fmt: skip
        if measured is None:
            assert key in profile.models, key
        else:
            assert value == measured, key


def test_imo_calls_carry_every_signature_of_ndpi() -> None:
    packets = [bytes.fromhex(signature) for signature in load_profile("imo").call.signatures]
    assert packets[0] == packets[1]
    assert len(packets[0]) == 1
    assert any(len(packet) == 10 and packet.startswith(b"\x09\x02") for packet in packets)
    assert any(len(packet) == 11 and packet.startswith(b"\x00\x09\x03") for packet in packets)
    assert load_profile("imo").call.media == "88491a00"


def test_vibers_first_two_bytes_are_the_length_of_the_payload() -> None:
    preamble = bytes.fromhex(load_profile("viber").preamble)
    assert int.from_bytes(preamble[:2], "little") == len(preamble)


@pytest.mark.parametrize("name", ["whatsapp", "signal"])
def test_calls_on_the_stun_port_begin_with_stun(name: str) -> None:
    (first,) = (bytes.fromhex(signature) for signature in load_profile(name).call.signatures)
    assert len(first) == 20  # RFC 5389 §6: binding request, no attributes, magic cookie, transaction id
    assert first[:8] == bytes.fromhex("000100002112a442")


def test_a_mark_for_no_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path(profiles.__file__).with_suffix("").joinpath("viber.yaml").read_text()
    (tmp_path / "viber.yaml").write_text(text.replace("[chat,", "[chta,"))
    monkeypatch.setattr(profiles, "_FOLDER", tmp_path)
    with pytest.raises(InputError, match=r"viber.yaml:.*no key `chta`"):
        load_profile("viber")


class Issuer:
    """An authority that notes what it was asked for."""

    bundle = Path("ca.pem")

    def issue(self, names: object) -> tuple[Path, Path]:
        self.names = names
        return Path("chain"), Path("key")


def test_one_server_serves_all_ports_of_all_messengers() -> None:
    apps = [AppSpec(name=name, app="messenger", profile=name) for name in profiles.names()]
    issuer = Issuer()
    chat = serve_specs(apps, issuer)[0].config["ports"]
    assert [entry["port"] for entry in chat] == [443, 4244, 5222, 5242, 5243]
    assert {entry["port"] for entry in chat if entry["preamble"]} == {5222, 5242}
    assert "mmg.whatsapp.net" in issuer.names  # type: ignore[operator]
    zone = zone_for(apps)
    assert {zone[p.chat] for p in map(load_profile, profiles.names())} == {("198.18.0.20",)}


def test_a_messenger_without_extras_needs_only_names_and_a_call() -> None:
    call = {"port": 9, "every": "20 ms", "size": "160 B"}
    names = dict.fromkeys(("profile", "title", "source", "chat", "media", "relay"), "x")
    assert Profile.model_validate({**names, "call": call}).port == 443


def test_one_xmpp_server_has_the_names_that_its_apps_use() -> None:
    names = ("a.example", "b.example", "a.example")
    apps = [AppSpec(name=str(n), app="xmpp", params={"server": name}) for n, name in enumerate(names)]
    issuer = Issuer()
    (spec,) = serve_specs(apps, issuer)
    assert (spec.node, spec.config["names"]) == ("tools", ["a.example", "b.example"])
    assert issuer.names == ["a.example", "upload.a.example", "b.example", "upload.b.example"]
    assert zone_for(apps) == dict.fromkeys(issuer.names, ("198.18.0.30",))


def test_one_relay_listens_on_the_ports_that_calls_name() -> None:
    relays = (["udp 3478"], ["tls 443", "udp 3478"])
    apps = [AppSpec(name=str(n), app="webrtc", params={"relays": each}) for n, each in enumerate(relays)]
    issuer = Issuer()
    (spec,) = serve_specs(apps, issuer)
    assert spec.config["ports"] == [443, 3478]
    assert (issuer.names, zone_for(apps)) == (["call.example"], {"call.example": ("198.18.0.30",)})
