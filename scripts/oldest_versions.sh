#!/usr/bin/env bash
# The tests under the oldest versions that pyproject.toml allows: scripts/oldest_versions.sh [ARGUMENTS OF PYTEST]
#
# Makes build/oldest anew with PYTHON (python3 unless it is set), in which every dependency and extra has the lowest
# version of its bound, and what these depend on the newest that they allow; names them; runs pytest -q -n 2. Takes
# about 6 GB: an old torch comes with its CUDA libraries. What has no such version for this Python is named with what
# was taken instead.
set -euo pipefail
cd "$(dirname "$0")/.."
place=build/oldest

rm -rf "$place"
"${PYTHON:-python3}" -m venv "$place/uv"
"$place/uv/bin/python" -m pip install --quiet uv # pip itself cannot choose the oldest
uv() { "$place/uv/bin/uv" "$@"; }
uv venv --quiet --seed --python "${PYTHON:-python3}" "$place/env"
uv pip install --quiet --python "$place/env/bin/python" --resolution lowest-direct --editable '.[dev]'

"$place/env/bin/python" - <<'PYTHON'
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
wanted = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
for requirement in map(Requirement, wanted):
    if requirement.name == project["name"]:
        continue
    lowest = min((Version(each.version) for each in requirement.specifier if each.operator == ">="), default=None)
    found = Version(version(requirement.name))
    note = "" if found == lowest else f"   not {lowest}: there is none for this Python, or another package needs more"
    print(f"{requirement.name} {found}{note}")
PYTHON

# Old packages beside new ones call what is deprecated there: no fault of this project. Other warnings stay errors.
exec "$place/env/bin/python" -m pytest -q -n 2 --dist loadgroup -W ignore::DeprecationWarning "$@"
