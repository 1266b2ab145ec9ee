# Stopline. `make` lists the targets; `make demo` and `make test` are the two to begin with.
#
# Without make, the same demo is
#     python3 local/install.py && .venv/bin/python -m local.demo
# and everything else is the line below its target.

.DEFAULT_GOAL := help
.PHONY: help install demo world test lint fmt mutants soak redrive bench build package checkov sam schemas lock clean
MAKEFLAGS += --no-print-directory

PY := .venv/bin/python
# What `make build` and `sam build` build for: arm64 or x86_64. The template's parameter Architecture must agree.
ARCH ?= arm64

# What is written behind `make` is text. Else make would expand each `$` in it, where a recipe uses it and also when it
# hands the variables to the recipes. The reason of a dead letter, for one, may hold what its sender wrote.
written := $(foreach each,$(filter-out MAKEFLAGS,$(.VARIABLES)),$(if $(filter command,$(firstword $(origin $(each)))),\
    $(each)))
$(foreach each,$(written),$(eval override $(each) := $$(value $(each)))$(eval export $(each)))
define newline


endef
# One word to the shell, whatever is in it. A recipe ends at a line break, so no text may have one.
quoted = $(if $(findstring $(newline),$(value $1)),$(error $1 may have no line break),'$(subst ','\'',$(value $1))')
given = $(if $(value $1),$2 $(quoted))

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

# Any Python from 3.8 on will do: the script looks for the 3.13 itself.
install:  ## make .venv as requirements-dev.txt locks it; nothing to do when it is
	@if python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; \
	then python3 local/install.py; \
	elif command -v python3.13 >/dev/null; then python3.13 local/install.py; \
	else echo "Python 3.13 is needed, and not found on the PATH" >&2; exit 1; fi

demo: install  ## stop work on a stand-in of Huawei Cloud, through the real functions
	@$(PY) -m local.demo

world: install  ## the world of the demo, to send messages to by hand; until Ctrl-C
	@$(PY) -m local.world

test: lint  ## every gate: lint, types, tests
	@$(PY) -m pytest -q --no-header

lint: install  ## ruff (its security rules too), mypy, known vulnerabilities
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check --quiet . || { echo "not formatted; make fmt mends it"; exit 1; }
	@$(PY) -m mypy --no-error-summary
	@$(PY) -m local.audit

fmt: install  ## format, and mend what ruff can mend by itself
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format --quiet .

mutants: install  ## break each promise on purpose and see its test fail; minutes long
	@$(PY) -m tests.mutants

soak: install  ## thousands of commands with faults and killed processes, and a ledger; SEED=n repeats a plan
	@$(PY) -m local.soak $(call given,SEED,--seed)

# Redrive moves messages. So it hears only what is written behind `make redrive`: an exported APPLY=1 moves nothing, and
# a name that it does not know, or a flag that is neither 1 nor empty, ends it.
REDRIVE := QUEUE TO APPLY RENEW REJECTED ONLY LIMIT TTL JSON
option = $(if $(filter $1,$(written)),$(given))
text = $(if $(filter $1,$(written)),$(if $(value $1),$(given),$(error $1= is empty: give it a value, or leave it out)))
flag = $(if $(option),$(if $(filter-out 1,$(value $1)),$(error $1=$(value $1): write $1=1, or leave it out),$2))
unknown := $(filter-out $(REDRIVE) PY,$(written))
redrive: install  ## what lies in the dead-letter queue QUEUE=... and why; APPLY=1 moves it back
	$(if $(unknown),$(error $(unknown): redrive knows $(REDRIVE)))
	$(if $(call option,QUEUE),,$(error say which: QUEUE=<name or URL of the dead-letter queue>))
	@REDRIVE_CALLER=make $(PY) -m local.redrive $(call option,QUEUE,--queue) $(call text,TO,--to) \
	    $(call flag,APPLY,--apply) $(call flag,RENEW,--renew) $(call flag,REJECTED,--rejected) \
	    $(call text,ONLY,--only) $(call text,LIMIT,--limit) $(call text,TTL,--ttl) $(call flag,JSON,--json)

build: install  ## the folder that is deployed: .build/arm64, or with ARCH=x86_64 the other
	@$(PY) -m local.build $(call quoted,ARCH)

package: install  ## dist/stopline-arm64.zip with its bill of materials, or with ARCH=x86_64 the other
	@$(PY) -m local.build --zip $(call quoted,ARCH)

# Checkov and the SAM CLI pin what our own environment pins otherwise, so each runs in one of its own, from the index.
checkov: install  ## hold the translated template to Checkov's rules; .checkov.yaml has what is passed over, and why
	@mkdir -p .build
	@$(PY) -c "import json; from tests.template.loading import translated; print(json.dumps(translated()))" \
	    > .build/template.json
	@$(PY) -m uv tool run --system-certs --quiet --python $(PY) --from checkov==3.3.30 \
	    checkov --config-file .checkov.yaml -f .build/template.json

sam: install  ## validate, build, deploy and delete with the SAM CLI, on stand-ins of AWS
	@$(PY) -m local.sam

bench: install  ## measure beside what one would write instead; some fifteen minutes of a quiet machine
	@$(PY) -m bench

schemas: install  ## events/schemas and events/asyncapi.json anew, from the models and the template
	@$(PY) -m local.schemas

LOCKED := --universal --python-version 3.13 --generate-hashes --no-emit-index-url --no-header --system-certs --quiet
lock: install  ## lock anew what pyproject.toml asks for; UPGRADE=--upgrade for the newest
	@$(PY) -m uv pip compile pyproject.toml $(LOCKED) $(call given,UPGRADE) --output-file requirements.txt
	@$(PY) -m uv pip compile pyproject.toml --group dev $(LOCKED) $(call given,UPGRADE) --constraint requirements.txt \
	    --output-file requirements-dev.txt

clean:  ## remove what was made, but .venv
	@rm -rf .build dist .aws-sam .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find functions shared local bench tests -name __pycache__ -prune -exec rm -rf {} +

# `sam build` calls this for every function with `BuildMethod: makefile`.
build-%: install
	@$(PY) -m local.build $(call quoted,ARCH) --into $(call quoted,ARTIFACTS_DIR)
