package clienttest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/example/userd/cmd/userd/userdtest"
)

// newGrpcurl returns grpcurl as a client that knows the schema by reflection.
func newGrpcurl(t *testing.T, url string) client {
	path := userdtest.Program(t, "../../../.tools/bin/grpcurl")
	host := strings.TrimPrefix(url, "http://")
	open := func(ctx context.Context, method protoreflect.Name) *rpc {
		ctx, cancel := context.WithCancel(ctx)
		p := start(ctx, path, "-plaintext", "-v", "-format-error", "-d", "@",
			host, fmt.Sprintf("%s/%s", service.FullName(), method))
		r := newRPC()
		r.send = func(request []byte) { _, _ = p.stdin.Write(request) }
		r.close = func() { p.stdin.Close() }
		r.cancel = cancel
		go func() {
			defer cancel()
			trailer := r.readGrpcurl(p.stdout)
			err := p.wait()
			if err == nil {
				r.finish(end{Trailer: trailer})
				return
			}
			var failed end
			if json.NewDecoder(&p.stderr).Decode(&failed) != nil || failed.Code == 0 {
				failed.err = err
			}
			r.finish(failed)
		}()
		return r
	}
	return client{open: open, clientStreams: true, bidiStreams: true}
}

// readGrpcurl reads what grpcurl -v writes: JSON over several lines after each
// "Response contents:", at the end the trailer.
func (r *rpc) readGrpcurl(output io.Reader) (trailer map[string]string) {
	trailer = map[string]string{}
	var section, message string
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return trailer
		}
		switch line = strings.TrimRight(line, "\n"); {
		case line == "Response contents:" || line == "Response trailers received:":
			section = line
		case section == "Response contents:":
			message += line
			if line == "}" || line == "{}" {
				r.responses <- []byte(message)
				section, message = "", ""
			}
		case section == "Response trailers received:":
			if key, value, ok := strings.Cut(line, ": "); ok {
				trailer[key] = value
			}
		}
	}
}

// What reflection says of health is there: each of its RPCs can be called.
func TestGrpcurlListsHealth(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"engine", "std"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			host := userdtest.Start(t, "--http2", transport).Host()
			grpcurl := func(arguments ...string) string {
				t.Helper()
				out, err := exec.Command(userdtest.Program(t, "../../../.tools/bin/grpcurl"), append([]string{"-plaintext", host}, arguments...)...).CombinedOutput()
				if err != nil {
					t.Errorf("%v: %v: %s", arguments, err, out)
				}
				return string(out)
			}
			if methods := strings.Fields(grpcurl("list", "grpc.health.v1.Health")); len(methods) != 3 {
				t.Errorf("the RPCs of health are %v", methods)
			}
			var list struct {
				Statuses map[string]struct{ Status string }
			}
			if err := json.Unmarshal([]byte(grpcurl("grpc.health.v1.Health/List")), &list); err != nil {
				t.Error(err)
			}
			for _, service := range []string{"", "user.v1.UserService"} {
				if got := list.Statuses[service].Status; got != "SERVING" {
					t.Errorf("health of %q is %q", service, got)
				}
			}
		})
	}
}
