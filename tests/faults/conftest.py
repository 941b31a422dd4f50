"""The invented records of the tests of reports, here too."""

from tests.report.conftest import change, few, hundred, invent

__all__ = ["change", "few", "hundred", "invent"]
