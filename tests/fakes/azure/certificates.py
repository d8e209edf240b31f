"""A test certificate authority and one server certificate for the Azure host names, created once per process."""

from __future__ import annotations

import atexit
import datetime
import functools
import ipaddress
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

NAMES = (
    "*.blob.core.windows.net", "*.dfs.core.windows.net", "*.vault.azure.net", "management.azure.com", "login.microsoftonline.com",
    "*.api.azureml.ms", "localhost",
)  # fmt: skip


@dataclass(frozen=True)
class Certificate:
    """Files: the authority that a client must trust, and the server's certificate chain and key."""

    authority: Path
    chain: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


@functools.cache
def certificate() -> Certificate:
    """Return this process's certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    folder = Path(tempfile.mkdtemp(prefix="gpuyard-tls-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    now = datetime.datetime.now(datetime.UTC)

    def signed(
        name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, *more: tuple[object, bool]
    ) -> bytes:
        builder = x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        builder = builder.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)])).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=2))
        for extension, critical in more:
            builder = builder.add_extension(extension, critical)  # type: ignore[arg-type]
        return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    known = x509.SubjectKeyIdentifier.from_public_key(root.public_key())
    names = x509.SubjectAlternativeName([*map(x509.DNSName, NAMES), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    authority = signed(
        "gpuyard tests", root, "gpuyard tests", root, (x509.BasicConstraints(ca=True, path_length=0), True), (usage, True), (known, False)
    )
    shown = signed(
        "gpuyard fakes", leaf, "gpuyard tests", root, (names, False), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known), False),
    )  # fmt: skip
    found = Certificate(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    found.authority.write_bytes(authority)
    found.chain.write_bytes(shown)
    found.key.write_bytes(leaf.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return found
