package auth

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/reflect/protoreflect"

	userv1 "github.com/example/userd/gen/user/v1"
	adminv1 "github.com/example/userd/gen/userd/admin/v1"
	"github.com/example/userd/server/failure"
)

// sum is the credential of a token.
func sum(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// file is a file of principals that can change.
type file struct {
	path     string
	log      strings.Builder
	registry *prometheus.Registry
}

func (f *file) write(tb testing.TB, lines ...string) {
	tb.Helper()
	if err := os.WriteFile(f.path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// open returns an Authorizer for a file with these lines.
func open(tb testing.TB, lines ...string) (*Authorizer, *file) {
	tb.Helper()
	f := &file{path: filepath.Join(tb.TempDir(), "auth"), registry: prometheus.NewRegistry()}
	f.write(tb, lines...)
	a, err := New(Config{File: f.path, Logger: slog.New(slog.NewTextHandler(&f.log, nil)), Registry: f.registry})
	if err != nil {
		tb.Fatal(err)
	}
	return a, f
}

// gather is what a metric shows, by the value of its label.
func gather(tb testing.TB, registry *prometheus.Registry, name string) map[string]float64 {
	tb.Helper()
	families, err := registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	values := make(map[string]float64)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			label := ""
			for _, pair := range metric.GetLabel() {
				label = pair.GetValue()
			}
			if family.GetName() == name {
				values[label] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	return values
}

// who is who a caller with a header is, or the kind of the refusal.
func who(ctx context.Context, a *Authorizer, need Scope, header ...string) string {
	grant, refusal := a.Authorize(ctx, need, header, nil)
	if refusal != nil {
		return refusal.kind
	}
	return grant.Principal.Name
}

// Every RPC has a scope of its own: one that was forgotten would be for operators only.
func TestEveryRPCHasAScope(t *testing.T) {
	t.Parallel()
	rpcs := 0
	for _, services := range []protoreflect.ServiceDescriptors{
		userv1.File_user_v1_user_service_proto.Services(), adminv1.File_userd_admin_v1_status_proto.Services(),
	} {
		methods := services.Get(0).Methods()
		for i := range methods.Len() {
			procedure := fmt.Sprintf("/%s/%s", methods.Get(i).Parent().FullName(), methods.Get(i).Name())
			if _, ok := procedureScopes[procedure]; !ok {
				t.Errorf("%s has no scope", procedure)
			}
		}
		rpcs += methods.Len()
	}
	if rpcs != len(procedureScopes) {
		t.Errorf("there are %d RPCs and scopes for %d", rpcs, len(procedureScopes))
	}
	for procedure, want := range map[string]Scope{
		"/grpc.health.v1.Health/Check":                                   Public,
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      AnyPrincipal,
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": AnyPrincipal,
		"/user.v1.UserService/DropAllUsers":                              Admin,
		"/other.v1.Service/Call":                                         Admin,
	} {
		if got := ScopeOf(procedure); got != want {
			t.Errorf("%s needs %q, want %q", procedure, got, want)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	good := sum("one")
	for name, test := range map[string]struct{ text, want string }{
		"empty":             {"", ""},
		"comments":          {"# all\n\n  # of it\nbilling " + good + " users.read # nightly\n", ""},
		"windows":           {"billing " + good + " users.read\r\n", ""},
		"no end of line":    {"billing\t" + good + "\tusers.read,users.list", ""},
		"upper case":        {"billing sha256:" + strings.ToUpper(good[7:]) + " users.read", ""},
		"certificate":       {"billing cert:billing.internal users.read\nbilling cert:spiffe://example.org/billing users.read", ""},
		"rotation":          {"billing " + good + " users.read\nbilling " + sum("two") + " users.read", ""},
		"two parts":         {"# who\nbilling " + good, "line 2: it has 2 parts"},
		"blank in scopes":   {"billing " + good + " users.read, users.list", "line 1: it has 4 parts"},
		"token for hash":    {"billing " + secretToken + " users.read", "line 1: the credential must be sha256:"},
		"token with prefix": {"billing sha256:" + secretToken + " users.read", "line 1: the credential must be sha256:"},
		"short hash":        {"billing " + good[:70] + " users.read", "line 1: the credential must be sha256:"},
		"long hash":         {"billing " + good + "00 users.read", "line 1: the credential must be sha256:"},
		"odd hash":          {"billing " + good + "0 users.read", "line 1: the credential must be sha256:"},
		"hash alone":        {"billing " + good[len(hashPrefix):] + " users.read", "line 1: the credential must be sha256:"},
		"no name":           {"billing cert: users.read", "line 1: the credential must be sha256:"},
		"unknown scope":     {"\nbilling " + good + " users.read,users.reed", "line 2: scopes must be of users.read, "},
		"token as scope":    {"billing " + good + " " + secretToken, "line 1: scopes must be of users.read, "},
		"any":               {"billing " + good + " any", "line 1: scopes must be of users.read, "},
		"no scope":          {"billing " + good + " ,", "line 1: scopes must be of users.read, "},
		"token as name":     {secretToken + `"` + " " + good + " users.read", "line 1: the name must be"},
		"twice":             {"a " + good + " users.read\nb " + good + " admin", "line 2: another line has this credential"},
		"one name twice":    {"a cert:Billing.internal. admin\nb cert:billing.internal admin", "line 2: another line has this credential"},
		"of another kind":   {"\x00\xff\xfe", "line 1: it has 1 parts"},
	} {
		_, err := parse(test.text)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)):
			t.Errorf("%s: error is %v, want %s", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), secretToken) {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
}

const secretToken = "userd_hush"

func FuzzFile(f *testing.F) {
	f.Add("billing " + sum("one") + " users.read\n# no\nb cert:x admin")
	f.Add("billing sha256:zz users.read")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parse(text)
		if (p == nil) == (err == nil) {
			t.Fatalf("%v and %v", p, err)
		}
	})
}

func TestTokens(t *testing.T) {
	t.Parallel()
	ctx := ConnContext(t.Context(), nil)
	a, _ := open(t, "billing "+sum("one")+" users.read,users.list", "ops "+sum("two")+" admin")
	for range 2 { // The connection remembers the last one.
		for _, test := range []struct {
			need   Scope
			header []string
			want   string
		}{
			{UsersRead, []string{"Bearer one"}, "billing"},
			{UsersRead, []string{"bearer   one"}, "billing"},
			{UsersList, []string{"Bearer one"}, "billing"},
			{UsersWrite, []string{"Bearer one"}, "scope"},
			{Admin, []string{"Bearer one"}, "scope"},
			{AnyPrincipal, []string{"Bearer one"}, "billing"},
			{UsersRead, []string{"Bearer two"}, "scope"},
			{Admin, []string{"Bearer two"}, "ops"},
			{UsersRead, nil, "missing"},
			{AnyPrincipal, nil, "missing"},
			{UsersRead, []string{""}, "malformed"},
			{UsersRead, []string{"one"}, "malformed"},
			{UsersRead, []string{"Bearer"}, "malformed"},
			{UsersRead, []string{"Bearer "}, "malformed"},
			{UsersRead, []string{"Bearer one two"}, "malformed"},
			{UsersRead, []string{"Bearer one,"}, "malformed"},
			{UsersRead, []string{"Bearer öne"}, "malformed"},
			{UsersRead, []string{"Basic b25lOg=="}, "malformed"},
			{UsersRead, []string{"Bearer " + strings.Repeat("x", maxTokenBytes+1)}, "malformed"},
			{UsersRead, []string{"Bearer one", "Bearer one"}, "malformed"},
			{UsersRead, []string{"Bearer onf"}, "unknown"},
			{UsersRead, []string{"Bearer One"}, "unknown"},
			{UsersRead, []string{"Bearer " + strings.Repeat("x", maxTokenBytes)}, "unknown"},
			{UsersRead, []string{"Bearer a.b.c"}, "unknown"},             // No key is missing where there are to be none.
			{UsersRead, []string{"Bearer " + sum("one")[7:]}, "unknown"}, // Whoever has read the file has no token.
		} {
			if got := who(ctx, a, test.need, test.header...); got != test.want {
				t.Errorf("%.60q for %s: %s, want %s", test.header, test.need, got, test.want)
			}
		}
	}
}

// certified is a connection of a client that has shown a certificate.
func certified(until time.Time, uri string, names ...string) *tls.ConnectionState {
	leaf := &x509.Certificate{DNSNames: names, NotAfter: until}
	if parsed, err := url.Parse(uri); err == nil && uri != "" {
		leaf.URIs = []*url.URL{parsed}
	}
	return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	a, _ := open(t, "billing cert:billing.internal users.read", "mesh cert:spiffe://example.org/Mesh users.read", "ops "+sum("one")+" users.read")
	later := time.Now().Add(time.Hour)
	unverified := certified(later, "", "billing.internal")
	unverified.VerifiedChains = nil
	for name, test := range map[string]struct {
		state  *tls.ConnectionState
		header []string
		want   string
	}{
		"name":             {certified(later, "", "Billing.Internal"), nil, "billing"},
		"second name":      {certified(later, "", "other.internal", "billing.internal"), nil, "billing"},
		"uri":              {certified(later, "spiffe://example.org/Mesh"), nil, "mesh"},
		"uri in lower":     {certified(later, "spiffe://example.org/mesh"), nil, "unknown"},
		"uri as a name":    {certified(later, "", "spiffe://example.org/Mesh"), nil, "mesh"},
		"other":            {certified(later, "", "evil.internal"), nil, "unknown"},
		"wildcard":         {certified(later, "", "*.internal"), nil, "unknown"},
		"no name":          {certified(later, ""), nil, "unknown"},
		"no certificate":   {&tls.ConnectionState{}, nil, "missing"},
		"unverified":       {unverified, nil, "missing"},
		"expired":          {certified(time.Now().Add(-time.Second), "", "billing.internal"), nil, "expired"},
		"and token":        {certified(later, "", "billing.internal"), []string{"Bearer one"}, "ops"},
		"and wrong token":  {certified(later, "", "billing.internal"), []string{"Bearer two"}, "unknown"},
		"and broken token": {certified(later, "", "billing.internal"), []string{"Basic eA=="}, "malformed"},
	} {
		grant, refusal := a.Authorize(t.Context(), UsersRead, test.header, test.state)
		got := ""
		if refusal != nil {
			got = refusal.kind
		} else {
			got = grant.Principal.Name
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// A removed token is worthless, also where it is remembered, and so is what it has lost.
func TestReloadMakesGrantsWorthless(t *testing.T) {
	t.Parallel()
	ctx := ConnContext(t.Context(), nil)
	one, two := "billing "+sum("one")+" users.read", "billing "+sum("two")+" users.read"
	a, f := open(t, one, two)
	grant, _ := a.Authorize(ctx, UsersRead, []string{"Bearer one"}, nil)
	if !grant.Valid() {
		t.Fatal("a new grant is not valid")
	}
	f.write(t, two)
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if grant.Valid() {
		t.Error("the grant of a removed token is valid")
	}
	if got := who(ctx, a, UsersRead, "Bearer one"); got != "unknown" {
		t.Errorf("a removed token is of %s", got)
	}
	if got := who(ctx, a, UsersRead, "Bearer two"); got != "billing" {
		t.Errorf("a token that stays is of %s", got)
	}
	f.write(t, strings.ReplaceAll(two, "users.read", "users.list"))
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := who(ctx, a, UsersRead, "Bearer two"); got != "scope" {
		t.Errorf("a scope that was taken away: %s", got)
	}
}

// What is in the middle of being written does not count: only what is read twice does.
func TestChangesCountAtTheSecondLook(t *testing.T) {
	t.Parallel()
	one := "billing " + sum("one") + " users.read"
	a, f := open(t, one)
	steps := []struct {
		lines []string
		want  string
	}{
		{[]string{one}, "billing"},
		{nil, "billing"}, // Somebody writes it anew.
		{[]string{one}, "billing"},
		{[]string{one}, "billing"},
		{[]string{"# none"}, "billing"},
		{[]string{"# none"}, "unknown"},
		{[]string{one}, "unknown"},
		{[]string{one}, "billing"},
	}
	for i, step := range steps {
		f.write(t, step.lines...)
		a.look()
		if got := who(t.Context(), a, UsersRead, "Bearer one"); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}

// A broken file keeps the principals, and is in the log once.
func TestBrokenFileKeepsThePrincipals(t *testing.T) {
	t.Parallel()
	one := "billing " + sum("one") + " users.read"
	a, f := open(t, one)
	looks := func(broken float64, logged string) {
		t.Helper()
		for range 4 {
			a.look()
		}
		if got := who(t.Context(), a, UsersRead, "Bearer one"); got != "billing" {
			t.Errorf("the token is of %s", got)
		}
		if got := gather(t, f.registry, "userd_auth_file_broken")[""]; got != broken {
			t.Errorf("userd_auth_file_broken is %v, want %v", got, broken)
		}
		if lines := strings.Count(f.log.String(), "\n"); lines > 1 || !strings.Contains(f.log.String(), logged) {
			t.Errorf("the log is %s, want one line with %s", f.log.String(), logged)
		}
		f.log.Reset()
	}
	looks(0, "")
	f.write(t, one, "billing "+secretToken+" users.read")
	looks(1, "line 2: the credential")
	looks(1, "")
	f.write(t, one, "", "billing "+secretToken+" users.read")
	looks(1, "line 3: the credential")
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	looks(1, "no such file")
	if err := os.Mkdir(f.path, 0o700); err != nil {
		t.Fatal(err)
	}
	looks(1, "is a directory")
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	f.write(t, one)
	looks(0, "again")
}

func TestNewNeedsAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "auth")
	if _, err := New(Config{File: path}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(path, []byte("billing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{File: path}); err == nil || !strings.Contains(err.Error(), "auth: line 1: it has 1 parts") {
		t.Errorf("with a broken file: %v", err)
	}
}

// grantForAnHour is that of a caller whose certificate ends then.
func grantForAnHour(t *testing.T) (*Authorizer, *Grant) {
	t.Helper()
	a, _ := open(t, "billing cert:billing.internal users.list")
	grant, refusal := a.Authorize(t.Context(), UsersList, nil, certified(time.Now().Add(time.Hour), "", "billing.internal"))
	if refusal != nil {
		t.Fatal(refusal.kind)
	}
	return a, grant
}

// A stream ends with its certificate.
func TestStreamsEndWithTheirCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, grant := grantForAnHour(t)
		began, ended := time.Now(), make(chan time.Time, 1)
		stop := a.Follow(grant, UsersList, func() { ended <- time.Now() })
		defer stop()
		if after := (<-ended).Sub(began).Round(time.Second); after != time.Hour {
			t.Errorf("the stream ended after %s, want an hour", after)
		}
		if grant.Valid() {
			t.Error("the grant of an expired certificate is valid")
		}
	})
}

// It ends with its certificate also where the clock is set meanwhile.
func TestStreamsEndWhateverTheClockDoes(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]time.Duration{"back": -time.Second, "forward": 30 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, grant := grantForAnHour(t)
				began, ended := time.Now(), make(chan time.Time, 1)
				defer a.Follow(grant, UsersList, func() { ended <- time.Now() })()
				a.mu.Lock()
				grant.credential.until -= int64(set / time.Second) // For timers it is that which changes.
				a.mu.Unlock()
				select {
				case end := <-ended:
					if late := end.Sub(began) - (time.Hour - set); late < 0 || late > expiryInterval {
						t.Errorf("the stream ended %s after its certificate", late)
					}
				case <-time.After(2 * time.Hour):
					t.Error("the stream goes on without a certificate")
				}
			})
		})
	}
}

