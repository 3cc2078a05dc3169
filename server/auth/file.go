package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The forms of credentials in a file.
const (
	hashPrefix = "sha256:" // Of a token.
	certPrefix = "cert:"   // A DNS name or URI of a client certificate.
)

// hash is the SHA-256 of a token.
type hash = [sha256.Size]byte

// principals are those of a file, by their credentials. They do not change: another file
// has others.
type principals struct {
	byToken map[hash]*Principal
	byName  map[string]*Principal // In a certificate.
}

// principalName is what a name can be. It stands in logs.
var principalName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@/-]{0,62}$`)

var errName = errors.New("the name must be at most 63 letters, digits and . _ @ / -")

// parse reads a file. Errors name the line, but show nothing of it: it may hold a token
// that somebody has taken for its hash.
func parse(text string) (*principals, error) {
	p := &principals{byToken: make(map[hash]*Principal), byName: make(map[string]*Principal)}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if err := p.add(fields); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return p, nil
}

// add adds the principal of a line.
func (p *principals) add(fields []string) error {
	if len(fields) != 3 {
		return fmt.Errorf("it has %d parts, and not three: name, credential and scopes", len(fields))
	}
	if !principalName.MatchString(fields[0]) {
		return errName
	}
	scopes, err := ParseScopes(fields[2])
	if err != nil {
		return err
	}
	principal := &Principal{Name: fields[0], Credential: "token", scopes: scopes}
	if name, ok := strings.CutPrefix(fields[1], certPrefix); ok && name != "" {
		principal.Credential = "certificate"
		return addCredential(p.byName, normalName(name), principal)
	}
	digits, ok := strings.CutPrefix(fields[1], hashPrefix)
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != sha256.Size {
		return errors.New("the credential must be sha256: and 64 hexadecimal digits, or cert: and a name")
	}
	return addCredential(p.byToken, hash(sum), principal)
}

// addCredential adds a principal by its credential.
func addCredential[K comparable](to map[K]*Principal, key K, principal *Principal) error {
	if _, taken := to[key]; taken {
		return errors.New("another line has this credential")
	}
	to[key] = principal
	return nil
}

// ParseScopes reads scopes as a file has them, separated by commas.
func ParseScopes(list string) ([]Scope, error) {
	var scopes []Scope
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(grantable, Scope(name)) {
			return nil, fmt.Errorf("scopes must be of %s, separated by commas", joinScopes(grantable, ", "))
		}
		scopes = append(scopes, Scope(name))
	}
	return scopes, nil
}

func joinScopes(scopes []Scope, separator string) string {
	names := make([]string, len(scopes))
	for i, scope := range scopes {
		names[i] = string(scope)
	}
	return strings.Join(names, separator)
}

// normalName is a name of a certificate as names are compared: those of DNS without
// regard to case, URIs as they are.
func normalName(name string) string {
	if strings.Contains(name, "://") {
		return name
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
