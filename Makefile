# The only door: `make up`, `make test`. Every target installs the Debian packages it needs itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help

RELEASE := target/release/knarr
# Statically placed code costs a container's shim 0.2 MB instead of several: docs/decisions/0003.
BUILD := cargo rustc --release --locked -p knarr-app --bin knarr -- -C relocation-model=static
ARGS ?=

# Of each fuzz target; and which: `make fuzz FUZZ="json crd"`.
FUZZ_SECONDS ?= 60
FUZZ ?=

.PHONY: help up down test check fuzz conformance-gateway bench images clients tools clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

up: tools images ## Start a cluster, deploy the example, print its URL
	$(BUILD)
	scripts/up $(RELEASE) $(ARGS)

down: ## Stop the cluster; `make down ARGS=--purge` deletes its data too
	$(RELEASE) down $(ARGS)

test: tools clients images ## Lints, unit, property, architecture and end-to-end tests
	scripts/test

check: ## Formatting and lints only
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fuzz: tools ## Fuzz what strangers can send, FUZZ_SECONDS for each target (60)
	scripts/fuzz $(FUZZ_SECONDS) $(FUZZ)

conformance-gateway: tools ## Run the conformance suite of the Gateway API; docs/conformance/gateway-api.md
	$(BUILD)
	scripts/conformance-gateway $(RELEASE) $(ARGS)

bench: tools images ## Measure speed and size; prints a table
	$(BUILD)
	cargo run --release --locked -p knarr-bench -- $(RELEASE) $(ARGS)

images: ## Build the example images from Debian packages into target/images
	@scripts/install python3 mmdebstrap
	@python3 images/build.py target/images

clients: ## Install what tests tour with: client libraries, and an ACME server
	@scripts/clients
	@scripts/pebble

tools: ## Install what building and testing need
	@scripts/install build-essential ca-certificates curl iproute2 dnsutils util-linux procps busybox-static python3
	@scripts/kubectl

clean: ## Delete everything that was built
	cargo clean
	rm -rf target
