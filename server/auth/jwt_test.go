package auth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/server/auth/authtest"
)

// openKeys returns an Authorizer for the tokens of an issuer, whose keys are in a file.
func openKeys(tb testing.TB, issuer *authtest.Issuer) (*Authorizer, *file) {
	tb.Helper()
	f := &file{path: filepath.Join(tb.TempDir(), "keys"), registry: prometheus.NewRegistry()}
	f.write(tb, issuer.Set())
	a, err := New(Config{
		Keys: f.path, Issuer: authtest.Name, Audience: authtest.Audience,
		Logger: slog.New(slog.NewTextHandler(&f.log, nil)), Registry: f.registry,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return a, f
}

type claimSet = map[string]any

// Tokens are good for what they say, by every algorithm, and no other ones.
func TestJWT(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	for _, algorithm := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512", "EdDSA"} {
		issuer.Add(authtest.NewKey(t, algorithm, algorithm))
	}
	a, _ := openKeys(t, issuer)
	for _, algorithm := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		checkWho(t, a, algorithm, issuer.Key(algorithm).Sign(t, claimSet{"scope": "users.read"}), "somebody")
	}
	for _, algorithm := range []string{"first", "ES384", "ES512", "EdDSA"} {
		checkWho(t, a, algorithm, issuer.Key(algorithm).Sign(t, claimSet{"scope": "users.read"}), "somebody")
	}
	now := time.Now()
	for name, test := range map[string]struct {
		claims claimSet
		want   string
	}{
		"scope":                  {claimSet{"scope": "openid users.read  profile"}, "somebody"},
		"scopes":                 {claimSet{"scope": []string{"users.read"}}, "somebody"},
		"scp":                    {claimSet{"scp": []string{"openid", "users.read"}}, "somebody"},
		"scp as text":            {claimSet{"scp": "users.list users.read"}, "somebody"},
		"both":                   {claimSet{"scope": "users.read", "scp": "users.list"}, "somebody"},
		"no scope":               {claimSet{}, "scope"},
		"another scope":          {claimSet{"scope": "users.list"}, "scope"},
		"any":                    {claimSet{"scope": "any users.reader admin"}, "scope"},
		"scopes by commas":       {claimSet{"scope": "users.read,users.list"}, "scope"},
		"scope of no kind":       {claimSet{"scope": 7}, "unknown"},
		"list of audiences":      {claimSet{"scope": "users.read", "aud": []string{"x", authtest.Audience}}, "somebody"},
		"another audience":       {claimSet{"scope": "users.read", "aud": "x"}, "claims"},
		"no audience":            {claimSet{"scope": "users.read", "aud": nil}, "claims"},
		"another issuer":         {claimSet{"scope": "users.read", "iss": authtest.Name + "/"}, "claims"},
		"no issuer":              {claimSet{"scope": "users.read", "iss": nil}, "claims"},
		"no subject":             {claimSet{"scope": "users.read", "sub": nil}, "claims"},
		"empty subject":          {claimSet{"scope": "users.read", "sub": ""}, "claims"},
		"subject of two lines":   {claimSet{"scope": "users.read", "sub": "a\nb"}, "claims"},
		"long subject":           {claimSet{"scope": "users.read", "sub": strings.Repeat("x", 256)}, "claims"},
		"no end":                 {claimSet{"scope": "users.read", "exp": nil}, "claims"},
		"end as text":            {claimSet{"scope": "users.read", "exp": "never"}, "unknown"},
		"expired":                {claimSet{"scope": "users.read", "exp": now.Add(-61 * time.Second).Unix()}, "expired"},
		"expired in leeway":      {claimSet{"scope": "users.read", "exp": now.Add(-50 * time.Second).Unix()}, "somebody"},
		"early":                  {claimSet{"scope": "users.read", "nbf": now.Add(70 * time.Second).Unix()}, "early"},
		"early in leeway":        {claimSet{"scope": "users.read", "nbf": now.Add(50 * time.Second).Unix()}, "somebody"},
		"expired and for others": {claimSet{"aud": "x", "exp": now.Add(-time.Hour).Unix()}, "claims"},
	} {
		checkWho(t, a, name, issuer.Sign(t, test.claims), test.want)
	}
}

