"""Which proxy a request goes through, by the variables that curl and requests read.

https://everything.curl.dev/usingcurl/proxies/env.html
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

from shared.errors import DeploymentFault
from shared.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROXY: Final = re.compile(
    r"""(?:(?P<scheme>https?)://)?
        (?:(?P<login>[!-.0-~]*)@)?
        (?P<host>[A-Z0-9_-]{1,63}(?:\.[A-Z0-9_-]{1,63})*|\[[0-9A-F:.]+])
        (?P<port>:[0-9]{1,5})?/?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_LAST_PORT: Final = 65_535


class Proxy(NamedTuple):
    """A proxy: its URL without a login, and `user:password`."""

    url: str
    login: str | None

    def __repr__(self) -> str:
        return self.url


class Proxies(NamedTuple):
    """The proxy by the scheme of what is asked, and the hosts that are reached without one."""

    https: Proxy | None
    http: Proxy | None
    bypassed: tuple[str, ...]

    def of(self, scheme: str, host: str, port: int) -> Proxy | None:
        """Return the proxy for a host, whose name is in lower case."""
        proxy = self.https if scheme == "https" else self.http
        return None if proxy is None or _is_near(host) or self._is_bypassed(host, port) else proxy

    def _is_bypassed(self, host: str, port: int) -> bool:
        for entry in self.bypassed:
            name, colon, its_port = entry.rpartition(":")
            if entry == "*" or _covers(entry, host) or (colon and its_port == str(port) and _covers(name, host)):
                return True
        return False


DIRECT: Final = Proxies(None, None, ())
"""No proxy at all."""


def read_proxies(environment: Mapping[str, str]) -> Proxies:
    """Read `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in lower case first, as curl does.

    Raises `DeploymentFault` of a value that is no proxy; it does not show the login.
    """
    everything = _read(environment, "ALL_PROXY")
    bypassed = re.split(r"[,\s]+", _value(environment, "NO_PROXY")[1].lower())
    return Proxies(
        https=_read(environment, "HTTPS_PROXY") or everything,
        http=_read(environment, "HTTP_PROXY") or everything,
        bypassed=tuple(entry for entry in bypassed if entry),
    )


def _value(environment: Mapping[str, str], variable: str) -> tuple[str, str]:
    for name in (variable.lower(), variable):
        if value := environment.get(name, "").strip():
            return name, value
    return variable, ""


def _read(environment: Mapping[str, str], variable: str) -> Proxy | None:
    name, value = _value(environment, variable)
    if not value:
        return None
    parts = _PROXY.fullmatch(value)
    # Without a scheme and a port, any word would be a proxy.
    if not parts or not (parts["scheme"] or parts["port"]) or not _can_be(parts["host"], parts["port"]):
        raise DeploymentFault(
            f"{name}: {redacted(value)!r} is not the URL of a proxy: http://host:port or https://host:port"
        )
    url = f"{(parts['scheme'] or 'http').lower()}://{parts['host'].lower()}{parts['port'] or ''}"
    return Proxy(url, unquote(parts["login"]) if parts["login"] else None)


def _can_be(host: str, port: str | None) -> bool:
    if host.startswith("["):
        try:
            ip_address(host.strip("[]"))
        except ValueError:
            return False
    return port is None or 0 < int(port[1:]) <= _LAST_PORT


def _is_near(host: str) -> bool:
    """Return whether this is the machine itself or on its link, where Lambda and ECS hand out credentials."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_link_local or host == "fd00:ec2::23"


def _covers(entry: str, host: str) -> bool:
    """Return whether an entry of NO_PROXY is the host, a domain above it, or a network around it."""
    name = entry.removeprefix("*").strip(".").strip("[]")
    if not name:
        return False
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except ValueError:
        return host == name or host.endswith(f".{name}")
