"""Verifies a server, and only then sends it data.

    connect(target, trust)  ->  Client.predict(model, inputs)

`connect` returns a client of a server that was genuine, acceptable and fresh, or raises.
"""

from sealserve.inference.client.asynchronous import AsyncClient, connect_async
from sealserve.inference.client.certificate import Certificate
from sealserve.inference.client.synchronous import Client, check, connect

__all__ = ["AsyncClient", "Certificate", "Client", "check", "connect", "connect_async"]
