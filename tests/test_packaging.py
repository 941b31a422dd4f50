"""The wheel: its top level holds `rnndrop` alone, and it works from another folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

END = "----\n"
PROGRAM = f"""
import json, sys
import rnndrop
from rnndrop.cli.main import main

if __name__ == "__main__":
    print(rnndrop.__file__, file=sys.stderr)
    for number, arguments in enumerate(json.loads(sys.argv[1])):
        if number:
            print({END!r}, end="")
        sys.argv = ["rnndrop", *arguments]
        try:
            main()
        except SystemExit as end:
            assert not end.code, arguments
"""
"""Several commands, one after the other."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from what git tracks, so that nothing else can leak in."""
    source = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, source]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment where the wheel is installed; what it needs is that of the tests."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    python, paths = home / "bin" / "python", {"base": str(home), "platbase": str(home)}
    theirs = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    Path(sysconfig.get_path("purelib", "venv", paths), "tests.pth").write_text("\n".join(theirs))
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--ignore-installed", wheel], check=True, capture_output=True)
    return home / "bin"


def test_top_level_holds_rnndrop_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"rnndrop"}
    for folder, inside in (("conf", "*.yaml"), ("cli", "*.py"), ("rnndrop", "*.py")):
        packaged = "rnndrop" if folder == "rnndrop" else f"rnndrop/{folder}"
        ours = {f"{packaged}/{path.relative_to(ROOT / folder)}" for path in (ROOT / folder).rglob(inside)}
        assert ours <= set(names), ours - set(names)


def test_the_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(installed)

    commands = [
        ["ls", "dropout"],
        ["run", *TINY],
        ["sweep", *TINY, "dropout=none,locked"],
        ["report", "--format", "md"],
    ]
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", json.dumps(commands)], cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stderr.splitlines()[0]
    listed, ran, swept, reported = done.stdout.split(END)
    assert "variational" in listed and ran.startswith("✓") and swept.count("✓") == 2 and "locked" in reported


GUIDE = (ROOT / "docs" / "guide" / "own.md").read_text("utf-8")
_PARTED = re.split(r"^```\w*\n(.*?)^```\n", GUIDE, flags=re.DOTALL | re.MULTILINE)
FILES = {
    named[-1]: code
    for text, code in zip(_PARTED[::2], _PARTED[1::2], strict=False)
    if (named := re.findall(r"`([\w/]+\.(?:py|yaml))`", text))
}
"""The code of the page, by the file that is named last before it."""
COMMANDS = [shlex.split(line) for line in re.findall(r"^    rnndrop ((?:run|sweep) .*)$", GUIDE, re.MULTILINE)]
SHAPE = ["model.hidden=8", "model.layers=1", "trainer.device=cpu", "trainer.threads=1"]
QUICK = [*SHAPE, "data.train_tokens=2000", "trainer.epochs=1"]


def test_the_examples_of_the_guide_are_short() -> None:
    assert list(FILES) == ["rnndrop_conf/dropout/mine.yaml", "cifg.py", "sums.py", "uniform.py", "diary.py"]
    assert all(len([line for line in text.splitlines() if line.strip()]) <= 30 for text in FILES.values())
    assert [command[0] for command in COMMANDS] == ["run"] * 5 + ["sweep"]


def test_the_examples_of_the_guide_work_with_an_installed_wheel(programs: Path, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    (program := tmp_path / "elsewhere" / "program.py").parent.mkdir()
    program.write_text(PROGRAM)

    def finished(*command: str | Path) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    *runs, sweep = COMMANDS
    one = [*(own for own in sweep[1:-2] if "," not in own), "dropout=mine", "dropout.output.noise=uniform:Uniform"]
    killed = ["run", *one, *SHAPE, "trainer.epochs=5"]
    process = subprocess.Popen([programs / "rnndrop", *killed], cwd=tmp_path, stderr=subprocess.DEVNULL)
    while not (found := list(tmp_path.glob("results/runs/*/seed-0/checkpoint-*"))):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    swept = finished(programs / "rnndrop", *sweep, *QUICK)
    assert swept.count("✓") == 4

    folder = str(found[0].parent.relative_to(tmp_path))
    commands = [
        *([*run, *QUICK] for run in runs),
        [*killed, "--json"],
        ["report", "--format", "json"],
        ["eval", folder, "--mc", "2"],
        ["report", folder, "--format", "csv"],
    ]
    *ran, resumed, reported, _, evaluated = finished(programs / "python", program, json.dumps(commands)).split(END)
    assert [text[0] for text in ran] == ["✓"] * 5
    record = json.loads(resumed)
    assert record["timing"]["resumed_from_steps"] and record["model"]["cell"]["name"] == "cifg:CIFG"
    assert record["model"]["noises"][0]["name"] == "uniform:Uniform" and record["data"]["name"] == "sums"
    assert (tmp_path / folder / "diary.txt").read_text().splitlines()[-1] == "finished"
    assert len(json.loads(reported)) == 10 and "test_perplexity_mc" in evaluated
