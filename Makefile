# What can be made:
#   make test     all checks and all tests, after installing what they need
#   make build    the binary, bin/jaegis-proxy
#   make bench    the comparison with bare fasthttp and nginx (about 3 minutes)
#   make uploads  large uploads: hashing beside sha256sum, a hit's cost, memory (about a minute)
#   make large    small hits while slow clients are given 50 MB each (2 minutes)
#   make faults   what holds while Redis, upstreams, clients and the machine fail
#   make soak     many requests of two tenants, then many under purges and faults
#   make fuzz     each fuzz target for FUZZTIME (default 30s)
#   make docker   the container image
#   make clean    remove what was made

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
.PHONY: build test tools programs services format vet staticcheck errorlint unit bench uploads large faults soak fuzz docker clean

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ERRORLINT   := github.com/polyfloyd/go-errorlint@v1.8.0
NPM         := $(addprefix cmd/jaegis-proxy/testdata/,cachetests sdk services)

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 30s
OPERATIONS ?= 1000000
IMAGE    ?= jaegis-proxy:$(VERSION)

# The version is given by hand, so that a build asks nothing of version
# control and is the same from an archive, a clone or a container.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)
LDFLAGS := -s -w -X main.version=$(VERSION)

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/jaegis-proxy ./cmd/jaegis-proxy

# The cheap checks come first. The last lines are go test's own.
test: tools format vet staticcheck errorlint unit

# The public HTTP cache tests, the AI SDKs and jsreport are packages of npm,
# which lock files pin.
tools: programs services
	@for dir in $(NPM); do \
		[ $$dir/node_modules/.package-lock.json -nt $$dir/package-lock.json ] || \
			( cd $$dir && npm ci --ignore-scripts --no-audit --no-fund ); \
	done

# The tests start a real Redis, the public cache tests and the AI SDKs run on
# Node.js, and the race detector needs a C compiler.
programs:
	@need=""; \
	command -v redis-server >/dev/null || need="$$need redis-server"; \
	command -v curl >/dev/null || need="$$need curl"; \
	command -v openssl >/dev/null || need="$$need openssl"; \
	command -v node >/dev/null || need="$$need nodejs"; \
	command -v npm >/dev/null || need="$$need npm"; \
	command -v "$$(go env CC)" >/dev/null || need="$$need gcc libc6-dev"; \
	[ -n "$$need" ] || exit 0; \
	if ! command -v apt-get >/dev/null; then \
		echo "make test needs:$$need. Please install by your system's own means: there is no apt-get here." >&2; exit 1; \
	elif [ "$$(id -u)" != 0 ]; then \
		echo "make test needs:$$need. Please run, as root: apt-get update && apt-get install -y$$need" >&2; exit 1; \
	fi; \
	apt-get update -q; \
	DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends $$need

# The document services that Debian has: some 30 seconds, 100 MB to fetch.
# Where they cannot be installed their tests are skipped; in CI they must be.
services:
	@need=""; \
	command -v soffice >/dev/null || need="$$need libreoffice-writer-nogui"; \
	command -v apertium-apy >/dev/null || need="$$need apertium-apy"; \
	[ -e /usr/share/apertium/modes/eng-spa.mode ] || need="$$need apertium-eng-spa"; \
	for program in file zip unzip; do command -v $$program >/dev/null || need="$$need $$program"; done; \
	[ -n "$$need" ] || exit 0; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -q; \
		DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends $$need && exit 0; \
	fi; \
	echo "The tests of document services are skipped for want of Debian's packages:$$need" >&2; \
	[ -z "$${CI:-}" ]

format:
	@bad="$$(gofmt -l .)"; [ -z "$$bad" ] || { echo "not gofmt'ed:"; echo "$$bad"; exit 1; } >&2

vet:
	go vet ./...

staticcheck:
	go run $(STATICCHECK) ./...

# In tests an error must often be exactly the one that is expected.
errorlint:
	go run $(ERRORLINT) -errorf -test=false ./...

# Seeds of the fuzz targets, tests against a real Redis, and tests of the
# running binary are all among these. Nothing is taken from the test cache: it
# does not know when Redis changes.
unit:
	JAEGIS_OPERATIONS=$(OPERATIONS) go test -race -count=1 -timeout 30m ./...

# One target at a time is what go test can fuzz. A pipe would hide a failure
# of the listing, so it comes first.
fuzz:
	@packages="$$(go list -f '{{.ImportPath}} {{.Dir}}' ./...)"; \
	while read -r package dir; do \
		for target in $$(cat "$$dir"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(f \*testing\.F).*/\1/p'); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null; \
		done; \
	done <<<"$$packages"

# A million requests of two tenants, about ten minutes; then ten million under
# purges and faults, with the answers in memory and in Redis.
soak: tools
	JAEGIS_REQUESTS=1000000 go test -count=1 -timeout 60m -run 'TestNoAnswerCrosses' -v ./cmd/jaegis-proxy
	JAEGIS_OPERATIONS=10000000 go test -count=1 -timeout 180m -run 'TestNoAnswerIsWrong' -v ./benchmarks/history

bench:
	benchmarks/run.sh

uploads: programs
	benchmarks/uploads.sh

large: programs
	go run ./benchmarks/large

# It says what it could not do for want of a program.
faults: programs
	go run ./benchmarks/faults

docker:
	docker build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

clean:
	rm -rf bin dist benchmarks/results/tmp $(addsuffix /node_modules,$(NPM))
