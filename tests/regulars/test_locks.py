"""One run of a job at a time, whatever becomes of its process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.errors import JobRunning, RegularsError
from regulars.locks import only_one

ROOT = Path(__file__).parents[2]


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that runs the job `load` until it is ended."""
    code = (
        "import time\n"
        "from pathlib import Path\n"
        "from regulars.locks import only_one\n"
        f"with only_one(Path({str(tmp_path)!r}), 'load'):\n"
        "    print('holding', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_told_in_one_line_who_runs_since_when_and_what_to_do(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    with pytest.raises(JobRunning) as refusal, only_one(tmp_path, "load"):
        pass

    line = str(refusal.value)
    assert line.startswith(f"job 'load' already runs (process {holder.pid}, since 20")
    assert line.endswith(f" UTC); wait until it ends, or end it with: kill {holder.pid}")
    assert "\n" not in line


def test_other_jobs_run_meanwhile(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    with only_one(tmp_path, "train"):
        pass


def test_the_kernel_gives_the_lock_of_a_killed_holder_back(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()

    with only_one(tmp_path, "load"):
        pass


def test_a_job_may_run_again_after_its_end_and_after_its_failure(tmp_path: Path) -> None:
    def fails() -> None:
        with only_one(tmp_path / "new" / "folder", "load"):
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fails()
    with only_one(tmp_path / "new" / "folder", "load"):
        pass


def test_two_threads_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    with (
        only_one(tmp_path, "load"),
        pytest.raises(JobRunning, match=f"process {os.getpid()}"),
        only_one(tmp_path, "load"),
    ):
        pass


def test_a_holder_that_has_not_yet_written_its_name_is_still_a_holder(tmp_path: Path) -> None:
    with only_one(tmp_path, "load"):
        (tmp_path / "load.lock").write_text("")
        with (
            pytest.raises(JobRunning, match="already runs; wait until"),
            only_one(tmp_path, "load"),
        ):
            pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(RegularsError, match="cannot be written"), only_one(tmp_path / "file", "a"):
        pass
