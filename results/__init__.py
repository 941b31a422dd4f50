"""What was measured, as `scripts/collect_results.py` wrote it: a CSV a reproduction."""
