# Ebbwatch: make help lists what there is.
SHELL := /bin/bash
GO ?= go
BIN := bin
export GOTOOLCHAIN := local

LDFLAGS := -s -w
SERVICES := $(notdir $(wildcard cmd/*))

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  \1\t/' | expand -t 18

.PHONY: build
build: ## all binaries into bin/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

.PHONY: demo
demo: build ## a real attack on an embedded broker: prints the alert within seconds
	$(BIN)/ebbwatch demo

.PHONY: services
services: build ## embedded broker and all services as separate processes, until Ctrl-C
	test/services.sh

.PHONY: test
test: ## all tests with the race detector
	$(GO) test -race -timeout 9m ./...

.PHONY: check
check: lint generated ## lint, format, generated files

.PHONY: lint
lint: ## golangci-lint, go fix, go vet of the tools' module
	$(GO) tool -modfile=tools/go.mod golangci-lint run ./...
	@diff=$$($(GO) fix -diff ./... 2>&1); if [ -n "$$diff" ]; then echo "$$diff"; echo "run go fix ./..."; exit 1; fi

.PHONY: format
format: ## format all Go files
	$(GO) tool -modfile=tools/go.mod golangci-lint fmt ./...

.PHONY: generate
generate: ## write the files that are made from the source
	$(GO) run ./internal/generate

.PHONY: generated
generated: ## fail when a generated file is not what the source makes
	$(GO) test -count=1 ./internal/generate

.PHONY: fuzz
fuzz: ## every fuzz target in turn for DURATION=10m (default 10s), the corpus is kept: ONLY=regex KEEP=n CORPUS=dir
	@test/fuzz.sh

.PHONY: bench
bench: ## benchmarks of the hot paths
	$(GO) test -run='^$$' -bench=. -benchmem ./pkg/...

.PHONY: crash
crash: ## crash series of the engine: RUNS=n SEED=s [KAFKA=real] [MUTATE=rule] [BROKER=kill] [PARALLEL=n]
	$(GO) build -trimpath -tags ebbcrash -o $(BIN)/crash/ ./cmd/... ./internal/crash/series
	$(BIN)/crash/series -bin $(BIN)/crash -runs $${RUNS:-10} -seed $${SEED:-1} -kafka $${KAFKA:-embedded} \
	  -mutate "$${MUTATE:-}" -broker-kills=$(if $(filter kill,$(BROKER)),true,false) -parallel $${PARALLEL:-1} \
	  -log $${LOG:-data/crash/series.log}

.PHONY: quality
quality: ## measure detection quality, write docs/quality.md (CHECK=1 compares, MUTATE=seed rewrites captures)
	$(GO) run ./internal/quality/measure $(if $(CHECK),-check) $(if $(MUTATE),-mutate=$(MUTATE))

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN)
