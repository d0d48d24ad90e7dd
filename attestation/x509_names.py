"""Names in certificates: the kinds that did:x509 knows, and what a CA may vouch for.

Kinds are `dns`, `email`, `uri` and `dn` (a directory name); a certificate with another one has no
reading here. Name constraints are those of RFC 5280, section 4.2.1.10. Raises EvidenceError
(x509_unparseable, x509_path) and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal
from urllib.parse import urlsplit

from cryptography import x509

from sealserve.native.errors import EvidenceError

Kind = Literal["dns", "email", "uri", "dn"]
Value = str | x509.Name
AlternativeName = tuple[Kind, Value]

_KINDS: Final[Mapping[type[x509.GeneralName], Kind]] = {
    x509.DNSName: "dns",
    x509.RFC822Name: "email",
    x509.UniformResourceIdentifier: "uri",
    x509.DirectoryName: "dn",
}
_EMAIL_ADDRESS: Final = "1.2.840.113549.1.9.1"


def alternative_names(
    extension: x509.SubjectAlternativeName | None,
) -> tuple[AlternativeName, ...]:
    """The names of this extension, none without one. EvidenceError for a kind we do not know."""
    names = tuple(_kind_and_value(name) for name in extension or ())
    for kind, _ in names:
        if kind is None:
            raise unreadable(
                "an alternative name of another kind",
                "DNS names, e-mail addresses, URIs, directory names",
            )
    return tuple((kind, value) for kind, value in names if kind is not None)


def require_within(
    constraints: x509.NameConstraints, subject: x509.Name, alternatives: Sequence[AlternativeName]
) -> None:
    """No name may be excluded; where names of its kind are permitted, it must be one of those.

    Raises EvidenceError (x509_path).
    """
    permitted = [_kind_and_value(subtree) for subtree in constraints.permitted_subtrees or ()]
    excluded = [_kind_and_value(subtree) for subtree in constraints.excluded_subtrees or ()]
    for kind, name in _all_names(subject, alternatives):
        covers = _COVERS[kind]
        if any(covers(subtree, name) for of, subtree in excluded if of == kind):
            raise _outside(name, "a name that is not excluded")
        subtrees = [subtree for of, subtree in permitted if of == kind]
        if subtrees and not any(covers(subtree, name) for subtree in subtrees):
            raise _outside(name, "a name that is permitted")


def unreadable(seen: str, wanted: str = "a certificate we can read") -> EvidenceError:
    """The error for a certificate without a reading here."""
    return EvidenceError(
        "x509_unparseable", "a certificate of the chain cannot be read", seen=seen, wanted=wanted
    )


def _kind_and_value(name: x509.GeneralName) -> tuple[Kind | None, Value]:
    kind = _KINDS.get(type(name))
    return kind, name.value if kind is not None else ""


def _all_names(
    subject: x509.Name, alternatives: Sequence[AlternativeName]
) -> Iterator[AlternativeName]:
    """The subject counts as a directory name, and addresses in it as e-mail addresses."""
    yield from alternatives
    if len(subject):
        yield "dn", subject
    for attribute in subject:
        if attribute.oid.dotted_string == _EMAIL_ADDRESS:
            yield "email", str(attribute.value)


def _dns_covers(subtree: Value, name: Value) -> bool:
    """Labels added on the left stay inside; a constraint that begins with a dot wants some."""
    zone, host = str(subtree).lower(), str(name).lower()
    if not zone or zone.startswith("."):
        return host.endswith(zone)
    return host == zone or host.endswith("." + zone)


def _email_covers(subtree: Value, name: Value) -> bool:
    """One mailbox, all of one host, or with a dot in front all hosts below a domain."""
    wanted, (mailbox, _, host) = str(subtree), str(name).rpartition("@")
    if "@" in wanted:
        wanted_mailbox, _, wanted_host = wanted.rpartition("@")
        return mailbox == wanted_mailbox and host.lower() == wanted_host.lower()
    return _host_covers(wanted, host)


def _uri_covers(subtree: Value, name: Value) -> bool:
    return _host_covers(str(subtree), _host(str(name)))


def _host_covers(wanted: str, host: str) -> bool:
    wanted, host = wanted.lower(), host.lower()
    return host.endswith(wanted) if wanted.startswith(".") or not wanted else host == wanted


def _host(uri: str) -> str:
    try:
        return urlsplit(uri).hostname or ""
    except ValueError:
        return ""


def _dn_covers(subtree: Value, name: Value) -> bool:
    """The constraint's parts are the first parts of the name."""
    wanted, seen = _parts(subtree), _parts(name)
    return seen[: len(wanted)] == wanted


def _parts(name: Value) -> list[frozenset[tuple[str, str]]]:
    """Case and runs of spaces make no difference (RFC 5280, section 7.1)."""
    rdns = name.rdns if isinstance(name, x509.Name) else []
    return [
        frozenset(
            (part.oid.dotted_string, " ".join(str(part.value).casefold().split())) for part in rdn
        )
        for rdn in rdns
    ]


_COVERS: Final[Mapping[Kind, Callable[[Value, Value], bool]]] = {
    "dns": _dns_covers,
    "email": _email_covers,
    "uri": _uri_covers,
    "dn": _dn_covers,
}


def _outside(name: Value, wanted: str) -> EvidenceError:
    shown = name.rfc4514_string() if isinstance(name, x509.Name) else name
    return EvidenceError(
        "x509_path", "name constraints of a CA", seen=ascii(shown)[:80], wanted=wanted
    )
