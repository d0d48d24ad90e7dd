"""Hunts with every target, two at a time, and keeps what it learned.

    run.py --seconds 10 --brief 2     each parser of what a stranger sends 10 s, each other one 2 s
    run.py --seconds 1800             half an hour each
    run.py report claims              these two
    run.py --keep                     what is small and new goes into the repository

Inputs that cover something new stay under build/fuzz, and the next hunt begins with them and with
those of tests/fuzz/corpus. Exit code 1, the error and the input's place if a target lets out what
it does not document, takes longer than a minute, or takes more memory than it may.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HUNT = Path(__file__).with_name("hunt.py")
CORPUS = Path(__file__).with_name("corpus")
WORK = ROOT / "build" / "fuzz"
CANARY = "canary"
AT_ONCE = 2
SLOWEST_SECONDS = 60  # one input; a machine that is busy with others is slow
MOST_MEMORY_MIB = 2048
KEPT_BYTES = 4096  # of one input in the repository
KEPT_FOLDER_BYTES = 64 * 1024  # of all of one target

# What is read behind a signature, from a person's own disk, or by a service on loopback: these take
# their turn for `--brief` seconds. Whatever else there is takes bytes of anybody.
BRIEF = {
    *("model", "authority", "evidence", "server_certificate"),
    *("token", "token_head", "token_claims", "token_keys"),
    *("answer", "answer_header", "answer_certificate", "released_key"),
    *("key_reference", "key_file", "connection"),
    *("guest_device", "configfs_answers", "evidence_files"),
    *("sidecar_request", "sidecar_environment", "key_provider_packet", "runtime_data"),
    *("body", "attestation_request", "attestation_report", "key_request"),
    *("release_policy", "execution_policy", "process_policy"),
    *("image_config", "inode_attributes", "layer_record", "pax_records"),
}
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


def hunt(name: str, seconds: int) -> Hunt:
    """Hunt with one target for so long."""
    place = WORK / name
    found, kept = place / "found", CORPUS / name
    found.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place / "seeds", ignore_errors=True)  # some have new keys each time
    return _run(
        name,
        f"-max_total_time={seconds}",
        f"-timeout={SLOWEST_SECONDS}",
        f"-rss_limit_mb={MOST_MEMORY_MIB}",
        f"-artifact_prefix={place}/",
        "-print_final_stats=1",
        str(found),
        str(place / "seeds"),
        *([str(kept)] if kept.is_dir() else []),
    )


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
        done = _run(name, "-merge=1", "-set_cover_merge=1", *map(str, folders))
        known = {file.name for folder in (kept, place / "seeds") for file in folder.iterdir()}
        for file in sorted(merged.iterdir(), key=lambda file: file.stat().st_size):
            size = file.stat().st_size
            if file.name not in known and size <= room:
                shutil.copy(file, kept)
                room -= size
    return done


def _run(name: str, *options: str) -> Hunt:
    """The target's scratch files go where they are removed: libFuzzer ends without clean-up."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        done = subprocess.run(
            [sys.executable, HUNT, name, WORK / name / "seeds", *options],
            env={"PATH": "/usr/bin:/bin", "TMPDIR": scratch, "ORT_DISABLE_TELEMETRY": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return Hunt(name, done.returncode != 0, done.stdout.decode(errors="replace"))


def _names() -> list[str]:
    """Every target, by a process of its own: this one stays free of what they import."""
    listing = "from fuzz.targets import TARGETS; print(*TARGETS)"
    path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", listing], env=path, capture_output=True, check=True, text=True
    )
    return done.stdout.split()


def _require_canary() -> None:
    """A hunt that cannot find a planted bug proves nothing by finding none."""
    shutil.rmtree(WORK / CANARY, ignore_errors=True)
    found = hunt(CANARY, 60)
    if not (found.failed and found.saved and "KeyError: 'planted'" in found.log):
        sys.exit(f"the planted bug was not found, so nothing would be:\n{found.log[-4000:]}")


def main() -> int:
    """The number of targets that failed, as an exit code of 0 or 1."""
    parser = argparse.ArgumentParser(description="Hunt for what parsers do not document.")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--brief", type=int, help="for targets that strangers do not reach")
    parser.add_argument("--keep", action="store_true", help="add to tests/fuzz/corpus instead")
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    brief = asked.seconds if asked.brief is None else asked.brief

    def work(name: str) -> Hunt:
        if asked.keep:
            return keep(name)
        done = hunt(name, brief if name in BRIEF else asked.seconds)
        print(done.line(), flush=True)
        return done

    if not asked.keep:
        _require_canary()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ended = list(pool.map(work, asked.names or _names()))
    failed = [one for one in ended if one.failed]
    for one in failed:
        print(f"\n{one.name}: {one.saved or 'no input saved'}\n{one.log[-6000:]}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
