//go:build interop

package interop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	userv1 "github.com/example/userd/gen/user/v1"
)

// goClient is what the clients for Go have in common: scenarios_test.go plays the
// scenarios with it.
type goClient struct {
	open func(ctx context.Context, method protoreflect.MethodDescriptor, compressed bool) (stream, error)
	// withHeader adds a header to the calls of a context.
	withHeader func(ctx context.Context, name, value string) context.Context
	// failure is the code and the reason of an error.
	failure func(err error) (code uint32, reason string)

	ids []string // Of the users that it has imported.
}

// stream is one call, of any kind.
type stream interface {
	Send(message any) error
	CloseSend() error
	Receive(message any) error // io.EOF after the last one.
}

var service = userv1.File_user_v1_user_service_proto.Services().ByName("UserService")

func procedure(method protoreflect.MethodDescriptor) string {
	return fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
}

// newGRPCGo returns grpc-go.
func newGRPCGo(t *testing.T, target target) client {
	secrets := insecure.NewCredentials()
	if target.ca != "" {
		secrets = credentials.NewTLS(tlsConfig(t, target.ca))
	}
	conn, err := grpc.NewClient(target.host(), grpc.WithTransportCredentials(secrets),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, PermitWithoutStream: true}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &goClient{
		open: func(ctx context.Context, method protoreflect.MethodDescriptor, compressed bool) (stream, error) {
			var options []grpc.CallOption
			if compressed {
				options = append(options, grpc.UseCompressor(gzip.Name))
			}
			described := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
			opened, err := conn.NewStream(ctx, described, procedure(method), options...)
			return grpcStream{opened}, err
		},
		withHeader: func(ctx context.Context, name, value string) context.Context {
			return metadata.AppendToOutgoingContext(ctx, name, value)
		},
		failure: func(err error) (uint32, string) {
			failed := status.Convert(err)
			for _, detail := range failed.Details() {
				if info, ok := detail.(*errdetails.ErrorInfo); ok {
					return uint32(failed.Code()), info.GetReason()
				}
			}
			return uint32(failed.Code()), ""
		},
	}
}

type grpcStream struct{ grpc.ClientStream }

func (s grpcStream) Send(message any) error    { return s.SendMsg(message) }
func (s grpcStream) Receive(message any) error { return s.RecvMsg(message) }

// newConnectGo returns connect-go with one of its protocols, on Go's own HTTP/2.
func newConnectGo(protocol ...connecthttp.Option) func(t *testing.T, target target) client {
	return func(t *testing.T, target target) client {
		web := &http.Transport{
			Protocols: new(http.Protocols),
			HTTP2:     &http.HTTP2Config{SendPingTimeout: time.Second},
		}
		web.Protocols.SetHTTP2(target.ca != "")
		web.Protocols.SetUnencryptedHTTP2(target.ca == "")
		if target.ca != "" {
			web.TLSClientConfig = tlsConfig(t, target.ca)
		}
		t.Cleanup(web.CloseIdleConnections)
		transport := func(options ...connecthttp.Option) connect.Transport {
			return connecthttp.NewTransport(&http.Client{Transport: web}, target.url, append(options, protocol...)...)
		}
		plain, compressing := transport(), transport(connecthttp.WithSendGzip())
		return &goClient{
			open: func(ctx context.Context, method protoreflect.MethodDescriptor, compressed bool) (stream, error) {
				if compressed {
					return compressing.NewClientStream(ctx, spec(method))
				}
				return plain.NewClientStream(ctx, spec(method))
			},
			withHeader: withConnectHeader,
			failure:    connectFailure,
		}
	}
}

// newJSON returns connect-go with JSON over HTTP/1.1.
func newJSON(t *testing.T, target target) client {
	web := &http.Transport{TLSClientConfig: tlsConfig(t, target.ca), Protocols: new(http.Protocols)}
	web.Protocols.SetHTTP1(true)
	t.Cleanup(web.CloseIdleConnections)
	transport := connecthttp.NewTransport(&http.Client{Transport: web}, target.url, connecthttp.WithProtoJSON())
	return &goClient{
		open: func(ctx context.Context, method protoreflect.MethodDescriptor, _ bool) (stream, error) {
			return transport.NewClientStream(ctx, spec(method))
		},
		withHeader: withConnectHeader,
		failure:    connectFailure,
	}
}

func spec(method protoreflect.MethodDescriptor) connect.Spec {
	spec := connect.Spec{Procedure: procedure(method), Schema: method}
	if method.IsStreamingClient() {
		spec.StreamType |= connect.StreamTypeClient
	}
	if method.IsStreamingServer() {
		spec.StreamType |= connect.StreamTypeServer
	}
	return spec
}

func withConnectHeader(ctx context.Context, name, value string) context.Context {
	call, ok := connect.CallInfoForClientContext(ctx)
	if !ok {
		ctx, call = connect.NewClientContext(ctx)
	}
	if strings.HasSuffix(name, "-bin") {
		value = connect.EncodeBinaryHeader([]byte(value))
	}
	call.RequestHeader().Set(name, value)
	return ctx
}

func connectFailure(err error) (uint32, string) {
	var failed *connect.Error
	if errors.As(err, &failed) {
		for _, detail := range failed.Details() {
			if detail.Type != "google.rpc.ErrorInfo" {
				continue
			}
			var info errdetails.ErrorInfo
			if proto.Unmarshal(detail.Value, &info) == nil {
				return uint32(failed.Code()), info.GetReason()
			}
		}
	}
	return uint32(connect.CodeOf(err)), ""
}

func tlsConfig(t *testing.T, ca string) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("%s has no certificate", ca)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// call makes a call with one request and one response.
func (c *goClient) call(ctx context.Context, name protoreflect.Name, request, response any, compressed bool) error {
	s, err := c.start(ctx, name, request, compressed)
	if err != nil {
		return err
	}
	if err := s.Receive(response); err != nil {
		return err
	}
	if err := s.Receive(response); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s after its response: %w", name, err)
	}
	return nil
}

// start opens a call with one request.
func (c *goClient) start(ctx context.Context, name protoreflect.Name, request any, compressed bool) (stream, error) {
	s, err := c.open(ctx, service.Methods().ByName(name), compressed)
	if err != nil {
		return nil, err
	}
	if err := s.Send(request); err != nil && !errors.Is(err, io.EOF) { // Receive has the reason of an EOF.
		return nil, err
	}
	return s, s.CloseSend()
}