// checkWho checks whose a token is, with and without memory.
func checkWho(t *testing.T, a *Authorizer, name, token, want string) {
	t.Helper()
	ctx := ConnContext(t.Context(), nil)
	for range 2 {
		if got := who(ctx, a, UsersRead, "Bearer "+token); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// with is a token with another header, signed by a key as if it were of its algorithm.
func with(t *testing.T, method jwt.SigningMethod, secret any, header map[string]any, claims claimSet) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	for name, value := range header {
		token.Header[name] = value
	}
	text, err := token.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestForgedJWT(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	issuer.Add(authtest.NewKey(t, "rsa", "RS256"))
	a, _ := openKeys(t, issuer)
	good := claimSet{"iss": authtest.Name, "aud": authtest.Audience, "sub": "x", "scope": "users.read", "exp": time.Now().Add(time.Hour).Unix()}
	der, err := x509.MarshalPKIXPublicKey(issuer.Key("rsa").Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	parts := strings.Split(issuer.Sign(t, claimSet{"scope": "users.read"}), ".")
	stronger := strings.Split(issuer.Sign(t, claimSet{"scope": "users.read admin"}), ".")
	stranger := authtest.NewKey(t, "first", "ES256")
	unnamed := *issuer.Key("first")
	unnamed.ID = ""
	strangeJWK := map[string]any{"kid": "first", "jwk": map[string]any{"kty": "EC"}, "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/"}
	for name, test := range map[string]struct{ token, want string }{
		"none":                    {with(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, map[string]any{"kid": "first"}, good), "unknown"},
		"none in capitals":        {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"NONE","kid":"first"}`)) + "." + parts[1] + ".", "unknown"},
		"public key as a secret":  {with(t, jwt.SigningMethodHS256, der, map[string]any{"kid": "rsa"}, good), "unknown"},
		"PEM of it as a secret":   {with(t, jwt.SigningMethodHS256, asPEM, map[string]any{"kid": "rsa"}, good), "unknown"},
		"JWK set as a secret":     {with(t, jwt.SigningMethodHS512, []byte(issuer.Set()), map[string]any{"kid": "rsa"}, good), "unknown"},
		"id of another key":       {with(t, jwt.SigningMethodES256, issuer.Key("first").Private, map[string]any{"kid": "rsa"}, good), "unknown"},
		"algorithm of another":    {with(t, jwt.SigningMethodRS256, issuer.Key("rsa").Private, map[string]any{"kid": "first"}, good), "unknown"},
		"unknown id":              {with(t, jwt.SigningMethodES256, issuer.Key("first").Private, map[string]any{"kid": "second"}, good), "unknown"},
		"id that is no text":      {with(t, jwt.SigningMethodES256, stranger.Private, map[string]any{"kid": 1}, good), "unknown"},
		"no id":                   {unnamed.Sign(t, claimSet{"scope": "users.read"}), "somebody"}, // There is one for the algorithm.
		"key of a stranger":       {stranger.Sign(t, claimSet{"scope": "users.read"}), "unknown"},
		"key that it brings":      {with(t, jwt.SigningMethodES256, stranger.Private, strangeJWK, good), "unknown"},
		"critical extension":      {with(t, jwt.SigningMethodES256, issuer.Key("first").Private, map[string]any{"kid": "first", "crit": []string{"b64"}, "b64": false}, good), "unknown"},
		"other claims":            {parts[0] + "." + stronger[1] + "." + parts[2], "unknown"},
		"no signature":            {parts[0] + "." + parts[1] + ".", "unknown"},
		"signature of zeros":      {parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), "unknown"},
		"padded":                  {parts[0] + "." + parts[1] + "." + parts[2] + "==", "unknown"},
		"nothing":                 {"..", "unknown"},
		"four parts":              {strings.Join(parts, ".") + ".x", "unknown"},
		"8 KiB and more":          {issuer.Sign(t, claimSet{"scope": "users.read", "x": strings.Repeat("x", 8<<10)}), "malformed"},
		"16 KiB of dots":          {strings.Repeat(".", 16<<10), "malformed"},
		"large, but not too much": {issuer.Sign(t, claimSet{"scope": "users.read", "x": strings.Repeat("x", 5<<10)}), "somebody"},
	} {
		checkWho(t, a, name, test.token, test.want)
	}
	issuer.Add(authtest.NewKey(t, "second", "ES256"))
	if err := os.WriteFile(a.files[0].path, []byte(issuer.Set()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	checkWho(t, a, "no id, and two keys", unnamed.Sign(t, claimSet{"scope": "users.read"}), "unknown")
}

// twoKeys is a JWK set with a key of each of two issuers, all of the same id.
func twoKeys(a, b *authtest.Issuer) string {
	return strings.TrimSuffix(a.Set(), "]}") + "," + strings.TrimPrefix(b.Set(), `{"keys":[`)
}

// An issuer may give several keys one id, and list a key more than once.
func TestKeysOfOneID(t *testing.T) {
	t.Parallel()
	one, other, stranger := authtest.NewIssuer(t), authtest.NewIssuer(t), authtest.NewIssuer(t)
	read := claimSet{"scope": "users.read"}
	unnamed := *one.Key("first")
	unnamed.ID = ""
	renamed := authtest.NewIssuer(t)
	renamed.Remove("first")
	renamed.Add(&authtest.Key{ID: "second", Algorithm: unnamed.Algorithm, Private: unnamed.Private})
	for name, test := range map[string]struct{ set, one, other, unnamed string }{
		"same key":           {twoKeys(one, one), "somebody", "unknown", "somebody"},
		"same key, two ids":  {twoKeys(one, renamed), "somebody", "unknown", "somebody"},
		"two keys":           {twoKeys(one, other), "somebody", "somebody", "unknown"},
		"two keys, reversed": {twoKeys(other, one), "somebody", "somebody", "unknown"},
	} {
		a, f := openKeys(t, one)
		f.write(t, test.set)
		if err := a.Reload(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkWho(t, a, name, one.Sign(t, read), test.one)
		checkWho(t, a, name+", of the other", other.Sign(t, read), test.other)
		checkWho(t, a, name+", of a stranger", stranger.Sign(t, read), "unknown")
		checkWho(t, a, name+", without id", unnamed.Sign(t, read), test.unnamed)
	}
}

// A stream ends with the key that has signed its token, whatever others have its id.
func TestStreamsEndWithTheirKeyOfOneID(t *testing.T) {
	t.Parallel()
	one, other := authtest.NewIssuer(t), authtest.NewIssuer(t)
	a, f := openKeys(t, one)
	f.write(t, twoKeys(one, other))
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan *authtest.Issuer, 2)
	for _, issuer := range []*authtest.Issuer{one, other} {
		grant, refusal := a.Authorize(t.Context(), UsersList, []string{"Bearer " + issuer.Sign(t, claimSet{"scope": "users.list"})}, nil)
		if refusal != nil {
			t.Fatal(refusal.kind)
		}
		defer a.Follow(grant, UsersList, func() { ended <- issuer })()
	}
	f.write(t, other.Set())
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if <-ended != one || len(a.streams) != 1 {
		t.Errorf("the stream of another key has ended, and %d go on", len(a.streams))
	}
}

// FuzzJWT looks for what panics, and what is let in.
func FuzzJWT(f *testing.F) {
	issuer := authtest.NewIssuer(f)
	a, _ := openKeys(f, issuer)
	signed := make(map[string]bool)
	for _, claims := range []claimSet{{"scope": "users.read"}, {"exp": "x"}, {"scp": []int{1}}, {"aud": claimSet{}}} {
		token := issuer.Sign(f, claims)
		signed[token] = true
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, refusal := a.Authorize(t.Context(), AnyPrincipal, []string{"Bearer " + token}, nil); refusal == nil && !signed[token] {
			t.Fatalf("%q is let in", token)
		}
	})
}

// A file with principals goes together with keys.
func TestJWTBesideTokens(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	dir := t.TempDir()
	config := Config{File: filepath.Join(dir, "auth"), Keys: filepath.Join(dir, "keys"), Issuer: authtest.Name, Audience: authtest.Audience}
	listed := issuer.Sign(t, claimSet{"sub": "in the claims"})
	for path, text := range map[string]string{config.Keys: issuer.Set(), config.File: "billing " + sum("one") + " users.read\nlisted " + sum(listed) + " users.read\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	checkWho(t, a, "token", "one", "billing")
	checkWho(t, a, "JWT", issuer.Sign(t, claimSet{"scope": "users.read"}), "somebody")
	checkWho(t, a, "JWT that is listed as a token", listed, "listed")
	checkWho(t, a, "neither", "two", "unknown")
	if err := os.Remove(config.Keys); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("without the file of keys: %v", err)
	}
	if err := os.WriteFile(config.Keys, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("with a broken file of keys: %v", err)
	}
}

// What is remembered of a token is bounded, and worth nothing after its end or its key's.
func TestRememberedJWT(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	issuer.Add(authtest.NewKey(t, "second", "ES256"))
	a, f := openKeys(t, issuer)
	ctx := ConnContext(t.Context(), nil)
	header := []string{"Bearer " + issuer.Sign(t, claimSet{"scope": "users.read"})}
	if _, refusal := a.Recall(ctx, UsersRead, header, nil); refusal == nil {
		t.Error("a JWT that was not verified is recalled")
	}
	first, _ := a.Authorize(t.Context(), UsersRead, header, nil)
	if grant, refusal := a.Recall(ctx, UsersRead, header, nil); refusal != nil || !grant.Valid() {
		t.Fatalf("a JWT that was verified is not recalled: %v", refusal)
	}
	if _, refusal := a.Recall(t.Context(), UsersList, header, nil); refusal != missingScopes[UsersList] {
		t.Error("a JWT is recalled for what it is not for")
	}
	issuer.Remove("second")
	f.write(t, issuer.Set())
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if first.Valid() {
		t.Error("the grant of other keys is valid")
	}
	if _, refusal := a.Recall(ctx, UsersRead, header, nil); refusal == nil {
		t.Error("a JWT is recalled that other keys have verified")
	}
	checkWho(t, a, "key that stays", header[0][len("Bearer "):], "somebody")
	memory := &a.callers.Load().keys.memory
	for range 3 * memoryHalf {
		if memory.find(sha256.Sum256([]byte("unknown"))) != nil || len(memory.new) != 1 {
			t.Fatal("a token is remembered that was not verified")
		}
	}
	for i := range 3 * memoryHalf {
		memory.add(sha256.Sum256(fmt.Append(nil, i)), &signed{})
		memory.find(sha256.Sum256([]byte(header[0][len("Bearer "):])))
	}
	if n := len(memory.new) + len(memory.old); n > 2*memoryHalf {
		t.Errorf("%d tokens are remembered", n)
	}
	if _, refusal := a.Recall(t.Context(), UsersRead, header, nil); refusal != nil {
		t.Error("a token that is in use is forgotten")
	}
	for i := range memoryHalf {
		if memory.find(sha256.Sum256(fmt.Append(nil, 3*memoryHalf-1-i))) == nil {
			t.Fatalf("a token is forgotten that was verified %d tokens ago", i)
		}
	}
}

// A file of keys that is broken leaves those of before.
func TestBrokenKeysStay(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	a, f := openKeys(t, issuer)
	token := issuer.Sign(t, claimSet{"scope": "users.read"})
	for _, lines := range []string{"", "secret", `{"keys":[]}`} {
		f.write(t, lines)
		for range 3 {
			a.look()
		}
		checkWho(t, a, "broken keys", token, "somebody")
		if gather(t, f.registry, "userd_auth_keys_broken")[""] != 1 || !strings.Contains(f.log.String(), "the file of keys is broken") || strings.Contains(f.log.String(), "secret") {
			t.Errorf("with %q: the log is %s", lines, f.log.String())
		}
	}
	issuer.Remove("first")
	issuer.Add(authtest.NewKey(t, "second", "ES256"))
	f.write(t, issuer.Set())
	a.look()
	checkWho(t, a, "keys that are being written", token, "somebody")
	a.look()
	checkWho(t, a, "removed key", token, "unknown")
	checkWho(t, a, "new key", issuer.Key("second").Sign(t, claimSet{"scope": "users.read"}), "somebody")
	if gather(t, f.registry, "userd_auth_keys_broken")[""] != 0 {
		t.Error("keys are broken that are not")
	}
}

// A stream ends with its token, a minute after exp, and so does the grant.
func TestStreamsEndWithTheirJWT(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := authtest.NewIssuer(t)
		a, _ := openKeys(t, issuer)
		ctx := ConnContext(t.Context(), nil)
		header := []string{"Bearer " + issuer.Sign(t, claimSet{"scope": "users.list"})}
		grant, refusal := a.Authorize(ctx, UsersList, header, nil)
		if refusal != nil {
			t.Fatal(refusal.kind)
		}
		began, ended := time.Now(), make(chan time.Time, 1)
		stop := a.Follow(grant, UsersList, func() { ended <- time.Now() })
		defer stop()
		if after := (<-ended).Sub(began).Round(time.Second); after != time.Hour+leeway {
			t.Errorf("the stream ended after %s, want an hour and a minute", after)
		}
		if grant.Valid() {
			t.Error("the grant of an expired token is valid")
		}
		if _, refusal := a.Recall(ctx, UsersList, header, nil); refusal != expiredToken {
			t.Errorf("an expired token that is remembered is %v", refusal)
		}
	})
}

// What is remembered ends with its token where the clock runs, too, and no stream is
// missed because that is late.
func TestGrantsEndWithTheirJWT(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := authtest.NewIssuer(t)
		a, _ := openKeys(t, issuer)
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go a.Watch(ctx)
		grant, refusal := a.Authorize(ctx, UsersList, []string{"Bearer " + issuer.Sign(t, claimSet{"scope": "users.list"})}, nil)
		if refusal != nil {
			t.Fatal(refusal.kind)
		}
		ended := make(chan struct{})
		defer a.Follow(grant, UsersList, func() { close(ended) })()
		time.Sleep(time.Hour + leeway - time.Millisecond)
		if !grant.Valid() {
			t.Error("the grant ends before its token")
		}
		<-ended
		time.Sleep(clockInterval)
		if grant.Valid() {
			t.Error("the grant of an expired token is valid")
		}
	})
}

// A stream ends with the key of its token, and others go on.
func TestStreamsEndWithTheirKey(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	issuer.Add(authtest.NewKey(t, "second", "ES256"))
	a, f := openKeys(t, issuer)
	ended := make(chan string, 2)
	for _, name := range []string{"first", "second"} {
		grant, refusal := a.Authorize(t.Context(), UsersList, []string{"Bearer " + issuer.Key(name).Sign(t, claimSet{"scope": "users.list"})}, nil)
		if refusal != nil {
			t.Fatal(refusal.kind)
		}
		defer a.Follow(grant, UsersList, func() { ended <- name })()
	}
	issuer.Remove("first")
	f.write(t, issuer.Set())
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := <-ended; got != "first" || len(a.streams) != 1 {
		t.Errorf("%s has ended, and %d go on", got, len(a.streams))
	}
}

// atURL returns an Authorizer that fetches the keys of an issuer.
func atURL(t *testing.T, handler http.Handler) (*Authorizer, *file) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	f := &file{registry: prometheus.NewRegistry()}
	a, err := New(Config{
		Keys: server.URL, Issuer: authtest.Name, Audience: authtest.Audience,
		Logger: slog.New(slog.NewTextHandler(&f.log, nil)), Registry: f.registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, f
}

// passed makes it as if this time had passed since the last fetch.
func (i *issuer) passed(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tried = i.tried.Add(-d)
}

// A new key is fetched when it is needed, at most once a minute, and while the issuer is
// away those of before are good.
func TestKeysAreFetched(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	a, f := atURL(t, issuer)
	old := issuer.Sign(t, claimSet{"scope": "users.read"})
	checkWho(t, a, "first key", old, "somebody")
	second := authtest.NewKey(t, "second", "ES256")
	rotated := second.Sign(t, claimSet{"scope": "users.read"})
	issuer.Add(second)
	checkWho(t, a, "new key, within a minute", rotated, "unknown")
	if n := issuer.Fetches(); n != 1 {
		t.Errorf("%d fetches within a minute", n)
	}
	issuer.SetAway(true)
	a.issuer.passed(retryInterval)
	checkWho(t, a, "no JWT", "a.b.c", "unknown")
	checkWho(t, a, "expired", issuer.Sign(t, claimSet{"exp": 1}), "expired")
	checkWho(t, a, "for others", issuer.Sign(t, claimSet{"aud": "others"}), "claims")
	if n := issuer.Fetches(); n != 1 {
		t.Errorf("%d fetches, the last ones for tokens that need no other key", n)
	}
	checkWho(t, a, "new key, issuer away", rotated, "unknown")
	checkWho(t, a, "first key, issuer away", old, "somebody")
	a.issuer.passed(retryInterval / 2)
	checkWho(t, a, "new key, again within a minute", rotated, "unknown")
	if n := issuer.Fetches(); n != 2 {
		t.Errorf("%d fetches after a minute, want one more", n)
	}
	if gather(t, f.registry, "userd_auth_keys_broken")[""] != 1 || !strings.Contains(f.log.String(), "the answer is 502") {
		t.Errorf("the log is %s", f.log.String())
	}
	issuer.SetAway(false)
	a.issuer.passed(retryInterval)
	checkWho(t, a, "new key", rotated, "somebody")
	issuer.Remove("first")
	checkWho(t, a, "removed key, before it is known", old, "somebody")
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	checkWho(t, a, "removed key", old, "unknown")
	if gather(t, f.registry, "userd_auth_keys_broken")[""] != 0 {
		t.Error("keys are broken that are not")
	}
}

// A key that takes the place of another one with its id is fetched as well.
func TestReplacedKeyIsFetched(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	a, _ := atURL(t, issuer)
	old := issuer.Sign(t, claimSet{"scope": "users.read"})
	checkWho(t, a, "first key", old, "somebody")
	issuer.Add(authtest.NewKey(t, "first", "ES256"))
	a.issuer.passed(retryInterval)
	checkWho(t, a, "new key", issuer.Sign(t, claimSet{"scope": "users.read"}), "somebody")
	checkWho(t, a, "replaced key", old, "unknown")
	if n := issuer.Fetches(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

// An issuer that is away at the start keeps nobody from starting; its callers may come
// again.
func TestIssuerAwayAtTheStart(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	issuer.SetAway(true)
	a, f := atURL(t, issuer)
	token := issuer.Sign(t, claimSet{"scope": "users.read"})
	checkWho(t, a, "no keys", token, "keys")
	checkWho(t, a, "no JWT", "one", "unknown")
	if !strings.Contains(f.log.String(), "the keys of JWT cannot be fetched") {
		t.Errorf("the log is %s", f.log.String())
	}
	issuer.SetAway(false)
	a.issuer.passed(firstInterval)
	checkWho(t, a, "keys", token, "somebody")
	if _, refusal := a.Authorize(t.Context(), UsersRead, []string{"Bearer a.b.c"}, nil); refusal != unknown {
		t.Errorf("a broken token: %v", refusal)
	}
}

// Keys are fetched in the background: soon where there are none or the last fetch has
// failed, seldom else.
func TestKeysAreFetchedInTheBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		fetched := make(chan time.Time)
		a := &issuer{apply: func(string, error) error {
			select {
			case fetched <- time.Now():
			case <-ctx.Done():
			}
			return nil
		}, client: http.Client{Transport: refusing{}}}
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.watch(ctx)
		}()
		began := time.Now()
		for _, want := range []time.Duration{firstInterval, firstInterval + refreshInterval} {
			if at := (<-fetched).Sub(began); at != want {
				t.Errorf("fetched after %s, want %s", at, want)
			}
		}
		cancel()
		<-done
		a.failed = true
		if pause := a.pause(); pause != retryInterval {
			t.Errorf("it waits %s after a failure", pause)
		}
	})
}

// refusing is a network on which nobody is reached.
type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) { return nil, http.ErrHandlerTimeout }

// Those who wait for one fetch wait for the same.
func TestOneFetchForAll(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	first := true
	a, _ := atURL(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !first {
			asked <- struct{}{}
			<-answer
		}
		first = false
		issuer.ServeHTTP(w, r)
	}))
	second := authtest.NewKey(t, "second", "ES256")
	issuer.Add(second)
	a.issuer.passed(retryInterval)
	header := "Bearer " + second.Sign(t, claimSet{"scope": "users.read"})
	results := make(chan string)
	for range 10 {
		go func() { results <- who(t.Context(), a, UsersRead, header) }()
	}
	<-asked
	for {
		a.issuer.mu.Lock()
		waiting := a.issuer.waiting
		a.issuer.mu.Unlock()
		if waiting == 9 {
			break
		}
	}
	a.issuer.mu.Lock()
	a.issuer.waiting = maxFetchWaiters
	a.issuer.mu.Unlock()
	if got := who(t.Context(), a, UsersRead, header); got != "unknown" {
		t.Errorf("one more than may wait: %s", got)
	}
	a.issuer.mu.Lock()
	a.issuer.waiting = 9
	a.issuer.mu.Unlock()
	if err := a.Reload(); err != nil {
		t.Error(err)
	}
	close(answer)
	for range 10 {
		if got := <-results; got != "somebody" {
			t.Errorf("a caller who waits for a key is %s", got)
		}
	}
	if n := issuer.Fetches(); n != 2 || a.issuer.waiting != 0 {
		t.Errorf("%d fetches, want 2, and %d callers wait", n, a.issuer.waiting)
	}
}

// Keys may be elsewhere than at their URL, but none that are fetched over TLS come in the clear.
func TestRedirectsToKeys(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	paths := http.NewServeMux()
	paths.Handle("/keys", issuer)
	plain, encrypted := httptest.NewServer(paths), httptest.NewUnstartedServer(paths)
	encrypted.Config.ErrorLog = log.New(io.Discard, "", 0) // New does not know its authority yet.
	encrypted.StartTLS()
	t.Cleanup(plain.Close)
	t.Cleanup(encrypted.Close)
	for from, to := range map[string]string{
		"/one": "/keys", "/two": "/one", "/three": "/two", "/four": "/three",
		"/encrypted": encrypted.URL + "/keys", "/plain": plain.URL + "/keys", "/later": "/plain",
	} {
		paths.Handle(from, http.RedirectHandler(to, http.StatusFound))
	}
	for name, test := range map[string]struct{ url, want string }{
		"none":             {encrypted.URL + "/keys", "somebody"},
		"three":            {encrypted.URL + "/three", "somebody"},
		"four":             {encrypted.URL + "/four", "keys"},
		"three in clear":   {plain.URL + "/three", "somebody"},
		"to TLS":           {plain.URL + "/encrypted", "somebody"},
		"from TLS":         {encrypted.URL + "/plain", "keys"},
		"from TLS, second": {encrypted.URL + "/later", "keys"},
	} {
		a, err := New(Config{Keys: test.url, Issuer: authtest.Name, Audience: authtest.Audience})
		if err != nil {
			t.Fatal(err)
		}
		a.issuer.client.Transport.(*http.Transport).TLSClientConfig = encrypted.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		if err := a.Reload(); err != nil {
			t.Fatal(err)
		}
		checkWho(t, a, name, issuer.Sign(t, claimSet{"scope": "users.read"}), test.want)
	}
}

// Answers that are no keys leave those of before, and cost no more than a megabyte.
func TestAnswersThatAreNoKeys(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	var answer http.HandlerFunc = issuer.ServeHTTP
	a, f := atURL(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	token := issuer.Sign(t, claimSet{"scope": "users.read"})
	for want, handler := range map[string]http.HandlerFunc{
		"larger than 1 MiB": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[` + strings.Repeat(" ", 2<<20) + `]}`))
		},
		"it must be a JWK set": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>secret")) },
		"the answer is 404":    http.NotFound,
		"redirects":            func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
	} {
		answer = handler
		f.log.Reset()
		if err := a.Reload(); err != nil {
			t.Fatal(err)
		}
		checkWho(t, a, want, token, "somebody")
		if text := f.log.String(); !strings.Contains(text, want) || strings.Contains(text, "secret") || strings.Contains(text, a.issuer.url) {
			t.Errorf("the log is %s, want %s", text, want)
		}
	}
}

// The URL of keys may have a secret, which is not for the log.
func TestURLOfKeysIsNotShown(t *testing.T) {
	t.Parallel()
	away := httptest.NewServer(nil)
	away.Close()
	for url, want := range map[string]string{
		away.URL + "/keys?token=hush": "connection refused",
		"http://hush@[::1/keys":       "missing ']' in host",
	} {
		var logged strings.Builder
		_, err := New(Config{
			Keys: url, Issuer: authtest.Name, Audience: authtest.Audience, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if text := logged.String(); !strings.Contains(text, want) || strings.Contains(text, "hush") {
			t.Errorf("the log is %s, want %s", text, want)
		}
	}
}

func BenchmarkJWT(b *testing.B) {
	issuer := authtest.NewIssuer(b)
	issuer.Add(authtest.NewKey(b, "rsa", "RS256"))
	a, _ := openKeys(b, issuer)
	header := []string{"Bearer " + issuer.Sign(b, claimSet{"scope": "users.read"})}
	grant, refusal := a.Authorize(b.Context(), UsersRead, header, nil)
	if refusal != nil {
		b.Fatal(refusal.kind)
	}
	b.Run("valid", func(b *testing.B) {
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		go a.Watch(ctx)
		for a.clock.seconds.Load() == 0 { // It waits until the clock runs.
		}
		b.ReportAllocs()
		for b.Loop() {
			if !grant.Valid() {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("recalled", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, refusal := a.Recall(b.Context(), UsersRead, header, nil); refusal != nil {
				b.Fatal(refusal.kind)
			}
		}
	})
	for _, key := range []string{"first", "rsa"} {
		token := issuer.Key(key).Sign(b, claimSet{"scope": "users.read"})
		b.Run("verified "+key, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, refusal := a.callers.Load().keys.verify(a.parser, token); refusal != nil {
					b.Fatal(refusal.kind)
				}
			}
		})
	}
}
