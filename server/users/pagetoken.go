package users

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/store"
)

// tokenBytes is the size of a position in a page token: microseconds since 1970
// and a UUID.
const tokenBytes = 8 + 16

// pageTokens seals positions into page tokens and opens them. A token is bound to
// the list it was made for: its name and its filters. Servers on one store open
// each other's tokens.
type pageTokens struct {
	aead cipher.AEAD
}

func newPageTokens(secret [32]byte) (pageTokens, error) {
	key, err := hkdf.Key(sha256.New, secret[:], nil, "userd page token", 32)
	if err != nil {
		return pageTokens{}, fmt.Errorf("derive page token key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return pageTokens{}, fmt.Errorf("derive page token key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return pageTokens{}, fmt.Errorf("derive page token key: %w", err)
	}
	return pageTokens{aead: aead}, nil
}

// seal returns the token for the page after position.
func (t pageTokens) seal(position store.Position, list string) (string, error) {
	id, err := uuid.Parse(position.ID)
	if err != nil {
		return "", fmt.Errorf("seal page token: %w", err)
	}
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, tokenBytes), uint64(position.CreatedAt.UnixMicro()))
	plain = append(plain, id[:]...)
	return base64.RawURLEncoding.EncodeToString(t.aead.Seal(nil, nil, plain, []byte(list))), nil
}

// open returns the position in a token, the zero one for the empty token, or
// ErrInvalidPageToken.
func (t pageTokens) open(token, list string) (store.Position, error) {
	if token == "" {
		return store.Position{}, nil
	}
	sealed, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return store.Position{}, failure.ErrInvalidPageToken
	}
	plain, err := t.aead.Open(nil, nil, sealed, []byte(list))
	if err != nil || len(plain) != tokenBytes {
		return store.Position{}, failure.ErrInvalidPageToken
	}
	return store.Position{
		CreatedAt: time.UnixMicro(int64(binary.BigEndian.Uint64(plain))).UTC(),
		ID:        uuid.UUID(plain[8:]).String(),
	}, nil
}
