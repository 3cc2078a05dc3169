package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"time"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
	"github.com/example/userd/server/auth"
)

// showCallers compares a userd that knows its callers with one that lets in everybody.
func (b *bench) showCallers(ctx context.Context, section *report.Section, open *contestant) error {
	var contestants []*contestant
	for _, by := range []struct {
		key, name string
		set       func(path string) (token string, flags []string, err error)
	}{
		{"known", "userd, callers known by tokens", byToken},
		{"jwt", "userd, callers known by JWT", byJWT},
	} {
		token, flags, err := by.set(b.lab.Path(by.key))
		if err != nil {
			return err
		}
		server, err := b.fleet.userdOnSQLite(ctx, b.lab.Root(), flags...)
		if err != nil {
			return err
		}
		known, err := b.enterAll("unary", []rival{{by.key, by.name, server}}, load.Wire{Protocol: load.GRPC, Codec: load.Proto, Token: token})
		if err != nil {
			return err
		}
		contestants = append(contestants, known...)
	}
	return b.show(ctx, section, "callers, closed loop", b.slice, b.rounds, append(contestants, open.at(0, "unary/anybody", open.name)))
}

// byToken has a token in a file of callers.
func byToken(path string) (token string, flags []string, err error) {
	token = auth.NewToken()
	line, err := auth.Line("bench", token, []auth.Scope{auth.UsersRead})
	if err != nil {
		return "", nil, err
	}
	return token, []string{"--auth-file", path}, os.WriteFile(path, []byte(line+"\n"), 0o600)
}

// byJWT has a JWT that is signed by a key in a file.
func byJWT(path string) (token string, flags []string, err error) {
	const issuer, audience = "https://issuer.example.com", "userbench"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", nil, err
	}
	point, err := key.PublicKey.Bytes() // 4, x and y.
	if err != nil {
		return "", nil, err
	}
	encode := base64.RawURLEncoding.EncodeToString
	set := fmt.Sprintf(`{"keys": [{"kty": "EC", "crv": "P-256", "x": %q, "y": %q}]}`, encode(point[1:33]), encode(point[33:]))
	token = encode([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + encode(fmt.Appendf(nil,
		`{"iss":%q,"aud":%q,"sub":"bench","scope":%q,"exp":%d}`, issuer, audience, auth.UsersRead, time.Now().Add(24*time.Hour).Unix()))
	digest := sha256.Sum256([]byte(token))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", nil, err
	}
	token += "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	return token, []string{"--jwt-keys", path, "--jwt-issuer", issuer, "--jwt-audience", audience}, os.WriteFile(path, []byte(set), 0o600)
}
