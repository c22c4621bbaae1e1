# Every target sets up what it needs: an environment in .venv with the pinned packages of constraints.txt.

PYTHON ?= python3
BIN = .venv/bin
INSTALLED = .venv/installed

.PHONY: help demo test lint clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   train on the embedded English-French corpus, score it, translate three sentences (some minutes)"
	@echo "make test   ruff, mypy and pytest: what continuous integration runs"
	@echo "make lint   ruff and mypy alone"
	@echo "make clean  remove .venv and caches; runs/ stays"

$(INSTALLED): pyproject.toml constraints.txt $(wildcard seq2seq/nn/*.[ch])
	@rm -f seq2seq/nn/_kernels*.so
	@echo "Setting up .venv: installing the packages pinned in constraints.txt (torch is large: some minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/seq2seq train --config configs/demo.yaml --data data/demo --source en --target fr --output runs/demo --overwrite
	$(BIN)/seq2seq evaluate --model runs/demo --data data/demo --split test
	$(BIN)/seq2seq translate --model runs/demo "Could you show me the red boots, please?" "The blue scarf is too long for Marie." "My friend Julie would like to go to Spain in June."
	@echo
	@echo "The model is in runs/demo. Translate something else:"
	@echo "    $(BIN)/seq2seq translate --model runs/demo \"When does the museum open?\""
	@echo "Train on your own text: a folder FOLDER with train.en train.de valid.en valid.de, one sentence a line:"
	@echo "    $(BIN)/seq2seq train --data FOLDER --source en --target de --output runs/mine"
	@echo "    $(BIN)/seq2seq translate --model runs/mine --input new.en --output new.de"

test: lint
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy seq2seq

clean:
	rm -rf seq2seq/nn/_kernels*.so .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
