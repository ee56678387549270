"""Which addresses may be read, and a connection to one: resolved once, checked, and connected to what was checked.

An address is taken apart here and put together again for FFmpeg, so that two readers never understand it differently.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

SRT = "srt"
PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, SRT: 0}
"""The schemes that are read, and where they are when nothing is said; SRT is nowhere then."""
SECURE = frozenset({"https", "rtsps", "rtmps"})
LOGS_IN = frozenset({"rtsp", "rtsps"})
"""Cameras want a name and a password, and have no other place for them."""
FIT = re.compile(r"[!-~]+")
NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
NUMBER = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)\.?")
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""NAT64: an IPv4 address in the last four bytes."""
NEVER = tuple(
    ipaddress.ip_network(each)
    for each in (
        "192.0.0.0/24",  # protocol assignments, among them a cloud's metadata
        "192.88.99.0/24",  # relays of 6to4
        "3fff::/20",  # documentation
        "fec0::/10",  # site-local
        "100.100.100.200/32",  # this and what follows: clouds' metadata
        "168.63.129.16/32",
        "fd00:42::42/128",
        "fd00:c1::a9fe:a9fe/128",
        "fd00:ec2::/32",
        "fd20:ce::254/128",
    )
)
"""Beside what `ipaddress` refuses; of the first four its versions think differently."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(Exception):
    """An address that is not read; its text says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """path: with the query, from the slash on. login: `name:password`, as it was written."""

    scheme: str
    host: str
    port: int
    path: str
    login: str = ""

    @property
    def origin(self) -> str:
        """What is written before the path; the port is left out where it is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")

    @property
    def address(self) -> str:
        """Without name and password: those are told apart from it."""
        return self.origin + self.path

    @property
    def shown(self) -> str:
        """As `shown_of`."""
        return self.origin if self.scheme == SRT else shown_of(self.address)


def parse(url: str) -> Place:
    """Raises Forbidden."""
    if not FIT.fullmatch(url) or "\\" in url:
        raise Forbidden("an address has no spaces, backslashes or letters beyond ASCII")
    scheme, colon, _ = url.partition("://")
    if not colon or scheme.lower() not in PORTS:
        raise Forbidden(f"only {', '.join(PORTS)} and file are read, not {scheme.partition(':')[0][:32]!r}")
    try:
        parts = urlsplit(url)
        port = PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError as error:
        raise Forbidden(f"this is no address: {error}") from None
    login, at, _ = parts.netloc.rpartition("@")
    if at and (parts.scheme not in LOGS_IN or "@" in login):
        raise Forbidden(f"a name and password are not taken in {parts.scheme} addresses")
    if not 0 < port < 65536:
        raise Forbidden("an SRT address says its port" if parts.port is None else f"there is no port {port}")
    if parts.scheme == SRT and "#" in url:
        raise Forbidden("a '#' is written %23 in an SRT address")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, _host(parts.hostname or ""), port, path, login)


def shown_of(url: str) -> str:
    """What may be shown of what somebody wrote, be it an address or not. Left out are name and password, the query, which has
    SRT's passphrase or the key of a signed address, and the last part of an RTMP address, the stream's key."""
    scheme, colon, rest = url.partition("://")
    rest, asks, _ = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if scheme.lower().startswith("rtmp"):
        path = "".join(path.rpartition("/")[:2]) + "…"
    query = "?…" if asks and scheme.lower() != SRT else ""
    return scheme + colon + authority.rpartition("@")[2] + slash + path + query


def _host(host: str) -> str:
    """Numbers are written in one way only: 2130706433, 0177.0.0.1, 0x7f.1 and 127.1 are refused, whatever they mean."""
    if ":" in host:
        literal(host)
        return host
    if not NAME.fullmatch(host):
        raise Forbidden("this is no name of a host")
    if NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        literal(host)
    return host


def literal(host: str) -> IpAddress:
    """Raises Forbidden for anything but an address as it is usually written."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise Forbidden("an address in numbers is written as 192.0.2.1 or [2001:db8::1]") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise Forbidden("an address has no zone")
    return address


def check(address: IpAddress, private: bool) -> None:
    """Raises Forbidden. private: whether private addresses and this machine are allowed."""
    address = _inner(address)
    if not address.is_loopback and _is_for_no_host(address):  # ::1 is in a reserved network too
        raise Forbidden(f"{address} is never read")
    if not address.is_global and not private:
        raise Forbidden(f"{address} is not a public address")


def _is_for_no_host(address: IpAddress) -> bool:
    if address.is_multicast or address.is_unspecified or address.is_link_local or address.is_reserved:
        return True
    return any(address in network for network in NEVER)


def _inner(address: IpAddress) -> IpAddress:
    """The IPv4 address that an IPv6 one stands for; one that hides it in a tunnel is refused."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.sixtofour or address.teredo:
        raise Forbidden(f"{address} is a tunnel")
    if address in TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def resolve(place: Place, private: bool) -> list[str]:
    """Its addresses, all of them allowed. Raises Forbidden, and OSError when the name is not known."""
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    for address in addresses:
        check(ipaddress.ip_address(address), private)
    return addresses


def connect(place: Place, private: bool, timeout_s: float) -> socket.socket:
    """To one of the addresses that were checked, by no name again; TLS asks for the name's certificate. Raises as `resolve`."""
    last: OSError | None = None
    for address in resolve(place, private):
        try:
            line = socket.create_connection((address, place.port), timeout_s)
        except OSError as error:
            last = error
            continue
        if place.scheme not in SECURE:
            return line
        return ssl.create_default_context().wrap_socket(line, server_hostname=place.host)
    raise last or OSError(f"{place.host} has no address")
