"""Certificates and kubeconfigs of a cluster that lives for one test run."""

import datetime
import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=2)


@dataclass(frozen=True)
class KeyPair:
    """A certificate with its key, as files in PEM."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority with its files in one folder. Elliptic curve keys: made in no time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stemjob-testbed")])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        self.certificate = self._write("ca.crt", certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str, hosts: Sequence[str]) -> KeyPair:
        """A certificate for a server that is reached by these names and addresses."""
        alternatives = x509.SubjectAlternativeName([general_name(host) for host in hosts])
        return self._issue(name, [(NameOID.COMMON_NAME, name)], ExtendedKeyUsageOID.SERVER_AUTH, alternatives)

    def client(self, file: str, user: str, group: str | None = None) -> KeyPair:
        """A certificate that says who a client is."""
        names = [(NameOID.ORGANIZATION_NAME, group)] if group else []
        return self._issue(file, [*names, (NameOID.COMMON_NAME, user)], ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def signing_key(self, name: str) -> KeyPair:
        """A key with its public half, for the tokens of ServiceAccounts."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return KeyPair(self._write(f"{name}.pub", public), self._write(f"{name}.key", private_pem(key)))

    def kubeconfig(self, file: str, server: str, who: KeyPair) -> Path:
        """A kubeconfig for whoever holds this certificate."""
        user = {"client-certificate": str(who.certificate), "client-key": str(who.key)}
        return write_kubeconfig(self.folder / f"{file}.kubeconfig", server, self.certificate, user)

    def _issue(
        self,
        file: str,
        subject: list[tuple[x509.ObjectIdentifier, str]],
        usage: x509.ObjectIdentifier,
        alternatives: x509.SubjectAlternativeName | None,
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(kind, value) for kind, value in subject])
        builder = self._builder(name, key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if alternatives:
            builder = builder.add_extension(alternatives, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(
            self._write(f"{file}.crt", certificate.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{file}.key", private_pem(key)),
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + LIFETIME)
        )

    def _write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path


def write_kubeconfig(path: Path, server: str, authority: Path, user: Mapping[str, str]) -> Path:
    """A kubeconfig with one cluster, one user and one context. It is JSON, which is YAML too."""
    cluster = {"server": server, "certificate-authority": str(authority)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": "testbed", "user": dict(user)}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
        "current-context": "testbed",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))
    return path


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def general_name(host: str) -> x509.GeneralName:
    """An alternative name: an address if it looks like one."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
