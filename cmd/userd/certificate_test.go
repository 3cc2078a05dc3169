package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/cmd/userd/userdtest"
)

// keyPair is a certificate in two files.
type keyPair struct{ cert, key string }

func newKeyPair(t *testing.T) keyPair {
	t.Helper()
	dir := t.TempDir()
	return keyPair{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
}

func (k keyPair) flags() []string { return []string{"--tls-cert", k.cert, "--tls-key", k.key} }

// write makes a new certificate for users.example.com.
func (k keyPair) write(t *testing.T, serial int64, from, until time.Time) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: from, NotAfter: until, DNSNames: []string{"users.example.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{k.cert: {Type: "CERTIFICATE", Bytes: der}, k.key: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// startReading is startUserd that returns the log.
func startReading(t *testing.T, flags ...string) (*process, *bufio.Reader) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	defer writer.Close()
	p := startLogging(t, writer, append(flags, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))...)
	return p, bufio.NewReader(reader)
}

// hangUp sends SIGHUP and returns what the log says of it.
func hangUp(t *testing.T, p *process, log *bufio.Reader) string {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	return waitForLine(t, log, "SIGHUP")
}

// waitForLine returns the next line of a log with a text in it.
func waitForLine(t *testing.T, log *bufio.Reader, text string) string {
	t.Helper()
	for {
		line, err := log.ReadString('\n')
		if err != nil {
			t.Fatalf("the log has no line with %q: %v", text, err)
		}
		if strings.Contains(line, text) {
			return line
		}
	}
}

// serial is that of the certificate which a new connection gets to see.
func serial(t *testing.T, url string) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true}) // It is looked at here.
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestHangupReadsTheCertificateAgain(t *testing.T) {
	t.Parallel()
	pair := newKeyPair(t)
	expiry := time.Now().Add(time.Hour).Truncate(time.Second)
	pair.write(t, 1, time.Now().Add(-time.Hour), expiry)
	p, log := startReading(t, pair.flags()...)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // Tests make their own certificates.
	connected := func() int64 {
		resp, err := client.Get(p.url + "/livez")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	connected()
	checkMetric(t, p, "userd_tls_certificate_expiry_timestamp_seconds", expiry)

	pair.write(t, 2, time.Now().Add(-time.Hour), expiry.Add(time.Hour))
	if line := hangUp(t, p, log); !strings.Contains(line, "read the TLS certificate again") {
		t.Errorf("the log says %s", line)
	}
	if got := serial(t, p.url); got != 2 {
		t.Errorf("a new connection sees certificate %d, want 2", got)
	}
	if got := connected(); got != 1 {
		t.Errorf("the connection from before sees certificate %d: it was closed", got)
	}
	checkMetric(t, p, "userd_tls_certificate_expiry_timestamp_seconds", expiry.Add(time.Hour))

	other := newKeyPair(t)
	other.write(t, 3, time.Now(), expiry)
	if err := os.Rename(other.key, pair.key); err != nil {
		t.Fatal(err)
	}
	if line := hangUp(t, p, log); !strings.Contains(line, "stays as it was") || !strings.Contains(line, "private key does not match") {
		t.Errorf("the log says %s", line)
	}
	if got := serial(t, p.url); got != 2 {
		t.Errorf("after a broken pair a new connection sees certificate %d, want 2", got)
	}
	if err := p.stop(t); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// A certificate that is replaced while the server runs is read within a second, without being
// told; one that expires is told, once.
func TestNewCertificateIsNoticed(t *testing.T) {
	t.Parallel()
	pair := newKeyPair(t)
	pair.write(t, 1, time.Now().Add(-time.Hour), time.Now().Add(2*time.Second))
	p, log := startReading(t, pair.flags()...)
	waitForLine(t, log, "the TLS certificate has expired")
	pair.write(t, 2, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	waitForLine(t, log, "its files have changed: read the TLS certificate again")
	if got := serial(t, p.url); got != 2 {
		t.Errorf("a new connection sees certificate %d, want 2", got)
	}
	if err := os.WriteFile(pair.key, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	waitForLine(t, log, "its files have changed: the TLS certificate stays as it was")
	if got := serial(t, p.url); got != 2 {
		t.Errorf("with a broken key a new connection sees certificate %d, want 2", got)
	}
	pair.write(t, 3, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	waitForLine(t, log, "its files have changed: read the TLS certificate again")
	if err := p.stop(t); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// A clock that was ahead for a moment does not keep the log from telling when it comes to that.
func TestCertificateThatSeemedToExpireIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pair := newKeyPair(t)
		end := time.Now().Add(time.Hour)
		pair.write(t, 1, time.Now().Add(-time.Hour), end)
		c, err := loadCertificate(pair.cert, pair.key, "")
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		c.check(logger, end.Add(time.Second), nil)
		c.look(logger, nil)
		time.Sleep(2 * time.Hour)
		for range 2 {
			c.look(logger, nil)
		}
		if told := strings.Count(log.String(), "the TLS certificate has expired"); told != 2 {
			t.Errorf("that it has expired is told %d times, want 2", told)
		}
	})
}

func TestHangupWithoutACertificateChangesNothing(t *testing.T) {
	t.Parallel()
	p, log := startReading(t)
	for range 2 {
		if line := hangUp(t, p, log); !strings.Contains(line, `"level":"INFO"`) {
			t.Errorf("the log says %s", line)
		}
		callLoudly(t, p.url, 1)
	}
	if err := p.stop(t); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func TestCertificateThatClientsRefuseIsSaid(t *testing.T) {
	t.Parallel()
	for text, test := range map[string]struct {
		from, until time.Duration
		flags       []string
	}{
		"the TLS certificate has expired":                        {-2 * time.Hour, -time.Hour, nil},
		"the TLS certificate is not valid yet":                   {time.Hour, 2 * time.Hour, nil},
		"the TLS certificate is not valid for an --allowed-host": {-time.Hour, time.Hour, []string{"--allowed-host", "users.example.com,other.example.com"}},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			pair := newKeyPair(t)
			from := time.Now().Add(test.from).Truncate(time.Second)
			pair.write(t, 1, from, time.Now().Add(test.until))
			p, log := startReading(t, append(pair.flags(), test.flags...)...)
			if line := waitForLine(t, log, "the TLS certificate"); !strings.Contains(line, text) || strings.Contains(line, "users.example.com") {
				t.Errorf("the log says %s", line)
			}
			checkMetric(t, p, "userd_tls_certificate_not_before_timestamp_seconds", from)
		})
	}
}

// With TLS the names of the certificate are the server's own: no browser lets a page
// of another name reach it.
func TestNamesOfTheCertificateAreAnswered(t *testing.T) {
	t.Parallel()
	pair := newKeyPair(t)
	pair.write(t, 1, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	p, _ := startReading(t, pair.flags()...)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // Tests make their own certificates.
	for host, want := range map[string]int{"users.example.com": http.StatusOK, "evil.example": http.StatusMisdirectedRequest} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/openapi.json", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d", host, resp.StatusCode, want)
		}
	}
}

// checkMetric checks that a metric is a time.
func checkMetric(t *testing.T, p *process, name string, want time.Time) {
	t.Helper()
	for line := range strings.Lines(userdtest.Get(t, "http://"+p.adminHost+"/metrics")) {
		var got float64
		if n, _ := fmt.Sscanf(line, name+" %g", &got); n == 1 {
			if int64(got) != want.Unix() {
				t.Errorf("%s is %v, want %d", name, got, want.Unix())
			}
			return
		}
	}
	t.Errorf("there is no metric %s", name)
}
