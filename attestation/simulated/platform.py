"""The simulated platform: a parent that holds the keys and a workload that may ask for reports.

It decides whether the command may start, as the guest agent of a confidential container would,
puts the policy's hash into HOST_DATA, and answers report requests until the workload ends. The
keys never leave the parent's memory; what the workload gets is one socket (`frames`).
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sealserve.attestation.simulated import frames, process
from sealserve.attestation.simulated.machine import Machine
from sealserve.attestation.simulated.process import Launch


class Startable(Protocol):
    """What was allowed to start, and exactly that: a process here, or one in a container."""

    def launching(
        self, announced: Mapping[str, str], descriptor: int
    ) -> contextlib.AbstractContextManager[Launch]:
        """The process to start, which inherits this descriptor of the socket.

        announced: variables of the platform's own, beside those that were allowed. Whatever the
        process leaves behind is gone when the context ends.
        """
        ...


@dataclass(frozen=True)
class Command:
    """`Startable`: a process of this machine, with the environment that it may have."""

    command: Sequence[str]
    environment: Mapping[str, str]
    working_dir: str

    def launching(
        self, announced: Mapping[str, str], descriptor: int
    ) -> contextlib.AbstractContextManager[Launch]:
        """As `Startable.launching`."""
        told = {**announced, frames.SOCKET_VARIABLE: str(descriptor)}
        launch = Launch(self.command, {**self.environment, **told}, self.working_dir)
        return contextlib.nullcontext(launch)


MayStart = Callable[[], Startable]
"""Decides whether something may start, and what of it. Raises PolicyViolation."""

BANNER: Final = (
    "simulated platform: this proves nothing about hardware. whoever runs it can read everything\n"
    "and sign anything. it is for trying, testing and demonstrating; real data does not belong here"
)


def run(
    *,
    machine: Machine,
    may_start: MayStart,
    say: Callable[[str], None],
    announce: Callable[[], Mapping[str, str]],
) -> int:
    """Run what may start in a simulated machine and return its exit status.

    The status is that of a shell: 128 and the signal if one ended the command. Signals are passed
    on. announce: called once the start is allowed, for variables the platform itself sets, as a
    real one says where its files are. Must be called in the main thread. Raises what `may_start`
    raises, before anything started, and ConfigError if the command cannot be started.
    """
    allowed = may_start()
    say(BANNER)
    with contextlib.ExitStack() as stack:
        stack.enter_context(process.unreadable())
        stack.enter_context(process.adopting())
        forwarder = stack.enter_context(process.forwarding())
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(ours)
        with theirs:
            descriptor = theirs.fileno()
            launch = stack.enter_context(allowed.launching(announce(), descriptor))
            workload = process.start(launch, descriptor)
        try:
            forwarder.attach(workload)
            _serve(ours, machine, workload.pid)
        finally:
            status = workload.finish()
    return status


def _serve(ours: socket.socket, machine: Machine, pid: int) -> None:
    """Answer requests until the process ends."""
    with _pidfd(pid) as ended:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(ours, select.POLLIN)
        while True:
            events = dict(poll.poll())
            if ended in events:
                return
            answered = _answer_one(ours, machine)
            if not answered and events[ours.fileno()] & select.POLLHUP:
                poll.unregister(ours)  # nobody is left who could ask


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _answer_one(ours: socket.socket, machine: Machine) -> bool:
    """Take one message and answer it; False if it was empty. What is not a request is dropped."""
    message, descriptors, flags = _receive(ours)
    try:
        if len(descriptors) == 1 and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            _reply(descriptors[0], message, machine)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return bool(message)


def _receive(ours: socket.socket) -> tuple[bytes, list[int], int]:
    """One message and the descriptors that came with it, at most one."""
    room = socket.CMSG_LEN(array.array("i").itemsize)
    message, ancillary, flags, _ = ours.recvmsg(frames.REQUEST_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return message, list(descriptors), flags


def _reply(descriptor: int, message: bytes, machine: Machine) -> None:
    """Send the answer without ever waiting for whoever asked, who may be gone or hostile."""
    try:
        data = frames.parse_request(message)
        back = socket.socket(fileno=os.dup(descriptor))
    except (ValueError, OSError):  # not a request; not a socket
        return
    with back, contextlib.suppress(OSError):
        answer = frames.answer(machine.report(data), machine.table(), machine.endorsement)
        back.send(answer, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
