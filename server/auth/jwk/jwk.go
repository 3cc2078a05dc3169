// Package jwk reads the keys of an issuer of JWT: those of a JWK set that verify signatures.
package jwk

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/MicahParks/jwkset"
)

// minRSABits is the smallest key of RSA that is taken, as RFC 7518 section 3.3 has it.
const minRSABits = 2048

// Key is a key of an issuer that signs tokens.
type Key struct {
	Public        any    // As package crypto has it.
	id, algorithm string // Either may be "".
	der           string // Public, the same for one key under several names.
	print         fingerprint
}

// fingerprint is the SHA-256 of all of a key.
type fingerprint = [sha256.Size]byte

// Set are the keys of an issuer. It does not change: others take its place.
type Set struct {
	keys   []*Key
	prints map[fingerprint]bool
}

var errNoKeys = errors.New(`it has no key for signatures by RSA, with 2,048 bits or more, by ECDSA or by EdDSA; it must be a JWK set: {"keys": [...]}`)

// Parse reads a JWK set, as RFC 7517 section 5 has it: keys of kinds that are not known,
// those that are not well-formed, and those that are not for signatures, do not count. Secrets
// that are shared are among these. A set without keys is an error.
func Parse(text string) (*Set, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return nil, errNoKeys // What it is instead is not to be in the log.
	}
	s := &Set{prints: make(map[fingerprint]bool)}
	for _, key := range set.Keys {
		if k := keyOf(key); k != nil && !s.prints[k.print] {
			s.keys = append(s.keys, k)
			s.prints[k.print] = true
		}
	}
	if len(s.keys) == 0 {
		return nil, errNoKeys
	}
	return s, nil
}

// keyOf is a key that verifies signatures, or nil.
func keyOf(text json.RawMessage) *Key {
	parsed, err := jwkset.NewJWKFromRawJSON(text, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	marshal := parsed.Marshal()
	if err != nil || marshal.USE == jwkset.UseEnc {
		return nil
	}
	if len(marshal.KEYOPS) > 0 && !slices.Contains(marshal.KEYOPS, jwkset.KeyOpsVerify) {
		return nil
	}
	k := &Key{Public: parsed.Key(), id: marshal.KID, algorithm: marshal.ALG.String()}
	if rsaKey, ok := k.Public.(*rsa.PublicKey); ok && rsaKey.N.BitLen() < minRSABits {
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil || len(algorithmsOf(k.Public)) == 0 {
		return nil
	}
	k.der = string(der)
	k.print = sha256.Sum256([]byte(k.id + "\x00" + k.algorithm + "\x00" + k.der))
	return k
}

var (
	ofRSA   = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	ofECDSA = map[int][]string{256: {"ES256"}, 384: {"ES384"}, 521: {"ES512"}} // By the bits of the curve.
	ofEdDSA = []string{"EdDSA"}
)

// Algorithms returns those that a token may be signed by. None of them has a secret that is
// shared: with one of these a public key could be taken for the secret.
func Algorithms() []string {
	return slices.Concat(ofRSA, slices.Concat(slices.Collect(maps.Values(ofECDSA))...), ofEdDSA)
}

// algorithmsOf are the algorithms whose signatures a key verifies. A key of one kind is
// none of another.
func algorithmsOf(public any) []string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return ofRSA
	case *ecdsa.PublicKey:
		return ofECDSA[k.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return ofEdDSA
	}
	return nil
}

// verifies reports whether the key is for signatures by an algorithm.
func (k *Key) verifies(algorithm string) bool {
	return (k.algorithm == "" || k.algorithm == algorithm) && slices.Contains(algorithmsOf(k.Public), algorithm)
}

// Find returns the keys of which one has signed a token, if any has. Those with one id, which
// RFC 7517 section 4.5 does not forbid, are all of them. A token that names no key is of the
// only one that there is for its algorithm.
func (s *Set) Find(id, algorithm string) []*Key {
	var found []*Key
	for _, k := range s.keys {
		if k.verifies(algorithm) && (id == "" || k.id == id) {
			found = append(found, k)
		}
	}
	if id == "" && slices.ContainsFunc(found, func(k *Key) bool { return k.der != found[0].der }) {
		return nil
	}
	return found
}

// Has reports whether a key that may be of another set is in this one.
func (s *Set) Has(k *Key) bool { return s.prints[k.print] }

// Len returns how many keys there are.
func (s *Set) Len() int { return len(s.keys) }

// Same reports whether another set has the same keys.
func (s *Set) Same(other *Set) bool { return maps.Equal(s.prints, other.prints) }
