# The two commands of the README: `make quickstart` and `make test`. Both need Python >= 3.11 with venv, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install quickstart demo default-model test lint format docs dist dist-check clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("elasticface needs Python >= 3.11; name one with make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[export,gallery,service,dev]"
	touch $@

# Its options: make quickstart ARGS=--small
quickstart: install
	$(BIN)/elasticface quickstart $(ARGS)

# A service with its page, and twenty rendered people enrolled. Stopped and started again it goes on: make demo PORT=8001
PORT ?= 8000
demo: install
	$(BIN)/python tools/demo.py build/demo --port $(PORT)

# The model in elasticface/model/default again, from nothing: three to four hours on two cores, and 18 GB for what is rendered. Stopped, it
# resumes. Real photos only judge it: make default-model JUDGE="--lfw LFW --people ALIGNED"
# With so many people and so strong augmentation a network from random weights stays at chance for long; it starts from
# one that was trained on a few of these people in plain pictures.
DEFAULT_MODEL := build/default-model
START := synthetic:identities=1000,images=16,seed=7
PLAIN := --epochs 4 --warmup-epochs 0.5 --centre-std 0.0625 --augment 0.2 --relight 0 --surroundings 0 --precision 32 \
  --head-products float32
RENDERED := synthetic:identities=30000,images=16,seed=7
default-model: install
	$(BIN)/elasticface train $(START) --config default-model $(PLAIN) --out $(DEFAULT_MODEL)/start --resume
	$(BIN)/elasticface train $(RENDERED) --config default-model --init $(DEFAULT_MODEL)/start/model \
	  --out $(DEFAULT_MODEL)/run --resume $(ARGS)
	$(BIN)/python tools/default_model.py $(DEFAULT_MODEL)/run $(DEFAULT_MODEL)/model $(RENDERED) $(JUDGE)

# Two files at a time, one thread each: as fast as two cores go.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=studies:. $(BIN)/mypy --explicit-package-bases studies tools
	MYPYPATH=benches:tests:. $(BIN)/mypy --explicit-package-bases --follow-imports silent benches
	$(BIN)/lint-imports
	$(BIN)/python benches/write_docs.py --check

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages in docs/ and the reference of the Python names: build/docs/index.html. Its tools are installed when it is first asked for.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs build/docs

$(VENV)/.docs: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

# A wheel and an sdist in dist/; dist-check installs each into an empty environment and tries what came with it.
dist: install
	rm -rf dist
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m build .

dist-check: dist
	$(BIN)/python tools/check_dist.py dist

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
