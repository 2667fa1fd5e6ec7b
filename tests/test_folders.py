"""Tests of temporary folders: how much memory they may take, and which of them a new run deletes."""

import os
import tempfile
from pathlib import Path

import pytest

from app.embedded_mongod.data_folder import DataFolder
from tests.folders import delete_abandoned_folders, free_memory, short_folder


def age(folder: Path) -> None:
    """Make the folder look old."""
    os.utime(folder, (0, 0))


def test_folder_in_use_is_kept() -> None:
    with short_folder() as folder:
        age(folder)
        delete_abandoned_folders()

        assert folder.exists()


def test_folder_is_deleted_once_it_is_old_and_no_server_uses_it() -> None:
    folder = Path(tempfile.mkdtemp(prefix="loomql-test-"))
    with DataFolder(folder / "data").held():
        age(folder)
        delete_abandoned_folders()
        kept_while_used = folder.exists()
    os.utime(folder)
    delete_abandoned_folders()
    kept_while_new = folder.exists()
    age(folder)
    delete_abandoned_folders()

    assert (kept_while_used, kept_while_new, folder.exists()) == (True, True, False)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, 9 * 1024),
        ({"": ("max", 5)}, 9 * 1024),
        ({"": ("6000", 2000)}, 4000),
        ({"": ("6000", 2000), "runs": ("3000", 1500), "runs/one": ("max", 7)}, 1500),
        ({"runs/other": ("10", 5)}, 9 * 1024),
    ],
    ids=["no cgroup", "no limit", "limit", "limit of an outer cgroup", "limit of another cgroup"],
)
def test_free_memory_is_the_least_of_the_machine_and_its_cgroups(
    tmp_path: Path, limits: dict[str, tuple[str, int]], expected: int
) -> None:
    for name in ("proc/self", "dev/shm", "sys/fs/cgroup"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:     99 kB\nMemFree:    2 kB\nMemAvailable:    9 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/elsewhere\n0::/runs/one\n")
    for name, (most, current) in limits.items():
        folder = tmp_path / "sys/fs/cgroup" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{current}\n")

    assert free_memory(tmp_path) == expected
