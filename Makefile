# Every target sets up what it needs: a virtual environment in .venv, with uv when it is there.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow soak lint bench bench-gpu quality clean

demo: .venv/.run
	$(BIN)/python -m experiments demo

test: .venv/.dev
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-slow: .venv/.dev
	$(BIN)/python -m pytest -q -m slow --timeout 1200

soak: .venv/.dev
	$(BIN)/python tests/slow/soak.py --out results/soak.json

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/.dev
	$(BIN)/python -m experiments speed

# Where jax, flax, optax, orbax and numpy are, the command alone does it.
bench-gpu: .venv/.cuda
	$(BIN)/python -m experiments.speed.bench accelerator --out results/bench_gpu.json

quality: .venv/.dev
	$(BIN)/python -m experiments quality --prior emoji
	$(BIN)/python -m experiments quality --prior photo

.venv/.run .venv/.dev .venv/.cuda: .venv/.%: pyproject.toml constraints.txt
	@if command -v uv >/dev/null; then \
	  [ -d .venv ] || uv venv --quiet --python $(PYTHON) .venv; \
	  uv pip install --quiet --python $(BIN)/python -c constraints.txt -e "$(if $(filter run,$*),.,.[$*])"; \
	else \
	  [ -x $(BIN)/pip ] || $(PYTHON) -m venv .venv; \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e "$(if $(filter run,$*),.,.[$*])"; \
	fi
	@touch $@

clean:
	rm -rf .venv .jax_cache results build *.egg-info
