package auth

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"strings"
)

// credential is what a request shows.
type credential struct {
	token  hash
	jwt    string   // The token, if it has the form of one.
	signed *signed  // What it says, if it was looked at.
	names  []string // Of a certificate: it is none of a token.
	until  int64    // The end of the certificate or JWT, in seconds of Unix; 0 for none.
}

// expired reports whether its end has come, in seconds of Unix.
func (c *credential) expired(now int64) bool { return c.until != 0 && now >= c.until }

// expiry says what has expired.
func (c *credential) expiry() *Refusal {
	if c.signed != nil {
		return expiredToken
	}
	return expired
}

// find returns the principal with a credential, or nil. A certificate is that of the
// first of its names that has one. A JWT is good as long as its key is there.
func (p *callers) find(c *credential) *Principal {
	if c.signed != nil {
		if p.keys.Has(c.signed.key) {
			return c.signed.principal
		}
		return nil
	}
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

// remember finds what a JWT says, if it was verified before.
func (c *credential) remember(keys *keySet) {
	if keys != nil {
		c.take(keys.memory.find(c.token))
	}
}

// take notes what a JWT says. Its text is not needed any more.
func (c *credential) take(said *signed) {
	if said != nil {
		c.signed, c.until, c.jwt = said, said.until, ""
	}
}

// credentialOf is what a request shows: the token of its header, or else a certificate.
func credentialOf(header string, state *tls.ConnectionState) (credential, *Refusal) {
	if header != "" {
		token, ok := bearer(header)
		if !ok {
			return credential{}, malformed
		}
		shown := credential{token: sha256.Sum256([]byte(token))}
		if strings.Count(token, ".") == 2 { // Header, claims and signature.
			shown.jwt = token
		}
		return shown, nil
	}
	if state == nil || len(state.VerifiedChains) == 0 { // Others may be anybody's.
		return credential{}, missing
	}
	leaf := state.VerifiedChains[0][0]
	return credential{names: namesOf(leaf), until: leaf.NotAfter.Unix()}, nil
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

// maxTokenBytes is more than a token has. A JWT with many groups may have some kilobytes.
const maxTokenBytes = 8 << 10

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
