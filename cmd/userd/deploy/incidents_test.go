package deploy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/example/userd/cmd/userd/userdtest"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/store/storetest/transcript"
)

// incident is a server to which something happens, with a Prometheus that looks at it.
type incident struct {
	*prometheus
	server *userdtest.Userd
	client userv1connect.UserServiceClient
	log    *transcript.Log
	lines  []*regexp.Regexp // Of the runbook, that have not been seen.
	read   int              // Bytes of the log before the last line that was seen.
}

// play starts a server for a section of the runbook.
func play(t *testing.T, section string, start func(log *transcript.Log) *userdtest.Userd) *incident {
	t.Helper()
	i := &incident{log: new(transcript.Log), lines: linesOf(t, section)}
	i.server = start(i.log)
	i.client = newClient(t, i.server, "")
	i.prometheus = startPrometheus(t, i.server, "")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s:\n%s", section, i.log)
		}
	})
	return i
}

// linesOf are the lines of the log that a section of the runbook quotes, in their order. What
// differs from one time to the next is an ellipsis there.
func linesOf(t *testing.T, section string) []*regexp.Regexp {
	t.Helper()
	_, text, found := strings.Cut(readFile(t, "RUNBOOK.md"), "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	var lines []*regexp.Regexp
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, `{"time":`) {
			pattern := strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")
			lines = append(lines, regexp.MustCompile("(?m)^"+pattern+"$"))
		}
	}
	if !found || len(lines) < 2 {
		t.Fatalf("the section %q of the runbook quotes %d lines", section, len(lines))
	}
	return lines
}

// seen returns when the next so many lines of the runbook are in the log, in any order among
// themselves, after those that were seen before.
func (i *incident) seen(lines int) {
	i.t.Helper()
	from := i.read
	for _, line := range i.lines[:lines] {
		i.await("the log says "+line.String(), func() bool {
			at := line.FindStringIndex(i.log.String()[from:])
			if at != nil {
				i.read = max(i.read, from+at[1])
			}
			return at != nil
		})
	}
	i.lines = i.lines[lines:]
}

// over checks that the runbook quotes no more than was seen.
func (i *incident) over() {
	i.t.Helper()
	for _, line := range i.lines {
		i.t.Errorf("the runbook has a line that nothing was waited for: %s", line)
	}
}

// create makes a user, and returns whether that was done.
func (i *incident) create(ctx context.Context, name string) error {
	_, err := i.client.CreateUser(ctx, &userv1.CreateUserRequest{Email: name + "@example.com", DisplayName: name})
	return err
}

// goOn makes calls from so many callers, each again and again, until stop is called.
func (i *incident) goOn(callers int, call func(ctx context.Context, n int)) (stop func()) {
	ctx, cancel := context.WithCancel(i.t.Context())
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for n := caller; ctx.Err() == nil; n += callers {
				call(ctx, n)
			}
		})
	}
	return func() {
		cancel()
		group.Wait()
	}
}

func TestIncidentOverload(t *testing.T) {
	t.Parallel()
	i := play(t, "Overload", func(log *transcript.Log) *userdtest.Userd {
		return userdtest.StartLogging(t, log, "--max-concurrent-streams", "200")
	})
	searches := i.goOn(100, func(ctx context.Context, _ int) {
		_, _ = i.client.SearchUsers(ctx, &userv1.SearchUsersRequest{NameContains: "rare"})
	})
	i.awaitAlert("UserdOverloaded", true)
	i.seen(1)
	if err := i.create(t.Context(), "other"); err != nil {
		t.Errorf("a call of another class: %v", err)
	}
	searches()
	i.seen(1)
	i.awaitAlert("UserdOverloaded", false)
	i.over()
}

// writeCertificate makes a certificate that ends at a time, and its key, in one file.
func writeCertificate(t *testing.T, path string, until time.Time) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(until.UnixNano()), NotBefore: time.Now().AddDate(0, -2, 0), NotAfter: until, DNSNames: []string{"localhost"},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestIncidentCertificateExpired(t *testing.T) {
	t.Parallel()
	pair := filepath.Join(t.TempDir(), "pair.pem")
	writeCertificate(t, pair, time.Now().Add(24*time.Hour))
	i := play(t, "Certificate expired", func(log *transcript.Log) *userdtest.Userd {
		return userdtest.StartLogging(t, log, "--tls-cert", pair, "--tls-key", pair)
	})
	i.awaitAlert("UserdCertificateExpires", true)
	writeCertificate(t, pair, time.Now().Add(2*time.Second)) // Nobody waits for a day.
	i.awaitAlert("UserdCertificateExpired", true)
	i.seen(1)
	writeCertificate(t, pair, time.Now().Add(30*24*time.Hour))
	i.seen(1)
	i.awaitAlert("UserdCertificateExpired", false)
	i.awaitAlert("UserdCertificateExpires", false)
	i.over()
}
