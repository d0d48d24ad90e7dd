"""Where the policies of `sealserve policy generate` go: into the file, beside it, or out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sealserve.cli import files
from sealserve.cli.output import emit, say
from sealserve.cli.policy_sources import Request, Source, asked
from sealserve.native.errors import printable
from sealserve.policy.execution.generate import Generated
from sealserve.policy.execution.profile import Profile


def deliver(request: Request, source: Source, policies: Sequence[Generated]) -> None:
    injects = request.injects(source)
    if injects:
        policies = [made for made in policies if _may_replace(request, made)]
        _inject(source, policies)
    elif request.out:
        _write(request.out, policies, source)
    elif not request.as_json:
        _print(policies)
        return
    if not policies and not request.as_json:
        say("nothing was changed")
        return
    emit(_told(request, source, policies, injects), _words(policies), as_json=request.as_json)


def _may_replace(request: Request, made: Generated) -> bool:
    """Strict profiles have refused before; confcom asks."""
    if not made.group.existing or request.overwrite:
        return True
    return asked(f"overwrite the policy of {made.group.name}")


def _inject(source: Source, policies: Sequence[Generated]) -> None:
    if not (policies and source.path and source.inject):
        return
    text = source.mark + source.inject(source.text, policies)
    files.write(source.path.resolve(), text.encode())  # a link stays one


def _write(out: Path, policies: Sequence[Generated], source: Source) -> None:
    """One file, or of several policies one each, numbered as the groups are."""
    inputs = [source.path] if source.path else []
    for path, made in zip(_paths(out, policies), policies, strict=True):
        files.write(path, made.text, inputs=inputs)


def _paths(out: Path, policies: Sequence[Generated]) -> list[Path]:
    if len(policies) == 1:
        return [out]
    return [out.with_name(f"{out.stem}.{at}{out.suffix}") for at in range(len(policies))]


def _print(policies: Sequence[Generated]) -> None:
    """The bytes alone on stdout: several policies one behind the other, an empty line between."""
    for at, made in enumerate(policies):
        click.echo(("\n\n" if at else "") + made.text.decode(), nl=False)
    say(_words(policies))


def _words(policies: Sequence[Generated]) -> str:
    return "\n".join(_line(made) for made in policies)


def _line(made: Generated) -> str:
    name = printable(made.group.name)[:80] or "policy"
    return f"{made.sha256.hex()}  {name}  ({_versions(made.profile)})"


def _versions(chosen: Profile) -> str:
    return f"{chosen.name}: api {chosen.api_version}, framework {chosen.framework_version}"


def _told(
    request: Request, source: Source, policies: Sequence[Generated], injected: bool
) -> dict[str, object]:
    paths = _paths(request.out, policies) if request.out else []
    entries: list[dict[str, object]] = []
    for at, made in enumerate(policies):
        entry: dict[str, object] = {"group": made.group.name, "sha256": made.sha256.hex()}
        if paths:
            entry["file"] = str(paths[at])
        elif not injected:
            entry["policy"] = made.text.decode()
        entries.append(entry)
    chosen = request.chosen
    return {
        "policies": entries,
        "profile": {
            "name": chosen.name,
            "api_version": chosen.api_version,
            "framework_version": chosen.framework_version,
            "strict": chosen.strict,
        },
        "remarks": request.complaints.remarks,
        **({"file": str(source.path)} if injected else {}),
    }
