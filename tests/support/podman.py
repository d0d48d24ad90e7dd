"""podman and buildah with a store of their own, and sealserve beside them, for stories."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SEALSERVE = (sys.executable, "-P", "-m", "sealserve")


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    def told(self, label: str) -> list[str]:
        """What `support/workload.c` printed under this label."""
        lines = (line.partition(" ") for line in self.out.splitlines())
        return [rest for word, _, rest in lines if word == label]

    def status_of(self, name: str) -> str:
        """A line of its /proc/self/status."""
        lines = dict(line.split(":", 1) for line in self.told("status"))
        return lines[name].strip()


@dataclass(frozen=True)
class Podman:
    """A store of its own, and podman and buildah told to use it. root_dir: a simulated root's."""

    folder: Path
    root_dir: Path

    @property
    def environment(self) -> dict[str, str]:
        files = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
        return {**os.environ, **{name: str(self.folder / file) for name, file in files.items()}}

    def configure(self) -> None:
        """A machine may have old control groups, and limits that a container cannot raise."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        runtime = "runc" if shutil.which("runc") else "crun"
        (self.folder / "containers.conf").write_text(
            f'[engine]\nruntime="{runtime}"\ncgroup_manager="cgroupfs"\nevents_logger="file"\n'
            f'[containers]\ndefault_ulimits=["nofile={files}:{files}","nproc=1000:1000"]\n'
        )
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver="vfs"\ngraphroot="{self.folder}/store"\n'
            f'runroot="{self.folder}/run"\n'
        )

    def run(self, *command: str | Path, status: int = 0) -> Ran:
        ran = subprocess.run(
            [*map(str, command)], cwd=self.folder, env=self.environment, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == status, ran.stdout[-2000:] + ran.stderr[-4000:]
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def sealserve(self, *words: str | Path, status: int = 0) -> Ran:
        return self.run(*SEALSERVE, *words, status=status)

    def write_policy(self, image: str) -> None:
        """`policy.rego`, as `policy generate` makes it of the image in the store."""
        store = f"{image}={self.folder / 'store'}"
        self.sealserve("policy", "generate", "--only-image", image, "--image", store,
                       "-o", "policy.rego")  # fmt: skip

    def words(self, image: str, policy: str = "policy.rego") -> list[str]:
        """`tee run` of the image under the policy."""
        place = ("--policy", policy, "--root-dir", str(self.root_dir), "--image", image)
        return [*SEALSERVE, "tee", "run", *place]

    def containers(self) -> str:
        return self.run("podman", "ps", "--all", "--quiet").out
