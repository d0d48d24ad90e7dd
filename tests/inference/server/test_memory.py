"""Where weights live: the order in which ways are taken, and that nothing stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sealserve.inference.server import memory
from sealserve.inference.server.hardening import Hardened, PrivateMount
from sealserve.inference.server.memory import (
    AnonymousPlace,
    MountedPlace,
    WeightsPlace,
    choose,
    swap_is_on,
)
from sealserve.native.errors import ConfigError

NO_MOUNT = Hardened(None, "unshare: Operation not permitted")
MANY = 1 << 60


def mounted(options: str = "noswap,huge=within_size") -> Hardened:
    return Hardened(PrivateMount("/dev/shm", options))


# ---- the order


def test_a_private_mount_is_the_first_choice() -> None:
    chosen = choose(mounted(), 1000, swap=False)
    assert (chosen.way, chosen.folder) == ("private-tmpfs", Path("/dev/shm"))


def test_any_private_mount_will_do_where_nothing_is_swapped() -> None:
    assert choose(mounted(""), 1000, swap=False).way == "private-tmpfs"


def test_without_one_a_fresh_folder_in_shared_memory() -> None:
    with choose(NO_MOUNT, 1000, swap=False) as chosen:
        assert chosen.way == "shared-memory"
        assert chosen.folder is not None
        assert chosen.folder.parent == Path("/dev/shm")
        assert chosen.folder.stat().st_mode & 0o777 == 0o700
        assert chosen.folder.stat().st_uid == os.geteuid()
        (chosen.folder / "left").write_text("over")
    assert not chosen.folder.exists()


def test_the_folder_goes_away_when_opening_fails() -> None:
    with pytest.raises(KeyError), choose(NO_MOUNT, 1000, swap=False) as chosen:
        raise KeyError
    assert chosen.folder is not None
    assert not chosen.folder.exists()


def test_two_servers_do_not_share_a_folder() -> None:
    with choose(NO_MOUNT, 1, swap=False) as one, choose(NO_MOUNT, 1, swap=False) as other:
        assert one.folder != other.folder


def test_shared_memory_that_is_too_small_is_passed_over() -> None:
    chosen = choose(NO_MOUNT, MANY, swap=False)
    assert (chosen.way, chosen.folder) == ("anonymous-memory", None)


def test_shared_memory_that_is_no_tmpfs_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SHARED_MEMORY", tmp_path)
    assert choose(NO_MOUNT, 1, swap=False).way == "anonymous-memory"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("mounts", "is_tmpfs"),
    [
        ("tmpfs /dev/shm tmpfs rw 0 0\n", True),
        ("tmpfs /dev/shm tmpfs rw 0 0\n/dev/vda /dev/shm ext4 rw 0 0\n", False),
        ("/dev/vda /dev/shm ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n", True),
        ("tmpfs /dev tmpfs rw 0 0\n", False),
        ("tmpfs /dev/shm/deeper tmpfs rw 0 0\n", False),
        ("", False),
    ],
    ids=["tmpfs", "covered by a disk", "covering a disk", "parent", "child", "nothing"],
)
def test_the_mount_that_covers_the_others_decides(
    tmp_path: Path, mounts: str, is_tmpfs: bool
) -> None:
    (tmp_path / "mounts").write_text(mounts)
    assert memory._is_tmpfs(Path("/dev/shm"), str(tmp_path / "mounts")) is is_tmpfs


# ---- with swap on


@pytest.mark.parametrize(
    "hardened", [NO_MOUNT, mounted(""), mounted("huge=within_size")], ids=["none", "plain", "huge"]
)
def test_with_swap_on_only_a_mount_that_is_never_swapped_will_do(hardened: Hardened) -> None:
    with pytest.raises(ConfigError, match="swap is on") as refused:
        choose(hardened, 1000, swap=True)
    assert refused.value.hint


def test_with_swap_on_the_whole_process_is_locked() -> None:
    code = """
