"""The environment is not measured, so nothing in it may change what this server does.

Three kinds of variables:

  refused   can change which code runs, which certificates are believed, where connections go, or
            writes down secrets. The server does not start: whoever set one should know.
  kept      the platform's and the operating system's own; to us none of them chooses what is
            served, to whom, or with which key.
  dropped   everything else, silently: images carry many variables that mean nothing here. That
            includes gRPC's (GRPC_TRACE prints headers) and ONNX Runtime's.

The three variables of a workload identity (`keys/azure_identity.py`) are read before they are
dropped: as whom Azure is asked opens no key.

The interpreter and the loader read some of them before our first line runs. What holds in that
case is the execution policy's rules for the environment, which are measured; this check is for the
operator who would otherwise not notice. Of those that are kept that concerns two:

  HOME      an interpreter that is not told otherwise looks for packages below it, and runs what
            their `.pth` files say. The server does not start under such an interpreter: `python -I`
            does not look there, nor does a virtual environment's.
  PATH      a command line that names its program without a `/` leaves to it which program runs,
            and to that one where its library is. We look nothing up in it.

Imports nothing heavy.
"""

from __future__ import annotations

import site
from collections.abc import Mapping, MutableMapping

from sealserve.native.errors import ConfigError

_REFUSED_PREFIXES = {
    "LD_": "the dynamic loader runs other code",
    "PYTHON": "the interpreter runs other code, or writes files",
    "OPENSSL_": "OpenSSL loads another configuration or modules",
    "SSL_CERT_": "other certificates would be believed",
}
_REFUSED_SUFFIXES = {"_PROXY": "connections would go somewhere else"}
_REFUSED_NAMES = {"SSLKEYLOGFILE": "the keys of every connection would be written to a file"}

# Of the interpreter's own these only take something away, or are facts an image states about
# itself that the interpreter does not read (the official Python images).
_HARMLESS_PYTHON = frozenset(
    {
        "PYTHONDONTWRITEBYTECODE",  # writes fewer files
        "PYTHONNOUSERSITE",  # looks in fewer folders
        "PYTHONSAFEPATH",  # looks in fewer folders
        "PYTHONUNBUFFERED",  # the ready line appears at once, as it does anyway
        "PYTHON_SHA256",
        "PYTHON_VERSION",
    }
)
_KEPT = frozenset(
    {
        "HOME",
        "HOSTNAME",
        "LANG",
        "PATH",
        "TERM",
        "TZ",
        "ORT_DISABLE_TELEMETRY",  # we set it ourselves, before anything else
        "SEALSERVE_TEE_FD",  # the simulated platform's socket
        "UVM_SECURITY_CONTEXT_DIR",  # where Azure puts certificates and endorsements; all verified
    }
)
_KEPT_PREFIXES = ("LC_",)


def guard(environment: MutableMapping[str, str]) -> None:
    """Cut the environment to what is kept; ConfigError names every variable that is refused.

    Raises ConfigError too if this interpreter took packages from below HOME.
    """
    _refuse_user_site()
    refused = refusals(environment)
    if refused:
        listed = "; ".join(f"{name} ({why})" for name, why in refused.items())
        raise ConfigError(
            f"the environment may not hold {listed}",
            hint="start the server without these variables, and leave them out of the policy",
        )
    for name in [name for name in environment if not _is_kept(name)]:
        del environment[name]


def refusals(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep the server from starting, and why each one does."""
    found = {name: _why_refused(name) for name in sorted(environment)}
    return {name: why for name, why in found.items() if why}


def _refuse_user_site() -> None:
    if site.ENABLE_USER_SITE:
        raise ConfigError(
            "this interpreter runs code from below HOME, which is not measured",
            hint="start the server with `python -I -m sealserve`, or from a virtual environment",
        )


def _why_refused(name: str) -> str:
    upper = name.upper()  # curl and others read http_proxy in lower case
    if upper in _HARMLESS_PYTHON:
        return ""
    if upper in _REFUSED_NAMES:
        return _REFUSED_NAMES[upper]
    for prefix, why in _REFUSED_PREFIXES.items():
        if upper.startswith(prefix):
            return why
    for suffix, why in _REFUSED_SUFFIXES.items():
        if upper.endswith(suffix):
            return why
    return ""


def _is_kept(name: str) -> bool:
    return name in _KEPT or name.startswith(_KEPT_PREFIXES)
