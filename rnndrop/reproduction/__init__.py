"""The rows of papers: run, compared, committed."""