import sys
from pathlib import Path
from sealserve.inference.server.hardening import Hardened, PrivateMount
from sealserve.inference.server.memory import choose
chosen = choose(Hardened(PrivateMount("/dev/shm", "noswap")), 1000, swap=True)
status = Path("/proc/self/status").read_text()
locked = next(line for line in status.splitlines() if line.startswith("VmLck"))
print(chosen.way, int(locked.split()[1]) > 0)
"""
    ran = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    if not ran.returncode:
        assert ran.stdout.split() == ["private-tmpfs", "True"]
    else:  # a machine that gives no process locked memory
        assert "memory cannot be locked" in ran.stderr


def test_memory_that_cannot_be_locked_is_refused() -> None:
    """Seen as a user without CAP_IPC_LOCK, who may lock nothing."""
    code = """
import os, resource
from sealserve.inference.server.hardening import Hardened, PrivateMount
from sealserve.inference.server.memory import choose
from sealserve.native.errors import ConfigError
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    choose(Hardened(PrivateMount("/dev/shm", "noswap")), 1000, swap=True)
except ConfigError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert "swap is on and memory cannot be locked" in ran.stdout, ran.stderr


@pytest.mark.parametrize(
    ("swaps", "on"),
    [
        ("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n", False),
        ("Filename\tType\tSize\tUsed\tPriority\n/swap file 1024 0 -2\n", True),
    ],
)
def test_swap_is_on_when_the_kernel_lists_some(tmp_path: Path, swaps: str, on: bool) -> None:
    (tmp_path / "swaps").write_text(swaps)
    assert swap_is_on(str(tmp_path / "swaps")) is on


# ---- places


@pytest.fixture(params=["mounted", "anonymous"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> WeightsPlace:
    return MountedPlace(tmp_path / "0") if request.param == "mounted" else AnonymousPlace()


@pytest.mark.parametrize("name", ["weights/00000", "weights/123456789", "weights/small"])
def test_weights_are_wanted(place: WeightsPlace, name: str) -> None:
    assert place.wants(name)


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "labels.txt",
        "model.onnx",
        "weights/0000",
        "weights/../../etc/passwd",
        "weights/00000/x",
        "weights/small\n",
        "/weights/00000",
        "weights/",
    ],
)
def test_nothing_else_is(place: WeightsPlace, name: str) -> None:
    assert not place.wants(name)


def test_a_file_has_the_size_asked_for_and_can_be_filled(place: WeightsPlace) -> None:
    descriptor = place.create("weights/00000", 5000)
    assert os.fstat(descriptor).st_size == 5000
    assert os.pwrite(descriptor, b"x" * 5000, 0) == 5000
    place.finish()
    place.clear()


def test_a_mounted_file_is_found_below_the_directory_until_it_is_forgotten(tmp_path: Path) -> None:
    place = MountedPlace(tmp_path / "0")
    place.create("weights/00000", 10)
    place.create("weights/small", 10)
    file = Path(place.directory, "weights/00000")
    assert file.stat().st_mode & 0o777 == 0o600
    assert place.buffers == {}
    place.finish()
    place.forget("weights/00000")
    place.forget("weights/00000")
    assert not file.exists()
    assert Path(place.directory, "weights/small").exists()
    place.clear()
    assert not list(tmp_path.iterdir())


def test_a_file_is_never_made_twice(tmp_path: Path) -> None:
    place = MountedPlace(tmp_path / "0")
    place.create("weights/00000", 10)
    with pytest.raises(FileExistsError):
        place.create("weights/00000", 10)
    place.clear()


def test_wiping_empties_files_that_somebody_still_holds(tmp_path: Path) -> None:
    place = MountedPlace(tmp_path / "0")
    os.pwrite(place.create("weights/00000", 6), b"secret", 0)
    place.finish()
    with Path(place.directory, "weights/00000").open("rb") as held:
        place.wipe()
        assert os.fstat(held.fileno()).st_size == 0
    assert not list(tmp_path.iterdir())


def test_an_anonymous_file_has_no_path_and_is_emptied_by_wiping() -> None:
    place = AnonymousPlace()
    descriptor = place.create("weights/00000", 6)
    os.pwrite(descriptor, b"secret", 0)
    place.finish()
    assert place.directory == ""
    assert place.buffers == {"weights/00000": descriptor}
    assert str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("/memfd:")
    held = os.dup(descriptor)
    place.wipe()
    assert os.fstat(held).st_size == 0
    os.close(held)
    assert place.buffers == {}


def test_wiping_and_clearing_may_be_repeated(place: WeightsPlace) -> None:
    place.create("weights/00000", 10)
    for _ in range(2):
        place.wipe()
        place.clear()