// Streams end when their credentials do, and not before.
func TestStreamsEndWithTheirCredentials(t *testing.T) {
	t.Parallel()
	one, two := "billing "+sum("one")+" users.list", "ops "+sum("two")+" users.list"
	a, f := open(t, one, two)
	ended := make(chan string, 10)
	follow := func(token string) func() {
		grant, refusal := a.Authorize(t.Context(), UsersList, []string{"Bearer " + token}, nil)
		if refusal != nil {
			t.Fatal(refusal.kind)
		}
		return a.Follow(grant, UsersList, func() { ended <- token })
	}
	change := func(lines ...string) {
		f.write(t, lines...)
		if err := a.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	stopOne, stopTwo := follow("one"), follow("two")
	late, _ := a.Authorize(t.Context(), UsersList, []string{"Bearer one"}, nil)
	change("# Others", two, one)
	change(two)
	if got := <-ended; got != "one" {
		t.Errorf("%s has ended, want one", got)
	}
	stopTwo()
	if len(a.streams) > 0 {
		t.Errorf("%d streams are followed that have ended", len(a.streams))
	}
	change("# nobody")
	stopOne()
	a.Follow(late, UsersList, func() { ended <- "late" })()
	if got := <-ended; got != "late" || len(ended) > 0 {
		t.Errorf("%s and %d others have ended, want the one that began with a grant of before", got, len(ended))
	}
	if len(a.streams) > 0 {
		t.Errorf("%d streams are still followed", len(a.streams))
	}
}

// A call that ends while its stream is ended waits for that: it needs what is gone after the call.
func TestCallsWaitForTheEndOfTheirStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, grant := grantForAnHour(t)
		ending, left := make(chan struct{}), make(chan struct{})
		stop := a.Follow(grant, UsersList, func() { <-ending })
		time.Sleep(time.Hour + time.Second)
		go func() {
			defer close(left)
			stop()
		}()
		synctest.Wait()
		select {
		case <-left:
			t.Error("the call has ended before")
		default:
		}
		close(ending)
		<-left
	})
}

