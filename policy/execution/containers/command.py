"""The command of a container, word for word, and other text that a process is given."""

from __future__ import annotations

from collections.abc import Sequence

from sealserve.policy.execution import environment
from sealserve.policy.execution.complaints import NOTHING, Place, Told, shown
from sealserve.policy.execution.containers.platform_helpers import is_filled
from sealserve.policy.execution.image import Image
from sealserve.policy.execution.patterns import UnusableError
from sealserve.policy.execution.wanted import Wanted


def command_of(wanted: Wanted, image: Image, place: Place) -> object:
    command = _argv(wanted, image, place)
    if not place.strict:
        if not isinstance(wanted.command, (list, tuple)):
            place.refuse(
                wanted.command,
                "a list of words",
                'write ["program", "argument"]: nothing here splits a line into words',
            )
        return command
    if not command:
        place.refuse(
            NOTHING,
            "a command, or an image with an entrypoint",
            "without a command the container could never start: give one in the template",
        )
    elif not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        place.refuse(
            odd_word(command),
            "a list of words, the program first",
            "each word is text in quotes, numbers too",
        )
    elif not command[0]:
        place.refuse(
            command,
            "the name of a program first",
            "put the path of the program first, or leave the command out to take the image's",
        )
    else:
        for index, word in enumerate(command):
            check_text(word, place.at(index))
    return command


def odd_word(command: object) -> object:
    """The word that is none, for a message that says what it lacks."""
    words = command if isinstance(command, list) else []
    return next((word for word in words if not isinstance(word, str)), command)


def _argv(wanted: Wanted, image: Image, place: Place) -> object:
    """Kubernetes replaces entrypoint and command apart, the container group both at once."""
    if wanted.entrypoint is not None:
        if wanted.entrypoint:
            return _joined(wanted.entrypoint, wanted.command)
        return _joined(image.entrypoint, wanted.command or image.cmd)
    if wanted.command or not is_filled(wanted, place):
        return wanted.command
    return list(image.command) or None


def _joined(front: object, back: object) -> object:
    if isinstance(front, str) or isinstance(back, str):
        return front or back  # not a list: whoever checks it says so
    parts = [*(front if isinstance(front, Sequence) else ())]
    return [*parts, *(back if isinstance(back, Sequence) else ())]


def check_text(text: str, place: Place) -> None:
    """Complain about NUL and what is not UTF-8."""
    try:
        environment.check_text(text)
    except UnusableError as error:
        place.refuse(
            Told(shown(f"{error}")),
            "text that a process can be given",
            "leave that character out: no process gets it in its arguments",
        )
