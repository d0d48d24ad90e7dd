"""What a fault is, and the ways in which one changes a blueprint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from sealserve.attestation.simulated.blueprint import Blueprint, levels_of
from sealserve.attestation.simulated.model import MODELS, Model
from sealserve.attestation.tcb import Tcb

Change = Callable[[Blueprint], Blueprint]


@dataclass(frozen=True)
class Only:
    """The machines on which a fault shows: in words, and as a question."""

    what: str
    met: Callable[[Blueprint], bool]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a machine.

    what: one sentence for people. code: of the verifier's EvidenceError, "" if the machine is
    genuine. findings: the codes a client's trust reports then, where it expects the good machine;
    optional: and asks for more than it has to. only: the machines that can have this fault, None
    for all.
    """

    what: str
    code: str
    change: Change
    findings: tuple[str, ...] = ()
    only: Only | None = None
    optional: bool = False


KNOWS_CPU: Final = Only("reports of version 3 and later", lambda plan: plan.version >= 3)
CHIP_KEY: Final = Only("machines that sign with a VCEK", lambda plan: plan.kind == "vcek")
PROVIDER_KEY: Final = Only("machines that sign with a VLEK", lambda plan: plan.kind == "vlek")
TURIN: Final = Only("machines of the line turin", lambda plan: plan.line == "turin")
SHORT_CHIP_ID: Final = Only(
    "machines of the line turin that sign with a VCEK",
    lambda plan: plan.line == "turin" and plan.kind == "vcek",
)
ENDORSED: Final = Only("machines with an endorsement", lambda plan: plan.statement is not None)
UNENDORSED: Final = Only("machines without an endorsement", lambda plan: plan.statement is None)
MITIGATED: Final = Only(
    "machines whose reports tell mitigations: genoa-a0 and turin, in version 5",
    lambda plan: plan.version >= 5 and plan.model.mitigations != 0,
)
BEFORE_TURIN: Final = Only("machines of the lines milan and genoa", lambda p: p.line != "turin")


def fields(**values: object) -> Change:
    """Set these fields of the blueprint."""
    return lambda plan: replace(plan, **values)  # type: ignore[arg-type]


def policy_bit(bit: int) -> Change:
    """Turn one bit of POLICY over."""
    return lambda plan: replace(plan, policy=plan.policy ^ 1 << bit)


def level(name: str, value: int) -> Change:
    """Set one SPL of the leaf, also one that its line does not have."""
    return lambda plan: replace(plan, levels={**plan.levels, name: value})


def raised_level(name: str) -> Change:
    """Certify one more than the report says."""
    return lambda plan: level(name, plan.levels[name] + 1)(plan)


def without_level(name: str) -> Change:
    """Leave one SPL out of the leaf."""
    return lambda plan: replace(
        plan, levels={known: value for known, value in plan.levels.items() if known != name}
    )


def flip(member: str) -> Change:
    """Turn over the last bit of one member of the evidence."""
    return lambda plan: replace(plan, flipped=plan.flipped | {member})


def certified(tcb: Callable[[Model], Tcb], *others: str) -> Change:
    """Report and certify this TCB; `others`: further TCBs of the report that are set to it."""

    def change(plan: Blueprint) -> Blueprint:
        wanted = tcb(plan.model)
        named = dict.fromkeys(("reported_tcb", *others), wanted)
        return replace(plan, levels=levels_of(wanted), **named)  # type: ignore[arg-type]

    return change


def another_model(plan: Blueprint) -> Model:
    """A model of another line."""
    return MODELS["genoa" if plan.line != "genoa" else "milan"]


def checked(name: str, table: Mapping[str, Fault], plan: Blueprint) -> Fault:
    """The fault of this name, if the machine can have it. ValueError if not, or if none is."""
    if name not in table:
        raise ValueError(f"no fault is called {name!r}; there are {', '.join(table)}")
    only = table[name].only
    if only is not None and not only.met(plan):
        raise ValueError(f"the fault {name!r} shows only on {only.what}")
    return table[name]
