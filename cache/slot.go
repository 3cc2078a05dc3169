package cache

import (
	"strconv"
	"sync/atomic"
	"unsafe"
)

// Entry is a user as the cache gives it: encoded, so that a read moves bytes.
type Entry struct {
	Data    []byte // What Config.Encode made of the user. Shared: never write to it.
	Version int64  // Of the user. Where Found is false: of its deletion, or 0.
	Found   bool   // Whether there is such a user.
}

// The spaces of keys.
const (
	byID         byte = 'u'
	byEmail      byte = 'e'
	byExternalID byte = 'x'
)

// key names a slot: a user's id, or the hash of an email or of an external id.
type key struct {
	space byte
	name  string
}

// The kinds of slot; in Redis the first byte of a value.
const (
	nothing   byte = 0
	found     byte = 'V'
	tombstone byte = 'T'
	lease     byte = 'L'
	corrupt   byte = '?' // Nothing of ours, or damaged.
	elsewhere byte = '-' // A value, read on a connection that is not the trusted one.
)

// headSize is the length of what stands before the payload of a value: its kind
// and 16 digits of version.
const headSize = 17

// slot is what a key holds. Its raw form is what lies in Redis.
type slot struct {
	kind    byte
	version int64
	raw     string
}

// newSlot returns the slot of a kind with its raw form.
func newSlot(kind byte, version int64, payload []byte) slot {
	raw := make([]byte, headSize, headSize+len(payload))
	raw[0] = kind
	for i, v := headSize-1, version; i > 0; i, v = i-1, v/10 {
		raw[i] = '0' + byte(v%10)
	}
	raw = append(raw, payload...)
	return slot{kind, version, unsafe.String(unsafe.SliceData(raw), len(raw))}
}

// parseSlot reads a raw form. What is not one of ours is corrupt.
func parseSlot(raw string) slot {
	if len(raw) < headSize || raw[0] != found && raw[0] != tombstone && raw[0] != lease {
		return slot{kind: corrupt, raw: raw}
	}
	version, err := strconv.ParseUint(raw[1:headSize], 10, 63)
	if err != nil {
		return slot{kind: corrupt, raw: raw}
	}
	return slot{raw[0], int64(version), raw}
}

// payload returns what follows the head, without a copy.
func (s slot) payload() []byte {
	if len(s.raw) <= headSize {
		return nil
	}
	return unsafe.Slice(unsafe.StringData(s.raw[headSize:]), len(s.raw)-headSize)
}

// held is a slot as a near cache holds it.
type held struct {
	slot
	expires int64        // Nanoseconds of the cache's clock.
	checked atomic.Bool  // The payload decodes to the user of the key and version.
	floored atomic.Int64 // When the floor was raised to it last.
}

// entry is what a reader gets of a value or tombstone.
func (s slot) entry() Entry {
	if s.kind != found {
		return Entry{Version: s.version}
	}
	return Entry{Data: s.payload(), Version: s.version, Found: true}
}
