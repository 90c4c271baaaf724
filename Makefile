# Every target sets up what it needs: a virtual environment in .venv, with uv when it is there.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow lint bench quality clean

demo: .venv/.run
	$(BIN)/python -m experiments demo

test: .venv/.dev
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

test-slow: .venv/.dev
	$(BIN)/python -m pytest -q -m slow --timeout 1200

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/.dev
	$(BIN)/python -m experiments bench

quality: .venv/.dev
	$(BIN)/python -m experiments quality --prior emoji
	$(BIN)/python -m experiments quality --prior photo

.venv/.run .venv/.dev: .venv/.%: pyproject.toml constraints.txt
	@if command -v uv >/dev/null; then \
	  [ -d .venv ] || uv venv --quiet --python $(PYTHON) .venv; \
	  uv pip install --quiet --python $(BIN)/python -c constraints.txt -e "$(if $(filter dev,$*),.[dev],.)"; \
	else \
	  [ -x $(BIN)/pip ] || $(PYTHON) -m venv .venv; \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e "$(if $(filter dev,$*),.[dev],.)"; \
	fi
	@touch $@

clean:
	rm -rf .venv .jax_cache results build *.egg-info
