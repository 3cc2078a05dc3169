package h2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/example/userd/server/h2"
)

// serversForClients are servers that clients of other makers must get along with.
func serversForClients(tb testing.TB) map[string]*server {
	rpc := testRPC()
	return map[string]*server{
		"handler":     startEngine(tb, h2.Config{Handler: testMux(rpc)}),
		"lane":        startEngine(tb, h2.Config{Handler: testMux(rpc), Direct: testLane(rpc, nil)}),
		"inline":      startEngine(tb, h2.Config{Handler: testMux(rpc), Direct: testLane(rpc, inline)}),
		"lane on TLS": transport{engine: true, tls: true}.start(tb, h2.Config{Handler: testMux(rpc), Direct: testLane(rpc, nil)}),
	}
}

func TestGRPCGo(t *testing.T) {
	t.Parallel()
	for name, srv := range serversForClients(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secure := insecure.NewCredentials()
			if strings.HasPrefix(srv.url, "https") {
				secure = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}) // Tests make their own certificates.
			}
			conn, err := grpc.NewClient(srv.addr, grpc.WithTransportCredentials(secure))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ask := func(ctx context.Context, text string, options ...grpc.CallOption) (string, error) {
				answer := new(wrapperspb.StringValue)
				err := conn.Invoke(ctx, procedure, wrapperspb.String(text), answer, options...)
				return answer.GetValue(), err
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()

			t.Run("many at a time", func(t *testing.T) {
				var all sync.WaitGroup
				for i := range 20 {
					all.Go(func() {
						for j := range 10 {
							text := fmt.Sprintf("%d.%d %s", i, j, strings.Repeat("x", (i*j*497)%30_000))
							if got, err := ask(ctx, text, grpc.UseCompressor([]string{"", gzip.Name}[j%2])); err != nil || got != text {
								t.Errorf("got %d bytes of %d: %v", len(got), len(text), err)
							}
						}
					})
				}
				all.Wait()
			})
			t.Run("metadata", func(t *testing.T) {
				var header, trailer metadata.MD
				ctx := metadata.AppendToOutgoingContext(ctx, "x-sent-bin", "\x00\x01", "x-sent", "text")
				if _, err := ask(ctx, "metadata", grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
					t.Fatal(err)
				}
				if header.Get("x-blob-bin")[0] != "\x00\x01\x02" || len(header.Get("x-ascii")) != 2 {
					t.Errorf("header %v", header)
				}
				if trailer.Get("x-blob-bin")[0] != "\x03" || trailer.Get("x-trailer")[0] != "three" {
					t.Errorf("trailer %v", trailer)
				}
				info, err := ask(ctx, "info")
				if err != nil || !strings.Contains(info, "X-Sent-Bin: [AAE]") || !strings.Contains(info, "X-Sent: [text]") {
					t.Errorf("%v, server saw\n%s", err, info)
				}
			})
			t.Run("errors", func(t *testing.T) {
				_, err := ask(ctx, "error")
				if got := status.Convert(err); got.Code() != codes.NotFound || got.Message() != "Ünïcode, 100 % \t\n\x7f" {
					t.Errorf("got %v", err)
				}
				_, err = ask(ctx, "error with details")
				if got := status.Convert(err); got.Code() != codes.InvalidArgument || len(got.Details()) != 2 {
					t.Errorf("got %v with %v", err, got.Details())
				}
			})
			t.Run("deadline", func(t *testing.T) {
				ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				if _, err := ask(ctx, "wait"); status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestConnectClients(t *testing.T) {
	t.Parallel()
	for name, srv := range serversForClients(t) {
		for protocol, options := range map[string][]connecthttp.Option{
			"connect": nil, "grpc": {connecthttp.WithGRPC()}, "grpcweb": {connecthttp.WithGRPCWeb()},
			"grpc with gzip": {connecthttp.WithGRPC(), connecthttp.WithSendGzip()},
			"JSON":           {connecthttp.WithGRPC(), connecthttp.WithProtoJSON()},
		} {
			t.Run(name+"/"+protocol, func(t *testing.T) {
				t.Parallel()
				caller := connect.NewClient(connecthttp.NewTransport(client(t), srv.url, options...))
				for _, size := range []int{0, 1, 1000, 20_000, testMaxBytes - 100} {
					want, got := wrapperspb.String(strings.Repeat("x", size)), new(wrapperspb.StringValue)
					err := caller.CallUnary(t.Context(), connect.Spec{Procedure: procedure}, want, got)
					if err != nil || got.GetValue() != want.GetValue() {
						t.Errorf("%d bytes: got %d, %v", size, len(got.GetValue()), err)
					}
				}
				err := caller.CallUnary(t.Context(), connect.Spec{Procedure: procedure}, wrapperspb.String("error"), new(wrapperspb.StringValue))
				if connect.CodeOf(err) != connect.CodeNotFound {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// TestLargeFrames uses a client that takes larger frames than others.
func TestLargeFrames(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })})
	transport := &http.Transport{
		Protocols: new(http.Protocols),
		HTTP2:     &http.HTTP2Config{MaxReadFrameSize: 1 << 20},
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			for j := range 10 {
				body := bytes.Repeat([]byte{byte(i), byte(j)}, i*j*1000)
				resp, err := client.Post(srv.url, "", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("got %d bytes of %d: %v", len(got), len(body), err)
				}
			}
		})
	}
	all.Wait()
}

// TestHTTP1 checks that connections that do not speak HTTP/2 are left to net/http.
func TestHTTP1(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.Proto, body)
	})
	for _, secure := range []bool{false, true} {
		srv := transport{engine: true, tls: secure}.start(t, h2.Config{Handler: handler, HeaderTimeout: time.Second})
		transport := &http.Transport{
			Protocols:       new(http.Protocols),
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // Tests make their own certificates.
		}
		transport.Protocols.SetHTTP1(true)
		t.Cleanup(transport.CloseIdleConnections)
		for range 3 {
			resp, err := (&http.Client{Transport: transport}).Post(srv.url, "", strings.NewReader("PRI"))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(body) != "HTTP/1.1 PRI" {
				t.Errorf("got %q", body)
			}
		}
	}
}

// TestPrefaceInParts sends the preface byte by byte, and other first lines.
func TestPrefaceInParts(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	p := connectTo(t, srv.addr)
	for _, b := range []byte(http2.ClientPreface) {
		_, err := p.conn.Write([]byte{b})
		p.must(err)
	}
	p.must(p.WriteSettings())
	p.alive()
	for start, want := range map[string]string{
		"P": "HTTP/1.1 200 OK",
		"PRI * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n": "HTTP/1.1 ",
		"BROKEN PREFACE\r\n\r\n":                             "\x00\x00",
		"PRI * HTTP/2.0\r\n\r\nXX\r\n\r":                     "",
	} {
		conn := connectTo(t, srv.addr).conn
		_, _ = io.WriteString(conn, start)
		if start == "P" {
			_, _ = io.WriteString(conn, "UT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
		_, _ = io.WriteString(conn, "\r\n")
		answer, _ := io.ReadAll(conn)
		if !strings.HasPrefix(string(answer), want) {
			t.Errorf("%q is answered %q", start, answer)
		}
	}
}
