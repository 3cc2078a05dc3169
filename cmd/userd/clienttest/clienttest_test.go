package clienttest

import (
	"context"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/example/userd/cmd/userd/userdtest"
	"github.com/example/userd/store/storetest"
)

// clients are those that run outside a browser.
var clients = map[string]func(t *testing.T, url string) client{
	"curl over HTTP/1.1":         func(t *testing.T, url string) client { return newCurl(t, url, "1.1") },
	"curl over h2c":              func(t *testing.T, url string) client { return newCurl(t, url, "2") },
	"grpcurl":                    newGrpcurl,
	"grpc-js":                    newGrpcNode,
	"grpcio":                     newGrpcPython,
	"connect-node over gRPC-Web": func(t *testing.T, url string) client { return newNode(t, url, "grpc-web") },
	"connect-node over Connect":  func(t *testing.T, url string) client { return newNode(t, url, "connect") },
}

func TestSameAnswers(t *testing.T) {
	for name, newClient := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := userdtest.Start(t).URL
			check(t, newClient(t, url), newCurl(t, url, "2"))
		})
	}
}

func TestSameAnswersOnPostgreSQL(t *testing.T) {
	userd := userdtest.Binary(t)
	migrate := func(ctx context.Context, url string) error {
		return exec.CommandContext(ctx, userd, "migrate", "up", "--database", url).Run()
	}
	for name, newClient := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := userdtest.Start(t, "--database", storetest.Postgres(t, migrate)).URL
			check(t, newClient(t, url), newCurl(t, url, "2"))
		})
	}
}

// check plays the scenario and compares what the client brings back.
func check(t *testing.T, c, other client) {
	t.Helper()
	got := play(t, c, other)
	want := expected()
	if !c.clientStreams {
		delete(want, "import")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}
