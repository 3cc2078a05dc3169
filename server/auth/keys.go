package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"slices"

	"github.com/MicahParks/jwkset"
)

// minRSABits is the smallest key of RSA that is taken, as RFC 7518 section 3.3 has it.
const minRSABits = 2048

// key is a key of an issuer that signs tokens.
type key struct {
	id, algorithm string // Either may be "".
	public        any
	print         hash // Of all of it.
}

// keySet are the keys of an issuer, and the tokens that were found to be signed by one. It
// does not change: others take its place.
type keySet struct {
	keys   []*key
	prints map[hash]bool
	memory memory
}

var errNoKeys = errors.New(`it has no key for signatures by RSA, with 2,048 bits or more, by ECDSA or by EdDSA; it must be a JWK set: {"keys": [...]}`)

// parseKeys reads a JWK set, as RFC 7517 section 5 has it: keys of kinds that are not known,
// and those that are not for signatures, do not count. Secrets that are shared are among
// these.
func parseKeys(text string) (*keySet, error) {
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return nil, errNoKeys // What it is instead is not to be in the log.
	}
	s := &keySet{prints: make(map[hash]bool)}
	for _, marshal := range set.Keys {
		if k := keyOf(marshal); k != nil {
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
func keyOf(marshal jwkset.JWKMarshal) *key {
	parsed, err := jwkset.NewJWKFromMarshal(marshal, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil || marshal.USE == jwkset.UseEnc {
		return nil
	}
	if len(marshal.KEYOPS) > 0 && !slices.Contains(marshal.KEYOPS, jwkset.KeyOpsVerify) {
		return nil
	}
	k := &key{id: marshal.KID, algorithm: marshal.ALG.String(), public: parsed.Key()}
	if rsaKey, ok := k.public.(*rsa.PublicKey); ok && rsaKey.N.BitLen() < minRSABits {
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil || len(algorithmsOf(k.public)) == 0 {
		return nil
	}
	k.print = sha256.Sum256(slices.Concat([]byte(k.id+"\x00"+k.algorithm+"\x00"), der))
	return k
}

// algorithmsOf are the algorithms whose signatures a key verifies. A key of one kind is
// none of another, and none is a shared secret.
func algorithmsOf(public any) []string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		return map[int][]string{256: {"ES256"}, 384: {"ES384"}, 521: {"ES512"}}[k.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}

// verifies reports whether the key is for signatures by an algorithm.
func (k *key) verifies(algorithm string) bool {
	return (k.algorithm == "" || k.algorithm == algorithm) && slices.Contains(algorithmsOf(k.public), algorithm)
}

// find is the key for a token, or nil. A token that does not name one is of the only one
// that there is for its algorithm.
func (s *keySet) find(id, algorithm string) *key {
	var found *key
	for _, k := range s.keys {
		if !k.verifies(algorithm) || id != "" && k.id != id {
			continue
		}
		if found != nil {
			return nil
		}
		found = k
	}
	return found
}

// has reports whether a key that may be of another set is in this one.
func (s *keySet) has(k *key) bool { return s != nil && s.prints[k.print] }
