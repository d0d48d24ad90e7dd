"""connection.toml: how the owner's tools reach a trust service (written by `trustd init`).

version = 1
address = "127.0.0.1:8443"
platform = "simulated"              # or "real": which machines this service attests
token = "…"                         # the owner's credential: who reads this file may create keys
ca = '''…'''                        # its certificate authority, PEM
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from sealserve.keys.authority import Authority
from sealserve.keys.keyid import vault_host
from sealserve.native.errors import ConfigError

SIMULATED = "simulated"
PLATFORMS = (SIMULATED, "real")
ROLE_TAG = "sealserve-release-role"  # a key's tag that names the role its releases need
_MAX_BYTES = 32 * 1024
_KEYS = {"version", "address", "platform", "token", "ca"}


@dataclass(frozen=True, slots=True)
class Connection:
    """address: as `keyid.vault_host` spells it. token: secret, kept out of `repr`."""

    address: str
    platform: str
    token: str
    ca: str

    def __repr__(self) -> str:
        return f"Connection({self.address}, {self.platform})"

    def authority(self) -> Authority:
        """The service's CA."""
        return Authority.of_pem(self.ca.encode(), file="connection.toml")

    def to_toml(self) -> str:
        """The file's text; `load` reads it back."""
        return (
            f"# How to reach a sealserve trust service. The token is a secret.\n"
            f'version = 1\naddress = "{self.address}"\nplatform = "{self.platform}"\n'
            f'token = "{self.token}"\nca = """\n{self.ca}"""\n'
        )

    @classmethod
    def load(cls, path: Path) -> Connection:
        """Read the file strictly. Raises ConfigError with file and key."""
        values = _read(path)
        unknown, missing = values.keys() - _KEYS, _KEYS - values.keys()
        if unknown or missing:
            name = sorted(unknown or missing)[0]
            raise ConfigError("unknown" if unknown else "missing", file=str(path), key=name)
        if values["version"] != 1 or isinstance(values["version"], bool):
            raise ConfigError("this version reads 1", file=str(path), key="version")
        texts = {name: _text(path, name, values[name]) for name in _KEYS - {"version"}}
        if texts["platform"] not in PLATFORMS:
            raise ConfigError(f"is one of {', '.join(PLATFORMS)}", file=str(path), key="platform")
        try:
            texts["address"] = vault_host(texts["address"])
        except ConfigError as error:
            raise ConfigError(error.message, file=str(path), key="address") from None
        try:
            Authority.of_pem(texts["ca"].encode())
        except ConfigError as error:
            raise ConfigError(error.message, file=str(path), key="ca") from None
        return cls(**texts)


def default_path() -> Path:
    """Where `trustd:` references look when nobody says `--connection`."""
    return Path.home() / ".config" / "sealserve" / "connection.toml"


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}",
            file=str(path),
            hint="`sealserve trustd init` writes it; give its place with --connection",
        ) from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"is longer than {_MAX_BYTES} bytes", file=str(path))
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        # the parser names line and column, and quotes nothing of the file
        raise ConfigError(f"is not TOML: {error}", file=str(path)) from None


def _text(path: Path, name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError("is a text that is not empty", file=str(path), key=name)
    return value
