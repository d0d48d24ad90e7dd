"""One set of opened models and the processes that serve it: loaded once, then forked.

With one worker it becomes that worker; with several it keeps the models and forks them off.
"""

from __future__ import annotations

from sealserve.inference.server import failures, worker
from sealserve.inference.server.attendant import FindSource, HandedKeys, identity_in
from sealserve.inference.server.channel import Channel, Kind
from sealserve.inference.server.config import ServerConfig
from sealserve.inference.server.crew import Crew
from sealserve.inference.server.events import Event, log
from sealserve.inference.server.hardening import Namespace
from sealserve.inference.server.identity import HandedIdentity
from sealserve.inference.server.memory import choose, keep_from_swap, swap_is_on
from sealserve.inference.server.opening import Opened, open_all, weights_bytes
from sealserve.inference.server.table import Share
from sealserve.inference.server.worker import Duty


def generate(
    config: ServerConfig,
    served: ServerConfig,
    namespace: Namespace,
    find_source: FindSource,
    port: int,
    up: Channel,
    over: Channel,
    share: Share,
) -> int:
    """Open the models of `served`, and serve them until SIGTERM.

    config: the whole one, which is what evidence names. up: hears that they are open and that all
    workers listen, or of what it failed; the TLS identity comes from there, and what follows its
    certificates. over: gives their keys. share: what its processes count in.
    """
    try:
        keep_from_swap()
        opened = _open(served, namespace, up, over)
        for model in opened.registry:
            share.table.describe(model.root.hex(), model.name, model.version)
        duty = Duty(config, opened, _identity(up), find_source, port, share)
        if config.workers == 1:
            return worker.serve(duty, up)
        return Crew(duty, up).run()
    except Exception as error:  # told by whoever has a person to tell
        up.fail(error)
        return failures.exit_code(error)


def _open(config: ServerConfig, namespace: Namespace, up: Channel, over: Channel) -> Opened:
    weights = weights_bytes(config)
    hardened = namespace.mount(weights)
    keys = HandedKeys(over)
    with choose(hardened, weights, swap=swap_is_on()) as memory:
        log(Event.HARDENED, weights=memory.way, why_no_mount=hardened.why_no_mount)
        opened = open_all(config, keys, memory)
    keys.close()
    up.send(
        Kind.OPENED,
        models=[(model.name, model.version, model.root.hex()) for model in opened.registry],
        weights=memory.way,
        release_seconds=opened.release_seconds,
        open_seconds=opened.open_seconds,
    )
    return opened


def _identity(up: Channel) -> HandedIdentity:
    message = up.receive()
    if message is None:
        raise SystemExit(0)
    return identity_in(message, up)
