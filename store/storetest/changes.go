package storetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/example/userd/store"
)

var headSentences = []sentence{
	{"returns the cursor after the last committed change", func(b *bundle) {
		b.create(newUser())
		head := b.head()
		b.same(b.logged(head), []string(nil))
		user := b.create(newUser())
		b.same(b.logged(head), []string{upserted(user.ID, 1)})
	}},
	{"of an empty log", func(b *bundle) {
		head := b.head()
		b.same(b.logged(head), []string(nil))
		user := b.create(newUser())
		b.same(b.logged(head), []string{upserted(user.ID, 1)})
	}},
	{"of a log that is pruned empty", func(b *bundle) {
		b.create(newUser())
		before := b.head()
		b.prune(farFuture)
		head := b.head()
		if !b.Covers(head, before) {
			b.Errorf("%s after pruning does not cover %s", head, before)
		}
		user := b.create(newUser())
		b.same(b.logged(head), []string{upserted(user.ID, 1)})
	}},
	{"never goes back", headNeverGoesBack},
}

// headNeverGoesBack reads the head again and again while others write.
func headNeverGoesBack(b *bundle) {
	written := make(chan error, 1)
	go func() {
		written <- inParallel(4, func(int) error {
			for range 25 {
				if _, err := b.Create(b.Context(), newUser()); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	last := b.head()
	for done := false; !done; {
		select {
		case err := <-written:
			b.must(err)
			done = true
		default:
		}
		head := b.head()
		if !b.Covers(head, last) {
			b.Fatalf("head was %s and is %s", last, head)
		}
		last = head
	}
}

var changesSentences = []sentence{
	{"returns committed changes after a cursor", func(b *bundle) {
		first := b.create(newUser())
		head := b.head()
		second := b.create(newUser())
		b.update(store.Update{ID: first.ID, DisplayName: new("two")})
		b.remove(second.ID)
		b.same(b.logged(head), []string{upserted(second.ID, 1), upserted(first.ID, 2), deleted(second.ID, 2)})
	}},
	{"with the times of the changes", func(b *bundle) {
		user := b.create(newUser())
		updated := b.update(store.Update{ID: user.ID, DisplayName: new("two")})
		b.remove(user.ID)
		changes, _ := b.changes(store.Earliest, 10)
		b.same([]time.Time{changes[0].At, changes[1].At}, []time.Time{user.CreatedAt, updated.UpdatedAt})
		if at := changes[2].At; at.Before(updated.UpdatedAt) || at.Location() != time.UTC {
			b.Errorf("deleted at %v, updated at %v", at, updated.UpdatedAt)
		}
	}},
	{"at most limit", func(b *bundle) {
		b.importAll(newUsers(30)...)
		want := b.logged(store.Earliest)
		for _, limit := range []int{1, 7, 29, 30, 31} {
			first, _, err := b.Changes(b.Context(), store.Earliest, limit)
			b.must(err)
			if len(first) == 0 || len(first) > limit {
				b.Errorf("%d changes, limit %d", len(first), limit)
			}
			before := b.head()
			pages, end := b.changes(store.Earliest, limit)
			b.same(textOf(pages), want)
			if after := b.head(); !b.Covers(end, before) || !b.Covers(after, end) {
				b.Errorf("the end is %s, the head was %s and is %s", end, before, after)
			}
		}
	}},
	{"what is committed between two pages comes after them", func(b *bundle) {
		users := newUsers(5)
		b.importAll(users...)
		first, next, err := b.Changes(b.Context(), store.Earliest, 3)
		b.must(err)
		late := b.create(newUser())
		rest, _ := b.changes(next, 3)
		all := textOf(append(first, rest...))
		b.same(len(all), 6)
		b.same(all[5], upserted(late.ID, 1))
	}},
	{"the changes of one user are in the order of their versions", func(b *bundle) {
		ids := make([]string, 4)
		for i := range ids {
			ids[i] = b.create(newUser()).ID
		}
		b.must(inParallel(8, func(worker int) error {
			for i := range 20 {
				update := store.Update{ID: ids[i%len(ids)], DisplayName: new(fmt.Sprint(worker, i))}
				if _, err := b.Update(b.Context(), update); err != nil {
					return err
				}
			}
			return nil
		}))
		b.wantLogAgrees()
	}},
	{"without changes the cursor goes on", func(b *bundle) {
		b.create(newUser())
		head := b.head()
		changes, next, err := b.Changes(b.Context(), head, 10)
		b.must(err)
		b.same(len(changes), 0)
		if !b.Covers(next, head) {
			b.Errorf("%s does not cover %s", next, head)
		}
		user := b.create(newUser())
		b.same(b.logged(next), []string{upserted(user.ID, 1)})
	}},
	{"earliest is before the oldest change that is kept", func(b *bundle) {
		b.same(b.logged(store.Earliest), []string(nil))
		first := b.create(newUser())
		second := b.create(newUser())
		b.same(b.logged(store.Earliest), []string{upserted(first.ID, 1), upserted(second.ID, 1)})
		b.prune(second.CreatedAt)
		b.same(b.logged(store.Earliest), []string{upserted(second.ID, 1)})
		b.prune(farFuture)
		b.same(b.logged(store.Earliest), []string(nil))
	}},
	{"ErrCursorExpired when changes after the cursor are no longer kept", func(b *bundle) {
		start := b.head()
		b.create(newUser())
		between := b.head()
		last := b.create(newUser())
		b.prune(last.CreatedAt)
		_, _, err := b.Changes(b.Context(), start, 10)
		b.wantErr(err, store.ErrCursorExpired)
		b.same(b.logged(between), []string{upserted(last.ID, 1)})
		b.prune(farFuture)
		_, _, err = b.Changes(b.Context(), between, 10)
		b.wantErr(err, store.ErrCursorExpired)
	}},
	{"a cursor of which nothing after is removed does not expire", func(b *bundle) {
		b.create(newUser())
		head := b.head()
		b.prune(farFuture)
		user := b.create(newUser())
		b.same(b.logged(head), []string{upserted(user.ID, 1)})
	}},
	{"ErrInvalidCursor for one that this store did not make", func(b *bundle) {
		b.create(newUser())
		for _, cursor := range garbage(b.head()) {
			_, _, err := b.Changes(b.Context(), cursor, 10)
			b.wantErr(err, store.ErrInvalidCursor)
		}
	}},
	{"ErrInvalidCursor for one of another store", func(b *bundle) {
		other := b.another()
		user := newUser()
		b.create(user)
		other.create(user)
		_, _, err := b.Changes(b.Context(), other.head(), 10)
		b.wantErr(err, store.ErrInvalidCursor)
	}},
	{"the log agrees with the users", func(b *bundle) {
		users := newUsers(20)
		b.importAll(users...)
		for i, user := range users {
			if i%2 == 0 {
				b.update(store.Update{ID: user.ID, AddRoles: []string{"even"}})
			}
			if i%5 == 0 {
				b.remove(user.ID)
			}
		}
		b.wantLogAgrees()
	}},
}

// garbage returns cursors that nobody made, some of them like a real one.
func garbage(real store.Cursor) []store.Cursor {
	return []store.Cursor{
		"", " ", "0", "1", "-1", "latest", "EARLIEST", store.Earliest + ".", "\x00", "'; --", "😀",
		real + "x", real + ".", " " + real, "x" + real[1:], real[:3], real + real,
	}
}

// wantLogAgrees checks that the whole log has each version of each user once and in
// order, and ends with what the users are.
func (b *bundle) wantLogAgrees() {
	b.Helper()
	b.must(CheckLog(b.Context(), b.Store))
}

// CheckLog returns an error unless the change log, of which nothing is removed, has
// each version of each user once and in order, and ends with what the users are.
func CheckLog(ctx context.Context, s store.Store) error {
	changes, _, err := readChanges(ctx, s, store.Earliest, 1000)
	if err != nil {
		return err
	}
	last := make(map[string]store.Change)
	for _, change := range changes {
		if before := last[change.UserID]; change.Version != before.Version+1 || before.Kind == store.Deleted {
			return fmt.Errorf("%v comes after %v", change, before)
		}
		last[change.UserID] = change
	}
	users, err := allUsers(ctx, s)
	if err != nil {
		return err
	}
	for _, user := range users {
		if end := last[user.ID]; end.Version != user.Version || end.Kind != store.Upserted || !end.At.Equal(user.UpdatedAt) {
			return fmt.Errorf("the log ends with %v, the user is %+v", end, user)
		}
		delete(last, user.ID)
	}
	for _, end := range last {
		if end.Kind != store.Deleted {
			return fmt.Errorf("the log ends with %v, and there is no such user", end)
		}
	}
	return nil
}

func allUsers(ctx context.Context, s store.Store) ([]store.User, error) {
	var all []store.User
	query := store.Query{Limit: 1000}
	for {
		page, err := s.List(ctx, query)
		all = append(all, page.Users...)
		if err != nil || page.Next == (store.Position{}) {
			return all, err
		}
		query.After = page.Next
	}
}

var atSentences = []sentence{
	{"after it are all changes made at t or later", func(b *bundle) {
		var users []store.User
		for range 5 {
			users = append(users, b.create(newUser()))
		}
		for i, user := range users {
			logged := b.logged(b.at(user.CreatedAt))
			for _, later := range users[i:] {
				if !slices.Contains(logged, upserted(later.ID, 1)) {
					b.Errorf("%s is missing after the cursor at %v", later.ID, user.CreatedAt)
				}
			}
		}
	}},
	{"all changes for a time before the first", func(b *bundle) {
		user := b.create(newUser())
		for _, t := range []time.Time{{}, time.Unix(0, 0), user.CreatedAt.Add(-time.Hour)} {
			b.same(b.logged(b.at(t)), []string{upserted(user.ID, 1)})
		}
	}},
	{"changes to come for a time in the future", func(b *bundle) {
		b.create(newUser())
		cursor := b.at(farFuture)
		user := b.create(newUser())
		if logged := b.logged(cursor); !slices.Contains(logged, upserted(user.ID, 1)) {
			b.Errorf("logged are %q", logged)
		}
	}},
	{"of an empty log", func(b *bundle) {
		cursor := b.at(time.Now())
		user := b.create(newUser())
		b.same(b.logged(cursor), []string{upserted(user.ID, 1)})
	}},
	{"never an expired one", func(b *bundle) {
		first := b.create(newUser())
		second := b.create(newUser())
		b.prune(second.CreatedAt)
		for _, t := range []time.Time{{}, first.CreatedAt} {
			b.same(b.logged(b.at(t)), []string{upserted(second.ID, 1)})
		}
		b.prune(farFuture)
		b.same(b.logged(b.at(first.CreatedAt)), []string(nil))
	}},
}

func (b *bundle) at(t time.Time) store.Cursor {
	b.Helper()
	cursor, err := b.At(b.Context(), t)
	b.must(err)
	return cursor
}

var coversSentences = []sentence{
	{"a cursor covers itself and those before", func(b *bundle) {
		cursors := []store.Cursor{b.head()}
		for range 12 {
			b.create(newUser())
			cursors = append(cursors, b.head())
		}
		for i, cursor := range cursors {
			for j, other := range cursors {
				if got := b.Covers(cursor, other); got != (i >= j) {
					b.Errorf("%s covers %s: %v", cursor, other, got)
				}
			}
		}
	}},
	{"cursors of pages, too", func(b *bundle) {
		b.importAll(newUsers(10)...)
		_, first, err := b.Changes(b.Context(), store.Earliest, 3)
		b.must(err)
		_, second, err := b.Changes(b.Context(), first, 3)
		b.must(err)
		got := []bool{
			b.Covers(second, first), b.Covers(first, second), b.Covers(b.head(), second), b.Covers(second, b.head()),
		}
		b.same(got, []bool{true, false, true, false})
	}},
	{"false for any others", func(b *bundle) {
		b.create(newUser())
		other := b.another()
		other.create(newUser())
		head := b.head()
		for _, cursor := range append(garbage(head), store.Earliest, other.head()) {
			if b.Covers(head, cursor) || b.Covers(cursor, head) || b.Covers(cursor, cursor) {
				b.Errorf("%q is compared with %q", cursor, head)
			}
		}
	}},
	{"needs no database", func(b *bundle) {
		head := b.head()
		b.must(b.Close())
		if !b.Covers(head, head) {
			b.Error("a closed store does not compare cursors")
		}
	}},
}

var waitSentences = []sentence{
	{"returns at once when there are changes after the cursor", func(b *bundle) {
		head := b.head()
		b.create(newUser())
		b.must(b.Wait(b.Context(), head))
		b.must(b.Wait(b.Context(), store.Earliest))
	}},
	{"returns with the context's error", func(b *bundle) {
		ctx, cancel := context.WithCancel(b.Context())
		ended := b.waitForChange(ctx, b.head())
		cancel()
		b.wantErr(<-ended, context.Canceled)
	}},
	{"returns with the context's deadline", func(b *bundle) {
		ctx, cancel := context.WithTimeout(b.Context(), 20*time.Millisecond)
		defer cancel()
		b.wantErr(<-b.waitForChange(ctx, b.head()), context.DeadlineExceeded)
	}},
	{"of an empty log", func(b *bundle) {
		ended := b.waitForChange(b.Context(), store.Earliest)
		b.create(newUser())
		b.must(<-ended)
	}},
	{"a change that this process commits ends it", func(b *bundle) {
		user := b.create(newUser())
		for _, change := range []func(){
			func() { b.create(newUser()) },
			func() { b.importAll(newUser()) },
			func() { b.update(store.Update{ID: user.ID, DisplayName: new("two")}) },
			func() { b.updateMany(store.Update{ID: user.ID, DisplayName: new("three")}) },
			func() { b.login(user.ID, time.Now(), 0) },
			func() { b.remove(user.ID) },
		} {
			ended := b.waitForChange(b.Context(), b.head())
			change()
			b.must(<-ended)
		}
	}},
	{"ends for all who wait", func(b *bundle) {
		head := b.head()
		var ended []<-chan error
		for range 20 {
			ended = append(ended, b.waitForChange(b.Context(), head))
		}
		b.create(newUser())
		for _, end := range ended {
			b.must(<-end)
		}
	}},
	{"who reads and waits in turn misses nothing", readAndWait},
}

// waitForChange waits until there is a change after the cursor. It may be woken
// early, and then waits again.
func (b *bundle) waitForChange(ctx context.Context, after store.Cursor) <-chan error {
	ended := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		close(started)
		for {
			err := b.Wait(ctx, after)
			if err != nil {
				ended <- err
				return
			}
			changes, _, err := b.Changes(ctx, after, 1)
			if err != nil || len(changes) > 0 {
				ended <- err
				return
			}
		}
	}()
	<-started
	return ended
}

// readAndWait follows the log while several write.
func readAndWait(b *bundle) {
	const writers, creates = 4, 25
	read := make(chan error, 1)
	head := b.head()
	go func() { read <- follow(b.Context(), b.Store, head, writers*creates) }()
	b.must(inParallel(writers, func(int) error {
		for range creates {
			if _, err := b.Create(b.Context(), newUser()); err != nil {
				return err
			}
		}
		return nil
	}))
	b.must(<-read)
}

// follow reads the log after a cursor until it has read n changes, each once.
func follow(ctx context.Context, s store.Store, after store.Cursor, n int) error {
	seen := make(map[store.Change]bool)
	for len(seen) < n {
		if err := s.Wait(ctx, after); err != nil {
			return err
		}
		changes, next, err := s.Changes(ctx, after, 10)
		if err != nil {
			return err
		}
		for _, change := range changes {
			if seen[change] {
				return fmt.Errorf("%v is read twice", change)
			}
			seen[change] = true
		}
		after = next
	}
	return nil
}

var spanSentences = []sentence{
	{"returns the times between which the changes in the log were made", func(b *bundle) {
		first, last := b.create(newUser()), b.create(newUser())
		b.create(newUser())
		last = b.update(store.Update{ID: last.ID, DisplayName: new("x")})
		span := b.span()
		b.same([]time.Time{span.Oldest, span.Newest}, []time.Time{first.CreatedAt, last.UpdatedAt})
		b.prune(last.UpdatedAt)
		b.same(b.span().Oldest, last.UpdatedAt)
	}},
	{"of an empty log", func(b *bundle) {
		if span := b.span(); !span.Oldest.IsZero() || !span.Newest.IsZero() {
			b.Errorf("span is %+v", span)
		}
	}},
	{"and the time now by the database's clock", func(b *bundle) {
		before := time.Now()
		if now := b.span().Now; now.Before(before.Add(-time.Minute)) || now.After(time.Now().Add(time.Minute)) {
			b.Errorf("now is %s at %s", now, before)
		}
	}},
	{"which a Pruner goes by", func(b *bundle) {
		b.create(newUser())
		last := b.create(newUser())
		pruner := store.Pruner{Store: b}
		removed, err := pruner.Prune(b.Context())
		b.must(err)
		b.same(removed, int64(1))
		b.same(b.logged(store.Earliest), []string{upserted(last.ID, 1)})
	}},
}

func (b *bundle) span() store.Span {
	b.Helper()
	span, err := b.Span(b.Context())
	b.must(err)
	return span
}

var pruneSentences = []sentence{
	{"removes changes older than before and returns how many", func(b *bundle) {
		var users []store.User
		for range 6 {
			users = append(users, b.create(newUser()))
		}
		b.same(b.prune(users[0].CreatedAt), int64(0))
		b.same(b.prune(users[4].CreatedAt), int64(4))
		b.same(b.prune(users[4].CreatedAt), int64(0))
		b.same(b.logged(store.Earliest), []string{upserted(users[4].ID, 1), upserted(users[5].ID, 1)})
		b.same(b.prune(farFuture), int64(2))
	}},
	{"of an empty log", func(b *bundle) { b.same(b.prune(farFuture), int64(0)) }},
	{"more than a step", func(b *bundle) {
		b.importAll(newUsers(2500)...)
		last := b.create(newUser())
		b.same(b.prune(last.CreatedAt), int64(2500))
		b.same(b.logged(store.Earliest), []string{upserted(last.ID, 1)})
	}},
	{"users and deleted ids stay", func(b *bundle) {
		user, gone := b.create(newUser("admin")), newUser()
		b.create(gone)
		b.remove(gone.ID)
		b.prune(farFuture)
		b.same(b.get(user.ID), user)
		_, err := b.Create(b.Context(), gone)
		b.wantErr(err, store.ErrIDTaken)
	}},
}

// farFuture is later than every change.
var farFuture = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

func (b *bundle) prune(before time.Time) int64 {
	b.Helper()
	removed, err := b.Prune(b.Context(), before)
	b.must(err)
	return removed
}
