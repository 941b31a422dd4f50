"""Pictures of the HTML page for the guide: `python scripts/page_pictures.py FOLDER`, with chromium and its driver.

Trains small models on the synthetic corpus below FOLDER, which takes half an hour, or less where some are there: 40
plans of two seeds, and a sweep in which some runs diverge, for their learning rate is too high, and one is made to
fail. Writes the page of each, and pictures of it at three widths, light and dark, to docs/images/page.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rnndrop

COMMAND = str(Path(sys.executable).with_name("rnndrop"))
PICTURES = Path(__file__).parents[1] / "docs" / "images" / "page"
SMALL = ["model.hidden=48", "data.train_tokens=40000", "trainer.threads=1", "trainer.batch_size=10", "trainer.epochs=5"]
PLACES = ("input", "recurrent", "output")
FORTY = [
    ["dropout=none", *(f"dropout.{place}.kind=locked" for place in PLACES), "dropout.input.p=0,.2,.4",
     "dropout.recurrent.p=0,.1,.2,.3", "dropout.output.p=0,.2,.4"],
    ["dropout=naive,variational,awd,zoneout"],
]  # fmt: skip
STEEP = ["trainer.optimizer=sgd", "trainer.clip=null"]
WIDTHS = {400: 3600, 1000: 2200, 1600: 2700}
"""In pixels, and how much of the page a picture shows."""


def train(folder: Path) -> list[Path]:
    """Both sweeps; what is there already is not run again."""
    forty, lost = folder / "forty", folder / "lost"
    for overrides in FORTY:
        sweep([*overrides, "seed=range(2)", "trainer.learning_rate=0.01", *SMALL, f"output={forty}"])
    steep = [*SMALL, *STEEP, f"output={lost}"]
    sweep(["dropout=none,naive,variational", "trainer.learning_rate=10,20", "seed=range(3)", *steep])
    rnndrop.run(["dropout=variational", "trainer.learning_rate=10", "seed=3", *steep], watch=fail)
    return [lost, forty]


def sweep(overrides: list[str]) -> None:
    """Its exit code says that runs failed, as they do."""
    subprocess.run([COMMAND, "sweep", *overrides, "--jobs", "2"], check=False)


def fail(*_: Any) -> None:
    """As torch does where there is no memory left."""
    raise MemoryError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1600000000 bytes")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    from selenium import webdriver

    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            yield browser
        finally:
            browser.quit()


def picture(browser: Any, page: Path, width: int, theme: str) -> bytes:
    """The page as PNG, as much of it as a picture shows."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    )
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.absolute().as_uri())
    while not browser.execute_script("return document.documentElement.dataset.ready"):
        time.sleep(0.1)
    whole = browser.execute_script("return document.documentElement.scrollHeight")
    size["height"] = min(whole, WIDTHS[width])
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    time.sleep(1)
    found: bytes = browser.get_screenshot_as_png()
    return found


def optimised(png: bytes, path: Path) -> None:
    """Save a picture with few colours."""
    from PIL import Image

    whole = Image.open(io.BytesIO(png)).convert("RGB")
    whole.quantize(160, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)


def pictures(browser: Any, runs: Path) -> None:
    """The page of some runs, and its pictures."""
    page = runs.with_suffix(".html")
    subprocess.run([COMMAND, "report", str(runs), "--html", str(page)], check=True)
    for width in WIDTHS:
        for theme in ("light", "dark"):
            optimised(picture(browser, page, width, theme), PICTURES / f"{runs.name}-{width}-{theme}.png")


def main() -> None:
    """Train, write the pages, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    PICTURES.mkdir(parents=True, exist_ok=True)
    folders = train(parser.parse_args().folder)
    with chromium() as browser:
        for runs in folders:
            pictures(browser, runs)


if __name__ == "__main__":
    main()
