package auth

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/example/userd/server/auth/jwk"
)

// leeway is how far the clocks of an issuer and of this machine may be apart.
const leeway = time.Minute

// subject is what the sub of a token can be. It stands in logs.
var subject = regexp.MustCompile(`^[!-~]{1,255}$`)

// keySet are the keys of an issuer, and the tokens that were found to be signed by one.
type keySet struct {
	*jwk.Set
	memory memory
}

// signed is what a token says whose signature is good.
type signed struct {
	principal *Principal
	key       *jwk.Key
	until     int64 // Its end, in seconds of Unix.
}

// newParser checks tokens of an issuer for an audience.
func newParser(issuer, audience string) *jwt.Parser {
	return jwt.NewParser(jwt.WithValidMethods(jwk.Algorithms()), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding())
}

// claims are what is looked at in a token.
type claims struct {
	jwt.RegisteredClaims
	Scope scopeList `json:"scope"`
	Scp   scopeList `json:"scp"`
}

// errUnknownKey is the end of a token whose key is not there.
var errUnknownKey = errors.New("no key has signed it")

// verify returns what a token says, or why it is not believed.
func (s *keySet) verify(parser *jwt.Parser, token string) (*signed, *Refusal) {
	var said claims
	var by *jwk.Key
	_, err := parser.ParseWithClaims(token, &said, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical { // As RFC 7515 section 4.1.11 wants it of what is not known.
			return nil, jwt.ErrTokenUnverifiable
		}
		if by = s.signerOf(t); by == nil {
			return nil, errUnknownKey
		}
		return by.Public, nil
	})
	if err == nil && !subject.MatchString(said.Subject) {
		err = jwt.ErrTokenInvalidSubject
	}
	if err != nil {
		return nil, refusalOf(err)
	}
	principal := &Principal{Name: said.Subject, Credential: "jwt", scopes: slices.Concat(said.Scope, said.Scp)}
	return &signed{principal, by, said.ExpiresAt.Add(leeway).Unix()}, nil
}

// signerOf is the key that has signed a token, if any has, or nil where there is none that could.
func (s *keySet) signerOf(t *jwt.Token) *jwk.Key {
	id, _ := t.Header["kid"].(string)
	keys := s.Find(id, t.Method.Alg())
	if len(keys) == 0 {
		return nil
	}
	text := t.Raw[:strings.LastIndexByte(t.Raw, '.')]
	for _, key := range keys[:len(keys)-1] { // Most often there are none: the last is tried by the parser.
		if t.Method.Verify(text, t.Signature, key.Public) == nil {
			return key
		}
	}
	return keys[len(keys)-1]
}

// refusalOf says of a token why it is not believed. Only of one whose signature is good it
// says what is wrong.
func refusalOf(err error) *Refusal {
	switch {
	case errors.Is(err, errUnknownKey), errors.Is(err, jwt.ErrTokenSignatureInvalid): // The issuer may have another one of that id now.
		return unknownKey
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), errors.Is(err, jwt.ErrTokenInvalidAudience),
		errors.Is(err, jwt.ErrTokenInvalidSubject), errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return otherClaims
	case errors.Is(err, jwt.ErrTokenExpired):
		return expiredToken
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return early
	}
	return unknown
}

// scopeList are scopes in a token: a text with blanks, as RFC 8693 section 4.2 has it, or a
// list. Those that are not known here are for others.
type scopeList []Scope

// UnmarshalJSON implements json.Unmarshaler.
func (l *scopeList) UnmarshalJSON(text []byte) error {
	var names jwt.ClaimStrings // It takes both.
	if err := names.UnmarshalJSON(text); err != nil {
		return err
	}
	for name := range strings.FieldsSeq(strings.Join(names, " ")) {
		if slices.Contains(grantable, Scope(name)) {
			*l = append(*l, Scope(name))
		}
	}
	return nil
}
