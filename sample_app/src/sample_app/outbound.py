"""Send a webhook to where a stranger chose: on the public internet only, and within bounds of time and size."""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

CONNECT = 3  # seconds, for each of two addresses
ALL = 10  # seconds from there to the status; the body of the answer is not read

PORTS = {"http": 80, "https": 443}

NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(Exception):
    """It must not be sent there, now or later; says why."""


class Unreachable(Exception):
    """It can't be sent there now; says why."""


def split(url: str) -> SplitResult:
    """The parts of a URL that a webhook may have. Raises Refused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("it is no URL") from None
    if any(not "!" <= character <= "~" for character in url):
        raise Refused("it must be ASCII without spaces")
    if parts.scheme not in ("http", "https"):
        raise Refused("it must begin with https:// or http://")
    if not parts.hostname or port == 0:
        raise Refused("it has no host or port")
    if parts.username is not None or parts.password is not None:
        raise Refused("a name and a password belong into a header")
    return parts


def port_of(parts: SplitResult) -> int:
    return parts.port or PORTS[parts.scheme]


def origin(parts: SplitResult) -> str:
    """What may be shown of a URL: in the rest of it, many services have a token."""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def is_public(address: str) -> bool:
    """Whether it is somebody else's, on the internet, also behind the ways in which IPv6 wraps IPv4."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour  # the latter was global to Python before 3.12.4
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def check_literal(parts: SplitResult) -> None:
    """Refuse a host that is written as an address and isn't public: for that, nobody has to be asked."""
    with contextlib.suppress(ValueError):
        if not is_public(parts.hostname):
            raise Refused("its address is not a public one")


def addresses(parts: SplitResult, allow_private: bool) -> list[tuple]:
    """Where the host is: looked up once, so that what was checked is what is connected to."""
    try:
        found = socket.getaddrinfo(parts.hostname, port_of(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{parts.hostname} was not found: {getattr(error, 'strerror', None) or error}") from None
    # One that isn't public among several: somebody tries something.
    if not allow_private and not all(is_public(address[0]) for *_, address in found):
        raise Refused("its address is not a public one")
    return [(family, address) for family, *_, address in found]


def connected(found: list[tuple]) -> socket.socket:
    """A connection to the first address that takes it."""
    said = None
    for family, address in found[:2]:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(CONNECT)
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            said = error
    raise said


def post(url: str, body: bytes, headers: dict[str, str], allow_private: bool = False) -> int:
    """POST it, and return the status. Raises Refused or Unreachable. Follows no redirect, and no proxy's settings."""
    parts = split(url)
    found = addresses(parts, allow_private)
    over = threading.Event()
    try:
        connection = connected(found)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = context.wrap_socket(connection, server_hostname=parts.hostname, do_handshake_on_connect=False)
        with connection, cut(connection, over):
            connection.settimeout(ALL)
            if parts.scheme == "https":
                connection.do_handshake()
            return exchange(parts, connection, body, headers)
    except (OSError, http.client.HTTPException) as error:
        if over.is_set() or isinstance(error, TimeoutError):
            raise Unreachable("it took too long") from None
        raise Unreachable(reason(error)) from None


@contextlib.contextmanager
def cut(connection: socket.socket, over: threading.Event):
    """End it when its time is over. Who answers a byte at a time would keep within the timeout of each."""

    def end():
        over.set()
        with contextlib.suppress(OSError):
            # Not TLS's own way of ending it, which another thread must not take.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(ALL, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def exchange(parts: SplitResult, connection: socket.socket, body: bytes, headers: dict[str, str]) -> int:
    """Say HTTP over a connection that is there."""
    client = http.client.HTTPConnection(parts.hostname, port_of(parts))
    client.default_port = PORTS[parts.scheme]  # the one that the header Host leaves out
    client.sock = connection
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        client.request("POST", target, body, {"Connection": "close", **headers})
        with client.getresponse() as answer:
            return answer.status
    finally:
        client.close()


def reason(error: Exception) -> str:
    """What went wrong, in words that hold nothing of what the receiver sent: it may repeat our secrets."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    if isinstance(error, http.client.HTTPException):
        return "what it answered is not HTTP"
    return (error.strerror or "the connection broke").lower() if isinstance(error, OSError) else "it failed"


def phrase(code: int) -> str:
    """A status in our own words, for the same reason."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)
