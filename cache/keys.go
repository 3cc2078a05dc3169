package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/example/userd/store"
)

// keyFormat is raised when what lies in Redis changes its form: servers of two
// formats then never read each other's.
const keyFormat = "2"

// clusterBuckets is how many buckets there are in a Cluster, and the most there
// can be.
const clusterBuckets = 16

// keyspace makes the keys in Redis: userd:<format>:<incarnation of the
// store>:{<bucket>}:u:<id>, …:e:<hash of the email>, …:x:<hash of the external id>, …:wm.
type keyspace struct {
	prefix  string // Up to the brace.
	buckets int
}

func newKeyspace(incarnation string, buckets int) keyspace {
	return keyspace{"userd:" + keyFormat + ":" + incarnation + ":{", buckets}
}

func (s keyspace) bucket(k key) int {
	if s.buckets == 1 {
		return 0
	}
	hash := uint32(2166136261) // FNV-1a; hash/fnv allocates.
	for i := range len(k.name) {
		hash = (hash ^ uint32(k.name[i])) * 16777619
	}
	return int(hash) % s.buckets
}

func (s keyspace) name(k key) string {
	return s.prefix + strconv.Itoa(s.bucket(k)) + "}:" + string(k.space) + ":" + k.name
}

func (s keyspace) mark(bucket int) string {
	return s.prefix + strconv.Itoa(bucket) + "}:wm"
}

// split returns the bucket and what follows its brace and colon.
func (s keyspace) split(name string) (int, string, bool) {
	rest, ours := strings.CutPrefix(name, s.prefix)
	number, rest, whole := strings.Cut(rest, "}:")
	bucket, err := strconv.Atoi(number)
	return bucket, rest, ours && whole && err == nil && bucket >= 0 && bucket < s.buckets
}

// markBucket returns the bucket whose watermark has this name.
func (s keyspace) markBucket(name string) (int, bool) {
	bucket, rest, ok := s.split(name)
	return bucket, ok && rest == "wm"
}

// parse returns the key that has this name.
func (s keyspace) parse(name string) (key, bool) {
	_, rest, ok := s.split(name)
	if !ok || len(rest) < 2 || rest[1] != ':' {
		return key{}, false
	}
	switch rest[0] {
	case byID, byEmail, byExternalID:
		return key{rest[0], rest[2:]}, true
	}
	return key{}, false
}

func userKey(id string) key { return key{byID, id} }

// emailKey names an email by its hash, without regard to ASCII case.
func emailKey(email string) key { return hashKey(byEmail, store.FoldEmail(email)) }

// externalIDKey names an external id by its hash.
func externalIDKey(externalID string) key { return hashKey(byExternalID, externalID) }

// hashKey has a name that no other space has.
func hashKey(space byte, text string) key {
	hash := sha256.Sum256(append([]byte{space}, text...))
	return key{space, hex.EncodeToString(hash[:])}
}

// changeOf is a row of the change log for the relay, which has no user at hand.
func changeOf(c store.Change) change {
	out := change{key: userKey(c.UserID), version: c.Version}
	if c.Kind == store.Deleted {
		out.raw = newSlot(tombstone, c.Version, nil).raw
	}
	return out
}
