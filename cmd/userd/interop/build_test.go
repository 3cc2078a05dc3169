//go:build interop

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	userv1 "github.com/example/userd/gen/user/v1"
)

// Files that the compilers generate code for.
var schemaFiles = []string{"user/v1/user_service.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"}

// descriptorSet describes the schema and error details, every file after its
// imports. The rules of protovalidate are not in it: callers need not know them, and
// not every compiler does.
func descriptorSet() ([]byte, error) {
	var set descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] || strings.HasPrefix(file.Path(), "buf/validate/") {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, withoutRules(protodesc.ToFileDescriptorProto(file)))
	}
	add(userv1.File_user_v1_user_service_proto)
	add(status.File_google_rpc_status_proto)
	add(errdetails.File_google_rpc_error_details_proto)
	return proto.Marshal(&set)
}

// withoutRules also leaves out where languages have the code: each has it where it
// belongs by the package.
func withoutRules(file *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	if strings.HasPrefix(file.GetPackage(), "user.") {
		file.Options = nil
	}
	file.Dependency = slices.DeleteFunc(file.GetDependency(), func(path string) bool {
		return strings.HasPrefix(path, "buf/validate/")
	})
	for _, message := range file.GetMessageType() {
		message.Options = nil
		for _, field := range message.GetField() {
			field.Options = nil
		}
	}
	return file
}

// written is the file of descriptorSet.
var written = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workDir, "descriptors")
	data, err := descriptorSet()
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	return path, err
})

func descriptors(t *testing.T) string {
	t.Helper()
	path, err := written()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// generate lets protoc generate code into a new folder.
func generate(language, plugin string) (dir string, err error) {
	schema, err := written()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(workDir, language)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	args := append([]string{
		"--descriptor_set_in=" + schema,
		fmt.Sprintf("--%s_out=%s", language, dir),
		"--grpc_out=" + dir, "--plugin=protoc-gen-grpc=/usr/bin/" + plugin,
	}, schemaFiles...)
	return dir, command("protoc", args...)
}

// command runs a compiler.
func command(name string, args ...string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("%w: run .ci/install", err)
	}
	if output, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, output)
	}
	return nil
}

// builtCPP is the path of the program for C++.
var builtCPP = sync.OnceValues(func() (string, error) {
	dir, err := generate("cpp", "grpc_cpp_plugin")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "client")
	args := []string{"-std=c++20", "-O1", "-I", dir, "-o", binary, "testdata/client.cc"}
	for _, file := range append(schemaFiles, "user/v1/user_service.grpc") {
		args = append(args, filepath.Join(dir, strings.TrimSuffix(file, ".proto")+".pb.cc"))
	}
	return binary, command("g++", append(args, "-Wl,--copy-dt-needed-entries", "-lgrpc++", "-lprotobuf", "-pthread")...)
})

// javaPath is where Java finds grpc-java and what it needs.
const javaPath = "/usr/share/java/grpc-api.jar:/usr/share/java/grpc-context.jar:/usr/share/java/grpc-core.jar:" +
	"/usr/share/java/grpc-netty.jar:/usr/share/java/grpc-protobuf.jar:/usr/share/java/grpc-protobuf-lite.jar:" +
	"/usr/share/java/grpc-stub.jar:/usr/share/java/guava.jar:/usr/share/java/protobuf.jar:" +
	"/usr/share/java/netty-buffer.jar:/usr/share/java/netty-codec.jar:/usr/share/java/netty-codec-http.jar:" +
	"/usr/share/java/netty-codec-http2.jar:/usr/share/java/netty-common.jar:/usr/share/java/netty-handler.jar:" +
	"/usr/share/java/netty-resolver.jar:/usr/share/java/netty-transport.jar:" +
	"/usr/share/java/netty-transport-native-unix-common.jar:/usr/share/java/perfmark-api.jar:" +
	"/usr/share/java/gson.jar:/usr/share/java/geronimo-annotation-1.3-spec.jar"

// builtJava is the folder of the classes for Java.
var builtJava = sync.OnceValues(func() (string, error) {
	dir, err := generate("java", "grpc_java_plugin")
	if err != nil {
		return "", err
	}
	sources, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.java"))
	if err != nil {
		return "", err
	}
	more, err := filepath.Glob(filepath.Join(dir, "*", "*", "*", "*.java"))
	args := append(append([]string{"-nowarn", "-d", dir, "-cp", javaPath, "testdata/Client.java"}, sources...), more...)
	if err != nil {
		return "", err
	}
	return dir, command("javac", args...)
})
