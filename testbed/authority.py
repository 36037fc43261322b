"""The certificate authorities of a run, made anew for each: the world's, which hosts trust, and those of censors."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

RUN = "Testbed run authority"
_BEFORE, _AFTER = datetime.timedelta(days=2), datetime.timedelta(days=30)


def folder_of(folder: Path, name: str) -> Path:
    """Return where the authority of a common name is kept below a folder."""
    words = "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()
    return folder / ("-".join(words)[:60] or "nameless")


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority and its files; `bundle` is what a host has to trust."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, folder: Path, name: str = RUN) -> Authority:
        """Make an authority of that common name below `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=2), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        authority = cls(folder, key, certificate)
        authority.bundle.write_bytes(_pem(certificate))
        _write_key(authority.key_path, key)
        return authority

    @classmethod
    def at(cls, folder: Path, name: str) -> Authority:
        """Return the authority below `folder`, made if there is none yet."""
        return cls.load(folder) if (folder / "ca.pem").exists() else cls.create(folder, name)

    @property
    def bundle(self) -> Path:
        """The authority's certificate in PEM."""
        return self.folder / "ca.pem"

    @property
    def nss_folder(self) -> Path:
        """The database by which Chromium and Firefox trust the authority, as `~/.pki/nssdb`."""
        return self.folder / "nssdb"

    @property
    def key_path(self) -> Path:
        """The authority's key in PEM."""
        return self.folder / "ca.key"

    def write_trust(self, others: Sequence[Authority] = ()) -> tuple[Path, Path]:
        """Write what makes hosts trust this authority and others: a PEM bundle, a database for browsers; return both.

        Without `certutil` (Debian's libnss3-tools) there is no database, and browsers won't trust them.
        """
        trusted = [self, *others]
        bundle = self.folder / "trusted.pem"
        bundle.write_bytes(b"".join(_pem(authority.certificate) for authority in trusted))
        if shutil.which("certutil") is not None:
            self.nss_folder.mkdir()
            database = ["certutil", "-d", f"sql:{self.nss_folder}"]
            subprocess.run([*database, "-N", "--empty-password"], check=True, capture_output=True)
            for number, authority in enumerate(trusted):
                name = f"testbed-{number}" if number else "testbed"
                add = ["-A", "-t", "C,,", "-n", name, "-i", str(authority.bundle)]
                subprocess.run([*database, *add], check=True, capture_output=True)
        return bundle, self.nss_folder

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """Return the authority that `create` made below `folder`."""
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(folder, key, x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes()))

    def issue(self, names: Sequence[str]) -> tuple[Path, Path]:
        """Issue a server certificate for names (wildcards and addresses allowed); return chain and key files."""
        chain, key = self.mint(names)
        stem = names[0].replace("*", "any").replace(":", "-")[:100]
        chain_path, key_path = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        chain_path.write_bytes(chain)
        key_path.touch(mode=0o600)
        key_path.write_bytes(key)
        return chain_path, key_path

    def mint(self, names: Sequence[str]) -> tuple[bytes, bytes]:
        """Return chain and key in PEM of a server certificate for names; `ValueError` for what it can't name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = (
            _builder(subject, self.certificate.subject, key)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return _pem(certificate) + _pem(self.certificate), _key_pem(key)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + _AFTER)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=sign_certificates, crl_sign=sign_certificates, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(_key_pem(key))


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
