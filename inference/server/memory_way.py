"""Tries which memory a server of this user would get, in a process that then ends.

`python -m sealserve.inference.server.memory_way` prints one JSON object. Trying is hardening, which
cannot be undone; so `doctor` lets another process do it.
"""

from __future__ import annotations

import json
import sys

from sealserve.inference.server.hardening import harden
from sealserve.inference.server.memory import choose, swap_is_on
from sealserve.native.errors import ConfigError


def main() -> None:
    """Harden, choose, tell."""
    hardened = harden().mount(0)
    try:
        with choose(hardened, 0, swap=swap_is_on()) as memory:
            told = {"way": memory.way, "why_no_mount": hardened.why_no_mount}
    except ConfigError as error:
        told = {"refused": error.message, "hint": error.hint}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
