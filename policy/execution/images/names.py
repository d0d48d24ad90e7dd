"""Names of images: how people write them and how tools do (distribution reference grammar)."""

from __future__ import annotations

_HUB, _LIBRARY = "docker.io", "library"
_LATEST = "latest"


def same(asked: str, written: str) -> bool:
    """Whether two names are of one image: the hub, its library and `latest` may be left out."""
    return asked == written or whole(asked) == whole(written)


def digest_of(name: str) -> str:
    """`sha256:…` of a name that ends in one, or nothing."""
    return name.partition("@")[2]


def whole(name: str) -> str:
    """The name with everything that may be left out."""
    name, at, digest = name.partition("@")
    path, tag = split_tag(name)
    host, slash, rest = path.partition("/")
    if not slash:
        path = f"{_HUB}/{_LIBRARY}/{path}"
    elif not ("." in host or ":" in host or host == "localhost"):
        path = f"{_HUB}/{path}"
    elif host == _HUB and "/" not in rest:
        path = f"{_HUB}/{_LIBRARY}/{rest}"
    return f"{path}{at}{digest}" if digest else f"{path}:{tag or _LATEST}"


def split_tag(name: str) -> tuple[str, str]:
    """Name and tag; a port belongs to the name."""
    path, colon, tag = name.rpartition(":")
    return (path, tag) if colon and "/" not in tag else (name, "")
