"""What a visitor meets, seen from this computer: the name's addresses, the port, the certificate, the answer."""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509

from sanso.tracing.proofs import problem
from sanso.tracing.request import Call, context, send

SECONDS = 15  # a request that takes longer is as good as lost to whoever waits for it
KEPT = 2000  # bytes of an answer
FIRST, OTHERS = 5.0, 3  # s for the TLS handshake alone; how many more addresses of a name are tried


@dataclass(frozen=True)
class Served:
    """What a certificate says. from, until: seconds since 1970."""

    names: list[str]
    issuer: str
    begins: float
    ends: float
    serial: int

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Served:
        names: list[str] = []
        with contextlib.suppress(x509.ExtensionNotFound):
            names = certificate.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            ).value.get_values_for_type(x509.DNSName)
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        issuer = certificate.issuer.rfc4514_string()
        return cls(names, issuer, begins.timestamp(), ends.timestamp(), certificate.serial_number)


@dataclass(frozen=True)
class Reply:
    """What came of a request to one address.

    stage: how far it got: "", connected, tls, sent, answered. errno, reason (OpenSSL's), verify (its code of what is
    wrong with the certificate), problem: what stopped it.
    """

    address: str
    stage: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    problem: str = ""
    timed_out: bool = False
    errno: int = 0
    reason: str = ""
    verify: int = 0
    served: Served | None = None

    @property
    def is_well(self) -> bool:
        """Whether a visitor got what they asked for, or a refusal that means them."""
        return self.stage == "answered" and not self.problem and (self.status < 400 or self.status in (401, 403, 405))


@dataclass(frozen=True)
class Seen:
    """url: that was asked for; own: the server's addresses, by its inventory; resolved: those of the URL's name."""

    url: str
    name: str
    port: int
    own: list[str]
    resolved: list[str]
    unresolved: str
    reply: Reply
    others: list[Reply] = field(default_factory=list)

    @property
    def secure(self) -> bool:
        return self.url.startswith("https:")


def look(url: str, address: str, ca: Path | None, trace: str) -> Seen:
    """Ask the server itself, and whatever else the name leads to: those requests are of the trace with this id."""
    call = Call(url, address, seconds=SECONDS)
    own, _ = addresses(address)
    resolved, unresolved = addresses(call.host)
    strangers = [each for each in resolved if each not in own][:OTHERS]
    others = [ask(replace(call, address=each), ca, trace) for each in strangers]
    reply = ask(replace(call, address=own[0] if own else address), ca, secrets.token_hex(16))
    return Seen(url, call.host, call.port, own, resolved, unresolved, reply, others)


def addresses(name: str) -> tuple[list[str], str]:
    """(The addresses of a name, why there are none)."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return [], getattr(error, "strerror", None) or str(error)
    return list(dict.fromkeys(entry[4][0] for entry in found)), ""


def ask(call: Call, ca: Path | None, trace: str) -> Reply:
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-00"}
    exchange = send(call, context(ca), headers, keep=KEPT)
    error, events = exchange.error, exchange.events
    stages = {"connected": "connected", "tls": "tls", "sent": "sent", "first_byte": "answered"}
    stage = next((name for event, name in reversed(stages.items()) if event in events), "")
    refused = isinstance(error, ssl.SSLError) and stage == "connected"
    return Reply(
        address=call.address,
        stage=stage,
        status=exchange.status,
        headers=exchange.headers,
        body=exchange.body.decode(errors="replace"),
        problem=words(error) if error else "",
        timed_out=isinstance(error, TimeoutError),
        errno=getattr(error, "errno", 0) or 0 if not isinstance(error, ssl.SSLError) else 0,
        reason=getattr(error, "reason", "") or "" if refused else "",
        verify=error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0,
        served=certificate(call) if call.secure and stage else None,
    )


def words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return "no answer in time" if isinstance(error, TimeoutError) else problem(error)


def certificate(call: Call) -> Served | None:
    """The one that is served, whoever signed it."""
    anyones = ssl.create_default_context()
    anyones.check_hostname, anyones.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((call.address, call.port), FIRST) as plain,
            anyones.wrap_socket(plain, server_hostname=call.host) as tls,
        ):
            return Served.of(x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)))
    except (OSError, ValueError):
        return None
