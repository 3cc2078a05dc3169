package cache

import (
	"hash/maphash"
	"sync"
)

// floorShards is a power of two.
const floorShards = 16

// floors remembers the highest version of each key that this server has shown or
// written, for X and a half at least and 3 X at most. X would do, because what is
// trusted then contains all that was committed before; the half lets a hit raise a
// floor only now and then.
//
// It knows keys by a hash, since a large import raises a floor for every row: two
// keys that share one share the higher floor, which at worst sends a read to the
// store.
type floors struct {
	seed   maphash.Seed
	shards [floorShards]floorShard
}

type floorShard struct {
	mu        sync.RWMutex
	now, last map[uint64]int64
}

func newFloors() *floors {
	f := &floors{seed: maphash.MakeSeed()}
	for i := range f.shards {
		f.shards[i].now = make(map[uint64]int64)
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
	if s.now[hash] < version {
		s.now[hash] = version
	}
	s.mu.Unlock()
}

// of returns the floor of k, 0 for none.
func (f *floors) of(k key) int64 {
	hash, s := f.shard(k)
	s.mu.RLock()
	floor := max(s.now[hash], s.last[hash])
	s.mu.RUnlock()
	return floor
}

// turn forgets what was raised before the last turn. It is called every X and a half.
func (f *floors) turn() {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		s.now, s.last = make(map[uint64]int64), s.now
		s.mu.Unlock()
	}
}
