"""2.9: rnndrop in a program that uses Hydra itself: neither finds anything of the other's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ASKED = '["dropout=variational", "data=synthetic", "seed=3"]'
EXPECTED = """
import rnndrop.config.compose
config = rnndrop.config.compose.compose(ASKED)
assert (config.dropout.input.p, config.data.name, config.seed) == (0.3, "synthetic", 3), config
"""
PROGRAMS = {
    "hydra_main": """
import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
ConfigStore.instance().store(group="dropout", name="none", node={"input": {"p": 0.9}})
ConfigStore.instance().store(group="data", name="synthetic", node={"name": "theirs"})

@hydra.main(config_path="conf", config_name="config", version_base="1.2")
def main(config):
    assert config.dropout.p == 0.9
    EXPECTED
    again = hydra.compose("config", ["data=other"])
    assert (again.data.name, again.dropout.p) == ("other", 0.9)
    assert HydraConfig.get().job.name == "program"
    print("fine")

main()
""",
    "inside_initialize": """
import hydra
from hydra.version import getbase
with hydra.initialize(config_path="conf", version_base="1.2"):
    mine = hydra.compose("config")
    EXPECTED
    assert hydra.compose("config") == mine and str(getbase()) == "1.2"
print("fine")
""",
    "initialize_afterwards": """
EXPECTED
import hydra
hydra.initialize(config_path="conf", version_base=None)
assert hydra.compose("config", ["dropout=variational"]).dropout.p == 0.9
EXPECTED
print("fine")
""",
    "without_hydra": """
EXPECTED
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.version import VersionBase
assert not {GlobalHydra, VersionBase} & set(Singleton._instances)
print("fine")
""",
    "eight_threads": """
from concurrent.futures import ThreadPoolExecutor
from rnndrop.config.compose import compose
from threading import Barrier
together = Barrier(8)

def ask(number):
    together.wait()
    plan = ["none", "naive", "variational", "zoneout"][number % 4]
    found = compose([f"dropout={plan}", f"seed={number}", f"trainer.learning_rate=0.0{number + 1}"])
    return found.dropout.name, found.seed

with ThreadPoolExecutor(8) as pool:
    plans = ["none", "naive", "variational", "zoneout"]
    assert list(pool.map(ask, range(8))) == [(plans[number % 4], number) for number in range(8)]
print("fine")
""",
}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program's file beside settings of its own, whose groups have the names of ours."""
    for name, content in {
        "config": "defaults:\n  - dropout: variational\n  - data: mine\n  - _self_\nseed: 9\n",
        "dropout/variational": "p: 0.9\ninput: {p: 0.9}\n",
        "data/mine": "name: mine\n",
        "data/other": "name: other\n",
        "data/synthetic": "name: not ours\n",
    }.items():
        path = tmp_path / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "program.py"


@pytest.mark.parametrize("name", PROGRAMS)
def test_2_9_beside_the_hydra_of_the_program(name: str, program: Path) -> None:
    expected = EXPECTED.replace("ASKED", ASKED)
    lines = []
    for line in PROGRAMS[name].splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        lines += [indent + own for own in expected.splitlines()] if line.strip() == "EXPECTED" else [line]
    program.write_text("\n".join(lines))
    done = subprocess.run([sys.executable, program], cwd=program.parent, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
    assert not done.stderr, done.stderr
