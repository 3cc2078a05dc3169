package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
)

// tokenPrefix and the checksum at the end of tokens are for scanners of secrets, which
// find them in places where they should not be.
const tokenPrefix = "userd_"

// tokenBytes is what is random of a token.
const tokenBytes = 160 / 8

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewToken makes a token: userd_, 32 letters and digits that are random, and 7 that are
// the CRC-32 of those.
func NewToken() string {
	var random [tokenBytes]byte
	_, _ = rand.Read(random[:]) // It never fails.
	text := tokenEncoding.EncodeToString(random[:])
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(text)))
	return tokenPrefix + text + tokenEncoding.EncodeToString(sum)
}

// Line is the line of a file for a token.
func Line(name, token string, scopes []Scope) (string, error) {
	if !principalName.MatchString(name) {
		return "", errName
	}
	sum := sha256.Sum256([]byte(token))
	return strings.Join([]string{name, hashPrefix + hex.EncodeToString(sum[:]), joinScopes(scopes, ",")}, " "), nil
}
