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
	@$(PY) -m local.soak $(if $(SEED),--seed $(SEED))

# Redrive moves messages. So it hears only what is written behind `make redrive`: an exported APPLY=1 moves nothing, and
# a name that it does not know, or a flag that is neither 1 nor empty, ends it.
REDRIVE := QUEUE TO APPLY RENEW REJECTED ONLY LIMIT TTL JSON
written = $(filter command,$(firstword $(origin $1)))
option = $(if $(and $(written),$2),$3 "$2")
flag = $(if $(and $(written),$2),$(if $(filter-out 1,$2),$(error $1=$2: write $1=1, or leave it out),$3))
unknown = $(filter-out $(REDRIVE) PY MAKEFLAGS,$(foreach each,$(.VARIABLES),$(if $(call written,$(each)),$(each))))
redrive: install  ## what lies in the dead-letter queue QUEUE=... and why; APPLY=1 moves it back
	$(if $(unknown),$(error $(unknown): redrive knows $(REDRIVE)))
	$(if $(call option,QUEUE,$(QUEUE)),,$(error say which: QUEUE=<name or URL of the dead-letter queue>))
	@REDRIVE_CALLER=make $(PY) -m local.redrive $(call option,QUEUE,$(QUEUE),--queue) $(call option,TO,$(TO),--to) \
	    $(call flag,APPLY,$(APPLY),--apply) $(call flag,RENEW,$(RENEW),--renew) \
	    $(call flag,REJECTED,$(REJECTED),--rejected) $(call option,ONLY,$(ONLY),--only) \
	    $(call option,LIMIT,$(LIMIT),--limit) $(call option,TTL,$(TTL),--ttl) $(call flag,JSON,$(JSON),--json)

build: install  ## the folder that is deployed: .build/arm64, or with ARCH=x86_64 the other
	@$(PY) -m local.build $(ARCH)

package: install  ## dist/stopline-arm64.zip with its bill of materials, or with ARCH=x86_64 the other
	@$(PY) -m local.build --zip $(ARCH)

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
	@$(PY) -m uv pip compile pyproject.toml $(LOCKED) $(UPGRADE) --output-file requirements.txt
	@$(PY) -m uv pip compile pyproject.toml --group dev $(LOCKED) $(UPGRADE) --constraint requirements.txt \
	    --output-file requirements-dev.txt

clean:  ## remove what was made, but .venv
	@rm -rf .build dist .aws-sam .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find functions shared local bench tests -name __pycache__ -prune -exec rm -rf {} +

# `sam build` calls this for every function with `BuildMethod: makefile`.
build-%: install
	@$(PY) -m local.build $(ARCH) --into "$(ARTIFACTS_DIR)"
