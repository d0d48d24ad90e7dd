from collections.abc import Callable, Sequence

from sealserve.native.checked import CheckedCopy
from sealserve.native.cobblestone import Message
from sealserve.native.destination import Cancelled as Cancelled
from sealserve.native.destination import Destination as Destination
from sealserve.native.verity import TrustedTree

def load(
    fd: int,
    *,
    payload_offset: int,
    payload_bytes: int,
    data_bytes: int,
    tree: TrustedTree,
    message: Message,
    destinations: Sequence[Destination],
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    checked: CheckedCopy | None = None,
) -> None: ...
