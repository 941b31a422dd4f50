# Everything a newcomer needs: `make demo` and `make test` each work on a clean clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test quick coverage lint docs bench format clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed ## Create the environment in .venv

demo: install ## Train none, naive and variational on the embedded corpus and compare them
	$(BIN)/rnndrop sweep dropout=none,naive,variational --jobs 2
	$(BIN)/rnndrop report

test: install ## Run the tests
	$(BIN)/python -m pytest -n auto --dist loadgroup

quick: install ## Run the tests that start no other program
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "not e2e"

coverage: install ## Run the tests and say which lines of the package none of them comes to
	$(BIN)/python -m pytest -n auto --dist loadgroup --cov --cov-report=term

lint: install ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install ## Build the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: install ## Time a training step of every plan against nn.LSTM (minutes; a quiet machine)
	$(BIN)/python scripts/bench_step.py --threads 2

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and build products (never results)
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
