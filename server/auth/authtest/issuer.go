// Package authtest is an issuer of JWT for tests.
package authtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// What the tokens of an Issuer are for.
const (
	Name     = "https://issuer.example.com"
	Audience = "userd"
)

// Issuer signs tokens by keys that can change. It serves its JWK set by HTTP, unless it is
// away.
type Issuer struct {
	mu      sync.Mutex
	keys    map[string]*Key
	away    bool
	fetches int
}

// Key signs tokens by an algorithm.
type Key struct {
	ID        string
	Algorithm jwt.SigningMethod
	Private   crypto.Signer
}

// NewIssuer returns one with an ECDSA key, "first".
func NewIssuer(tb testing.TB) *Issuer {
	i := &Issuer{keys: make(map[string]*Key)}
	i.Add(NewKey(tb, "first", "ES256"))
	return i
}

// NewKey makes a key for an algorithm.
func NewKey(tb testing.TB, id, algorithm string) *Key {
	tb.Helper()
	k := &Key{ID: id, Algorithm: jwt.GetSigningMethod(algorithm)}
	var err error
	switch m := k.Algorithm.(type) {
	case *jwt.SigningMethodECDSA:
		curve := map[int]elliptic.Curve{256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()}[m.CurveBits]
		k.Private, err = ecdsa.GenerateKey(curve, rand.Reader)
	case *jwt.SigningMethodEd25519:
		_, k.Private, err = ed25519.GenerateKey(rand.Reader)
	default:
		k.Private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// Sign makes a token. Claims that are not given are those of a good one, and nil is none.
func (k *Key) Sign(tb testing.TB, given map[string]any) string {
	tb.Helper()
	claims := jwt.MapClaims{"iss": Name, "aud": Audience, "sub": "somebody", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, given)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	token := jwt.NewWithClaims(k.Algorithm, claims)
	if k.ID != "" {
		token.Header["kid"] = k.ID
	}
	text, err := token.SignedString(k.Private)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// Add adds a key, in the place of one with the same id.
func (i *Issuer) Add(k *Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[k.ID] = k
}

// Remove removes a key.
func (i *Issuer) Remove(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.keys, id)
}

// Key is the key with an id.
func (i *Issuer) Key(id string) *Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[id]
}

// Sign makes a token by the key "first".
func (i *Issuer) Sign(tb testing.TB, given map[string]any) string {
	tb.Helper()
	return i.Key("first").Sign(tb, given)
}

// Set is the JWK set of the keys.
func (i *Issuer) Set() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var set jwkset.JWKSMarshal
	for _, id := range slices.Sorted(maps.Keys(i.keys)) {
		options := jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id, USE: jwkset.UseSig}}
		key, err := jwkset.NewJWKFromKey(i.keys[id].Private.Public(), options)
		if err != nil {
			panic(fmt.Sprintf("a key that has no JWK: %v", err))
		}
		set.Keys = append(set.Keys, key.Marshal())
	}
	text, err := json.Marshal(set)
	if err != nil {
		panic(fmt.Sprintf("a JWK set that is no JSON: %v", err))
	}
	return string(text)
}

// SetAway makes it answer with errors.
func (i *Issuer) SetAway(away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away = away
}

// Fetches is how often it was asked.
func (i *Issuer) Fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	i.fetches++
	away := i.away
	i.mu.Unlock()
	if away {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	_, _ = w.Write([]byte(i.Set()))
}
