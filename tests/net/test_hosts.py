"""A host's own files: nothing of the machine's name service is left, the machine's own are not touched."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from testbed.errors import MachineError
from testbed.net import hosts
from testbed.net.hosts import Trust, environment, mount_commands
from testbed.scenario.plan import Interface, Node

CLIENT = Node("client1", "host", "inside", (Interface("client1-eth0"),), resolver="100.64.0.53")


def test_only_files_and_dns_are_asked_for_hosts() -> None:
    ubuntu = (
        "passwd: files systemd\nhosts:          files mdns4_minimal [NOTFOUND=return] resolve dns\nnetworks: files\n"
    )
    assert hosts._hosts_by_files_and_dns(ubuntu) == "passwd: files systemd\nhosts: files dns\nnetworks: files\n"


def test_a_host_gets_its_resolver_its_names_and_its_trust(tmp_path: Path) -> None:
    tmp_path = tmp_path / "it's mine"
    nss = tmp_path / "nssdb"
    nss.mkdir(parents=True)
    lines = mount_commands(CLIENT, tmp_path, Trust(tmp_path / "ca.pem", nss))
    assert (tmp_path / "client1" / "resolv.conf").read_text().startswith("nameserver 100.64.0.53\n")
    assert "client1" in (tmp_path / "client1" / "hosts").read_text()
    for name in ("resolv.conf", "hosts"):
        assert ["mount", "--bind", f"{tmp_path}/client1/{name}", f"/etc/{name}"] in [
            shlex.split(line) for line in lines
        ]
    assert (tmp_path / "client1" / "home" / ".pki" / "nssdb").resolve() == nss


def test_programs_find_the_authority_even_where_the_machine_has_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "_BUNDLE", str(tmp_path / "none"))
    trust = Trust(tmp_path / "ca.pem", tmp_path / "nssdb")
    assert environment(tmp_path, trust)["SSL_CERT_FILE"] == str(tmp_path / "ca.pem")
    assert not any("ca.pem" in line for line in mount_commands(CLIENT, tmp_path, trust))
    assert environment(tmp_path, None) == {"HOME": str(tmp_path)}


def test_the_machines_resolver_caches_are_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.touch()
    monkeypatch.setattr(hosts, "_RESOLVER_SOCKETS", (str(there), str(gone)))
    lines = mount_commands(CLIENT, tmp_path, None)
    assert f"mount --bind /dev/null {there}" in lines
    assert not any(str(gone) in line for line in lines)


def test_a_machine_without_resolv_conf_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {Path("/etc/resolv.conf")}
    there = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path not in missing and there(path))
    with pytest.raises(MachineError, match=r"touch /etc/resolv\.conf"):
        mount_commands(CLIENT, tmp_path, None)
