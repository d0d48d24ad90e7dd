"""The measured configuration: everything that decides what this server is, and its digest.

Every value comes from the command line, which the execution policy covers. The digest of its
canonical JSON stands as `config` in the claims of every challenge, so that whoever knows the
command line can compute what the machine was told.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Final

from sealserve.native.errors import ConfigError, printable

ROOT_BYTES: Final = 32
# Runtime claims name the roots of all models, at most this many (DESIGN section 4).
MAX_MODELS: Final = 32
MAX_ROOTS: Final = 32  # of one file: versions to go on to and to go back to
MAX_WORKERS: Final = 64


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A sealed file and the roots it may have. roots: each of 64 hexadecimal digits.

    More than one lets a file be replaced while the server runs.
    """

    path: str
    roots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where the models' keys come from: a vault, or on the simulated platform a private key file.

    vault: `trustd:HOST:PORT` or `azure:https://HOST`. identity: path of an HPKE private key.
    Exactly one of the two is not empty.
    """

    identity: str = ""
    vault: str = ""
    attestation_service: str = ""
    vault_ca: str = ""
    vault_ca_sha256: str = ""
    vault_credential: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server spends on its callers.

    Memory: at worst each of `calls` holds a message that came and one that goes, and streams hold
    `waiting` more, which is 2 x (calls + waiting) x message_bytes, 6 GiB by default. On top of it
    come what `running` predictions need, their tensors and ONNX Runtime's own, a window of 1 MiB
    for each call, and for each connection some 50 KiB, or 1.3 MiB where answers are left unread.
    """

    message_bytes: int = 16 * 2**20  # one request or answer
    calls: int = 128  # of every kind at the same time; more are refused before they are read
    peer_calls: int = 96  # of them from one address; behind a balancer all callers have one
    peer_bytes: int = 96 * 16 * 2**20  # of its messages that came or are coming; one always may
    connections: int = 1024  # more are closed at once
    peer_connections: int = 768  # of them from one address
    connection_seconds: float = 3600.0  # age at which clients have to make a new one
    running: int = 2  # predictions at the same time; each may use `threads`
    waiting: int = 64  # admitted and waiting for a turn; more are told to come back
    threads: int = 1  # of ONNX Runtime, within one operator
    request_seconds: float = 60.0  # longest a call may take, from its headers to its answer
    drain_seconds: float = 10.0  # for requests under way when the server is told to stop
    rotation_hours: float = 12.0  # age at which the next certificate takes over


@dataclass(frozen=True, slots=True)
class Caller:
    """Who may call. token_sha256: 64 hexadecimal digits. expires: the last day, or empty."""

    name: str
    token_sha256: str
    expires: str = ""


@dataclass(frozen=True, slots=True)
class Callers:
    """Who may call: holders of a token, or of a certificate of `client_ca` (PEM); else anyone."""

    tokens: tuple[Caller, ...] = ()
    client_ca: str = ""

    @property
    def who(self) -> str:
        """In one word."""
        if self.client_ca:
            return "certificates"
        return "tokens" if self.tokens else "anyone"


BATCHING: Final = ("off", "auto", "required")


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How one model runs. None: as the limits of the whole server say.

    batching: `auto` joins requests in one run if the model's owner declared its rows independent
    and it passes the test of that, `required` refuses to start where it does not. batch_rows: most
    rows of a joined run. batch_delay_ms: how long the first of them may wait for others; 0 joins
    what came while the runs before were busy, and delays nobody. warm_up_runs: before the first
    request, with made up inputs.
    """

    threads: int | None = None
    running: int | None = None
    waiting: int | None = None
    batching: str = "auto"
    batch_rows: int = 32
    batch_delay_ms: int = 0
    warm_up_runs: int = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What a configuration file sets, if there is one. options: by the model's name."""

    limits: Limits = field(default_factory=Limits)
    options: Mapping[str, ModelOptions] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The whole configuration of one server."""

    models: tuple[ServedModel, ...]
    keys: KeySource
    listen_host: str = "0.0.0.0"  # noqa: S104  a server is for others; the default port is public
    listen_port: int = 8001
    require_root: bool = False
    workers: int = 1  # processes that answer; each has the limits to itself
    early: bool = False  # answer before weights are prepacked
    status_host: str = ""  # where the operator's pages are; "": nowhere
    status_port: int = 0
    model_control: str = ""  # path of the operator's Unix socket; "": none
    limits: Limits = field(default_factory=Limits)
    options: Mapping[str, ModelOptions] = field(default_factory=dict)  # by the model's name
    callers: Callers = field(default_factory=Callers)

    def __post_init__(self) -> None:
        _check_models(self.models)
        _check_keys(self.keys)
        _check_limits(self.limits)
        _check_workers(self.workers, self.limits, self.options)
        _check_options(self.options, self.limits)
        _check_early(self)

    def options_of(self, name: str) -> ModelOptions:
        """How the model of that name runs."""
        return self.options.get(name, ModelOptions())

    def require_served(self, names: Collection[str]) -> None:
        """ConfigError if there are options of a model that has none of these names."""
        for name in self.options:
            if name not in names:
                raise ConfigError(
                    f"no sealed file is of a model {printable(name)}; served: "
                    f"{', '.join(map(printable, sorted(names)))}",
                    key="--config",
                    hint="[models.NAME] takes the name that `sealserve inspect FILE` shows",
                )

    def canonical(self) -> bytes:
        """The one JSON text of this configuration: sorted members, no spaces."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return text.encode("ascii")

    def sha256(self) -> bytes:
        """What challenges call `config`."""
        return hashlib.sha256(self.canonical()).digest()


