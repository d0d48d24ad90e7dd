"""An error on its way from one of our processes to the one that tells a person of it.

Closed: a class of the tree in `native/errors.py` by name, with its words and facts; the package
that is missing; or the type and place of what nobody foresaw, never its text.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any, Final

from sealserve.native import errors
from sealserve.native.errors import SealserveError

Told = dict[str, Any]

_CLASSES: Final[Mapping[str, type[SealserveError]]] = {
    kind.__name__: kind
    for kind in (
        errors.SealserveError,
        errors.FormatError,
        errors.IntegrityError,
        errors.EvidenceError,
        errors.ReleaseError,
        errors.ConfigError,
        errors.InputError,
        errors.UnavailableError,
    )
}


def told(error: BaseException) -> Told:
    """What can be sent of an error."""
    if isinstance(error, SealserveError):
        kind = next(each.__name__ for each in type(error).__mro__ if each.__name__ in _CLASSES)
        facts = {name: value for name, value in vars(error).items()
                 if isinstance(value, str | int | float)}  # fmt: skip
        return {"error": kind, "facts": facts}
    if isinstance(error, ModuleNotFoundError) and error.name:
        return {"error": "missing", "facts": {"name": error.name}}
    return {"error": "unforeseen", "facts": {"place": f"{type(error).__name__} at {_where(error)}"}}


def raised(told: Told) -> Exception:
    """The error again, to be raised here."""
    kind, facts = told["error"], told["facts"]
    if kind == "missing":
        return ModuleNotFoundError(f"no module named {facts['name']}", name=facts["name"])
    if kind == "unforeseen":
        return SealserveError(
            f"unforeseen {facts['place']}",
            hint="this is a bug in sealserve; please report it with that line",
        )
    again = _CLASSES[kind].__new__(_CLASSES[kind], facts["message"])
    vars(again).update(facts)
    return again


def exit_code(error: BaseException) -> int:
    """What a process ends with that failed of it."""
    return error.exit_code if isinstance(error, SealserveError) else SealserveError.exit_code


def _where(error: BaseException) -> str:
    """The innermost place in our own code."""
    place = "?"
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        if "sealserve" in module:
            place = f"{module}:{line} ({frame.f_code.co_name})"
    return place
