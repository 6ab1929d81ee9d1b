"""The notebooks run as committed, on a small real deployment, and define nothing of their own."""

import ast
import os
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

from experiments.design import Experiment, Variant
from foundation.errors import NothingToDo
from foundation.settings import Settings
from regulars.jobs.experiment import start_experiment
from regulars.jobs.measure import simulate_experiment
from regulars.jobs.segment import segment
from regulars.progress import Progress
from regulars.serve import running
from regulars.wiring import House

# Each runs a kernel and what a data scientist would wait for.
pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
SECONDS_A_CELL = 180
# A home, a temporary or a mounted folder, a Windows drive: nothing of these means anything here.
A_MACHINE_S_PATH = re.compile(r"(?<![\w.])/(home|root|tmp|Users|mnt|var|work)/|\b[A-Z]:\\\\")


@pytest.fixture(scope="module")
def quiet_house(tmp_path_factory: pytest.TempPathFactory, small_house: House, silent: Progress):
    """A copy of the small deployment, with a database of its own, where no experiment ever ran."""
    return _copy(small_house, tmp_path_factory.mktemp("quiet"), silent)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, small_house: House, silent: Progress):
    """A copy of the small deployment whose customers all went through an experiment once."""
    house = _copy(small_house, tmp_path_factory.mktemp("experiment"), silent)
    design = Experiment(
        key="offers-or-none",
        salt="offers-or-none",
        variants=[
            Variant("no-offers", 0.5, policy="none"),
            Variant("offers", 0.5, policy="response"),
        ],
        control="no-offers",
        hypothesis="personal offers earn more margin than they cost",
    )
    with house.database() as url, house.admin(url) as admin:
        start_experiment(admin, design, house.clock.now())
        with running(house, url, _free_port(), 1, console=False) as up:
            simulate_experiment(house, admin, up.url, 1, silent)
    return house


def test_there_are_three():
    assert NOTEBOOKS == [
        "1_explore_segments.ipynb",
        "2_train_and_compare.ipynb",
        "3_read_an_experiment.ipynb",
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_committed_without_outputs_and_names_no_machine(name: str):
    text = (FOLDER / name).read_text()
    book = nbformat.reads(text, as_version=nbformat.NO_CONVERT)
    nbformat.validate(book)
    assert book.nbformat == 4
    assert book.metadata["kernelspec"]["name"] == "python3"
    for cell in _code(book):
        assert cell.outputs == []
        assert cell.execution_count is None
    assert A_MACHINE_S_PATH.search(text) is None


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_defines_nothing(name: str):
    book = nbformat.read(FOLDER / name, as_version=4)
    for cell in _code(book):
        tree = ast.parse(TransformerManager().transform_cell(cell.source))
        for node in ast.walk(tree):
            assert not isinstance(
                node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
            ), f"line {node.lineno} of: {cell.source}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_and_shows_a_picture(name: str, house: House, tmp_path: Path):
    book = _executed(name, house.settings.home, tmp_path)
    outputs = [output for cell in _code(book) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    # A warning would be the first thing a reader sees.
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert list((tmp_path / "cwd").iterdir()) == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_an_empty_deployment_is_told_in_the_first_cell(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(NothingToDo, match="run 'regulars demo --no-serve'") as caught:
        _run_first_cells(name, 1, tmp_path / "empty", monkeypatch)
    assert str(tmp_path / "empty") in str(caught.value)


def test_without_an_experiment_the_notebook_says_how_to_start_one(
    quiet_house: House, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(NothingToDo, match="'regulars experiment start FILE'"):
        _run_first_cells("3_read_an_experiment.ipynb", 2, quiet_house.settings.home, monkeypatch)


def _run_first_cells(name: str, count: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run cells in this process, where the libraries are loaded: a kernel takes seconds each."""
    monkeypatch.setenv("REGULARS_HOME", str(home))
    monkeypatch.delenv("REGULARS_DATABASE_URL", raising=False)
    names: dict[str, Any] = {}
    for cell in _code(nbformat.read(FOLDER / name, as_version=4))[:count]:
        exec(cell.source.removeprefix("%matplotlib inline"), names)  # noqa: S102  our own


def _executed(name: str, home: Path, tmp_path: Path) -> Any:
    (tmp_path / "cwd").mkdir()
    book = nbformat.read(FOLDER / name, as_version=4)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("REGULARS_")}
    # A person's own IPython start-up files are no part of the notebook.
    own = {"REGULARS_HOME": str(home), "IPYTHONDIR": str(tmp_path / "ipython")}
    client = NotebookClient(
        book,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path / "cwd")}},
    )
    client.execute(env={**inherited, **own})
    return book


def _code(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def _copy(house: House, home: Path, silent: Progress) -> House:
    # Not its database: another test may be running it.
    for folder in ("lake", "mlflow.db", "mlflow-artifacts", "snapshots"):
        source = house.settings.home / folder
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, home / folder)
    copied = House(Settings(home=home, database_url=None, mlflow_tracking_uri=None), house.clock)
    with copied.database() as url, copied.admin(url) as admin:
        segment(
            copied.lake, copied.publish_snapshot, admin, copied.settings, house.clock.now(), silent
        )
    return copied


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
