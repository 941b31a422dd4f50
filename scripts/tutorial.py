"""Run the commands of docs/tutorial.md in an empty folder, and write what they print below each of them.

    python scripts/tutorial.py            # some twenty minutes on two cores that other programs use too

Those are its console blocks, a command each; the block after one has what it prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "tutorial.md"
BLOCK = re.compile(r"```console\n([^\n]*)\n```\n\n```text\n.*?```", re.DOTALL)
WIDTH = "110"


def commands(text: str) -> list[str]:
    """The commands of a page, in their order."""
    return BLOCK.findall(text)


def main() -> int:
    """Write the page anew."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with tempfile.TemporaryDirectory() as folder:

        def printed(found: re.Match[str]) -> str:
            command = found[1]
            print(command, file=sys.stderr)
            environment = {**os.environ, "PATH": path, "COLUMNS": WIDTH}
            done = subprocess.run(
                f"{command} 2>&1", shell=True, check=True, cwd=folder, text=True, stdout=-1, env=environment
            )
            return f"```console\n{command}\n```\n\n```text\n{done.stdout}```"

        text = BLOCK.sub(printed, PAGE.read_text("utf-8"))
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
