# P2PModel. `make` alone says what there is.
#
# Both main commands need a kernel, make and Go, and nothing else. As root (or
# with sudo) they use the kernel directly; without, they enter a user namespace
# where the system permits it.

GO       := ./ci/go
PACKAGES := ./...
REPORT   ?= reports/latest
# Scenarios wait most of the time, so more of them than processors run at once.
PROCS    ?= $(shell echo $$(( $$(nproc 2>/dev/null || echo 2) * 3 )))
ARGS     ?=
# Packages whose tests take longest begin first, else the last one is waited for alone; those that make hundreds of
# namespaces not beside one another: the kernel takes them down one by one.
LONGEST  := sim/kernel scenarios/explore scenarios/agreement core/peer scenarios/trial scenarios/campaign cmd/natlab core/relay core/shard/directory \
	core/shard/agent scenarios/runner core/shard/engine/natsengine nat/ruleset scenarios/foreign sim cmd/p2pmodel
# What of virtual time is shorter with the race detector, to which one goroutine says nothing new: unit runs it whole
# without.
space    := $() $()
WHOLE    := scenarios/trial.TestSearchAgainstTheory scenarios/trial.TestPredictionUnderLoad \
	scenarios/campaign.TestUpkeepIsThatOfASession scenarios/campaign.TestACampaignInVirtualTime \
	core/peer.TestStrangersAreBounded core/peer.TestReplacedStrangersAreBounded core/peer.TestAttackFlood
# How many schedules make differential plays, and, where it is given, how many rounds make repeat.
N        ?= 10000

# The race detector needs cgo and a C compiler.
CC_FOUND := $(shell command -v $${CC:-cc} 2>/dev/null || command -v gcc 2>/dev/null || command -v clang 2>/dev/null)
RACE     := $(if $(CC_FOUND),-race,)

# Under sudo, what was written into the working copy belongs to its owner.
OWN := if [ "$$(id -u)" = 0 ] && [ -n "$$SUDO_UID" ]; then chown -R "$$SUDO_UID:$$SUDO_GID" bin reports 2>/dev/null || true; fi

# Without root, commands that need it enter a user namespace.
ROOTLESS := $(if $(filter 0,$(shell id -u)),,bin/natlab rootless --)

.DEFAULT_GOAL := help
.PHONY: help build examples generate scenarios repeat test unit agree labs differential planted lint cross bench bench-connect bench-pion bench-relay judges interop qemu clean

help: ## what can be made
	@echo "P2PModel: peer-to-peer core and the laboratory that proves it"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  REPORT=DIR     where scenarios write their report (now: $(REPORT))"
	@echo "  PROCS=N        how many scenarios run at once (now: $(PROCS))"
	@echo "  ARGS='…'       passed on to ginkgo, e.g. ARGS='--focus TC-03'"

build: ## natlab and p2pmodel, to bin/
	@mkdir -p bin
	$(GO) build -o bin/ ./cmd/...
	@$(OWN)

examples: ## programs of others as examples, to bin/: each is a module of its own
	@mkdir -p bin
	$(GO) -C scenarios/foreign/pion-ice build -o $(abspath bin)/ .
	@$(OWN)

bin/suite: build
	@$(MAKE) --no-print-directory examples || echo "make: LEFT OUT: pion-ice could not be built; scenarios that run it are left out"
	@$(GO) build -o bin/ginkgo github.com/onsi/ginkgo/v2/ginkgo
	@$(GO) test -c $(SUITE_RACE) -o bin/scenarios.test ./scenarios/specs

