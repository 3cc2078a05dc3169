package clienttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	userv1 "github.com/example/userd/gen/user/v1"
)

// newNode returns @connectrpc/connect-node with one of its protocols over HTTP/2.
func newNode(t *testing.T, url, protocol string) client {
	d := startDriver(t, program(t, "node"), module(t, "node.mjs"), protocol, descriptorFile(t), url)
	return client{open: d.open, clientStreams: true, bidiStreams: true}
}

// newGrpcNode returns @grpc/grpc-js.
func newGrpcNode(t *testing.T, url string) client {
	d := startDriver(t, program(t, "node"), module(t, "grpc.mjs"), descriptorFile(t), url)
	return client{open: d.open, clientStreams: true, bidiStreams: true}
}

// newGrpcPython returns grpcio for the system's Python.
func newGrpcPython(t *testing.T, url string) client {
	python := program(t, "/usr/bin/python3")
	if exec.Command(python, "-c", "import grpc, google.protobuf").Run() != nil {
		t.Fatalf("grpcio for %s is missing: run .ci/install", python)
	}
	d := startDriver(t, python, "testdata/grpc_python.py", descriptorFile(t), url)
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

// descriptorFile writes descriptors into a file.
func descriptorFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "descriptors")
	if err := os.WriteFile(path, descriptors(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// descriptors returns the FileDescriptorSet of the schema and of error details,
// every file after its imports.
func descriptors(t *testing.T) []byte {
	t.Helper()
	var set descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	add(userv1.File_user_v1_user_service_proto)
	add(status.File_google_rpc_status_proto)
	add(errdetails.File_google_rpc_error_details_proto)
	data, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