def pair(files: Sequence[str], roots: Sequence[str]) -> tuple[ServedModel, ...]:
    """One option of roots for each file, in the order given; ConfigError otherwise."""
    if len(files) != len(roots):
        raise ConfigError(
            f"{len(files)} sealed files and {len(roots)} roots",
            key="--root",
            hint="give one --root HEX for each FILE, in the same order",
        )
    return tuple(
        ServedModel(file, tuple(root.lower().split(",")))
        for file, root in zip(files, roots, strict=True)
    )


def file_bytes(file: str, option: str) -> int:
    """How long a file is that the command line names; ConfigError if it is none."""
    try:
        state = Path(file).stat()
    except OSError as error:
        raise _no_file(file, option, f"cannot be read: {error.strerror}") from error
    if not S_ISREG(state.st_mode):
        raise _no_file(file, option, "is not a regular file")
    return state.st_size


def _no_file(file: str, option: str, why: str) -> ConfigError:
    return ConfigError(
        why,
        file=file,
        key=option,
        hint="give the path as the server sees it, best from / on: a policy fixes where it starts",
    )


def _check_models(models: Sequence[ServedModel]) -> None:
    if not 1 <= len(models) <= MAX_MODELS:
        raise ConfigError(f"{len(models)} models; 1 to {MAX_MODELS} are possible", key="FILE")
    for model in models:
        if not 1 <= len(model.roots) <= MAX_ROOTS:
            raise ConfigError(
                f"{len(model.roots)} roots of one file; 1 to {MAX_ROOTS} are possible", key="--root"
            )
        for root in model.roots:
            _check_root(root)
    roots = [root for model in models for root in model.roots]
    if len(set(roots)) != len(roots):
        raise ConfigError(
            "a root is given twice", key="--root", hint="one root is one model: give it once"
        )


def _check_root(root: str) -> None:
    try:
        size = len(bytes.fromhex(root))
    except ValueError:
        size = -1
    if size != ROOT_BYTES or len(root) != 2 * ROOT_BYTES:
        raise ConfigError(
            f"{root[:80]!r} is not the 64 hexadecimal digits of a root",
            key="--root",
            hint="`sealserve seal` prints it; take it from the model's owner",
        )


def _check_keys(keys: KeySource) -> None:
    if bool(keys.identity) == bool(keys.vault):
        raise ConfigError(
            f"--identity {keys.identity or 'not given'}, --vault {keys.vault or 'not given'}; "
            "exactly one of them is needed",
            hint="--vault where attestation guards the key; --identity on the simulated platform",
        )
    options = {
        "--attestation-service": keys.attestation_service,
        "--vault-ca": keys.vault_ca,
        "--vault-ca-sha256": keys.vault_ca_sha256,
        "--vault-credential": keys.vault_credential,
    }
    for option, value in options.items():
        if keys.identity and value:
            raise ConfigError(
                "means nothing without --vault",
                key=option,
                hint=f"leave {option} out, or give --vault instead of --identity",
            )


def _check_limits(limits: Limits) -> None:
    for name, value in dataclasses.asdict(limits).items():
        if not value > 0:
            raise ConfigError(f"{value} is not above 0", key="--" + name.replace("_", "-"))


def _check_workers(workers: int, limits: Limits, options: Mapping[str, ModelOptions]) -> None:
    if not 1 <= workers <= MAX_WORKERS:
        raise ConfigError(f"{workers} workers; 1 to {MAX_WORKERS} are possible", key="--workers")
    threads = max([limits.threads, *(each.threads or 1 for each in options.values())])
    if workers > 1 and threads > 1:
        raise ConfigError(
            f"{workers} workers and {threads} threads within an operator",
            key="--workers",
            hint="the threads of ONNX Runtime do not live on in forked workers: give one of the "
            "two as 1",
        )


def _check_options(options: Mapping[str, ModelOptions], limits: Limits) -> None:
    for name, each in options.items():
        for limit in ("running", "waiting"):
            wanted, most = getattr(each, limit), getattr(limits, limit)
            if wanted is not None and wanted > most:
                raise ConfigError(
                    f"{wanted} of model {printable(name)}; the whole server has {most}",
                    key=limit,
                    hint=f"raise {limit} in [limits] too, or lower it here",
                )


def _check_early(config: ServerConfig) -> None:
    """A session that is exchanged later cannot be shared, and was never tested for batching."""
    if not config.early:
        return
    if config.workers > 1:
        raise ConfigError(
            f"means nothing for {config.workers} workers",
            key="--early",
            hint="forked workers share what is prepacked before: leave one of the two out",
        )
    for name, options in config.options.items():
        if options.batching == "required":
            raise ConfigError(
                f"model {printable(name)} requires batching, which --early does without",
                key="--early",
                hint='leave one of the two out, or say batching = "auto"',
            )