func TestNewTokens(t *testing.T) {
	t.Parallel()
	token := NewToken()
	text, found := strings.CutPrefix(token, "userd_")
	if !found || len(text) != 39 || token == NewToken() {
		t.Fatalf("token is %s", token)
	}
	check, err := tokenEncoding.DecodeString(text[32:])
	if want := crc32.ChecksumIEEE([]byte(text[:32])); err != nil || hex.EncodeToString(check) != fmt.Sprintf("%08x", want) {
		t.Errorf("checksum is %x, want %08x: %v", check, want, err)
	}
	line, err := Line("billing", token, []Scope{UsersRead, UsersList})
	if err != nil || !strings.HasSuffix(line, " users.read,users.list") {
		t.Fatalf("%s, error %v", line, err)
	}
	a, _ := open(t, line)
	if got := who(t.Context(), a, UsersList, "Bearer "+token); got != "billing" {
		t.Errorf("a new token is of %s", got)
	}
	if _, err := Line("two words", token, nil); err == nil {
		t.Error("a name may have a blank")
	}
}

func TestWrongCredentialsAreSlowedDown(t *testing.T) {
	t.Parallel()
	var s slowdown
	now := time.Unix(1_800_000_000, 0)
	from := networkOf("192.0.2.1:5000")
	for i := range maxWaiting {
		want := min(max(0, time.Duration(i-63)*100*time.Millisecond), time.Second)
		if got := s.add(from, now); got != want {
			t.Errorf("failure %d waits %s, want %s", i, got, want)
		}
	}
	if s.waiting != maxWaiting-freeFailures {
		t.Errorf("%d answers wait", s.waiting)
	}
	if got := s.add(networkOf("192.0.2.2:5000"), now); got != 0 {
		t.Errorf("another address waits %s", got)
	}
	if got := s.add(from, now); got != maxWait {
		t.Errorf("with failures of another address it waits %s", got)
	}
	if got := s.add(from, now.Add(10*time.Second)); got != 0 {
		t.Errorf("after ten seconds it waits %s", got)
	}
	for i := range 3 * maxNetworks {
		s.add(networkOf(fmt.Sprintf("[2001:db8:%x:%x::1]:80", i>>8, i&0xff)), now)
	}
	if len(s.due) > maxNetworks {
		t.Errorf("%d addresses are remembered", len(s.due))
	}
	s = slowdown{waiting: maxWaiting}
	for range 100 {
		if got := s.add(from, now); got != 0 {
			t.Fatalf("one more waits %s than there is room for", got)
		}
	}
}

