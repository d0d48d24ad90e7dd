"""`sealserve deploy lint`: do the files of a deployment agree?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from sealserve.cli.deploy_folder import Folder
from sealserve.cli.output import AMISS, emit, json_option
from sealserve.cli.trust_new import today
from sealserve.native.errors import printable
from sealserve.policy.deployment.agreement import judge
from sealserve.policy.deployment.disagreement import Disagreement
from sealserve.policy.execution.lines import cut


@click.command("lint", epilog="Example: sealserve deploy lint clinic-7")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--group", default="", metavar="NAME", help="Which group of a template with several.")
@json_option
def command(folder: Path, group: str, as_json: bool) -> int:
    """Say where the files of a deployment disagree, the worst first, with both sides.

    \b
    What is looked for in FOLDER, not below it, one of each but sealed models:
      *.json with "resources"          ARM template with the policy in it
      *.json with "parameters" alone   its parameter file
      *.rego                           execution policy
      *.json with "anyOf"              release policy of the vault key
      *.toml with [platform]           trust file
      *.sealed                         sealed models

    What is missing is named. Sealed files are taken at their word: `sealserve verify` reads all of
    them. No vault is asked: `sealserve key show` tells the policy that a key really has.

    Exit status 1 means that there is more than notes.
    """
    found = Folder.read(folder, group)
    disagreements = judge(found.deployment, today(), found.faults)
    words = "\n".join([*(line for each in disagreements for line in _lines(each)), *_end(found)])
    emit(_document(found, disagreements), words, as_json=as_json)
    return AMISS if any(each.rank != "note" for each in disagreements) else 0


def _lines(each: Disagreement) -> Iterator[str]:
    rank = each.rank.upper() if each.rank in ("critical", "danger") else each.rank
    yield printable(f"  {rank:<6}  {each.code}: {each.what}")
    for side in each.sides:
        yield printable(f"          {side.where}: {cut(side.says)}")
    yield printable(f"          hint: {each.hint}")


def _end(found: Folder) -> Iterator[str]:
    """What was compared, so that nobody takes silence about a file for agreement."""
    for kind, names in found.files.items():
        title = "not looked at" if kind == "other" else f"looked at, {kind.replace('_', ' ')}"
        yield printable(f"  {title}: {', '.join(names)}")


def _document(found: Folder, disagreements: Sequence[Disagreement]) -> dict[str, object]:
    return {
        "disagreements": [asdict(each) for each in disagreements],
        "files": {kind: list(names) for kind, names in found.files.items()},
    }
