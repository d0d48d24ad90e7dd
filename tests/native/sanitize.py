"""Runs the tests of this folder on native modules that were built with sanitizers.

    export SEALSERVE_SANITIZE=address,undefined
    python setup.py build_ext --build-lib LIB
    python tests/native/sanitize.py LIB

LIB becomes an import path like `src`: the modules built there, and links to all the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src/sealserve"
FOLDER = Path(__file__).parent.relative_to(ROOT)
NOT_HERE = (
    # AddressSanitizer's mlock succeeds and does nothing: what follows from a real one cannot hold.
    "test_secret.py::test_pages_of_its_own_outside_core_dumps",
    "test_secret.py::test_inherited_pages_are_kept_out_of_core_dumps_alone",
    "test_secret.py::test_without_the_right_to_lock_it_goes_on_and_says_so_once",
    "test_secret.py::test_whoever_takes_the_warning_for_an_error_gets_no_buffer",
    # It maps terabytes of shadow, which nobody can search, and which a limit would forbid.
    "test_nothing_stays.py",
    "test_load.py::test_no_memory_for_a_load",
    "test_checked.py::test_no_room_for_it",
    # Its own memory grows while ours shrinks.
    "test_checked.py::test_its_memory_is_given_back_while_it_is_opened",
    # A third of the time, and not a line of C of ours that the other kernels' turns do not run.
    "test_every_kernel.py::test_with[libcrypto-libcrypto]",
)


def link(name: str, source: Path, package: Path) -> None:
    place = package / name
    place.unlink(missing_ok=True)
    place.symlink_to(source / name)


def complete(library: Path) -> None:
    """Link everything a build leaves out: all but the extension modules."""
    package = library / "sealserve"
    for entry in SOURCE.iterdir():
        if entry.name != "native":
            link(entry.name, SOURCE, package)
    for module in (ROOT / "native").glob("*.py"):
        link(module.name, ROOT / "native", package / "native")


def runtime() -> str:
    """Python is not built with the sanitizer, so its runtime has to be there first."""
    found = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def environment(library: Path, reports: Path) -> dict[str, str]:
    """For the tests and for the processes they start, other runs of pytest among them."""
    log = f"log_path={reports / 'of'}"  # a process that dies takes its standard error along
    deselected = " ".join(f"--deselect={FOLDER / test}" for test in NOT_HERE)
    return {
        **os.environ,
        "LD_PRELOAD": runtime(),
        # What Python allocates comes from malloc, where an access beyond it is seen. Python itself
        # ends with memory in use. MemoryError is an answer some tests wait for.
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": f"detect_leaks=0:allocator_may_return_null=1:{log}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:{log}",
        "PYTEST_ADDOPTS": f"-p no:cacheprovider {deselected}"
        f" -o 'pythonpath={library} {ROOT / 'tests'}'",
    }


def run_tests(environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-m", "not long", FOLDER]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main(library: Path) -> int:
    """Fails for any report, also of a process whose failure a test expected."""
    complete(library)
    with tempfile.TemporaryDirectory() as folder:
        code = run_tests(environment(library, Path(folder)))
        reports = [report.read_text() for report in Path(folder).iterdir()]
    sys.stderr.writelines(reports)
    return code or int(bool(reports))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
