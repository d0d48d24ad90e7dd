"""What the README says is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from sealserve.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not path.relative_to(ROOT).parts[0].startswith((".", "build", "src"))
)


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


HELP = [block for block in fenced("text") if block.startswith("$ sealserve")]


def test_the_readme_quotes_the_help():
    assert HELP


@pytest.mark.parametrize("block", HELP, ids=lambda block: block.splitlines()[0])
def test_quoted_help_is_the_programs_own(block):
    command, _, quoted = block.partition("\n")
    arguments = command.removeprefix("$ sealserve").split()
    ran = CliRunner().invoke(cli, arguments, prog_name="sealserve", terminal_width=100)
    assert ran.exit_code == 0
    assert ran.output.strip() == quoted.strip()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_python_example_is_three_lines_of_valid_python():
    (example,) = fenced("python")
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) == 3
    compile(example, "README.md", "exec")
