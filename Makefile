# make demo and make test are the whole set-up: each installs what is missing first, and says what it does.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WITH_BROWSER := $(VENV)/.with-browser
WITH_SERVERS := $(VENV)/.with-servers
# two files of tests at a time: a process of them may take 2 GB
TOGETHER := -n 2 --dist loadfile --durations=10

.PHONY: help install rooms docs demo test test-all check format benchmark classifier-sounds train-classifier train-heads clean
.DEFAULT_GOAL := help

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 26

install: $(READY) ## create the environment in .venv (make demo and make test do it by themselves)

$(READY): pyproject.toml constraints.txt
	@bash setup.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(WITH_BROWSER): $(READY) tests/set_up_browser.sh
	@bash tests/set_up_browser.sh "$(VENV)"
	@touch $@

$(WITH_SERVERS): $(READY) tests/set_up_servers.sh
	@bash tests/set_up_servers.sh "$(VENV)"
	@touch $@

demo: $(READY) ## make example recordings, build a dataset from them, show it
	@$(BIN)/aria-data demo

test: $(READY) $(WITH_BROWSER) $(WITH_SERVERS) ## the tests that must pass (minutes)
	@$(BIN)/python -m pytest $(TOGETHER)

test-all: $(READY) $(WITH_BROWSER) $(WITH_SERVERS) ## every test, the slow ones too
	@$(BIN)/python -m pytest -m "" $(TOGETHER)

check: $(READY) ## formatting, lint, types, the direction of imports
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo

rooms: $(READY) ## draw docs/rooms.svg again, after rooms or imports changed
	@$(BIN)/python docs/draw_rooms.py docs/rooms.svg

docs: $(READY) ## make the documentation's site, build/docs/index.html; warnings, such as broken links, are errors
	@$(BIN)/python -m sphinx -q -W --keep-going -c docs/site . build/docs
	@echo "build/docs/index.html: open it in a browser"

format: $(READY) ## bring the code into shape
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

benchmark: $(READY) ## speed against named peers and limits, one table (5 minutes; FIGURES=FILE to compare with)
	@$(BIN)/python benchmarks/ratios.py --json build/ratios.json $(if $(FIGURES),--against $(FIGURES))

classifier-sounds: $(READY) ## fetch the soundfonts and sampled pianos the classifier was trained with
	@PYTHON=$(BIN)/python bash classifiers/get_sounds.sh

train-classifier: $(READY) ## make the classifier's weights again (classifiers/README.md; about 40 minutes)
	@$(BIN)/python -m classifiers.train --out build/synthetic.pt --hours 32 --epochs 16 --minutes 15
	@$(BIN)/python -m classifiers.train --out classifiers/weights/piano_classifier.pt --hours 32 --start build/synthetic.pt \
	    --steps 300 --learning-rate 1e-3 $(if $(LABELS),--labels $(LABELS))

train-heads: $(READY) ## make the weights of transkun's heads again (MIDI=FOLDER; transkun_heads.md; an hour and a half)
	@$(BIN)/python -m flows.tools.train_heads $(MIDI) --out build/heads

clean: ## delete what make demo made (the environment stays)
	rm -rf demo_dataset demo_recordings
