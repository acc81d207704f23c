"""Web addresses from outside: which may be requested, and when two of them mean the same page. Nothing is fetched.

Only http and https; no user names in them; never this machine, its network, or a cloud's metadata service, unless
`AddressConfig` allows it. Host names are checked where they are resolved (`request_policy.py`), because only there it
is known which machine they lead to.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

from aria_data.errors import PermanentError
from aria_data.storage import printable

MAX_URL_CHARS = 2000  # what browsers and archives agree on
DEFAULT_PORTS = {"http": 80, "https": 443}
# Query parameters for a visitor's origin or identity, which never change the page that is meant.
_NOISE = re.compile(
    r"^(utm_\w+|fbclid|gclid|dclid|msclkid|igshid|mc_[ce]id|ref_src|phpsessid|jsessionid)$", re.IGNORECASE
)
_VIDEO_SITES = ("youtube.com", "youtu.be", "youtube-nocookie.com")
_NOISE_THERE = re.compile(r"^(si|feature|pp|ab_channel)$", re.IGNORECASE)
# These say who asks, or until when, only where their value is a secret or a time; `session=3` may be a concert's.
_VISITOR = re.compile(r"^(sid|session|sessionid|session_id|token|nonce|expires|signature|sig)$", re.IGNORECASE)
_SECRET = re.compile(r"(?=[^a-z]*[a-z])(?=\D*\d)[\w.~%+/=-]{16,}|1\d{9}", re.IGNORECASE)
_FILE = re.compile(r"\.[a-z][a-z0-9]{1,4}$", re.IGNORECASE)
_SESSION_IN_PATH = re.compile(r";(jsessionid|phpsessid)=[^/?#]*", re.IGNORECASE)
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_WITHOUT_SCHEME = re.compile(
    r"www\.[\w-]+(\.[\w-]+)+(:\d+)?([/?]\S*)?|(//)?([\w-]+\.)+(\w{2,}|\d|xn--[\w-]+)(:\d+)?/\S*", re.IGNORECASE
)
# Besides what `ipaddress` calls private: carrier-grade NAT, and IPv6 ranges that carry an IPv4 address inside.
_SHARED = ipaddress.ip_network("100.64.0.0/10")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(PermanentError):
    """The address may not be requested: another scheme, a machine of the own network, a user name in it."""

    reason = "address_refused"


@dataclass(frozen=True)
class AddressConfig:
    """Exceptions to the rule that requests go to the public web only."""

    allow_private: bool = False  # for a server of one's own: then requests go to any machine
    allow_hosts: tuple[str, ...] = ()  # names, or "host:port", that may be private


def require_address(url: str, config: AddressConfig | None = None) -> str:
    """Give the address back if its text allows a request. Raises `AddressRefused`, in one line, if not.

    A host name is not resolved here: `request_policy` checks where it leads.
    """
    config = config or AddressConfig()
    shown = printable(without_secrets(url), 120)
    if len(url) > MAX_URL_CHARS or re.search(r"[\x00-\x20\x7f\ud800-\udfff]", url):
        raise AddressRefused(f"{shown}: is no web address (too long, or with blanks in it). Mend or drop it.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise AddressRefused(f"{shown}: is no web address ({printable(str(error), 60)}). Mend or drop it.") from error
    if parts.scheme.lower() not in DEFAULT_PORTS:
        raise AddressRefused(f"{shown}: only http and https addresses are fetched. Drop it.")
    if not host or parts.username is not None or parts.password is not None:
        raise AddressRefused(f"{shown}: names no host, or a user. Write https://host/path.")
    literal = literal_ip(host)
    is_local_name = host == "localhost" or host.endswith((".localhost", ".local", ".internal", ".home.arpa"))
    if (is_local_name or (literal is not None and not is_public(literal))) and not may_be_private(host, port, config):
        raise private_refused(shown)
    return url


def private_refused(shown: str) -> AddressRefused:
    """Give the error for an address that leads to this machine or its network; `shown` begins its message."""
    return AddressRefused(
        f"{shown}: leads into this machine or its own network, which is not asked. "
        "If the server is yours, set web.allow_hosts."
    )


def may_be_private(host: str, port: int | None, config: AddressConfig) -> bool:
    """Whether the configuration allows this host to be a machine of the own network."""
    return config.allow_private or host in config.allow_hosts or f"{host}:{port}" in config.allow_hosts


def literal_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Give the IP address that a host name spells, also as C libraries read them (127.1, 0x7f000001, 2130706433).

    None for a name that spells none.
    """
    try:
        return ipaddress.ip_address(host.strip("[]").split("%")[0])
    except ValueError:
        pass
    if not re.fullmatch(r"[0-9a-fA-FxX.]+", host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an IP address belongs to the public internet. An IPv4 address wrapped into IPv6 is judged itself."""
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(wrapped)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not (ip.version == 4 and ip in _SHARED)


def without_secrets(url: str) -> str:
    """Remove user name, password, and the values of parameters that look like keys from an address, to show it."""
    shown = re.sub(r"(?<=://)[^/?#@]*@", "", url)
    return re.sub(r"(?i)([?&;](?:[\w-]*(?:key|token|secret|signature|password|auth)|sig)=)[^&#\s]*", r"\1…", shown)


def is_address(text: str) -> bool:
    """Whether a text begins with http:// or https://."""
    return text[:8].lower().startswith(("http://", "https://"))


def as_address(text: str) -> str:
    """Give the address that a person means: `youtu.be/x`, `www.a.org`, `//a.org/x`, or the 11 characters of YouTube.

    An address stays as it is; "" for a text that means none.
    """
    text = text.strip().strip("<>\"' ")
    if is_address(text):
        return text
    if _VIDEO_ID.fullmatch(text):
        return f"https://www.youtube.com/watch?v={text}"
    return f"https://{text.removeprefix('//')}" if _WITHOUT_SCHEME.fullmatch(text) else ""


@lru_cache(maxsize=64)  # a candidate's place and its audio often have the same address
def canonical(url: str) -> str:
    """Give one spelling for all addresses of the same page: host in lower case, no default port, fragment or tracking.

    Parameters are sorted; an empty path is `/`. What cannot be parsed comes back as it is. Compare with it, never fetch
    it: parameters that a server needs (a token) are removed.
    """
    url = url.encode("utf-8", "replace").decode()  # half a character cannot be part of an address
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return url
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    if not host:
        return url
    try:
        host = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        return url
    netloc = f"[{host}]" if ":" in host else host
    netloc += f":{port}" if port and port != DEFAULT_PORTS.get(scheme) else ""
    path = quote(_SESSION_IN_PATH.sub("", parts.path) or "/", safe="/%:@!$&'()*+,;=~-._")
    kept = sorted(_kept(parse_qsl(parts.query, keep_blank_values=True), host, path))
    return urlunsplit((scheme, netloc, path, urlencode(kept), ""))


def _kept(given: list[tuple[str, str]], host: str, path: str) -> list[tuple[str, str]]:
    """Leave out what names no page. A secret stays where nothing else says which page it is."""
    named = [(name, value) for name, value in given if not _NOISE.match(name)]
    if is_below(host, _VIDEO_SITES):
        named = [(name, value) for name, value in named if not _NOISE_THERE.match(name)]
    rest = [(name, value) for name, value in named if not (_VISITOR.match(name) and _SECRET.fullmatch(value))]
    return (
        rest if rest or _FILE.search(path) and not path.endswith((".php", ".cgi", ".aspx", ".asp", ".jsp")) else named
    )


def join(base: str, link: str) -> str:
    """Give a link on a page as a whole address, or "" for a link that cannot be fetched."""
    if not link.strip():
        return ""  # which would be the page itself
    try:
        url = urljoin(base, link.strip())
        require_address(url, AddressConfig(allow_private=True))
    except (ValueError, AddressRefused):
        return ""
    return url


def host_of(url: str) -> str:
    """Give an address's host in lower case, with its port unless that is the default; "" without a host."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return ""
    return f"{host}:{port}" if port and port != DEFAULT_PORTS.get(parts.scheme.lower()) else host


def is_below(host: str, domains: Collection[str]) -> bool:
    """Whether a host is one of the domains or below one: `a.example.org` is below `example.org`."""
    name = host.split(":")[0]
    return any(name == domain or name.endswith(f".{domain}") for domain in domains)


def candidate_id_of(source: str, identity: str) -> str:
    """Make a candidate's id, safe as a file name: `<source>-<identity>`; an unsafe identity is hashed."""
    name = re.sub(r"[^a-z0-9]+", "", source.lower())[:24] or "web"
    if _SAFE_ID.fullmatch(identity):
        return f"{name}-{identity}"
    return f"{name}-{hashlib.sha256(identity.encode('utf-8', 'replace')).hexdigest()[:16]}"


def unique(urls: Iterable[str]) -> list[str]:
    """Drop addresses whose canonical form came before; the first spelling stays."""
    return list({canonical(url): url for url in reversed(list(urls)) if url}.values())[::-1]
