"""`sealserve key check`: would this key be released?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealserve.attestation.evidence import MAX_EVIDENCE_BYTES, decode
from sealserve.attestation.token import MAX_JWKS_BYTES, TokenKeys, signed_claims
from sealserve.cli import files, release
from sealserve.cli.judging import at_option, root_in, root_option, roots_of
from sealserve.cli.output import emit, json_option
from sealserve.native.errors import ReleaseError
from sealserve.policy import Trust
from sealserve.policy.expectations import UvmLaunch
from sealserve.policy.release import MAX_POLICY_BYTES, ReleasePolicy, same_authority

if TYPE_CHECKING:
    from sealserve.keys.owner import OwnedVault
    from sealserve.keys.presented import Presented
    from sealserve.keys.terms import Terms
    from sealserve.keys.trustd.rehearsal import Rehearsal

EVIDENCE = "evidence.cbor"  # in a folder of `evidence get`: all that the server sent


@click.command(
    "check",
    epilog="Example: sealserve key check trustd:127.0.0.1:8443/net --evidence evidence "
    "--simulated-root evidence/simulated_root.der",
)
@click.argument("reference", metavar="[REF]", default="")
@click.option(
    "--release-policy",
    "policy_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Instead of REF: a release policy in a file, without any vault.",
)
@click.option(
    "--evidence",
    type=click.Path(path_type=Path, file_okay=False),
    help="A server's evidence, as `evidence get` keeps it.",
)
@click.option(
    "--token",
    "token_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Or an attestation token: the JWT, or its claims as JSON.",
)
@click.option(
    "--token-keys",
    "keys_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keys of the token's issuer, a JWKS.  [default: a REF's issuer is asked]",
)
@click.option(
    "--trust",
    "trust_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Whose machines the evidence may be of, and whose endorsements count.",
)
@root_option
@release.service_option
@release.connection_option
@at_option
@json_option
def command(
    reference: str,
    policy_file: Path | None,
    evidence: Path | None,
    token_file: Path | None,
    keys_file: Path | None,
    trust_file: Path | None,
    root_file: Path | None,
    attestation_service: str,
    connection: Path | None,
    at: datetime | None,
    as_json: bool,
) -> int:
    """Say whether the vault key REF would be released, and which clauses fail, with both sides.

    Evidence is turned into the claims that our attestation service would put into a token. Nothing
    is released, and nothing is written into a log.

    Exit status 0 means yes, 7 no. 5 is evidence, or a token, that is not genuine.
    """
    _require_one("REF", reference, "--release-policy FILE", policy_file)
    _require_one("--evidence DIR", evidence, "--token FILE", token_file)
    now = at or datetime.now(UTC)
    with _key(reference, policy_file, connection, attestation_service) as key:
        if token_file is not None:
            came = _of_token(key, token_file, keys_file, now)
        else:
            assert evidence is not None
            trust = None if trust_file is None else Trust.load(trust_file)
            root = None if root_file is None else root_in(root_file)
            came = _of_evidence(key, evidence, trust, root, now)
    emit(_json(came), _words(came), as_json=as_json)
    return 0 if came.released else ReleaseError.exit_code


def _require_one(one: str, given: object, other: str, beside: object) -> None:
    if bool(given) == bool(beside):
        raise click.UsageError(f"give {one} or {other}, and not both")


@dataclass(frozen=True)
class _Key:
    """What is asked about. authority: who attests, "" where nobody said; vault: None offline."""

    terms: Terms
    authority: str
    vault: OwnedVault | None


@contextmanager
def _key(
    reference: str, policy_file: Path | None, connection: Path | None, service: str
) -> Iterator[_Key]:
    from sealserve.keys.terms import Terms

    if policy_file is not None:
        data = files.read(policy_file, MAX_POLICY_BYTES)
        yield _Key(Terms(str(policy_file), data), service, None)
        return
    with release.owned(reference, connection, service) as vault:
        terms = vault.vault.terms(vault.key_id.name, vault.key_id.version)
        yield _Key(terms, vault.authority, vault)


def _of_token(key: _Key, token_file: Path, keys_file: Path | None, now: datetime) -> Rehearsal:
    from sealserve.keys.presented import MAX_BYTES, Presented
    from sealserve.keys.trustd.rehearsal import of_token

    presented = Presented.read(files.read_start(token_file, MAX_BYTES))
    verified = _verified(key, presented, keys_file)
    return of_token(key.terms, presented.claims, now, issuer=key.authority, verified=verified)


def _verified(key: _Key, presented: Presented, keys_file: Path | None) -> bool:
    """Whether somebody looked at the signature. Raises EvidenceError for one that is wrong."""
    issuer = presented.claims.get("iss")
    if not presented.token or not isinstance(issuer, str):
        return False
    if keys_file is not None:
        keys = TokenKeys.parse(files.read_start(keys_file, MAX_JWKS_BYTES))
    elif key.vault is not None and same_authority(key.authority, issuer):
        keys = key.vault.token_keys()
    else:
        return False
    signed_claims(presented.token, keys, issuer=issuer)
    return True


def _of_evidence(
    key: _Key, folder: Path, trust: Trust | None, root: bytes | None, now: datetime
) -> Rehearsal:
    from sealserve.keys.trustd.rehearsal import Service, of_evidence

    evidence = decode(files.read_start(folder / EVIDENCE, MAX_EVIDENCE_BYTES))
    launch = trust.launch if trust and isinstance(trust.launch, UvmLaunch) else None
    service = Service(key.authority or _only_authority(key.terms), launch)
    return of_evidence(key.terms, evidence, roots_of(trust, root), service, now)


def _only_authority(terms: Terms) -> str:
    if not terms.policy:
        return ""
    policy = ReleasePolicy.parse(terms.policy, file=terms.key)
    named = sorted({entry.authority for entry in policy.authorities})
    if len(named) > 1:
        raise click.UsageError(
            f"the policy names {len(named)} authorities: say which with --attestation-service"
        )
    return named[0]


def _json(came: Rehearsal) -> dict[str, object]:
    return {
        "key": came.key,
        "not_checked": list(came.not_checked),
        "released": came.released,
        "unmet": [
            {"clause": unmet.code, "seen": unmet.seen, "wanted": unmet.wanted}
            for unmet in came.unmet
        ],
    }


def _words(came: Rehearsal) -> str:
    lines = [f"{came.key}", f"  {'would' if came.released else 'would NOT'} be released"]
    lines += [f"  - {unmet}" for unmet in came.unmet]
    return "\n".join([*lines, *(f"  not checked: {each}" for each in came.not_checked)])
