"""`sealserve tee`: run a command in the simulated platform; show what platform this is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sealserve.attestation import devices, simulated
from sealserve.attestation.devices import security_context
from sealserve.attestation.report import SigningKey
from sealserve.cli import files, tee_start
from sealserve.cli.output import emit, json_option, say
from sealserve.native.errors import ConfigError, UnavailableError, unwritten
from sealserve.policy.execution.text import MAX_POLICY_BYTES

_CONTAINER_OPTIONS = (
    *("--env", "--user", "--mount", "--sandbox-dir", "--cap-add", "--no-new-privileges"),
)

root_option = click.option(
    "--root-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the simulated root is kept; made there on first use. "
    "[default: $XDG_STATE_HOME/sealserve/simulated]",
)

machine_option = click.option(
    "--machine",
    "model",
    type=click.Choice([*simulated.MODELS]),
    default="milan",
    show_default=True,
    help="Which machine is simulated; every product line has a root of its own.",
)


@click.group("tee")
def command() -> None:
    """Run a command in the simulated platform; show what platform this is."""


@command.command(
    "run",
    epilog="Example: sealserve tee run --policy policy.rego -- /usr/bin/sealserve serve "
    "/srv/net.sealed …",
)
@click.option(
    "--policy",
    "policy_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The execution policy that decides, and whose SHA-256 becomes HOST_DATA.",
)
@root_option
@machine_option
@click.option("--vlek", is_flag=True, help="Sign with a provider's key instead of the chip's.")
@click.option(
    "--report-version",
    type=click.IntRange(2, 5),
    help="Version of the reports.  [default: the one real machines of this kind have]",
)
@click.option(
    "--uvm",
    "uvm_form",
    type=click.Choice(["json", "hash"]),
    help="Add an endorsement of the launch, in the older (json) or the newer (hash) form.",
)
@click.option(
    "--security-context",
    "context_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the files that a confidential container finds there, and announce it in "
    "UVM_SECURITY_CONTEXT_DIR. Needs --uvm.",
)
@click.option(
    "--workdir",
    help="Where the command starts; the policy must name the same.  [default: /, or the image's]",
)
@click.option(
    "--image",
    metavar="NAME",
    help="Start a container of this image in podman's store; CMD, if given, replaces the image's.",
)
@click.option(
    "--env",
    "variables",
    metavar="NAME=VALUE",
    multiple=True,
    help="A variable for the container, beside the image's own; repeatable.",
)
@click.option("--user", metavar="USER[:GROUP]", help="Who the container runs as.")
@click.option(
    "--mount",
    "mounts",
    metavar="SOURCE:PATH[:ro]",
    multiple=True,
    help="A folder or file for the container; repeatable.",
)
@click.option(
    "--sandbox-dir",
    metavar="DIR",
    help="The folder that sandbox:// stands for in the policy's mounts.",
)
@click.option(
    "--cap-add",
    "capabilities",
    metavar="CAP_NAME",
    multiple=True,
    help="A capability for the container beside the usual ones; repeatable.",
)
@click.option("--no-new-privileges", is_flag=True, help="The container never gains privileges.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME",
    help="Make one thing wrong with the machine; repeatable. `tee info` lists the names.",
)
@click.argument("words", metavar="-- CMD…", nargs=-1, type=click.UNPROCESSED)
def run(
    policy_file: Path,
    root_dir: Path | None,
    model: str,
    vlek: bool,
    report_version: int | None,
    uvm_form: simulated.UvmForm | None,
    context_dir: Path | None,
    faults: tuple[str, ...],
    words: tuple[str, ...],
    workdir: str | None,
    image: str | None,
    **options: Any,
) -> int:
    """Start CMD in a simulated machine if the policy allows it; its exit status is ours.

    The policy sees the command word by word, the environment, the working directory and who you
    are; what it does not let through of the environment is not passed on. A start it denies exits
    with 6 and says which conditions failed.

    With --image it is asked as a guest is: for every layer of the image as its bytes are now, for
    all of them together, and for the container with its user, mounts and capabilities.
    """
    asked = _asked(words, workdir, image, options)
    _require_faults(faults)
    _require_possible(model, vlek, report_version, uvm_form, faults)
    if context_dir is not None:
        _require_container(vlek, uvm_form)
    text = files.read(policy_file, MAX_POLICY_BYTES)
    may_start = asked.under(text, str(policy_file), context_dir)
    directory = root_dir or _default_root_dir(os.environ)
    root = simulated.SimulatedRoot.load_or_create(directory, simulated.MODELS[model].line)
    machine = simulated.Machine(
        root,
        hashlib.sha256(text).digest(),
        model=model,
        provider=simulated.SimulatedProvider.load_or_create(directory, root) if vlek else None,
        report_version=report_version,
        endorser=simulated.SimulatedEndorser.load_or_create(directory) if uvm_form else None,
        uvm_form=uvm_form or "json",
        faults=faults,
    )
    return simulated.run(
        machine=machine,
        may_start=may_start,
        say=say,
        announce=lambda: _security_context(context_dir, machine, text) if context_dir else {},
    )


@command.command("info", epilog="Example: sealserve tee info --root-dir ./simulated --json")
@root_option
@machine_option
@json_option
def info(root_dir: Path | None, model: str, as_json: bool) -> None:
    """Show what platform this is, how that was found out, and what a trust file has to say.

    That is, of a simulated machine: the digest of its root, its measurement, who endorses it.
    On hardware it also shows what a report says of the machine, and whose policy it runs under.
    """
    directory = root_dir or _default_root_dir(os.environ)
    detection = devices.look(os.environ)
    report = _report(detection)
    root = simulated.SimulatedRoot.load_or_create(directory, simulated.MODELS[model].line)
    endorser = simulated.SimulatedEndorser.load_or_create(directory)
    result = {
        "platform": detection.source.platform if detection.source else None,
        "looked": [{"where": look.where, "found": look.found} for look in detection.looked],
        "why": detection.why,
        "report": report,
        "simulated_root_dir": str(directory),
        "simulated_root_sha256": root.ark_sha256.hex(),
        "measurement": simulated.MEASUREMENT.hex(),
        "uvm_issuer": endorser.issuer,
        "uvm_feed": simulated.FEED,
        "uvm_svn": simulated.SVN,
        "vlek_provider": simulated.CSP_ID,
        "faults": {name: fault.what for name, fault in simulated.FAULTS.items()},
    }
    emit(result, _text(detection, result), as_json=as_json)


def _report(detection: devices.Detection) -> dict[str, str] | None:
    """What hardware says of itself, not verified for anybody; None where there is none."""
    if not isinstance(detection.source, devices.HardwareSource):
        return None
    try:
        standing = detection.source.standing()
    except UnavailableError as error:
        return {"unavailable": error.message}
    report, context = standing.report, detection.context
    told = {
        "version": str(report.version),
        "chip_id": report.chip_id.hex(),
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "vmpl": str(report.vmpl),
        "reported_tcb": report.reported_tcb.hex(),
    }
    if standing.endorsed is not None:
        told["line"] = standing.endorsed.signed.line
        told["certificate_from"] = standing.endorsed.candidate.origin
    if context is not None and context.policy_sha256 is not None:
        told["policy_sha256"] = context.policy_sha256.hex()
    return told


def _report_lines(report: object) -> list[str]:
    """One line for each part, and an empty one."""
    if not isinstance(report, dict):
        return []
    return [*(f"{name + ':':22} {value}" for name, value in report.items()), ""]


def _text(detection: devices.Detection, result: Mapping[str, object]) -> str:
    names = simulated.FAULTS
    width = max(len(name) for name in names)
    return "\n".join(
        [
            detection.explain(),
            "",
            *_report_lines(result["report"]),
            f"simulated root:        {result['simulated_root_dir']}",
            f"simulated_root_sha256: {result['simulated_root_sha256']}",
            f"measurement (sha384):  {result['measurement']}",
            f"with --uvm:            {result['uvm_issuer']}",
            f"                       {result['uvm_feed']}, version {result['uvm_svn']}",
            f"with --vlek:           {result['vlek_provider']}",
            "",
            "faults for `tee run --fault NAME`:",
            *(f"  {name:{width}}  {fault.what}" for name, fault in names.items()),
        ]
    )


def _require_faults(faults: tuple[str, ...]) -> None:
    unknown = [name for name in faults if name not in simulated.FAULTS]
    if unknown:
        raise ConfigError(
            f"no fault is called {unknown[0]!r}",
            key="--fault",
            hint="`sealserve tee info` lists the names",
        )


def _require_possible(
    model: str,
    vlek: bool,
    report_version: int | None,
    uvm_form: simulated.UvmForm | None,
    faults: tuple[str, ...],
) -> None:
    kind = _kind(vlek)
    try:
        simulated.require_possible(model, kind, report_version, uvm_form, faults)
    except ValueError as error:
        raise ConfigError(
            str(error), key="--fault", hint="see --machine, --vlek, --report-version and --uvm"
        ) from error


def _asked(
    words: tuple[str, ...], workdir: str | None, image: str | None, options: Mapping[str, Any]
) -> tee_start.Asked:
    """What is to start. Raises UsageError for options that do not go together."""
    if image is not None:
        return tee_start.InContainer(image, words, workdir, **options)
    if any(options.values()):
        raise click.UsageError(f"{', '.join(_CONTAINER_OPTIONS)} go with --image")
    if not words:
        raise click.UsageError("a command behind --, or --image")
    return tee_start.AsProcess(words, workdir or "/")


def _kind(vlek: bool) -> SigningKey:
    return "vlek" if vlek else "vcek"


def _require_container(vlek: bool, uvm_form: simulated.UvmForm | None) -> None:
    if vlek or uvm_form is None:
        raise ConfigError(
            "a confidential container has an endorsed launch and signs with its chip's key",
            key="--security-context",
            hint="add --uvm json, leave out --vlek",
        )


def _security_context(directory: Path, machine: simulated.Machine, policy: bytes) -> dict[str, str]:
    """Write the files, and say where in the variable that announces them."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritten(error, str(directory), "cannot hold a security context") from error
    for name, content in machine.security_context(policy).items():
        files.write(directory / name, content)
    return {security_context.VARIABLE: str(directory.absolute())}


def _default_root_dir(environ: Mapping[str, str]) -> Path:
    """By the XDG base directory specification: keys are state, not configuration."""
    state = environ.get("XDG_STATE_HOME", "")
    base = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return base / "sealserve" / "simulated"
