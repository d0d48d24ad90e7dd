"""What comes in over HTTP: a body within its limits, and a word for what nobody foresaw."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path

from starlette.requests import ClientDisconnect, Request

from sealserve.keys.refused import Refused, bad_parameter

BODY_SECONDS = 20.0  # to send a body, of at most some hundred KiB


async def read(request: Request, limit: int) -> bytes:
    """The whole body. Raises Refused: 413 above `limit` bytes, 408 if it takes too long, 400."""
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                data += piece
                if len(data) > limit:
                    raise Refused(413, "RequestTooLarge", f"a body of more than {limit} bytes")
    except TimeoutError:
        raise Refused(408, "RequestTimeout", f"no body in {BODY_SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise bad_parameter("the body ended early") from None
    return bytes(data)


def unforeseen(error: Exception) -> str:
    """What happened and where, without what it says of itself."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"unforeseen {type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
