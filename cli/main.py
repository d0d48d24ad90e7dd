"""`sealserve VERB`: finds the verb's module, runs it, turns an error into words and an exit code.

A verb is a module `sealserve.cli.VERB` (`-` becomes `_`) with a `command`; it is imported only when
called, so that `serve` can harden its process before anything heavy is loaded.
"""

from __future__ import annotations

import importlib
import sys

import click

from sealserve.native.errors import ConfigError, SealserveError

VERBS = {
    "seal": "Encrypt an ONNX model into one sealed file.",
    "inspect": "Show what a sealed file says of itself.",
    "verify": "Check that a sealed file is the one with this root.",
    "unseal": "Decrypt a sealed file into a folder.",
    "rewrap": "Give a sealed file's key to other recipients; its root stays.",
    "key": "Make key pairs, and keys in a vault.",
    "policy": "Write, hash and explain execution policies.",
    "trust": "Write and explain what a client expects.",
    "publish": "Put a sealed file's key into a vault, under a release policy.",
    "serve": "Serve sealed models from inside a trusted execution environment.",
    "trustd": "The self-hosted trust service: attestation service and key vault in one.",
    "tee": "Run a command in the simulated platform; show what platform this is.",
    "check": "Verify a server and say what was checked.",
    "predict": "Verify a server, then send it data.",
}
INTERRUPTED = 130
UNFORESEEN = 70


class _Verbs(click.Group):
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
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code. Words go to stderr, never a traceback."""
    try:
        status = cli.main(arguments, prog_name="sealserve", standalone_mode=False)
    except SealserveError as error:
        click.echo(f"sealserve: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("sealserve: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as error:  # the last line of defence: a bug of ours must not print secrets
        return _missing_extra(error) or _unforeseen(error)
    return status if isinstance(status, int) else 0


# Which extra brings the package that a verb could not import.
EXTRAS = {
    "azure": "azure",
    "fsspec": "owner",
    "grpc_health": "server",
    "grpc_reflection": "server",
    "httpx": "server",
    "jwt": "server",
    "onnx": "owner",
    "onnxruntime": "server",
    "prometheus_client": "server",
    "re2": "owner",
    "starlette": "trustd",
    "structlog": "server",
    "uvicorn": "trustd",
}


def _missing_extra(error: Exception) -> int:
    """Exit code for a package that an extra would bring; 0 if the error is another one."""
    package = (error.name or "").split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    extra = EXTRAS.get(package)
    if extra is None:
        return 0
    click.echo(f"sealserve: this needs the package {package}, which is not installed", err=True)
    click.echo(f"hint: pip install 'sealserve[{extra}]'", err=True)
    return ConfigError.exit_code


def _unforeseen(error: Exception) -> int:
    place = f"{type(error).__name__} at {_where(error)}"
    click.echo(f"sealserve: unforeseen {place}", err=True)
    click.echo("hint: this is a bug in sealserve; please report it with that line", err=True)
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