scenarios: bin/suite ## the main job: the whole catalogue on real NATs, with a report
	@mkdir -p $(REPORT); rm -f $(REPORT)/.table $(REPORT)/.race.*
	@status=0; [ -t 1 ] || export NO_COLOR=1; export GORACE="log_path=$(abspath $(REPORT))/.race $$GORACE"; \
	$(ROOTLESS) bin/ginkgo run --procs=$(PROCS) $${NO_COLOR:+--no-color} \
		--silence-skips $(ARGS) bin/scenarios.test \
		-- --p2pmodel=$(abspath bin/p2pmodel) --report=$(abspath $(REPORT)) --table=$(abspath $(REPORT))/.table || status=$$?; \
	if [ -f $(REPORT)/.table ]; then echo; cat $(REPORT)/.table; rm -f $(REPORT)/.table; fi; \
	for race in $(REPORT)/.race.*; do if [ -f "$$race" ]; then echo; cat "$$race"; rm -f "$$race"; fi; done; \
	$(OWN); exit $$status

repeat: build examples ## scenarios N times, each round with the next seed, and of each how often it was as expected: N=50 ARGS='TC-01 TC-02'
	@mkdir -p $(REPORT)
	@status=0; bin/natlab run --repeat $(if $(filter command line environment,$(origin N)),$(N),50) --report $(REPORT) $(ARGS) || status=$$?; $(OWN); exit $$status

# At the end of each test program the race detector would wait a second.
unit: build
	@echo "make: unit tests $(if $(RACE),with the race detector ($(CC_FOUND)),without the race detector: no C compiler found)"
	packages=$$($(GO) list $(PACKAGES)) && \
	first=$$(for p in $(LONGEST); do echo "$$packages" | grep "^[^/]*/$$p$$"; done; true) && \
	GORACE="atexit_sleep_ms=0 $$GORACE" $(GO) test $(RACE) $$first $$(echo "$$packages" | grep -v '/scenarios/specs$$')
	$(if $(and $(RACE),$(filter ./...,$(PACKAGES))),$(GO) test -run '^($(subst $(space),|,$(foreach t,$(WHOLE),$(subst .,,$(suffix $(t))))))$$' $(sort $(foreach t,$(WHOLE),./$(basename $(t)))))
	@for tool in turnutils_natdiscovery turnutils_uclient turnserver stun; do \
		command -v $$tool >/dev/null || echo "make: LEFT OUT: what needs $$tool (apt-get install coturn stun-client, then make judges)"; \
	done
	@/usr/bin/python3 -c 'import aioice' 2>/dev/null || echo "make: LEFT OUT: what needs aioice (apt-get install python3-aioice, then make judges)"

judges: build ## foreign programs as judges: coturn's tools, Debian's stun and aioice, which must be installed
	P2PMODEL_JUDGES=require $(GO) test -count=1 -v ./scenarios/foreign

interop: ## who understands whom: coturn, pion/turn, pion/ice and aioice with our relay, its client and our ICE agent, as one table; to reports/interop as well
	@mkdir -p bin; $(GO) build -o bin/interop ./cmd/interop
	@{ $(GO) test -json -count=1 -timeout 20m -run 'Coturn|Pion' ./core/relay -interop; \
	P2PMODEL_JUDGES=require $(GO) test -json -count=1 -timeout 40m -run 'TestICE|TestTurn' ./scenarios/foreign -interop $(ARGS); } | bin/interop reports/interop; \
	status=$$?; $(OWN); exit $$status

test: unit ## all tests, the scenarios included
	@$(MAKE) --no-print-directory scenarios SUITE_RACE=$(RACE)
	@echo "make: all tests passed$(if $(RACE),, (without the race detector: no C compiler found))"

agree: build ## the kernel and virtual time: the same scenarios, the same verdicts and paths; ARGS='--seeds 100 TC-01'
	bin/natlab agree $(ARGS)

labs: ## a thousand random labs: valid ones are built, certified and vanish; mistakes are refused with their place
	$(GO) test ./sim -count=1 -v -timeout 1h -run 'RandomLabs|LabReadsBack' -rapid.checks=$${CHECKS:-1000}

differential: ## N random packet schedules, on the kernel's rules and in the model: they must agree on every packet
	$(GO) test ./sim/differential -count=1 -v -timeout 6h -run 'TestCases|TestSchedules' -differential.schedules=$(N) $(ARGS)

