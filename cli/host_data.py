"""HOST_DATA under a policy that a person names by a file, wherever in it the policy stands."""

from __future__ import annotations

from pathlib import Path

from sealserve.cli import files
from sealserve.native.errors import ConfigError
from sealserve.policy.execution import policy_file
from sealserve.policy.execution.policy_file import MAX_FILE_BYTES
from sealserve.policy.execution.text import MAX_POLICY_BYTES


def of_file(path: Path) -> bytes:
    """SHA-256 of the policy: the text itself, base64 of it, or a deployment that carries it.

    So a template gives the hash of its policy, never of the template. Raises ConfigError where it
    carries none, or several, and for one that no guest takes.
    """
    found = policy_file.read_one(files.read(path, MAX_FILE_BYTES), file=str(path))
    if len(found.text) > MAX_POLICY_BYTES:
        raise ConfigError(f"is longer than {MAX_POLICY_BYTES} bytes", file=found.where)
    return found.sha256
