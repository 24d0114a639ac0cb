"""TLS with our own children, in the name of hosts whose certificates are not to be verified (``tls.insecure_hosts``).

FFmpeg 9 can be told not to verify, but tells its own HLS segments nothing of that. So the proxy ends TLS itself: to the
server, without verifying it, and to the child, with a certificate that nobody but our children trusts. Its key never
leaves this process's memory.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from penstock.errors import MediaError
from penstock.media.loopback import until_one_ends

_RECEIVE = 1 << 16
_LIFE, _SLACK = timedelta(days=3650), timedelta(days=1)
#: Seconds for a handshake.
_HANDSHAKE = 5.0


class Posing:
    """Poses as these hosts towards children. `certificates` is the file of authorities that they trust; empty: none."""

    def __init__(self, hosts: Collection[str], certificates: str) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self.certificates = certificates
        if not hosts:
            return
        key = ec.generate_private_key(ec.SECP256R1())
        own = _sign(key, sorted(self._hosts)).public_bytes(Encoding.PEM)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(_in_memory(own + secret))
        self.certificates = _in_memory(own + (Path(certificates).read_bytes() if certificates else b""))

    def poses_as(self, host: str) -> bool:
        """Whether this is one of the hosts."""
        return host.lower().removesuffix(".") in self._hosts

    async def join(self, client: socket.socket, upstream: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """Do TLS with both and pass on what each says, until one ends. Raise `MediaError` if the server does none."""
        to_client = await _secured(client, self._context, None)
        try:
            to_server = await _secured(upstream, context, host)
        except OSError as error:
            to_client[1].transport.abort()
            words = getattr(error, "reason", None) or error.strerror or str(error) or "closed by the peer"
            raise MediaError(f"no TLS with {host}: {words.lower().replace('_', ' ')}") from error
        try:
            await until_one_ends(_copy(to_client[0], to_server[1]), _copy(to_server[0], to_client[1]))
        finally:
            for _, writer in (to_client, to_server):
                writer.transport.abort()


async def _secured(
    sock: socket.socket, context: ssl.SSLContext, host: str | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """TLS over a copy of a socket: as a client of `host`, or as a server. Raise `OSError`."""
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    if host is None:
        made = loop.connect_accepted_socket(lambda: protocol, sock.dup(), ssl=context, ssl_handshake_timeout=_HANDSHAKE)
    else:
        made = loop.create_connection(
            lambda: protocol, sock=sock.dup(), ssl=context, server_hostname=host, ssl_handshake_timeout=_HANDSHAKE
        )
    transport, _ = await made
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_RECEIVE):
            writer.write(data)
            await writer.drain()
        # What is still to be delivered, before whoever waits for the first end aborts both.
        writer.close()
        await writer.wait_closed()


def _in_memory(data: bytes) -> str:
    """The path of a file that is in memory alone, while this process lives; its children may read it, too."""
    file = os.memfd_create("penstock", os.MFD_CLOEXEC)
    os.write(file, data)
    return f"/proc/{os.getpid()}/fd/{file}"


def _sign(key: ec.EllipticCurvePrivateKey, hosts: Collection[str]) -> x509.Certificate:
    name, now = x509.Name([]), datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName(list(map(_alternative, hosts))), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
