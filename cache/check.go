package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/example/userd/store"
)

// checkBatch is how many keys Check asks for at once; catchUp how long it waits
// for the relay before it calls an entry stale.
const (
	checkBatch = 100
	catchUp    = 10 * time.Second
)

// Report is what Check found.
type Report struct {
	Entries int     // Cached users and tombstones that were compared.
	Corrupt int     // Values that are damaged or not ours; the next read replaces them.
	Stale   []Stale // Entries that are older than the watermark allows: never any, but for bugs.
}

// Stale is a cached entry that is behind the store, though the watermark of its
// data set is not.
type Stale struct {
	UserID         string
	Cached, Stored int64 // Versions; 0 for no such user.
}

// checkDialTimeout is how long a connection may take here: nobody waits for it, and it is
// not tried again.
const checkDialTimeout = 5 * time.Second

// Check compares what is cached in Redis with the store, at most perSecond entries
// a second, 1,000 when it is 0. It only reads. It returns ErrRedisURL, and an error
// when Redis or the store cannot be read.
func Check(ctx context.Context, s store.Store, config Config, perSecond int) (Report, error) {
	config = config.withDefaults()
	if perSecond <= 0 {
		perSecond = 1000
	}
	option, buckets, err := redisOption(config.Redis)
	if err != nil {
		return Report{}, err
	}
	option.DisableCache = true
	option.Dialer.Timeout, option.Sentinel.Dialer.Timeout = checkDialTimeout, checkDialTimeout
	dialing(&option)
	client, err := rueidis.NewClient(option)
	if client != nil {
		defer client.Close()
	}
	if err != nil {
		return Report{}, fmt.Errorf("connect to %s: %w", addresses(option), causeOf(err))
	}
	checker := checker{
		client: client, store: s, decode: config.Decode,
		keys: newKeyspace(s.Identity().Incarnation, buckets),
	}
	pace := time.NewTicker(time.Second * checkBatch / time.Duration(perSecond))
	defer pace.Stop()
	for _, node := range client.Nodes() {
		if err := checker.node(ctx, node, pace.C); err != nil {
			return checker.report, err
		}
	}
	return checker.report, nil
}

// checker is one run of Check.
type checker struct {
	client rueidis.Client
	store  store.Store
	decode func([]byte) (store.User, error)
	keys   keyspace
	report Report
}

// node checks the entries on one node.
func (c *checker) node(ctx context.Context, node rueidis.Client, pace <-chan time.Time) error {
	for cursor := uint64(0); ; {
		select {
		case <-pace:
		case <-ctx.Done():
			return ctx.Err()
		}
		scan := node.B().Scan().Cursor(cursor).Match(c.keys.prefix + "*").Count(checkBatch).Build()
		page, err := node.Do(ctx, scan).AsScanEntry()
		if err != nil {
			return fmt.Errorf("scan: %w", causeOf(err))
		}
		for _, name := range page.Elements {
			k, ok := c.keys.parse(name)
			if !ok || k.space != byID {
				continue
			}
			if err := c.entry(ctx, k); err != nil {
				return err
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}

// entry compares one entry with the store. One that is behind gets the time that
// the relay needs, and is stale when it is still there then.
func (c *checker) entry(ctx context.Context, k key) error {
	cached, err := c.cached(ctx, k)
	if err != nil || cached.kind != found && cached.kind != tombstone {
		return err
	}
	c.report.Entries++
	stored, err := c.stored(ctx, k.name)
	if err != nil || cached.kind == found && cached.version >= stored && stored != 0 ||
		cached.kind == tombstone && stored == 0 {
		return err
	}
	head, err := c.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("head: %w", err)
	}
	if err := c.awaitMark(ctx, c.keys.bucket(k), head); err != nil {
		return err
	}
	again, err := c.cached(ctx, k)
	if err == nil && again.raw == cached.raw {
		c.report.Stale = append(c.report.Stale, Stale{k.name, cached.version, stored})
	}
	return err
}

// cached returns what lies in Redis, and counts it where it is corrupt.
func (c *checker) cached(ctx context.Context, k key) (slot, error) {
	raw, err := c.client.Do(ctx, c.client.B().Get().Key(c.keys.name(k)).Build()).ToString()
	if rueidis.IsRedisNil(err) {
		return slot{}, nil
	}
	if _, foreign := rueidis.IsRedisErr(err); foreign {
		c.report.Corrupt++
		return slot{kind: corrupt}, nil
	}
	if err != nil {
		return slot{}, fmt.Errorf("read %s: %w", k.name, err)
	}
	s := parseSlot(raw)
	if s.kind == found {
		if u, err := c.decode(s.payload()); err != nil || u.ID != k.name || u.Version != s.version {
			s.kind = corrupt
		}
	}
	if s.kind == corrupt {
		c.report.Corrupt++
	}
	return s, nil
}

// stored returns the version in the store, 0 for no such user.
func (c *checker) stored(ctx context.Context, id string) (int64, error) {
	u, err := c.store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("get user %s: %w", id, err)
	}
	return u.Version, nil
}

// awaitMark returns when the watermark of the bucket covers head.
func (c *checker) awaitMark(ctx context.Context, bucket int, head store.Cursor) error {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		mark, err := c.client.Do(ctx, c.client.B().Get().Key(c.keys.mark(bucket)).Build()).ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			return fmt.Errorf("read the watermark: %w", causeOf(err))
		}
		if c.store.Covers(store.Cursor(mark), head) {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("the watermark stays behind the store: %w", ctx.Err())
		}
	}
}
