"""The environment: each variable alone keeps the server from starting, is kept, or is dropped."""

from __future__ import annotations

import site
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from sealserve.inference.server.guard import guard, refusals
from sealserve.native.errors import ConfigError

REFUSED = [
    "SSLKEYLOGFILE",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "LD_DEBUG_OUTPUT",
    "LD_PROFILE",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONINSPECT",
    "PYTHONBREAKPOINT",
    "PYTHONWARNINGS",
    "PYTHONPYCACHEPREFIX",
    "PYTHONDUMPREFS",
    "PYTHON_ANYTHING_LATER",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "OPENSSL_ENGINES",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "GRPC_PROXY",
    # Some programs read these in lower case.
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "sslkeylogfile",
]
KEPT = [
    "HOME",
    "HOSTNAME",
    "LANG",
    "LC_ALL",
    "ORT_DISABLE_TELEMETRY",
    "PATH",
    "SEALSERVE_TEE_FD",
    "TERM",
    "TZ",
    "UVM_SECURITY_CONTEXT_DIR",
]
DROPPED = [
    "AZURE_CLIENT_SECRET",
    "BASH_ENV",
    "CURL_CA_BUNDLE",
    "GODEBUG",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "GRPC_TRACE",
    "GRPC_VERBOSITY",
    "LOCPATH",
    "MALLOC_ARENA_MAX",
    "OMP_NUM_THREADS",
    "ORT_DEFAULT_LOGGER_SEVERITY",
    "PYTHONUNBUFFERED",
    "PYTHON_VERSION",
    "REQUESTS_CA_BUNDLE",
    "SEALSERVE_ROOT",
    "TMPDIR",
    "XDG_STATE_HOME",
]


@pytest.mark.parametrize("name", REFUSED)
def test_one_refused_variable_keeps_the_server_from_starting(name: str) -> None:
    environment = {"PATH": "/bin", name: "s3cret-value"}
    with pytest.raises(ConfigError) as refused:
        guard(environment)
    assert f"{name} (" in refused.value.message
    assert refused.value.hint
    assert "s3cret-value" not in str(refused.value)
    assert environment == {"PATH": "/bin", name: "s3cret-value"}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_variable_that_is_empty_is_refused_too(name: str) -> None:
    assert list(refusals({name: ""})) == [name]


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept(name: str) -> None:
    environment = {name: "value"}
    guard(environment)
    assert environment == {name: "value"}


@pytest.mark.parametrize("name", DROPPED)
def test_what_is_dropped(name: str) -> None:
    environment = {"PATH": "/bin", name: "value"}
    guard(environment)
    assert environment == {"PATH": "/bin"}


def test_every_refused_variable_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        guard(dict.fromkeys(REFUSED, "x"))
    assert all(name in refused.value.message for name in REFUSED)


# ---- HOME


def test_an_interpreter_that_reads_the_users_folder_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = {"PATH": "/bin", "LATER": "x"}
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    with pytest.raises(ConfigError) as refused:
        guard(environment)
    assert "HOME" in refused.value.message
    assert "python -I" in str(refused.value.hint)
    assert "LATER" in environment


@pytest.mark.parametrize("value", [False, None], ids=["asked not to", "not allowed to"])
def test_an_interpreter_that_does_not_is_not(
    value: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "ENABLE_USER_SITE", value)
    guard({"PATH": "/bin"})


def test_what_stands_below_home_runs_before_us_or_not_at_all(tmp_path: Path) -> None:
    """With an interpreter that looks there, as one outside of a virtual environment does."""
    here = sysconfig.get_paths()
    venv.EnvBuilder(system_site_packages=True, symlinks=True).create(tmp_path / "venv")
    packages = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})
    sources = Path(__file__).parents[3] / "src"
    Path(packages, "ours.pth").write_text(f"{sources}\n{here['purelib']}\n")
    spy = Path(sysconfig.get_path("purelib", "posix_user", {"userbase": str(tmp_path / ".local")}))
    spy.mkdir(parents=True)
    (spy / "spy.pth").write_text("import sys; print('31337', file=sys.stderr)\n")

    def serve(*options: str) -> str:
        python = str(tmp_path / "venv/bin/python")
        arguments = ("-m", "sealserve", "serve", "absent.sealed", "--root", "00" * 32)
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        ran = subprocess.run(
            [python, *options, *arguments], env=environment, capture_output=True, text=True
        )
        assert ran.returncode == 8
        return ran.stderr

    told = serve()
    assert "31337" in told
    assert "python -I" in told
    told = serve("-I")
    assert "31337" not in told
    assert "absent.sealed" in told
