package auth

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"time"
)

// credential is what a request shows.
type credential struct {
	token hash
	names []string  // Of a certificate: it is none of a token.
	until time.Time // That of the certificate.
}

func (c *credential) expired() bool { return !c.until.IsZero() && time.Now().After(c.until) }

// find returns the principal with a credential, or nil. A certificate is that of the
// first of its names that has one.
func (p *principals) find(c *credential) *Principal {
	if c.names == nil {
		return p.byToken[c.token]
	}
	for _, name := range c.names {
		if principal := p.byName[name]; principal != nil {
			return principal
		}
	}
	return nil
}

// credentialOf is what a request shows: the token of its header, or else a certificate.
func credentialOf(header string, state *tls.ConnectionState) (credential, *Refusal) {
	if header != "" {
		token, ok := bearer(header)
		if !ok {
			return credential{}, malformed
		}
		return credential{token: sha256.Sum256([]byte(token))}, nil
	}
	if state == nil || len(state.VerifiedChains) == 0 { // Others may be anybody's.
		return credential{}, missing
	}
	leaf := state.VerifiedChains[0][0]
	return credential{names: namesOf(leaf), until: leaf.NotAfter}, nil
}

// namesOf are the names of a certificate that a file can have: of DNS, and URIs.
func namesOf(leaf *x509.Certificate) []string {
	names := make([]string, 0, len(leaf.DNSNames)+len(leaf.URIs))
	for _, name := range leaf.DNSNames {
		names = append(names, normalName(name))
	}
	for _, uri := range leaf.URIs {
		names = append(names, normalName(uri.String()))
	}
	return names
}

// maxTokenBytes is more than a token has.
const maxTokenBytes = 4 << 10

// bearer is the token of a header, as RFC 6750 section 2.1 has it.
func bearer(header string) (token string, ok bool) {
	scheme, token, _ := strings.Cut(header, " ")
	token = strings.TrimLeft(token, " ")
	ok = strings.EqualFold(scheme, "Bearer") && token != "" && len(token) <= maxTokenBytes && !strings.ContainsFunc(token, notOfToken)
	return token, ok
}

func notOfToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/=", r)
}

// same compares two headers in a time that does not tell how far they are the same: one
// connection may carry the requests of many callers, behind a proxy.
func same(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	var different byte
	for i := range len(a) {
		different |= a[i] ^ b[i]
	}
	return different == 0
}
