"""What may be started inside a running container, and which signals the host may send to it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sealserve.policy.execution.complaints import Place, Told, as_json
from sealserve.policy.execution.containers.command import odd_word
from sealserve.policy.execution.containers.platform_helpers import is_filled
from sealserve.policy.execution.image import Image
from sealserve.policy.execution.platform import SIGNALS, Fields
from sealserve.policy.execution.profile import Profile
from sealserve.policy.execution.wanted import Process, Wanted

MAX_SIGNAL = 64  # signal(7): the last real-time signal
_FIRST_REAL_TIME = 34  # as C libraries count; they keep the two before for themselves
_REAL_TIME = re.compile(r"(RTMIN|RTMAX)([+-][0-9]{1,2})?")


def exec_processes(processes: Sequence[Process], place: Place) -> list[Fields]:
    for index, process in enumerate(processes):
        _check_process(process, place.at(index))
    return [
        {"command": process.command, "signals": list(process.signals)}
        if isinstance(process.signals, (list, tuple))
        else {"command": process.command, "signals": []}
        for process in processes
    ]


def _check_process(process: Process, place: Place) -> None:
    words = process.command
    if not isinstance(words, list) or (place.strict and not words):
        place.at("command").refuse(
            words, "a list of words", 'a shell line is ["/bin/sh", "-c", LINE]'
        )
    elif place.strict and not all(isinstance(word, str) for word in words):
        place.at("command").refuse(
            odd_word(words),
            "a list of words",
            'write ["program", "argument"]: nothing here splits a line into words',
        )
    signals = process.signals
    if not isinstance(signals, (list, tuple)):
        place.at("signals").refuse(
            signals, "a list of numbers", "write [15] for SIGTERM; signal(7) has the others"
        )
    elif place.strict and not all(_is_signal(number) for number in signals):
        place.at("signals").refuse(
            list(signals),
            f"numbers from 1 to {MAX_SIGNAL}",
            "SIGTERM is 15; signal(7) has the others",
        )


def signals(wanted: Wanted, image: Image, profile: Profile, place: Place) -> list[object]:
    """The image's StopSignal as a number, and what the profile adds."""
    stop: list[object] = []
    if image.stop_signal and is_filled(wanted, place):
        stop = [_signal(image.stop_signal, place)]
    return [*stop, *(number for number in profile.signals if number not in stop)]


def _signal(stop: str | int, place: Place) -> object:
    """confcom knows names alone: of a number in text it makes one no request ever equals."""
    text = f"{stop}"
    known = stop if isinstance(stop, int) and not place.strict else SIGNALS.get(text.upper())
    if known is not None or not place.strict:
        return text if known is None else known
    if text.isascii() and text.isdigit() and _is_signal(int(text)):
        return int(text)
    named = SIGNALS.get(f"SIG{text.upper()}") or _real_time(text.upper().removeprefix("SIG"))
    if named is None:
        place.refuse(
            Told(f"StopSignal {as_json(text)[:60]}"),
            "the name or number of a signal",
            "STOPSIGNAL SIGTERM in the image's Containerfile",
        )
    return named


def _real_time(text: str) -> int | None:
    """`RTMIN+3` and `RTMAX-1`, as images that run systemd have it."""
    match = _REAL_TIME.fullmatch(text)
    if match is None:
        return None
    number = _FIRST_REAL_TIME if match[1] == "RTMIN" else MAX_SIGNAL
    number += int(match[2] or 0)
    return number if _FIRST_REAL_TIME <= number <= MAX_SIGNAL else None


def _is_signal(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIGNAL
