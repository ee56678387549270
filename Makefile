# `make demo` and `make test` set up everything they need in .venv and then do their work.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# pip compiles one file after another. Like pip it passes over files for other Pythons. What lies in tests and models, a third of
# all, is compiled where it is read.
COMPILE := $(BIN)/python -W ignore::SyntaxWarning -m compileall -qq -j 0 -x '/tests/|/transformers/models/' $(VENV)/lib || true
# Of the procedural composer. It declares pyaudio, which needs a C library to build and is only for its own loudspeaker output.
TINYSOUNDFONT := --no-deps 'tinysoundfont>=0.3.7,<0.4'
SOUND_FONT := fluidr3mono-gm-soundfont

.PHONY: demo test check lint format bench random-tiny tinysoundfont sound-font lock clean

demo: $(VENV)/.demo
	mkdir -p out
	$(BIN)/cuestream score examples/big-buck-bunny.mp4 -o out/demo.mp4 --timeline out/demo.jsonl --plot out/demo.png

# What is judged by the clock is not to share its cores. What only waits for sound, pictures and processes waits three at a time.
# Everything else computes, and takes all cores.
CLOCK := tests/server/test_page.py tests/server/test_reaction.py tests/server/test_ingest_srt_sound.py \
    tests/benchmarks/test_latency.py
COMPUTING := $(wildcard tests/server/test_session_*.py tests/server/test_protocol_*.py) \
    tests/sdk/test_sdk_player.py tests/sdk/test_sdk_js.py
WAITING := $(filter-out $(CLOCK) $(COMPUTING),$(wildcard tests/server/test_*.py tests/sdk/test_*.py))
OTHERS := $(filter-out $(CLOCK) $(WAITING),$(wildcard tests/*/test_*.py))
PYTEST := $(BIN)/python -m pytest --durations 25 --durations-min 4
test: $(VENV)/.dev tinysoundfont sound-font
	$(PYTEST) -n auto --maxprocesses 4 --dist loadfile $(OTHERS)
	$(PYTEST) -n 3 --dist loadfile $(WAITING)
	$(PYTEST) $(CLOCK)

# Everything that CI checks: format, lint, types, tests.
check: lint test

# What asks which system it is on, and is checked for the others, too.
DIFFERS := -p server -p cuestream_client -p engine.media -m engine.threads -m engine.backends.providers
lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select PLW1514 .  # text without its encoding, which is another on Windows
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 $(DIFFERS)
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin $(DIFFERS)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.score
	$(BIN)/python -m benchmarks.latency

# What the procedural composer plays through. It has no wheels from Python 3.13 on, and is built there. Nothing else needs it, so where
# it cannot be built make goes on.
tinysoundfont: $(BIN)/python
	@$(PIP_INSTALL) $(TINYSOUNDFONT) \
	    || echo "no tinysoundfont: --model procedural will not play, and its tests are skipped; it is built with g++ and" \
	    "Python's headers, Debian: apt-get install g++ python3-dev" >&2

# The instruments of the procedural composer, a system package; without them make goes on, too.
sound-font: $(BIN)/python
	@if $(BIN)/python -c 'from training.composer.soundfont import find_sound_font; find_sound_font()' 2>/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ] && apt-get update -qq \
	    && apt-get install -y -qq --no-install-recommends $(SOUND_FONT); then :; \
	else echo "no General MIDI sound font: --model procedural will not play, and its tests are skipped;" \
	    "Debian: apt-get install $(SOUND_FONT), elsewhere name a file in CUESTREAM_SOUNDFONT" >&2; fi

# The model that ships with the repository, made again from its seed.
random-tiny: $(VENV)/.dev
	$(BIN)/cuestream random tiny -o models/random-tiny

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and \
	    "Cuestream runs on Python 3.11 to 3.14; name one of them: make demo PYTHON=python3.14")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[cpu,plot]'
	$(COMPILE)
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[cpu,plot,export,dev,quality,serve,webrtc]'
	$(COMPILE)
	touch $@ $(VENV)/.demo

# What librosa needs from Python 3.13 on; on earlier ones it is not there to be asked for its version.
FROM_313 := ^(audioop-lts|standard-[a-z]+)=

# The newest versions that pyproject.toml allows; local build tags are cut off. Triton has to be the one that PyPI's PyTorch names;
# a PyTorch for CPUs names none, so there correct it by hand.
lock: $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade -e '.[cpu,plot,export,dev,quality,serve,webrtc]'
	$(BIN)/python -m pip install --quiet --upgrade $(TINYSOUNDFONT)
	(head -n 1 constraints.txt; ($(BIN)/python -m pip list --format=freeze | sed 's/+cpu//'; grep -E '$(FROM_313)' constraints.txt) \
	    | grep -viE '^(pip|cuestream|setuptools)=' | sort -fu) > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) out
