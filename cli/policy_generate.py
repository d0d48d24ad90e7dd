"""`sealserve policy generate`: the options, and the way from them to policies."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import click

from sealserve.cli import files
from sealserve.cli.layers import cache_folder
from sealserve.cli.output import emit, json_option, progress, say
from sealserve.cli.policy_results import deliver
from sealserve.cli.policy_sources import (
    Request,
    archives,
    named_images,
    read,
    read_options,
    refuse_existing,
)
from sealserve.native.errors import printable
from sealserve.policy.execution import generate_process, profile
from sealserve.policy.execution.generate import generate
from sealserve.policy.execution.image import open_images
from sealserve.policy.execution.image_source import ImageSource

_file = click.Path(path_type=Path, dir_okay=False)
_SOURCES = ("--process", "--template", "--config", "--pod", "--only-image", "--with-containers")


@click.command(
    "generate",
    epilog="Example: sealserve policy generate --template template.json "
    "--image registry.example/app:1.4=app.tar",
)
@click.option("--process", is_flag=True, help="A policy for one process: CMD, word for word.")
@click.option("-a", "--template", type=_file, help="ARM template; the policy is put into it.")
@click.option("-p", "--parameters", type=_file, help="Parameter file of the template.")
@click.option("--config", type=_file, help="Containers in confcom's configuration form, JSON.")
@click.option("--pod", type=_file, help="Pod YAML of a virtual node; put in as an annotation.")
@click.option("--only-image", metavar="NAME", default="", help="One container: this image.")
@click.option(
    "--image",
    "images",
    metavar="NAME=PATH",
    multiple=True,
    help="Archive or layout that holds an image of this name; repeatable.",
)
@click.option(
    "--tar",
    "archives",
    metavar="PATH",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Archive in which images are looked for, or a .json file of names and archives.",
)
@click.option(
    "--profile",
    "profile_name",
    default=profile.DEFAULT,
    show_default=True,
    type=click.Choice(profile.STRICT),
    help="Versions and platform rules that the policy pins.",
)
@click.option(
    "--compatible",
    type=click.Choice(profile.COMPATIBLE),
    help="Write what this version of confcom writes, its faults included.",
)
@click.option("--api-version", default="", metavar="X.Y.Z", help="In place of the profile's.")
@click.option("--framework-version", default="", metavar="X.Y.Z", help="In place of the profile's.")
@click.option("--debug", is_flag=True, help="Shells, stack dumps and logs: never in production.")
@click.option("--disable-stdio", is_flag=True, help="No output of any container leaves the guest.")
@click.option(
    "--infrastructure-svn", metavar="N", default="", help="Least svn of the platform's fragment."
)
@click.option(
    "--exclude-default-fragment", is_flag=True, help="Without the platform's own fragment."
)
@click.option("--omit-id", is_flag=True, help="Leave image names out of the policy.")
@click.option("-j", "--fragments-json", type=_file, help="Further fragment imports.")
@click.option(
    "--with-containers", type=_file, multiple=True, help="Ready container objects; repeatable."
)
@click.option(
    "-y", "--approve-wildcards", is_flag=True, help="Variables without a value may have any."
)
@click.option("--overwrite", is_flag=True, help="Replace a policy that the file has already.")
@click.option("--print", "print_policy", is_flag=True, help="Print the policy; change no file.")
@click.option(
    "--env-rule",
    "env_rules",
    metavar="RULE",
    multiple=True,
    help="A variable that may be set: NAME=VALUE, or re2:PATTERN over that text; repeatable.",
)
@click.option("--workdir", default="/", show_default=True, help="Where the command must start.")
@click.option("-o", "--out", type=_file, help="File to write the policy to.")
@json_option
@click.argument("command_line", metavar="-- CMD…", nargs=-1, type=click.UNPROCESSED)
def command(
    process: bool,
    env_rules: tuple[str, ...],
    workdir: str,
    command_line: tuple[str, ...],
    profile_name: str,
    **options: object,
) -> None:
    """Write the policies of a deployment, or the policy under which exactly CMD may run.

    The SHA-256 of a policy's bytes is what the hardware will hold as HOST_DATA: a changed comma is
    another policy. Nothing is written while there is a fault, and every fault is told.
    """
    request = Request(profile=profile_name, **options)  # type: ignore[arg-type]
    _check_source(request, process, command_line)
    if process:
        _one_process(command_line, env_rules, workdir, request.out, request.as_json)
        return
    if env_rules or workdir != "/":
        raise click.UsageError("--env-rule and --workdir go with --process")
    _deployment(request)


def _check_source(request: Request, process: bool, command_line: tuple[str, ...]) -> None:
    named = [process, request.template, request.config, request.pod, request.only_image]
    count = sum(map(bool, named))
    if count > 1 or (count == 0 and not request.with_containers):
        raise click.UsageError(f"one source is needed: {', '.join(_SOURCES)}")
    if process and not command_line:
        raise click.UsageError("--process needs a command behind --")
    if command_line and not process:
        raise click.UsageError("a command goes with --process")
    if request.parameters and not request.template:
        raise click.UsageError("--parameters goes with --template")
    if request.fragments_json and process:
        raise click.UsageError("--fragments-json goes with a deployment")
    if request.print_policy and request.out:
        raise click.UsageError("--print or --out, not both")
    svn = request.infrastructure_svn
    if svn and not (svn.isdecimal() and svn.isascii()):
        raise click.UsageError("--infrastructure-svn is a number")
    if request.infrastructure_svn and request.exclude_default_fragment:
        raise click.UsageError("--infrastructure-svn is of the fragment that is to be left out")


def _deployment(request: Request) -> None:
    source = read(request)
    file = str(source.path or "")
    refuse_existing(request, source)
    with progress("hashing layers") as bar:
        open_archive = partial(open_images, cache=cache_folder(), progress=bar)
        image_of = ImageSource(named_images(request), archives(request), open_archive)
        options = read_options(request)
        policies = generate(source.groups, image_of, request.chosen, options, request.complaints)
    for remark in request.complaints.remarks:
        say(f"warning: {printable(remark)}")
    request.complaints.check(file)
    deliver(request, source, policies)


# ---- one process


def _one_process(
    command_line: tuple[str, ...],
    env_rules: tuple[str, ...],
    workdir: str,
    out: Path | None,
    as_json: bool,
) -> None:
    _warn_of_search(command_line[0], env_rules, workdir)
    text = generate_process(command_line, env_rules=env_rules, working_dir=workdir)
    sha256 = hashlib.sha256(text).hexdigest()
    if out is None and not as_json:
        click.echo(text, nl=False)
        say(f"sha256 {sha256}")
        return
    result: dict[str, object] = {"command": list(command_line), "sha256": sha256}
    if out is None:
        result["policy"] = text.decode()
    else:
        files.write(out, text)
        result["file"] = str(out)
    emit(result, f"wrote {out}\nsha256 {sha256}", as_json=as_json)


def _warn_of_search(program: str, env_rules: tuple[str, ...], workdir: str) -> None:
    """A shell finds what was typed; the machine has its own place and no PATH of its own."""
    if program.startswith("/"):
        return
    if "/" in program:
        say(f"warning: {program!r} will be started from {workdir} (--workdir)")
    elif not any(rule.startswith(("PATH=", "re2:")) for rule in env_rules):
        say(f"warning: {program!r} is not the whole path, and no --env-rule lets a PATH through")
