"""Connections that are reset before anything can be done with them, and what was left open then."""

from __future__ import annotations

import gc
import socket
import struct
import warnings
from typing import Any

import pytest


def reset_on_connecting(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    """Let every connection to it be over before its caller can do anything with it."""
    connect = socket.socket.connect

    def connect_and_be_reset(plain: socket.socket, address: Any) -> None:
        connect(plain, address)
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()

    monkeypatch.setattr(socket.socket, "connect", connect_and_be_reset)


def left_open() -> list[warnings.WarningMessage]:
    """What the collector has to close because nobody did."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    return caught
