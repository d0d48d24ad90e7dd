"""The URL that names one version of one vault key: `https://HOST[:PORT]/keys/NAME/VERSION`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from sealserve.native.errors import ConfigError

# Key Vault REST reference, "Key identifier": names are 1 to 127 letters, digits and dashes;
# versions are 32 hexadecimal digits, in lower case as every answer spells them.
NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
VERSION = re.compile(r"[0-9a-f]{32}")
# A DNS name, an IPv4 address or a bracketed IPv6 address, and a port; no user, path or query.
_LABEL = "[0-9a-z](?:[0-9a-z-]{0,61}[0-9a-z])?"
_HOST = re.compile(rf"({_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\])(?::([0-9]{{1,5}}))?")
_MAX_NAME = 253
_MAX_URL = 512  # host 253, name 127, version 32, and the rest
_HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class KeyId:
    """host: lower case, with a port unless it is 443, as it stands in a URL. version: "" is any."""

    host: str
    name: str
    version: str

    @classmethod
    def parse(cls, url: str) -> KeyId:
        """Read a key's URL; the version may be missing. Raises ConfigError."""
        if len(url) > _MAX_URL or not url.startswith("https://"):
            raise _refused(url, "it does not begin with https://")
        host, _, path = url.removeprefix("https://").partition("/")
        parts = path.split("/")
        if len(parts) not in (2, 3) or parts[0] != "keys":
            raise _refused(url, "its path is not /keys/NAME or /keys/NAME/VERSION")
        version = parts[2] if len(parts) == 3 else ""
        if not NAME.fullmatch(parts[1]) or (len(parts) == 3 and not VERSION.fullmatch(version)):
            raise _refused(url, "its name or version has characters no vault uses")
        return cls(vault_host(host), parts[1], version)

    @property
    def url(self) -> str:
        """The URL as vaults write it."""
        tail = f"/{self.version}" if self.version else ""
        return f"https://{self.host}/keys/{self.name}{tail}"

    def __str__(self) -> str:
        return self.url


def vault_host(text: str) -> str:
    """`HOST[:PORT]` in its one spelling: lower case, without the port 443. Raises ConfigError.

    An internationalised name has to come in its ASCII form (`xn--…`), as certificates have it.
    """
    # not before: some letters outside ASCII have a lower case inside it
    found = _HOST.fullmatch(text.lower()) if text.isascii() else None
    name = _one_spelling(found[1]) if found else ""
    if found is None or not name:
        raise ConfigError(f"{text[:80]!r} is not HOST or HOST:PORT")
    port = int(found[2]) if found[2] else _HTTPS_PORT
    if not 0 < port < 65536:
        raise ConfigError(f"port {port} of {text[:80]!r} is not between 1 and 65535")
    return name if port == _HTTPS_PORT else f"{name}:{port}"


def host_and_port(host: str) -> tuple[str, int]:
    """Where to connect for a host as `vault_host` spells it; an IPv6 address without brackets."""
    found = _HOST.fullmatch(host)
    if found is None:
        raise ValueError(f"{host!r} was not spelled by vault_host")
    return found[1].strip("[]"), int(found[2] or _HTTPS_PORT)


def _one_spelling(name: str) -> str:
    """The name or address as everybody writes it; "" for one that cannot exist."""
    try:
        if name.startswith("["):
            return f"[{ipaddress.IPv6Address(name[1:-1]).compressed}]"
        if name.rpartition(".")[2].isdigit():  # no top-level domain is a number (RFC 3696)
            return str(ipaddress.IPv4Address(name))
    except ValueError:
        return ""
    return name if len(name) <= _MAX_NAME else ""


def _refused(url: str, why: str) -> ConfigError:
    return ConfigError(
        f"{url[:120]!r} is not the URL of a vault key: {why}",
        hint="write https://HOST/keys/NAME or https://HOST/keys/NAME/VERSION",
    )
