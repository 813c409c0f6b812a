# Start with: demo, test, build. `make help` lists all targets.
SHELL := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.0.0-dev)
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: help build build-fleet fleet-server demo clean-demo test test-fleet test-restic test-databases lint fuzz torture bench deps clean package release try-package

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "%-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/snaptastic, a static binary
	packaging/compile bin/snaptastic '$(VERSION)'

build-fleet: build ## bin/snaptastic-fleet, for many hosts
	packaging/compile bin/snaptastic-fleet '$(VERSION)' snaptastic-fleet

fleet-server: ## bin/temporal-server, a Temporal server on one SQLite file for a first try (takes minutes to build)
	cd cmd/snaptastic-fleet/testdata/server && go build -ldflags '-s -w' -o "$(CURDIR)/bin/temporal-server" .

package: ## dist/: static binaries, .deb, .rpm and SBOM for amd64 and arm64
	packaging/build

release: ## dist/ for a release: built twice, in two folders, and equal byte for byte
	packaging/release

try-package: package ## install both .deb on this machine, check, upgrade and purge them
	$(SUDO) env "PATH=$$PATH" packaging/try

deps: ## install missing test dependencies (Debian)
	@$(SUDO) packaging/deps

demo: build ## mount, write, snapshot, destroy and restore a volume on this machine; installs mkfs tools if missing
	@$(SUDO) packaging/deps demo
	@$(SUDO) env DEMO="$(DEMO)" examples/demo/run bin/snaptastic

clean-demo: build ## remove everything the demo created
	@$(SUDO) env DEMO="$(DEMO)" examples/demo/clean bin/snaptastic

test: deps ## all tests; without root, those that need it are skipped
	SNAPTASTIC_HEAVY=1 go test -timeout 45m ./...
	# again what runs side by side; -short leaves out what is large and has one goroutine
	go test -timeout 45m -race -short ./plan ./journal ./runner ./ec2 ./linux/guard ./steps/... ./cmd/internal/...
	# of one volume: those of three have run above, without -race
	go test -timeout 45m -race -short -run '^TestCrashMatrix$$' ./cmd/snaptastic

test-restic: deps ## compare what keep keeps with `restic forget` over 1,000 random histories
	SNAPTASTIC_RESTIC=1000 go test -count=1 -timeout 15m -run '^TestKeepIsWhatResticKeeps$$' ./steps/snapset

test-databases: deps ## PostgreSQL, MariaDB, Redis and SQLite under load: snapshot, drill, kill -9, restore (Debian, as root)
	@$(SUDO) packaging/deps-databases
	$(SUDO) env "PATH=$$PATH" SNAPTASTIC_DATABASES=1 go test -count=1 -timeout 25m -v -run '^(TestDatabase(PostgreSQL|MariaDB|Redis|SQLite)|TestProbe|TestTheMySQLExample|TestALockThat)' ./cmd/snaptastic

# FLEET=cached: fail, rather than build the server, where it is not in the cache; FLEET_FLAGS=-short: without what takes longer than 5 minutes.
test-fleet: deps ## many hosts: workflows in virtual time, then a real Temporal server, real freezes, real kills (as root; builds the server once)
	cd cmd/snaptastic-fleet && $(SUDO) env "PATH=$$PATH" SNAPTASTIC_FLEET=$${FLEET:-1} go test -count=1 -timeout 40m $(FLEET_FLAGS) ./...

lint: ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	@cd cmd/snaptastic-fleet && test -z "$$(gofmt -l .)" && go vet ./... && "$$(go -C ../.. tool -n staticcheck)" ./...
	@if command -v shellcheck >/dev/null; then shellcheck examples/probes/*; else echo 'shellcheck is not installed: examples/probes not checked'; fi

fuzz: ## each fuzz target for FUZZTIME (default 30s)
	@for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
		echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-30s} $$p || exit 1; done; done

# KILLS=N: of each kind; SEED=N: at other moments.
torture: deps build ## SIGKILL the real binary at random moments, on loop devices; every point of the crash matrix; a fleet of three hosts
	$(SUDO) env "PATH=$$PATH" SNAPTASTIC_TORTURE=$${KILLS:-200} SNAPTASTIC_SEED=$${SEED:-0} go test -count=1 -timeout 60m -run '^(TestTorture|TestCrashMatrix$$)' -v ./cmd/snaptastic
	cd cmd/snaptastic-fleet && $(SUDO) env "PATH=$$PATH" SNAPTASTIC_FLEET=$${FLEET:-1} SNAPTASTIC_TORTURE=$${KILLS:-200} go test -count=1 -parallel 4 -timeout 120m -run '^TestTortureOfAFleet$$' -v .

bench: deps build ## measure against the physical limits (docs/performance.md), as root; writes dist/bench.json
	go build -o bin/bench ./cmd/internal/bench
	$(SUDO) bin/bench -bin bin/snaptastic -dir $${BENCH_DIR:-/var/tmp} -json dist/bench.json $${BENCH_FLAGS}

clean: ## remove build outputs
	rm -rf bin dist
