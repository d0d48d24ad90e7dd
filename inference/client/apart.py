"""A blocking call beside an event loop, which the end of the program does not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_Result = TypeVar("_Result")


async def apart(work: Callable[[], _Result]) -> _Result:
    """What `work` returns or raises, in a thread of its own.

    Unlike `asyncio.to_thread`, whose threads `asyncio.run` waits for: a server that says nothing
    would keep a program alive that has long stopped asking.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Result] = loop.create_future()

    def tell(result: _Result | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None is a result where it is one

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as raised:  # for the task that waits
            error = raised
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await done
