# Each target does its own set-up in .venv and touches nothing outside the project and the user's
# cache folder. Works on a fresh Debian or Ubuntu with Python 3.11 or newer and its venv module.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS ?= runs
PORT ?= 7860

.PHONY: demo test check fuzz kills install install-dev clean

# Install, fetch Whisper-base, compress it with the quick preset on the demo corpus, open the app.
demo: install
	$(BIN)/whisperslim fetch openai/whisper-base
	$(BIN)/whisperslim compress quick-demo --runs $(RUNS)
	$(BIN)/whisperslim ui --runs $(RUNS) --port $(PORT)

# Lint, types and every test, on the real Whisper-base and in a real browser where there is one.
test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# As the tests do, with many more requests and files made up: CASES of each.
CASES ?= 20000
fuzz: install-dev
	WHISPERSLIM_FUZZ=$(CASES) $(BIN)/python -m pytest \
	  tests/ui/guard/test_fuzz_http.py tests/jobs/run/test_fuzz_files.py

# As the tests do, with a run killed before KILLS of its calls to the file system, half as many that
# find no room from a call on, and a quarter as many of the queue's calls.
KILLS ?= 100
kills: install-dev
	WHISPERSLIM_KILL_CALLS=$(KILLS) $(BIN)/python -m pytest \
	  tests/jobs/process/test_kill_calls.py tests/jobs/process/test_kill_queue.py

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

$(VENV)/python-ok:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "WhisperSlim needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is missing; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@touch $@

# torch goes first: whatever else depends on it must find this build and ask for no other.
$(VENV)/installed: $(VENV)/python-ok requirements.txt pyproject.toml
	$(BIN)/pip install --quiet $$(grep '^torch==' requirements.txt)
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(BIN)/pip install --quiet -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV)
