package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/example/userd/cmd/userd/cli"
)

const (
	// connectTimeout is how long it may take to make a connection, and TLS on it.
	connectTimeout = 10 * time.Second
	// pingAfter is how long a connection may be silent before the server is asked whether it
	// is still there, and pingTimeout how long that answer may take.
	pingAfter   = 10 * time.Second
	pingTimeout = 10 * time.Second
	// askTimeout is how long it may take to find out that a server speaks TLS.
	askTimeout = 2 * time.Second
	// silence is how long a call may hear nothing. A watch is told something every ten
	// seconds. It is for what answers in the place of the server, such as a proxy.
	silence = time.Minute
)

// transport is how the server is reached.
func (t *target) transport(scheme string) (*http.Transport, error) {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetHTTP1(scheme == "https")
	protocols.SetUnencryptedHTTP2(scheme == "http")
	transport := &http.Transport{
		Protocols: protocols, HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: connectTimeout}).DialContext, TLSHandshakeTimeout: connectTimeout,
	}
	if t.ca == "" {
		return transport, nil
	}
	text, err := os.ReadFile(t.ca)
	if err != nil {
		return nil, cli.Wrong(fmt.Errorf("--tls-ca: %w", err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, cli.Wrong(fmt.Errorf("--tls-ca: %s has no certificate, PEM", t.ca))
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return transport, nil
}

// lostError is that nothing more is heard of the server: it was not to be reached, the
// connection was lost, or it is silent. All that can be over when a call is made again.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// errSilent is that nothing was heard for too long.
var errSilent = fmt.Errorf("nothing was heard for %v", silence)

// errSpeaksTLS is that a server hangs up because it is called without TLS.
var errSpeaksTLS = errors.New("it speaks TLS")

// attentive makes requests that end when nothing is heard. It tells what was lost from what
// has come and is wrong, which looks the same later.
type attentive struct{ next *http.Transport }

func (a attentive) RoundTrip(request *http.Request) (*http.Response, error) {
	began := time.Now()
	ctx, cancel := context.WithCancelCause(request.Context())
	e := &exchange{ctx: ctx, cancel: cancel, timer: time.AfterFunc(silence, func() { cancel(errSilent) })}
	request = request.WithContext(ctx)
	if request.ContentLength < 0 { // A stream, which may take its time.
		request.Body = sentBody{request.Body, e}
	}
	response, err := a.next.RoundTrip(request)
	e.timer.Stop()
	if err != nil {
		switch {
		case mistaken(err):
		case time.Since(began) < pingAfter && a.speaksTLS(request): // Who does hangs up at once.
			err = errSpeaksTLS
		default:
			err = e.lost(err)
		}
		cancel(nil)
		return nil, err
	}
	response.Body = heardBody{response.Body, e}
	return response, nil
}

// speaksTLS reports whether a server that is called without TLS takes a connection with it.
// Nothing is said there, so it does not matter whose certificate it has.
func (a attentive) speaksTLS(request *http.Request) bool {
	if request.URL.Scheme != "http" {
		return false
	}
	ctx, cancel := context.WithTimeout(request.Context(), askTimeout)
	defer cancel()
	address := net.JoinHostPort(request.URL.Hostname(), cmp.Or(request.URL.Port(), "80"))
	conn, err := a.next.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: request.URL.Hostname()}).HandshakeContext(ctx) == nil
}

// mistaken reports whether who answers is not who is called: its certificate is another one, or
// it has one where it is to have none, or the other way round.
func mistaken(err error) bool {
	return errors.Is(err, errSpeaksTLS) || errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(tls.RecordHeaderError)) ||
		errors.Is(err, http.ErrSchemeMismatch) // As which http.Client tells of that.
}

// exchange is a request and its answer.
type exchange struct {
	ctx    context.Context // Of the request.
	cancel context.CancelCauseFunc
	timer  *time.Timer // Runs while something is to be heard.
}

func (e *exchange) lost(err error) error {
	if errors.Is(context.Cause(e.ctx), errSilent) {
		err = errSilent
	}
	return lostError{err}
}

// sentBody is that of a request. As long as it is taken, the server hears.
type sentBody struct {
	io.ReadCloser
	*exchange
}

func (b sentBody) Read(into []byte) (int, error) {
	b.timer.Reset(silence)
	return b.ReadCloser.Read(into)
}

// heardBody is that of an answer.
type heardBody struct {
	io.ReadCloser
	*exchange
}

func (b heardBody) Read(into []byte) (int, error) {
	b.timer.Reset(silence)
	n, err := b.ReadCloser.Read(into)
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.lost(err)
	}
	return n, err
}

func (b heardBody) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}
