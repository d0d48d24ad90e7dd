"""Members of JSON objects as ARM finds them: by name, whatever its case."""

from __future__ import annotations


def find(value: object, name: str) -> object:
    """The member `name` in any spelling, or None; of two spellings the exact one.

    As confcom has it, an exact member that is empty gives way to the first of another spelling.
    """
    if not isinstance(value, dict):
        return None
    exact = value.get(name)
    if exact:
        return exact
    key = spelling(value, name)
    return None if key is None else value[key]


def spelling(members: dict[str, object], name: str) -> str | None:
    """How `name` is spelt here, the first one if there are several."""
    wanted = name.lower()
    return next((key for key in members if str(key).lower() == wanted), None)


def items(value: object) -> list[object]:
    """A list as it is, anything else as none."""
    return value if isinstance(value, list) else []
