"""A whole client that is not ours, h2, under its own flow control."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events

from sealserve.native.http2 import Session, Stream
from support.http2_peer import ANSWER, CALL, FRAME_BYTES, TRAILERS, message

TEXT = bytes(range(256)) * 6000  # more than a window
NUMBERS = (1, 3)


class Client:
    """Sends two messages on each of two streams, and reads what comes."""

    def __init__(self) -> None:
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.http.initiate_connection()
        for number in NUMBERS:
            self.http.send_headers(number, CALL)
        self._waiting = dict.fromkeys(NUMBERS, message(TEXT) * 2)
        self.got = dict.fromkeys(NUMBERS, b"")
        self.ended: set[int] = set()

    def says(self) -> bytes:
        for number, data in self._waiting.items():
            leave = self.http.local_flow_control_window(number)
            if part := data[: min(leave, FRAME_BYTES)]:
                rest = self._waiting[number] = data[len(part) :]
                self.http.send_data(number, part, end_stream=not rest)
        return bytes(self.http.data_to_send())

    def hears(self, data: bytes) -> None:
        for event in self.http.receive_data(data):
            self._happened(event)

    def _happened(self, event: Any) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.got[event.stream_id] += event.data
            size = event.flow_controlled_length
            self.http.acknowledge_received_data(size, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)


def serve(session: Session, stream: Stream, taken: list[bytes]) -> None:
    while (found := session.take(stream)) is not None:
        taken.append(found[1])
        if len(taken) == 2:
            session.respond(stream, ANSWER)
            session.write(stream, TEXT)
            session.write(stream, TEXT)
            session.finish(stream, TRAILERS)


def test_long_messages_both_ways() -> None:
    session = Session(max_message=2**22, max_headers=16_384, max_streams=10)
    client = Client()
    taken: dict[int, list[bytes]] = {1: [], 3: []}
    while client.ended != {*NUMBERS}:
        session.receive(client.says())
        for stream in session.touched():
            serve(session, stream, taken[stream.id])
        client.hears(session.send())
    assert taken == {1: [TEXT] * 2, 3: [TEXT] * 2}
    assert client.got == {1: message(TEXT) * 2, 3: message(TEXT) * 2}
    client.http.close_connection()
    session.receive(client.says())
    session.send()
    assert not session.alive
