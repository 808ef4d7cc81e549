# make demo   separates a song, from nothing                make run    serves on http://localhost:8000
# make test   lint, types, imports, tests                   make benchmark   what is measured, not tested
# make images   both images by DOCKER (docker, podman), as TAG
# make kind-up, kind-demo, kind-down   the same song through a Kubernetes cluster on this machine (Docker, kind, Helm)
#
# All of them use one environment in .venv, made once from constraints.txt.
#   PYTHON=python3.12   another interpreter, 3.11 or newer
#   TORCH=cpu           torch from PyTorch's own index of CPU builds (much smaller)

PYTHON ?= python3
TORCH ?=
DOCKER ?= docker
TAG ?= 1.0.0
READY := .venv/.ready
IN_VENV := .venv/bin/python

.PHONY: demo test testbed run benchmark lint images kind-up kind-demo kind-down manifests job-schema constraints clean
.DEFAULT_GOAL := demo

demo: $(READY)
	@$(IN_VENV) -m scripts.demo "$(SONG)"

run: $(READY)
	@$(IN_VENV) -m api

test: $(READY) lint
	@$(IN_VENV) -m scripts.test $(PYTEST)

testbed: $(READY)
	@$(IN_VENV) -m tests.testbed.build

lint: $(READY)
	@.venv/bin/ruff format --check --quiet . || { echo "ruff format would change files."; exit 1; }
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

benchmark: $(READY)
	@$(IN_VENV) -m benchmarks

# What is compiled is compiled where it is installed.
$(READY): pyproject.toml constraints.txt scripts/setup.sh hatch_build.py $(wildcard runner/kernels/*.[ch] runner/kernels/build.py)
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" sh scripts/setup.sh

REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
images:
	$(DOCKER) build --file Dockerfile.api --tag stemjob-api:$(TAG) --build-arg REVISION=$(REVISION) .
	$(DOCKER) build --file Dockerfile.runner --tag stemjob-runner:$(TAG) --build-arg REVISION=$(REVISION) \
	    $(if $(TORCH),--build-arg TORCH=$(TORCH)) .

kind-up:
	@sh scripts/kind.sh up

kind-demo: $(READY)
	@$(IN_VENV) -m scripts.demo "$(SONG)" http://localhost:8080

kind-down:
	@sh scripts/kind.sh down

manifests: $(READY)
	@$(IN_VENV) -m scripts.render_manifests

job-schema: $(READY)
	@$(IN_VENV) -m scripts.job_schema

constraints: $(READY)
	@{ echo "# The exact versions that the tests ran with. Renewed with: make constraints"; \
	  .venv/bin/uv pip compile --quiet --upgrade pyproject.toml --extra api --extra runner --extra gcs --extra kubernetes --extra lambda --group dev \
	    --python $(IN_VENV) --no-header --no-annotate; } > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf .venv runner/kernels/*.so .mypy_cache .ruff_cache .pytest_cache demo-output
