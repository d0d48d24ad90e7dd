"""regopy with the guest's own framework.rego, and our evaluator, decide alike: `make interop`.

    python tests/interop/decisions.py FOLDER

Takes framework.rego out of hcsshim from the Go module proxy, and asks both every step of the
decision vectors. A difference has to be one of `KNOWN`, faults of regopy that its own authors'
other engine does not have; where we differ, we have to say what the vector says. Exit code 1 if
not. Cases with fragments are left out: only the guest's own engine loads those.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:1] = [str(ROOT / "src"), str(ROOT / "tests")]

from interop.layers import HCSSHIM  # noqa: E402
from sealserve.policy.execution import own_rules  # noqa: E402
from sealserve.policy.execution.rego_engine import Regopy  # noqa: E402
from support.policy_decisions import DIRECTORY, Case, ask, cases_of  # noqa: E402

# By case: the steps that regopy decides otherwise, and why.
_ESCAPED = "text of a policy with quotes, backslashes or beyond ASCII equals no request"
KNOWN: Mapping[str, Mapping[int, str]] = {
    "escapes": dict.fromkeys((14, 15, 18, 21, 24, 27), _ESCAPED),
    "framework_0_5_0": {18: "(?i) is not known, so FABRIC_… matches nothing"},
}


def framework(folder: Path) -> bytes:
    """The text that is built into guests, as hcsshim has it."""
    module = folder / "framework"
    module.mkdir(parents=True, exist_ok=True)
    (module / "go.mod").write_text("module framework\n\ngo 1.22\n")
    for command in (["get", HCSSHIM], ["list", "-m", "-f", "{{.Dir}}", HCSSHIM.partition("@")[0]]):
        ran = subprocess.run(["go", *command], cwd=module, check=True, capture_output=True)
    return (Path(ran.stdout.decode().strip()) / "pkg/securitypolicy/framework.rego").read_bytes()


def answers(case: Case, text: bytes) -> Iterator[tuple[int, bool, bool, bool]]:
    """Each step: its place, what ours says, what regopy says, what the vector says."""
    engine = Regopy.of(own_rules.modules(case.policy_text, text, file=case.name))
    theirs = own_rules.OwnGuest(engine, case.requests.guest)
    ours = case.enforcer()
    for index, step in enumerate(case.requests.steps):
        wanted = step.expect["allowed"]  # type: ignore[index]
        yield index, ask(ours, step).allowed, theirs.ask(step.point, step.request).allowed, wanted


def compared(case: Case, text: bytes) -> tuple[int, list[str]]:
    """How many steps agree, and what is wrong."""
    agreed, wrong = 0, []
    known = KNOWN.get(case.name, {})
    for index, ours, theirs, wanted in answers(case, text):
        agreed += ours == theirs
        if ours != wanted:
            wrong.append(f"{case.name} step {index}: ours {ours}, the vector {wanted}")
        if (ours != theirs) != (index in known):
            told = known.get(index, "not known")
            wrong.append(f"{case.name} step {index}: ours {ours}, regopy {theirs}; {told}")
    return agreed, wrong


def main(folder: Path) -> int:
    text = framework(folder)
    cases = [c for c in cases_of(DIRECTORY) if all(s.fragment is None for s in c.requests.steps)]
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(lambda case: compared(case, text), cases))
    for case, (agreed, wrong) in zip(cases, found, strict=True):
        sys.stdout.write(f"{case.name}: {agreed} of {len(case.requests.steps)} steps alike\n")
        sys.stdout.writelines(f"{line}\n" for line in wrong)
    return 1 if any(wrong for _, wrong in found) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
