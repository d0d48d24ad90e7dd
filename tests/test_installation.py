"""What an installation brings: a client without a server's packages, a wheel of ours alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REFUSE_SERVER_PACKAGES = """
import sys

class Refuse:
    absent = {absent!r}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.absent:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
{code}
"""
ABSENT = {
    "aiohttp",
    "azure",
    "fsspec",
    "grpc_health",
    "grpc_reflection",
    "httpx",
    "jwt",
    "onnx",
    "onnxruntime",
    "prometheus_client",
    "re2",
    "starlette",
    "uvicorn",
}
CLIENT_USES = (
    "import sealserve.inference.client",
    "from sealserve import Trust, check, connect, connect_async",
    "from sealserve.cli.main import run; assert run(['check', '--help']) == 0",
    "from sealserve.cli.main import run; assert run(['predict', '--help']) == 0",
    "from sealserve.cli.main import run; assert run(['trust', '--help']) == 0",
)


@pytest.mark.parametrize("code", CLIENT_USES)
def test_a_client_works_without_a_servers_packages(code):
    program = REFUSE_SERVER_PACKAGES.format(absent=ABSENT, code=code)
    ran = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("verb", ["seal", "serve", "trustd"])
def test_a_verb_whose_extra_is_missing_says_which_one(verb):
    code = f"from sealserve.cli.main import run; sys.exit(run({[verb, '--help']!r}))"
    program = REFUSE_SERVER_PACKAGES.format(absent=ABSENT, code=code)
    ran = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True)
    assert "Traceback" not in ran.stderr
    if ran.returncode:
        assert ran.returncode == 8
        assert "pip install 'sealserve[" in ran.stderr


@pytest.mark.long
def test_a_wheel_holds_the_package_and_nothing_else(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sealserve"}
    assert not [name for name in names if name.endswith((".c", ".h", ".pyx"))]
    assert "sealserve/models/SPEC.md" in names
