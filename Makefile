# Everything a contributor runs. `make` alone prints the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
TOOLS   := bin/tools
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

# What a machine needs for all tests: Debian package names, and the commands by
# which their presence is seen. gcc is for the race detector.
TEST_PACKAGES := nftables iptables iproute2 conntrack procps iputils-ping gcc libc6-dev runc busybox-static dbus firewalld systemd
TEST_COMMANDS := nft iptables ip conntrack ps ping gcc runc busybox dbus-daemon firewalld systemctl

# The systems for which every package must build.
OTHER_OS := windows darwin freebsd

TEST_FLAGS ?= -race -shuffle=on -timeout 24m
FUZZ_TIME  ?= 30s
BENCH      ?= .
BENCH_FLAGS ?= -benchtime=300x

export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/dnet, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/dnet ./cmd/dnet

.PHONY: demo
demo: build ## build, then show the main job in a throw-away namespace (root)
	./demo/run.sh bin/dnet

# The scenarios take longest, and wait most of that time: two halves of them run at once,
# before all else.
SCENARIO := ./internal/scenario
HALF     := ^Test[A-H]

.PHONY: test
test: test-deps ## run all tests; as root with the kernel ones
	@if [ "$$(id -u)" = 0 ]; then \
		export LIBNETWORK_REQUIRE_KERNEL=1; \
	else \
		echo 'not root: tests that need the kernel are skipped' >&2; \
	fi; \
	if command -v gcc >/dev/null; then \
		export CGO_ENABLED=1; flags='$(TEST_FLAGS)'; race='$(filter -race,$(TEST_FLAGS))'; \
	else \
		echo 'no gcc: the race detector is off' >&2; flags='$(filter-out -race,$(TEST_FLAGS))'; race=; \
	fi; \
	status=0; \
	$(GO) test -c -o /dev/null $$race $(SCENARIO); \
	$(GO) test $$flags -run '$(HALF)' $(SCENARIO) & half=$$!; \
	$(GO) test $$flags -skip '$(HALF)' $(SCENARIO) || status=1; \
	wait $$half || status=1; \
	$(GO) test $$flags $$($(GO) list ./... | grep -v /internal/scenario$$) || status=1; \
	exit $$status

FROM ?= $(shell git describe --tags --abbrev=0 2>/dev/null)

.PHONY: storm
storm: test-deps ## damage, restarts and changes by chance: make storm STORM=9 STORM_SEED=1 (root)
	@LIBNETWORK_REQUIRE_KERNEL=1 $(GO) test -tags storm -timeout 1h -run 'TestStorm$$' -v ./internal/scenario

.PHONY: upgrade
upgrade: test-deps ## connections over an upgrade from another version: make upgrade FROM=COMMIT (root)
	@test -n '$(FROM)' || { echo 'from which version? make upgrade FROM=COMMIT' >&2; exit 2; }; \
	dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	git archive '$(FROM)' | tar -x -C "$$dir"; \
	(cd "$$dir" && $(GO) build -o dnet ./cmd/dnet); \
	LIBNETWORK_REQUIRE_KERNEL=1 LIBNETWORK_UPGRADE_FROM="$$dir/dnet" $(GO) test -count=1 -v -run '^TestUpgrade$$' $(SCENARIO)

# No package may start a service: firewalld would close the machine. Nor may it start
# with the next boot.
.PHONY: test-deps
test-deps: # install what the tests need, if root and missing
	@missing=; for c in $(TEST_COMMANDS); do command -v $$c >/dev/null || missing+=" $$c"; done; \
	[ -e /usr/include/stdlib.h ] || missing+=' stdlib.h'; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "missing, and only root can install it:$$missing" >&2; exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
		echo "missing:$$missing; install what your distribution calls: $(TEST_PACKAGES)" >&2; exit 1; \
	fi; \
	echo "missing:$$missing; installing $(TEST_PACKAGES)" >&2; \
	if [ ! -e /usr/sbin/policy-rc.d ]; then \
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT; \
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; \
	fi; \
	firewalld=$$(command -v firewalld || true); \
	apt-get update -qq >&2; \
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(TEST_PACKAGES) >&2; \
	if [ -z "$$firewalld" ] && command -v systemctl >/dev/null; then systemctl disable firewalld.service >&2; fi

