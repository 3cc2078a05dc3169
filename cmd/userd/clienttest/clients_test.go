package clienttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

// newNode returns @connectrpc/connect-node with one of its protocols over HTTP/2.
func newNode(t *testing.T, url, protocol string) client {
	d := startDriver(t, userdtest.Program(t, "node"), module(t, "node.mjs"), protocol, userdtest.Descriptors(t), url)
	return client{open: d.open, clientStreams: true, bidiStreams: true}
}

// newGrpcNode returns @grpc/grpc-js.
func newGrpcNode(t *testing.T, url string) client {
	d := startDriver(t, userdtest.Program(t, "node"), module(t, "grpc.mjs"), userdtest.Descriptors(t), url)
	return client{open: d.open, clientStreams: true, bidiStreams: true}
}

// newGrpcPython returns grpcio for the system's Python.
func newGrpcPython(t *testing.T, url string) client { return newGrpcPythonWith(t, url) }

// newGrpcPythonWith is newGrpcPython with a token, if there is one.
func newGrpcPythonWith(t *testing.T, url string, token ...string) client {
	python := userdtest.Program(t, "/usr/bin/python3")
	if exec.Command(python, "-c", "import grpc, google.protobuf").Run() != nil {
		t.Fatalf("grpcio for %s is missing: run .ci/install", python)
	}
	d := startDriver(t, python, append([]string{"testdata/grpc_python.py", userdtest.Descriptors(t), url}, token...)...)
	return client{open: d.open, clientStreams: true, bidiStreams: true}
}

// module returns the path of a program for Node.js.
func module(t *testing.T, name string) string {
	t.Helper()
	if _, err := os.Stat("testdata/node_modules"); err != nil {
		t.Fatal("the clients for Node.js are missing: run .ci/install")
	}
	return filepath.Join("testdata", name)
}