// Whoever is refused again and again for wrong credentials waits, unless they go; others do not.
func TestRefusalsWait(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		why  *Refusal
		gone bool
		want time.Duration // In all.
	}{
		"unknown":           {unknown, false, 3 * failureInterval},
		"malformed":         {malformed, false, 3 * failureInterval},
		"of an unknown key": {unknownKey, false, 3 * failureInterval},
		"gone":              {unknown, true, 0},
		"missing":           {missing, false, 0},
		"expired":           {expiredToken, false, 0},
		"without the scope": {missingScopes[Admin], false, 0},
		"without keys":      {noKeys, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, _ := open(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if test.gone {
					cancel()
				}
				began := time.Now()
				for range freeFailures {
					a.Refuse(ctx, "192.0.2.1:80", test.why)
				}
				if waited := time.Since(began); waited != 0 {
					t.Errorf("the first ones wait %s", waited)
				}
				for range 3 {
					a.Refuse(ctx, "192.0.2.1:80", test.why)
				}
				if waited := time.Since(began); waited != test.want || a.late.waiting != 0 {
					t.Errorf("they wait %s, want %s, and %d wait still", waited, test.want, a.late.waiting)
				}
			})
		})
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1/32", "[::ffff:192.0.2.1]:80": "192.0.2.1/32", "[2001:db8::1]:80": "2001:db8::/64",
		"[fe80::1%eth0]:80": "fe80::/64", "@": "invalid Prefix", "": "invalid Prefix",
	} {
		if got := networkOf(remote).String(); got != want {
			t.Errorf("%s is of %s, want %s", remote, got, want)
		}
	}
}

