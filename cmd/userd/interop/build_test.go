//go:build interop

package interop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

// schemaFiles are those that the compilers generate code for.
var schemaFiles = []string{"user/v1/user_service.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"}

// once lets build make something for the first test that asks, and gives its path to
// all of them.
func once(build func(schema string) (path string, err error)) func(t *testing.T) string {
	var do sync.Once
	var path string
	var err error
	return func(t *testing.T) string {
		t.Helper()
		schema := userdtest.Descriptors(t)
		do.Do(func() { path, err = build(schema) })
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
}

// generate lets protoc generate code into a new folder.
func generate(schema, language, plugin string) (dir string, err error) {
	dir = filepath.Join(userdtest.Dir(), language)
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
var builtCPP = once(func(schema string) (string, error) {
	dir, err := generate(schema, "cpp", "grpc_cpp_plugin")
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
	"/usr/share/java/netty-transport-native-unix-common.jar:/usr/share/java/netty-tcnative.jar:" +
	"/usr/share/java/perfmark-api.jar:" +
	"/usr/share/java/gson.jar:/usr/share/java/geronimo-annotation-1.3-spec.jar"

// builtJava is the folder of the classes for Java, and of the library that they need.
var builtJava = once(func(schema string) (string, error) {
	dir, err := generate(schema, "java", "grpc_java_plugin")
	if err != nil {
		return "", err
	}
	sources, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.java"))
	if err != nil {
		return "", err
	}
	more, err := filepath.Glob(filepath.Join(dir, "*", "*", "*", "*.java"))
	args := append(append([]string{"-nowarn", "-d", dir, "-cp", javaPath, "testdata/Client.java"}, sources...), more...)
	if err := errors.Join(err, nettyTLS(dir)); err != nil {
		return "", err
	}
	return dir, command("javac", args...)
})

// nettyTLS puts into dir the library by which Netty does TLS with ALPN: Debian's
// Netty does it with no other, and does not find it under the name that Debian gave it.
func nettyTLS(dir string) error {
	found, err := filepath.Glob("/usr/lib/*/jni/libnetty-tcnative.so")
	if err != nil || len(found) == 0 {
		return errors.Join(err, errors.New("netty-tcnative is missing: run .ci/install"))
	}
	library, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "libnetty_tcnative.so"), library, 0o600)
}
