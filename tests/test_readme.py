"""What the README says is what the program does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
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


def commands_in(text):
    """What a document's shell blocks run of ours: the words of each command."""
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            for found in re.findall(r"sealserve ((?:(?!&&|\|\||[|;>)]).)*)", line):
                yield shlex.split(found.split(" -- ")[0].partition("#")[0])


COMMANDS = {
    (document, " ".join(words)): words
    for document in DOCUMENTS
    for words in commands_in(document.read_text())
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=[command for _, command in COMMANDS])
def test_every_command_in_a_document_is_there(words):
    context, command, rest = click.Context(cli), cli, list(words)
    while isinstance(command, click.Group) and rest and command.get_command(context, rest[0]):
        command = command.get_command(context, rest.pop(0))
    assert not isinstance(command, click.Group) or command.invoke_without_command
    known = {name for option in command.params for name in option.opts} | {"--help"}
    assert {word for word in rest if re.fullmatch("--?[a-z][a-z0-9-]*", word)} <= known


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
