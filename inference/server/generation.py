"""One set of opened models and the processes that serve it: loaded once, then forked.

With one worker it becomes that worker; with several it keeps the models and forks them off.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from sealserve.inference.server import worker
from sealserve.inference.server.ahead import Ahead
from sealserve.inference.server.channel import Channel, Kind
from sealserve.inference.server.config import ServerConfig
from sealserve.inference.server.crew import Crew
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.handed import (
    FindSource,
    HandedIdentity,
    HandedKeys,
    identity_in,
)
from sealserve.inference.server.hardening import Namespace
from sealserve.inference.server.memory import choose, keep_from_swap, swap_is_on
from sealserve.inference.server.opening import Opened, open_all, weights_bytes
from sealserve.inference.server.port import HeldPort
from sealserve.inference.server.table import Share
from sealserve.inference.server.worker import Duty


def generate(
    config: ServerConfig,
    served: ServerConfig,
    namespace: Namespace,
    find_source: FindSource,
    port: HeldPort,
    up: Channel,
    over: Channel,
    share: Share,
) -> int:
    """Open the models of `served`, and serve them until SIGTERM.

    config: the whole one, which is what evidence names. up: hears that they are open and that all
    workers listen; the TLS identity comes from there, and what follows its certificates. over:
    gives their keys. share: what its processes count in. Raises what opening and serving raise.
    """
    keep_from_swap()
    opened, leave = _open(served, namespace, up, over)
    for model in opened.registry:
        share.table.describe(model.root.hex(), model.name, model.version)
    identity = _identity(up)
    if config.workers > 1:
        find_source = _found(find_source)
    duty = Duty(config, opened, identity, find_source, port, share, leave)
    if config.workers == 1:
        return worker.serve(duty, up)
    return Crew(duty, up).run()


def _open(
    config: ServerConfig, namespace: Namespace, up: Channel, over: Channel
) -> tuple[Opened, Callable[[], None] | None]:
    """The models, and how to leave the place of their weights, where that has to wait."""
    weights = weights_bytes(config)
    hardened = namespace.mount(weights)
    keys = HandedKeys(over)
    with _ahead(config) as ahead, ExitStack() as stack:
        memory = stack.enter_context(choose(hardened, weights, swap=swap_is_on()))
        log(Event.HARDENED, weights=memory.way, why_no_mount=hardened.why_no_mount)
        opened = open_all(config, keys, memory, ahead.go_on)
        leave = stack.pop_all().close if config.early else None
    keys.close()
    up.send(
        Kind.OPENED,
        models=[(model.name, model.version, model.root.hex()) for model in opened.registry],
        weights=memory.way,
        release_seconds=opened.release_seconds,
        open_seconds=opened.open_seconds,
    )
    return opened, leave


def _ahead(config: ServerConfig) -> Ahead:
    """What is needed once the weights are decrypted; gRPC only where nothing is forked any more."""
    runtime = ["sealserve.inference.server.preparing"]  # NumPy and ONNX Runtime come with it
    evidence = ["sealserve.attestation.devices"]
    if config.workers > 1:
        return Ahead(runtime, evidence)
    serving = ["sealserve.inference.server.server", *evidence]
    return Ahead([*runtime, *serving]) if config.early else Ahead(runtime, serving)


def _found(find_source: FindSource) -> FindSource:
    """What is found now, for all who are forked off from here.

    One by one they might have to fetch certificates from a service that answers now and then, also
    who takes the place of one that died.
    """
    source = find_source()
    return lambda: source


def _identity(up: Channel) -> HandedIdentity:
    message = up.receive()
    if message is None:
        raise SystemExit(0)
    return identity_in(message, up)