// Refusals name what is missing, and nobody.
func TestRefusalsAreCounted(t *testing.T) {
	t.Parallel()
	a, f := open(t, "billing "+sum("one")+" users.read")
	_, refusal := a.Authorize(t.Context(), UsersWrite, []string{"Bearer one"}, nil)
	if text := refusal.Status.Message(); !strings.Contains(text, "users.write") || strings.Contains(text, "billing") {
		t.Errorf("text is %s", text)
	}
	a.Refuse(t.Context(), "192.0.2.1:80", refusal)
	a.Refuse(t.Context(), "192.0.2.1:80", unknown)
	want := map[string]float64{"claims": 0, "early": 0, "keys": 0, "expired": 0, "malformed": 0, "missing": 0, "scope": 1, "unknown": 1}
	if got := gather(t, f.registry, "userd_auth_refused_total"); !maps.Equal(got, want) {
		t.Errorf("refused are %v, want %v", got, want)
	}
	if len(a.late.due) != 1 {
		t.Error("a caller without a scope counts as one who tries tokens")
	}
	if refusal.Status.Reason != failure.MissingScope("").Reason || refusal.Status.Code != failure.MissingScope("").Code {
		t.Errorf("status is %+v", refusal.Status)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	a, _ := open(b, "billing "+sum(NewToken())+" users.read", "ops "+sum("userd_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbb")+" users.read")
	header := []string{"Bearer userd_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbb"}
	for name, ctx := range map[string]context.Context{"remembered": ConnContext(b.Context(), nil), "anew": b.Context()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, refusal := a.Authorize(ctx, UsersRead, header, nil); refusal != nil {
					b.Fatal(refusal.kind)
				}
			}
		})
	}
	b.Run("valid", func(b *testing.B) {
		grant, _ := a.Authorize(b.Context(), UsersRead, header, nil)
		b.ReportAllocs()
		for b.Loop() {
			if !grant.Valid() {
				b.Fatal("not valid")
			}
		}
	})
}
