"""The tests of this folder, once more with each kernel that this processor can run.

That is every test that reaches one; the twin's part of it does not, and answered already. Which
kernel is the first choice may be the outcome of a race, so each one is named.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sealserve.native.crypto import kernels

HERE = Path(__file__).parent
VARIABLES = {"gcm": "SEALSERVE_GCM", "sha256": "SEALSERVE_SHA256"}
# One of each family at a time, in an order that every process finds.
NAMES = [sorted(kernels()[family]) for family in VARIABLES]
TOGETHER = list(itertools.zip_longest(*NAMES, fillvalue="libcrypto"))
NOT_AGAIN = {
    "test_every_kernel.py": "itself",
    "test_bad_luck.py": "is about the system, whatever the kernel",
    "test_buffers.py": "is about arguments, whatever the kernel",
    "test_constant_time.py": "builds the kernels it asks",
    "test_large.py": "chooses each kernel itself",
    "test_other_processors.py": "is about kernels of other processors",
    "test_rows.py": "chooses each kernel itself",
    "test_self_test.py": "chooses the portable kernels itself",
    "test_errors.py": "reaches no kernel",
    "test_secret.py": "reaches no kernel",
    "test_stubs.py": "reaches no kernel",
}
# Of the files that are run again: what is about reading, waiting and ending, whatever the kernel.
TESTS_NOT_AGAIN = (
    "test_load.py::test_a_signal_in_the_middle",
    "test_load.py::test_ended_in_the_middle",
    "test_load.py::test_no_memory_for_a_load",
    "test_load.py::test_other_python_threads_run_on",
    "test_load.py::test_progress_is_told_every_tick",
    "test_load_refusals.py::test_a_file_that_changes_while_it_is_read",
    "test_load_refusals.py::test_what_was_read_is_not_read_again",
)
FILES = sorted(file.name for file in HERE.glob("test_*.py") if file.name not in NOT_AGAIN)
LONG = ("test_kernel_edges.py",)


def run_with(names: tuple[str, ...], marker: str, *files: str) -> None:
    code = "from sealserve.native.crypto import kernels; print(*(k[0] for k in kernels().values()))"
    chosen = dict(zip(VARIABLES.values(), names, strict=True))
    environment = {**os.environ, **chosen, "PYTHONPATH": os.pathsep.join(sys.path)}
    seen = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert tuple(seen.stdout.split()) == names
    paths = [str(HERE / file) for file in files]
    but = [f"--deselect={HERE / test}" for test in TESTS_NOT_AGAIN]
    selected = ["-m", marker, "-k", "not reference", *but]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *selected, "-p", "no:xdist", *paths],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]


@pytest.mark.parametrize("names", TOGETHER, ids=map("-".join, TOGETHER))
def test_with(names: tuple[str, ...]) -> None:
    run_with(names, "not long", *FILES)


@pytest.mark.long
@pytest.mark.parametrize("names", TOGETHER, ids=map("-".join, TOGETHER))
def test_longer_with(names: tuple[str, ...]) -> None:
    run_with(names, "long", *LONG)


def test_no_kernel_is_left_out() -> None:
    for number, family in enumerate(VARIABLES):
        assert {names[number] for names in TOGETHER} == set(kernels()[family])


def test_what_is_not_run_again_is_there() -> None:
    assert all((HERE / file).exists() for file in (*NOT_AGAIN, *LONG))
    for test in TESTS_NOT_AGAIN:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (HERE / file).read_text()


def test_the_portable_kernel_is_always_there() -> None:
    for names in kernels().values():
        assert "libcrypto" in names
