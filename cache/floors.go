package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// floorShards is a power of two.
const floorShards = 16

// floors remembers the highest version of each key that this server has shown or
// written, and whose user it has said is not there, and of each name, an email or an
// external id, who has it by what the store has said here. It does until the backend
// contains all that was committed by then, and nothing is shown any more that contains
// less; where the backend is behind, for X and a half at least and 3 X at most. X would do,
// because what is trusted then contains as much; the half lets a hit raise a floor only now
// and then.
//
// It knows keys by a hash, since a large import raises a floor for every row: two
// keys that share one share the higher floor, which at worst sends a read to the
// store.
type floors struct {
	seed   maphash.Seed
	shards [floorShards]floorShard
	turned int64        // When last; of the caller of age alone.
	least  atomic.Int64 // What was committed before is contained in what may be shown.
}

type floorShard struct {
	mu                  sync.RWMutex
	now, last           map[uint64]floor
	nowOwned, lastOwned map[uint64]owner
}

// floor is what a slot is compared with before it is shown.
type floor struct {
	version int64 // The highest that was shown or written.
	gone    int64 // When the store had said that there is no such user; 0 where it did not, or had one later.
}

// allows reports whether what was found, or that nothing was, is no older than that.
func (f floor) allows(found bool, version int64) bool {
	return version >= f.version && (f.gone == 0 || !found)
}

// owner is who has a name.
type owner struct {
	user uint64 // A hash of the id, 0 for nobody, or where it is not known who was the last.
	at   int64  // When that was known; 0 for never.
}

func newFloors() *floors {
	f := &floors{seed: maphash.MakeSeed()}
	for i := range f.shards {
		s := &f.shards[i]
		s.now, s.nowOwned = make(map[uint64]floor), make(map[uint64]owner)
	}
	return f
}

// shard returns the hash of k, and where its floor is. Names of different spaces
// differ, so the name is enough.
func (f *floors) shard(k key) (uint64, *floorShard) {
	hash := maphash.String(f.seed, k.name)
	return hash, &f.shards[hash%floorShards]
}

// raise lifts the floor of k to version, where it is lower.
func (f *floors) raise(k key, version int64) {
	if version == 0 {
		return
	}
	hash, s := f.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lift(hash, version)
}

func (s *floorShard) lift(hash uint64, version int64) {
	if known := s.now[hash]; known.version < version {
		known.version = version
		s.now[hash] = known
	}
}

// found is raise where the store was asked, at a time of the cache's clock. A user who was
// not there before that has been created since.
func (f *floors) found(k key, version, asked int64) {
	hash, s := f.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lift(hash, version)
	for _, floors := range []map[uint64]floor{s.now, s.last} {
		if known := floors[hash]; known.gone != 0 && known.gone <= asked {
			known.gone = 0
			floors[hash] = known
		}
	}
}

// missing has the store say, up to a time of the cache's clock, that there is no such user:
// one that a cache still has was deleted.
func (f *floors) missing(k key, answered int64) {
	hash, s := f.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.now[hash]
	known.gone = max(known.gone, answered)
	s.now[hash] = known
}

// of returns the floor of k, the zero one for none.
func (f *floors) of(k key) floor {
	hash, s := f.shard(k)
	s.mu.RLock()
	now, last := s.now[hash], s.last[hash]
	s.mu.RUnlock()
	return floor{max(now.version, last.version), max(now.gone, last.gone)}
}

// owned remembers which user has a name, "" for none, by a store that was asked and has answered
// at these times of the cache's clock.
func (f *floors) owned(name key, id string, asked, answered int64) {
	hash, s := f.shard(name)
	next := owner{f.userHash(id), answered}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.owner(hash)
	if known.user != next.user && known.at > asked { // Who knows what was true first?
		next.user = 0
	}
	next.at = max(next.at, known.at)
	s.nowOwned[hash] = next
}

// mayOwn reports whether a user may be shown who has had a name at some time: no other has been
// shown since.
func (f *floors) mayOwn(name key, id string) bool {
	hash, s := f.shard(name)
	s.mu.RLock()
	known := s.owner(hash)
	s.mu.RUnlock()
	return known.at == 0 || known.user == f.userHash(id)
}

func (s *floorShard) owner(hash uint64) owner {
	if known, ok := s.nowOwned[hash]; ok {
		return known
	}
	return s.lastOwned[hash]
}

// userHash is 0 for "" alone.
func (f *floors) userHash(id string) uint64 {
	if id == "" {
		return 0
	}
	return maphash.String(f.seed, id) | 1
}

// age forgets what was raised before the last turn, where the backend contains all that was
// committed before that, or where it is long ago.
func (f *floors) age(clock func() int64, fresh, long int64) {
	switch {
	case fresh >= f.turned:
		f.least.Store(f.turned) // First: whoever finds no floor finds this.
	case clock()-f.turned < long:
		return
	}
	f.turn()
	f.turned = clock() // Last: what is raised meanwhile is older.
}

func (f *floors) turn() {
	for i := range f.shards {
		f.shards[i].turn()
	}
}

func (s *floorShard) turn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.now)+len(s.last) > 0 {
		s.now, s.last = make(map[uint64]floor), s.now
	}
	if len(s.nowOwned)+len(s.lastOwned) > 0 {
		s.nowOwned, s.lastOwned = make(map[uint64]owner), s.nowOwned
	}
}
