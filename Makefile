# The tasks of the project. Each line works without make, too.
.PHONY: run test bench soak lint generate format

run:
	go run ./cmd/userd serve

test:
	.ci/test

bench:
	go test -p 1 -timeout 60m -run '^$$' -bench . ./...

soak:
	go test ./cmd/userd -run TestHistory -soak 500 -timeout 1h -v

lint:
	.ci/buf lint && go vet ./... && .tools/bin/staticcheck ./...

generate:
	.ci/buf generate

format:
	.ci/buf format --write && .tools/bin/gofumpt -w $$(git ls-files '*.go' ':!gen')
