"""`sealserve VERB`: finds the verb's module, runs it, turns an error into words and an exit code.

A verb is a module `sealserve.cli.VERB` (`-` becomes `_`) with a `command`; it is imported only when
called, so that `serve` can harden its process before anything heavy is loaded.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

from sealserve.cli.output import not_written, say, tell_warnings
from sealserve.native.errors import ConfigError, SealserveError

VERBS = {
    "seal": "Encrypt an ONNX model into one sealed file.",
    "inspect": "Show what a sealed file says of itself.",
    "verify": "Check that a sealed file is the one with this root.",
    "unseal": "Decrypt a sealed file into a folder.",
    "rewrap": "Give a sealed file's key to other recipients; its root stays.",
    "key": "Make key pairs, and keys in a vault.",
    "policy": "Write, explain, compare and try execution policies.",
    "deploy": "Check the files of a deployment against each other.",
    "layers": "Compute the roots of a container image's layers.",
    "trust": "Write and explain what a client expects.",
    "publish": "Put a sealed file's key into a vault, under a release policy.",
    "serve": "Serve sealed models from inside a trusted execution environment.",
    "trustd": "The self-hosted trust service: attestation service and key vault in one.",
    "doctor": "Check what serving needs of this machine, with the way out.",
    "skr": "The sidecar: attestation and key release for containers written for Microsoft's.",
    "tee": "Run a command in the simulated platform; show what platform this is.",
    "check": "Verify a server and say what was checked.",
    "evidence": "Judge evidence kept in files; keep a server's evidence in files.",
    "predict": "Verify a server, then send it data.",
    "proxy": "Verify servers, and let any program of this machine ask them.",
    "bench": "Verify a server, then measure how fast it answers.",
}
INTERRUPTED = 130
UNFORESEEN = 70


class _BrokenPipe(Exception):  # noqa: N818 - a letter past click
    """click leaves with 1 and no word for every BrokenPipeError, be it of a socket of ours."""

    def __init__(self, error: BrokenPipeError) -> None:
        super().__init__()
        self.error = error


@contextmanager
def _past_click() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _BrokenPipe(error) from error


class _Verbs(click.Group):
    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with _past_click():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _past_click():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"sealserve.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sealserve", prog_name="sealserve")
def cli() -> None:
    """Confidential inference: sealed models, attested servers, clients that verify first."""


def main() -> None:
    """Run the command line and leave with the exit code of what happened."""
    tell_warnings()
    status = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        _flushed(stream)
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code. Words go to stderr, never a traceback."""
    try:
        status = cli.main(arguments, prog_name="sealserve", standalone_mode=False)
    except SealserveError as error:
        return _told(error)
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("sealserve: interrupted")
        return INTERRUPTED
    except _BrokenPipe as broken:
        return _unwritten(broken.error)
    except (OSError, UnicodeError) as error:
        return _unwritten(error)
    except Exception as error:  # the last line of defence: a bug of ours must not print secrets
        return _missing_extra(error) or _unforeseen(error)
    return status if isinstance(status, int) else 0


# What a person types for what a function below calls otherwise.
_TYPED = {
    "name": "--name",
    "version": "--version",
    "keys": "--key",
    "env_rules": "--env-rule",
    "containers[0].env_rules": "--env-rule",
    "containers[0].working_dir": "--workdir",
    "containers[0].command": "CMD",
}


def _as_typed(error: SealserveError) -> SealserveError:
    """The same, by the name of the option; what stands in a file keeps its key."""
    if isinstance(error, ConfigError) and not error.file:
        for key, option in _TYPED.items():
            if error.key == key or error.key.startswith(f"{key}["):
                return ConfigError(error.reason, key=option, hint=error.hint)
    return error


def _told(error: SealserveError) -> int:
    say(f"sealserve: {_as_typed(error)}")
    return error.exit_code


def _unwritten(error: OSError | UnicodeError) -> int:
    meant = not_written(error)
    if meant is None:
        return _unforeseen(error)
    return 0 if isinstance(error, BrokenPipeError) else _told(meant)  # `head` had enough


def _flushed(stream: TextIO | None) -> None:
    """What could not be written stays in a buffer; Python would try again, and exit with 120."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# Which extra brings the package that a verb could not import.
EXTRAS = {
    "azure": "azure",
    "fsspec": "owner",
    "grpc_health": "proxy",
    "grpc_reflection": "server",
    "httpx": "server",
    "jwt": "server",
    "onnx": "owner",
    "onnxruntime": "server",
    "prometheus_client": "server",
    "re2": "owner",
    "starlette": "trustd",
    "uvicorn": "trustd",
    "yaml": "owner",
    "zstandard": "owner",
}


def _missing_extra(error: Exception) -> int:
    """Exit code for a package that an extra would bring; 0 if the error is another one."""
    package = (error.name or "").split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    extra = EXTRAS.get(package)
    if extra is None:
        return 0
    say(f"sealserve: this needs the package {package}, which is not installed")
    say(f"hint: pip install 'sealserve[{extra}]'")
    return ConfigError.exit_code


def _unforeseen(error: Exception) -> int:
    place = f"{type(error).__name__} at {_where(error)}"
    say(f"sealserve: unforeseen {place}")
    say("hint: this is a bug in sealserve; please report it with that line")
    return UNFORESEEN


def _where(error: BaseException) -> str:
    """The innermost place in our own code; never the error's text, which may quote data."""
    place = "?"
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "sealserve" in trace.tb_frame.f_globals.get("__name__", ""):
            place = f"{trace.tb_frame.f_globals['__name__']}:{trace.tb_lineno} ({code.co_name})"
        trace = trace.tb_next
    return place
