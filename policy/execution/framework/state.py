"""What the guest remembers from one request to the next (`data.metadata` in Rego)."""

from __future__ import annotations

from dataclasses import dataclass, field

from sealserve.policy.execution.framework.values import Fields


@dataclass(frozen=True)
class Candidate:
    """A container (or process, or fragment) of the policy, under a name that people recognise."""

    label: str
    fields: Fields


Included = dict[str, list[Candidate]]  # by the name of what a fragment may include


@dataclass
class State:
    """One guest, from its start on. Keys are what requests call things by.

    devices: target to layer root. matches: container to the candidates it can still be; only ever
    fewer. started: container to whether it is privileged; never forgotten. p9mounts: target to
    container. included: issuer and feed to what loaded fragments contributed, newest first.
    """

    devices: dict[str, object] = field(default_factory=dict)
    rw_devices: set[str] = field(default_factory=set)
    matches: dict[str, list[Candidate]] = field(default_factory=dict)
    started: dict[str, bool] = field(default_factory=dict)
    overlay_targets: set[str] = field(default_factory=set)
    p9mounts: dict[str, str] = field(default_factory=dict)
    scratch_mounts: set[str] = field(default_factory=set)
    included: dict[tuple[str, str], list[Included]] = field(default_factory=dict)
    fragment_parameters: list[Fields] = field(default_factory=list)
