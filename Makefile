# The tasks of the project. Each line works without make, too.
.PHONY: run test long timed bench bench-micro profile soak upgrade interop lint generate console release format

run:
	go run ./cmd/userd serve

test:
	.ci/test

long: # what takes too long for test
	.ci/long

timed: # On a quiet machine
	.ci/timed

bench: # without tonic where that cannot be built
	.ci/tonic; go run ./cmd/userbench $(ARGS)

profile: # what the compiler optimizes userd for; on a machine that does nothing else
	go run ./cmd/userbench -profile cmd/userd/default.pgo

bench-micro: # BASE=revision compares with that
	.ci/bench-micro $(BASE)

soak:
	go test ./cmd/userd -run TestHistory -soak 500 -parallel 4 -timeout 1h -v
	go test ./server/h2 -run TestSoak -soak 100000000 -timeout 4h -v

upgrade: # BEFORE=revision; servers of it beside new ones
	.ci/history-with $(BEFORE)

interop: # hours: clients of other makers, and proxies, on both transports, 300,000 messages a stream; ARGS='-run TestOverTLS' for a part
	.ci/interop -v -parallel 8 $(ARGS)
	USERD_HTTP2=std .ci/interop -v -parallel 8 $(ARGS)

lint:
	.ci/buf lint && go vet -tags interop ./... && .tools/bin/staticcheck -tags interop ./...

generate:
	.ci/buf generate
	.ci/openapi generate

console: # needs Node.js
	.ci/console build

release: # into dist; ARGS=binaries TARGETS=linux/amd64 for a part
	.ci/release $(ARGS)

format:
	.ci/buf format --write && .tools/bin/gofumpt -w $$(git ls-files '*.go' ':!gen')
