"""Certificates minted on demand: right for the name, trusted by the run's authority, the same at the second asking."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store

from testbed.authority import Authority
from testbed.world.issuer import Issuer

LONG = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 53, "example"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"))


def target(name: str) -> str:
    return f"/certificate?cipher_suites=1301&server_name={quote(name)}"


@pytest.mark.parametrize("name", ["any.example", "a_b.example", "xn--e1afmkfd.example", "localhost2", LONG])
def test_a_certificate_is_right_for_its_name(authority: Authority, name: str) -> None:
    found = Issuer(authority).answer(target(name.upper()))
    assert found is not None
    leaf, root = x509.load_pem_x509_certificates(found)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [name]
    assert load_pem_private_key(found, password=None).public_key() == leaf.public_key()
    if "_" not in name:  # the verifier is stricter about host names than any browser
        verifier = PolicyBuilder().store(Store([authority.certificate])).build_server_verifier(x509.DNSName(name))
        assert verifier.verify(leaf, [])[-1] == root


def test_the_second_client_gets_the_same_certificate(authority: Authority) -> None:
    issuer = Issuer(authority)
    assert issuer.answer(target("any.example")) == issuer.answer(target("ANY.example."))
    assert issuer.answer(target("any.example")) != issuer.answer(target("other.example"))


@pytest.mark.parametrize("path", ["/certificate", "/", "", target(""), target("имя.example")])
def test_what_names_no_server_gets_none(authority: Authority, path: str) -> None:
    assert Issuer(authority).answer(path) is None


def test_an_authority_is_loaded_as_it_was_made(authority: Authority) -> None:
    again = Authority.load(authority.folder)
    assert again.certificate == authority.certificate
    chain, key = again.issue([LONG])
    assert chain.read_bytes().startswith(b"-----BEGIN CERTIFICATE")
    assert key.stat().st_mode & 0o077 == 0
    assert Path(chain).parent == authority.folder
