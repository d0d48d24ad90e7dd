"""Hunts with every target, two at a time, and keeps what it learned.

Each is a fork of this process, which has read and instrumented the product once for all of them.

    run.py --seconds 10 --brief 2     each parser of what a stranger sends 10 s, each other one 2 s
    run.py --seconds 1800             half an hour each
    run.py --seed 1                   along the same way each time, for a gate
    run.py report claims              these two
    run.py --keep                     what is small and new goes into the repository

Inputs that cover something new stay under build/fuzz, and the next hunt begins with them and with
those of tests/fuzz/corpus. Exit code 1, the error and the input's place if a target lets out what
it does not document, takes longer than a minute, or takes more memory than it may.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "src"), str(ROOT / "tests")]

with (
    Path(os.devnull).open("w") as nowhere,
    contextlib.redirect_stderr(nowhere),
):  # a line per module
    from fuzz import hunt
    from fuzz.targets import TARGETS
from fuzz.brief import BRIEF  # noqa: E402

CORPUS = Path(__file__).with_name("corpus")
WORK = ROOT / "build" / "fuzz"
AT_ONCE = 2
SLOWEST_SECONDS = 60  # one input; a machine that is busy with others is slow
MOST_MEMORY_MIB = 2048
KEPT_BYTES = 4096  # of one input in the repository
KEPT_FOLDER_BYTES = 64 * 1024  # of all of one target

_STATISTIC = re.compile(r"^stat::(\w+): +(\d+)$", re.MULTILINE)
_COVERED = re.compile(r"^#\d+\s+DONE\s+cov: (\d+)", re.MULTILINE)
_SAVED = re.compile(r"Test unit written to (\S+)")


@dataclass(frozen=True)
class Hunt:
    """One that ended. saved: the input that broke something, if one did."""

    name: str
    failed: bool
    log: str

    @property
    def saved(self) -> str:
        found = _SAVED.search(self.log)
        return found[1] if found else ""

    def line(self) -> str:
        """What it did, for people."""
        told = dict(_STATISTIC.findall(self.log))
        covered = _COVERED.search(self.log)
        return (
            f"{self.name:22} {int(told.get('number_of_executed_units', 0)):>10} executions"
            f" {int(told.get('average_exec_per_sec', 0)):>7}/s"
            f" {covered[1] if covered else '?':>5} edges"
            f" {int(told.get('new_units_added', 0)):>5} new inputs"
            f"{'  FAILED' if self.failed else ''}"
        )


@dataclass
class Running:
    """One that goes on. What the target writes goes where it is removed: libFuzzer does not."""

    name: str
    log: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    scratch: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="fuzz-")
    )

    def become(self, options: Iterable[str]) -> NoReturn:
        """In the fork: the hunt and nothing else."""
        try:
            os.environ["TMPDIR"] = tempfile.tempdir = self.scratch.name
            for stream in (1, 2):
                os.dup2(self.log.fileno(), stream)
            hunt.main(self.name, WORK / self.name / "seeds", [*options])
        except SystemExit:  # libFuzzer saves the input in an exit handler of C
            ctypes.CDLL(None).exit(1)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(1)

    def ended(self, status: int) -> Hunt:
        self.scratch.cleanup()
        with self.log:
            self.log.seek(0)
            return Hunt(self.name, status != 0, self.log.read().decode(errors="replace"))


def run(jobs: Iterable[tuple[str, list[str]]]) -> Iterator[Hunt]:
    """Each target with its options, AT_ONCE of them at a time; as they end."""
    waiting, running = list(jobs)[::-1], dict[int, Running]()
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            name, options = waiting.pop()
            started = Running(name)
            if not (pid := os.fork()):
                started.become(options)
            running[pid] = started
        pid, status = os.wait()
        yield running.pop(pid).ended(status)


def options_of(name: str, seconds: int, seed: int) -> list[str]:
    """To hunt with one target for so long. seed: 0 takes another way each time."""
    place = WORK / name
    found, kept = place / "found", CORPUS / name
    found.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place / "seeds", ignore_errors=True)  # some have new keys each time
    return [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-timeout={SLOWEST_SECONDS}",
        f"-rss_limit_mb={MOST_MEMORY_MIB}",
        f"-artifact_prefix={place}/",
        "-print_final_stats=1",
        str(found),
        str(place / "seeds"),
        *([str(kept)] if kept.is_dir() else []),
    ]


def keep(name: str) -> Hunt:
    """Add to the repository what covers something that seeds and kept inputs do not."""
    place, kept = WORK / name, CORPUS / name
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        merged, small = Path(scratch, "merged"), Path(scratch, "small")
        merged.mkdir()
        small.mkdir()
        room = KEPT_FOLDER_BYTES - sum(file.stat().st_size for file in kept.iterdir())
        for file in sorted((place / "found").iterdir(), key=lambda file: file.stat().st_size):
            if file.stat().st_size <= KEPT_BYTES:
                shutil.copy(file, small)
        folders = (merged, kept, place / "seeds", small)
        (done,) = run([(name, ["-merge=1", "-set_cover_merge=1", *map(str, folders)])])
        known = {file.name for folder in (kept, place / "seeds") for file in folder.iterdir()}
        for file in sorted(merged.iterdir(), key=lambda file: file.stat().st_size):
            size = file.stat().st_size
            if file.name not in known and size <= room:
                shutil.copy(file, kept)
                room -= size
    return done


def _require_canary() -> None:
    """A hunt that cannot find a planted bug proves nothing by finding none."""
    shutil.rmtree(WORK / hunt.CANARY, ignore_errors=True)
    (found,) = run([(hunt.CANARY, options_of(hunt.CANARY, 60, seed=1))])
    if not (found.failed and found.saved and "KeyError: 'planted'" in found.log):
        sys.exit(f"the planted bug was not found, so nothing would be:\n{found.log[-4000:]}")


def main() -> int:
    """The number of targets that failed, as an exit code of 0 or 1."""
    parser = argparse.ArgumentParser(description="Hunt for what parsers do not document.")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--brief", type=int, help="for targets that strangers do not reach")
    parser.add_argument("--seed", type=int, default=0, help="0: another way each time")
    parser.add_argument("--keep", action="store_true", help="add to tests/fuzz/corpus instead")
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    brief = asked.seconds if asked.brief is None else asked.brief

    names = asked.names or list(TARGETS)
    if asked.keep:
        return int(any(keep(name).failed for name in names))
    _require_canary()
    ended = []
    for one in run(
        (name, options_of(name, brief if name in BRIEF else asked.seconds, asked.seed))
        for name in names
    ):
        print(one.line(), flush=True)
        ended.append(one)
    failed = [one for one in ended if one.failed]
    for one in failed:
        print(f"\n{one.name}: {one.saved or 'no input saved'}\n{one.log[-6000:]}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