.PHONY: lint
lint: $(TOOLS)/.built ## run gofumpt, go vet for every system, staticcheck and golangci-lint
	@status=0; run() { echo "$$*"; "$$@" || status=1; }; \
	files=$$($(TOOLS)/gofumpt -l .); if [ -n "$$files" ]; then echo "not formatted, see make fmt:"; echo "$$files"; status=1; fi; \
	run $(GO) vet ./...; \
	for os in $(OTHER_OS); do run env GOOS=$$os CGO_ENABLED=0 $(GO) vet ./...; done; \
	run $(TOOLS)/staticcheck ./...; \
	run $(TOOLS)/golangci-lint run ./...; \
	exit $$status

.PHONY: fmt
fmt: $(TOOLS)/.built ## format all Go files
	$(TOOLS)/golangci-lint fmt ./...

.PHONY: tools
tools: $(TOOLS)/.built ## build the pinned tools into bin/tools

# One package at a time: the linter alone takes more memory than a small
# machine has when all processors build it.
$(TOOLS)/.built: tools/go.mod tools/go.sum
	mkdir -p $(TOOLS)
	$(GO) -C tools build -p 1 -o ../$(TOOLS)/ tool
	touch $@

.PHONY: vuln
vuln: $(TOOLS)/.built ## look for known vulnerabilities (needs the network)
	$(TOOLS)/govulncheck ./...

.PHONY: bench
bench: ## containers beside the kernel's floor: make bench BENCH=Network BENCH_FLAGS=-benchtime=100x
	@echo 'up, down: median of 300 containers in a row; floor: the kernel alone (namespace, veth, address, route)'
	@echo 'publish, unpublish: one port beside so many others; empty: beside none; create500: the last hundred networks of 500'
	@echo 'ports-up, ports-down: what ten published ports add to a container, measured in turns with one that has none'
	@echo 'up/empty, down/empty: a container with one port beside 20000 ports of others, in turns with one beside none; iptables: first none, then 3000'
	@echo 'restart: a start beside 1000 networks and 1000 containers, after a stop or a kill; kernel-writes: what it changed'
	@$(GO) test -run '^$$' -bench '$(BENCH)' $(BENCH_FLAGS) ./bench | $(GO) run ./bench/table

# Two things about the fuzzer of Go 1.26: what is interesting is made smaller for
# up to a minute each, which leaves little of FUZZ_TIME for new inputs; and the end
# of FUZZ_TIME is now and then taken for a failure, "context deadline exceeded"
# without an input (go.dev/issue/75804, mended in 1.27).
.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZ_TIME
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	for pkg in $$($(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do \
		targets=$$($(GO) test -list '^Fuzz' $$pkg) || { echo "$$targets"; exit 1; }; \
		for f in $$(grep '^Fuzz' <<<"$$targets" || true); do \
			echo "$$pkg $$f"; \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZ_TIME) -fuzzminimizetime 1s $$pkg 2>&1 | tee "$$log" && continue; \
			grep -qx '    context deadline exceeded' "$$log" && ! grep -q 'Failing input written\|panic:' "$$log" || exit 1; \
			echo "$$f: its time was over, no input failed"; \
		done; \
	done

.PHONY: api
api: ## write the exported identifiers of the public packages to api/*.txt
	$(GO) test ./internal/arch -run '^TestAPI$$' -count=1 -update

# The events of go test -json; of a run that has been, if EVENTS names a file.
EVENTS ?=

.PHONY: behaviour
behaviour: ## write docs/behaviour.md from the tests that pass
	@mkdir -p bin
	@events='$(EVENTS)'; if [ -z "$$events" ]; then \
		events=bin/test.json; $(MAKE) -s test TEST_FLAGS='$(TEST_FLAGS) -json' >$$events; \
	fi; \
	$(GO) run ./docs/behaviour <$$events >bin/behaviour.md
	mv bin/behaviour.md docs/behaviour.md

.PHONY: mutants
mutants: ## check that the tests notice seeded defects, and write docs/mutants.md
	@mkdir -p bin
	LIBNETWORK_REQUIRE_KERNEL=1 $(GO) run ./docs/mutants $(MUTANTS) >bin/mutants.md
	$(if $(MUTANTS),cat bin/mutants.md,mv bin/mutants.md docs/mutants.md)

.PHONY: tidy-check
tidy-check: ## fail if go.mod or go.sum is not what go mod tidy makes
	$(GO) mod tidy -diff
	$(GO) mod verify

.PHONY: clean
clean: ## remove what make made
	rm -rf bin