planted: ## bugs are put into model, rules and core one by one, and have to be found by random schedules
	$(GO) test ./sim/differential -count=1 -v -timeout 1h -run TestPlanted -differential.planted $(ARGS)
	$(GO) test ./scenarios/explore -count=1 -v -timeout 1h -run TestPlanted -explore.planted $(ARGS)

generate: ## what is made from other files and committed: code of protobuf files, Kubernetes' schema, pages of the docs
	GO=$(GO) $(GO) run ./core/shard/api/generate
	GO=$(GO) $(GO) run ./ci/deploy/schema
	$(GO) run ./cmd/pages

SYSTEMS := darwin/amd64 darwin/arm64 windows/amd64

# -o /dev/null: they are linked, and nothing is kept.
cross: ## everything for macOS and Windows, vetted, built and linked, its tests too; nothing of it is run
	@for system in $(SYSTEMS); do \
		export CGO_ENABLED=0 GOOS=$${system%/*} GOARCH=$${system#*/}; \
		echo "make: $$system"; \
		$(GO) vet $(PACKAGES) && $(GO) build -o /dev/null $(PACKAGES) && \
		{ out=$$($(GO) test -c -o /dev/null $(PACKAGES) 2>&1) || { echo "$$out"; exit 1; }; } || exit 1; \
	done

lint: ## gofmt, go vet (for macOS and Windows, too), staticcheck, generated code is current
	@unformatted=$$($$($(GO) env GOROOT)/bin/gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet $(PACKAGES)
	$(GO) -C scenarios/foreign/pion-ice vet ./...
	$(GO) -C scenarios/foreign/pion-turn vet ./...
	$(GO) -C scenarios/foreign/pion-vnet vet ./...
	$(GO) tool staticcheck $(PACKAGES)
	GOOS=darwin CGO_ENABLED=0 $(GO) vet $(PACKAGES)
	GOOS=windows CGO_ENABLED=0 $(GO) vet $(PACKAGES)
	GO=$(GO) $(GO) run ./core/shard/api/generate -check
	$(GO) run ./cmd/pages -check

bench: build examples ## all that is fast or slow beside its peers, one page with plots in reports/bench, as root; BASELINE=COMMIT compares with that
	@$(GO) build -o bin/bench ./ci/bench
	@status=0; for part in "relay --allocations 10000 --curve 1,32,1000,10000 $(if $(BASELINE),--baseline $(BASELINE))" "relay --kernel --bursts 1" connect lab virtual agent "go --rounds $(if $(BASELINE),6 --baseline $(BASELINE),1)"; do \
		echo "make: bench $$part"; bin/bench $$part --report reports/bench || status=1; done; \
	bin/bench page --report reports/bench || status=1; $(OWN); exit $$status

bench-connect: build examples ## time to the first byte and to a direct path, ours beside pion/ice, in labs of one run
	bin/natlab connect $(ARGS)

bench-pion: ## a connection of ours in virtual time, beside one of pion/ice on pion's virtual network in real time
	$(GO) test -run '^$$' -bench 'BenchmarkTrial$$' -benchtime 5s ./scenarios/trial
	$(GO) -C scenarios/foreign/pion-vnet test -run '^$$' -bench . -benchtime 5s

bench-relay: ## our relay beside coturn, pion/turn and mere forwarders, in one laboratory and run; as root, with a page in reports/bench
	@mkdir -p bin
	$(GO) build -o bin/bench ./ci/bench
	bin/bench relay $(ARGS) && bin/bench page; status=$$?; $(OWN); exit $$status
	@$(OWN)

qemu: ## certification, scenarios, tests and links on Debian's kernel, emulated: half an hour or more
	@mkdir -p bin
	$(GO) build -o bin/qemu ./ci/qemu
	@GO=$(GO) bin/qemu $(ARGS)

clean: ## what was made
	rm -rf bin reports .cache
