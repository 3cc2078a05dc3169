package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/cmd/userbench/report"
	userv1 "github.com/example/userd/gen/user/v1"
)

var searchScenario = scenario{
	name:  "search",
	title: "Searches of many users",
	text: "userd without a cache on a store with -users users, whose names are made of syllables. One caller sends each search again and again, going on with the token of the page before as long as there is one, for at most 100 pages; pages have 10 users. " +
		"A page is cut short where no index bounds the search: it ends after a fixed amount of work, with fewer users. " +
		"Then 32 callers send all searches in turn, and wait where a refusal says so, while one reads users by email, one by external id, and one creates users, each as fast as it is answered. " +
		"What pages are found by is counted by userd: order is along all users, few of whom are left out, walk as far as one page goes. " +
		"With -before, imports and single creates are compared with those of that revision, each in a database of its own.",
	run:   runSearch,
	named: true,
}

// searchers is how many callers search at the same time.
const searchers = 32

// maxPages is how far a search goes on.
const maxPages = 100

// pageSize is how many users a page has where none is asked for.
const pageSize = 10

// nobody is a name that nobody has.
const nobody = "Quetzalcoatl"

// search is a row of the table.
type search struct {
	what    string
	request *userv1.SearchUsersRequest
}

// queries are the rows, for so many people.
func queries(people int) []search {
	last := firstPerson.Add(time.Duration(people) * 10 * time.Second)
	middle := timestamppb.New(firstPerson.Add(last.Sub(firstPerson) / 2))
	someone := personsName(people / 3)
	return []search{
		{"all", &userv1.SearchUsersRequest{}},
		{"newest first", &userv1.SearchUsersRequest{NewestFirst: true}},
		{"from the middle on", &userv1.SearchUsersRequest{CreatedAfter: middle}},
		{"one email", &userv1.SearchUsersRequest{EmailPrefix: personsEmail(people / 3)}},
		{"email prefix of one in 676", &userv1.SearchUsersRequest{EmailPrefix: personsEmail(people / 3)[:5]}},
		{"email prefix of nobody", &userv1.SearchUsersRequest{EmailPrefix: "nobody"}},
		{"a whole name", &userv1.SearchUsersRequest{NameContains: someone}},
		{"a common part of names", &userv1.SearchUsersRequest{NameContains: someone[:4]}},
		{"a name of nobody", &userv1.SearchUsersRequest{NameContains: nobody}},
		{"two letters of nobody", &userv1.SearchUsersRequest{NameContains: "yy"}},
		{"common role", &userv1.SearchUsersRequest{Role: "editor"}},
		{"rare role", &userv1.SearchUsersRequest{Role: "auditor"}},
		{"role of nobody", &userv1.SearchUsersRequest{Role: "emperor"}},
		{"email prefix of nobody, common role", &userv1.SearchUsersRequest{EmailPrefix: "nobody", Role: "editor"}},
		{"common part of names, rare role", &userv1.SearchUsersRequest{NameContains: someone[:4], Role: "auditor"}},
		{"rare attribute", &userv1.SearchUsersRequest{Attributes: map[string]string{"tenant": "t4711"}}},
		{"common attribute", &userv1.SearchUsersRequest{Attributes: map[string]string{"plan": "pro"}}},
		{"attribute of nobody", &userv1.SearchUsersRequest{Attributes: map[string]string{"plan": "gold"}}},
		{"disabled", &userv1.SearchUsersRequest{Disabled: new(true)}},
		{"disabled, newest first, rare role", &userv1.SearchUsersRequest{Disabled: new(true), NewestFirst: true, Role: "auditor"}},
		{"not disabled", &userv1.SearchUsersRequest{Disabled: new(false)}},
		{"inactive since the middle", &userv1.SearchUsersRequest{InactiveSince: middle}},
		{"inactive since the first", &userv1.SearchUsersRequest{InactiveSince: timestamppb.New(firstPerson)}},
		{"everything together", &userv1.SearchUsersRequest{
			EmailPrefix: personsEmail(people / 3)[:5], NameContains: someone[:4], Role: "editor", Disabled: new(false),
			Attributes: map[string]string{"plan": "pro"}, InactiveSince: timestamppb.New(last), NewestFirst: true,
		}},
	}
}

func runSearch(ctx context.Context, b *bench, section *report.Section) error {
	if err := b.lab.Cores.UnpinLoad(); err != nil {
		return err
	}
	for _, engine := range searchedEngines {
		if !b.rows.MatchString(engine.name) {
			continue
		}
		database, err := engine.empty(ctx, &b.fleet, b.lab.Root())
		if err != nil {
			return err
		}
		tables, err := b.searchIn(ctx, engine.name, database)
		if err != nil {
			return fmt.Errorf("%s: %w", engine.name, err)
		}
		section.Tables = append(section.Tables, tables...)
	}
	return b.searchCosts(ctx, section)
}

// searchedEngine is a database that is searched.
type searchedEngine struct {
	name string
	// empty makes one for userd of a tree.
	empty func(ctx context.Context, f *fleet, root string) (database string, err error)
}

var searchedEngines = []searchedEngine{
	{"PostgreSQL", func(ctx context.Context, f *fleet, root string) (string, error) {
		name, err := f.emptyPostgresOf(ctx, root)
		if err != nil {
			return "", err
		}
		return f.postgres.URL(name, ""), nil
	}},
	{"SQLite", func(_ context.Context, f *fleet, _ string) (string, error) { return f.emptySQLite(), nil }},
}

func (b *bench) searchIn(ctx context.Context, engine, database string) ([]report.Table, error) {
	server, err := b.fleet.userd(ctx, false, database, noCacheFlags...)
	if err != nil {
		return nil, err
	}
	if err := importPeople(server, b.people); err != nil {
		return nil, err
	}
	s, err := newSearching(b, server)
	if err != nil {
		return nil, err
	}
	defer s.session.Close()
	if err := s.awaitNames(ctx); err != nil {
		return nil, err
	}
	table, err := s.alone(ctx, engine)
	if err != nil {
		return nil, err
	}
	beside, err := s.beside(ctx, engine)
	return []report.Table{table, beside}, err
}

func importPeople(server *lab.Server, people int) error {
	session, err := load.DialSession(server.Address, 0)
	if err != nil {
		return err
	}
	defer session.Close()
	for from := 0; from < people; from += maxImport {
		r, err := peopleRows(from, min(maxImport, people-from))
		if err != nil {
			return err
		}
		if err := importInto(session, r); err != nil {
			return err
		}
	}
	return nil
}

// peopleRows are so many people, from one on.
func peopleRows(from, count int) (rows, error) {
	r := rows{count: count}
	for i := range count {
		message, err := framed(person(from + i))
		if err != nil {
			return rows{}, err
		}
		r.messages = append(r.messages, message...)
	}
	return r, nil
}

// searching is a caller of searches.
type searching struct {
	bench    *bench
	server   *lab.Server
	session  *load.Session
	searches []search
	created  *load.Op
}

func newSearching(b *bench, server *lab.Server) (*searching, error) {
	session, err := load.DialSession(server.Address, 0)
	return &searching{b, server, session, queries(b.people), load.CreateUser("beside")}, err
}

// awaitNames waits until the index of names has all users, which SQLite's gets to after an
// import: then one page is enough to say that nobody has a name.
func (s *searching) awaitNames(ctx context.Context) error {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		found, err := s.page(&userv1.SearchUsersRequest{NameContains: nobody}, load.NewHistogram())
		if err != nil || found.GetNextPageToken() == "" {
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// alone sends each search by itself.
func (s *searching) alone(ctx context.Context, engine string) (report.Table, error) {
	table := report.Table{Columns: []string{engine, "found by", "pages", "of them cut short", "users", "p50 of a page", "p99"}}
	all := load.NewHistogram()
	for _, search := range s.searches {
		times := load.NewHistogram()
		var last counts
		before, err := s.server.Metrics(ctx)
		if err != nil {
			return table, err
		}
		for began := time.Now(); time.Since(began) < s.bench.searchTime && ctx.Err() == nil; {
			var err error
			if last, err = s.turn(search, times); err != nil {
				return table, fmt.Errorf("%s: %w", search.what, err)
			}
		}
		all.Merge(times)
		after, err := s.server.Metrics(ctx)
		if err != nil {
			return table, err
		}
		table.Add(search.what, plansOf(before, after), fmt.Sprint(last.pages), fmt.Sprint(last.short), fmt.Sprint(last.users),
			report.NewFigure("ms", percentile(times, 50)).String(),
			s.bench.record("search/"+engine+"/"+search.what+"/p99", "ms", percentile(times, 99)).String())
	}
	table.Add("all pages of all of them", "", "", "", "", report.NewFigure("ms", percentile(all, 50)).String(),
		s.bench.record("search/"+engine+"/p99", "ms", percentile(all, 99)).String())
	return table, ctx.Err()
}

// plansOf are by what the pages between two moments were found, by most of them first.
func plansOf(before, after lab.Metrics) string {
	const pages = "userd_store_pages_total"
	found := after.ByLabel(pages)
	for plan, count := range before.ByLabel(pages) {
		found[plan] -= count
	}
	maps.DeleteFunc(found, func(_ string, count float64) bool { return count == 0 })
	return strings.Join(slices.SortedFunc(maps.Keys(found), func(a, b string) int { return cmp.Compare(found[b], found[a]) }), ", ")
}

// counts are what a search has found.
type counts struct {
	pages, users int
	short        int // Pages that are not full and not the last.
}

// turn goes through the pages of a search.
func (s *searching) turn(search search, times *hdrhistogram.Histogram) (found counts, err error) {
	request := proto.CloneOf(search.request)
	for found.pages < maxPages {
		page, err := s.page(request, times)
		if err != nil {
			return found, err
		}
		found.pages, found.users = found.pages+1, found.users+len(page.GetUsers())
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			break
		}
		if len(page.GetUsers()) < pageSize {
			found.short++
		}
	}
	return found, nil
}

// page asks for a page.
func (s *searching) page(request *userv1.SearchUsersRequest, times *hdrhistogram.Histogram) (*userv1.SearchUsersResponse, error) {
	message, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	found := new(userv1.SearchUsersResponse)
	began := time.Now()
	err = s.session.Call("SearchUsers", message, func(response []byte) error { return proto.Unmarshal(response, found) })
	if err != nil {
		return nil, err
	}
	return found, times.RecordValue(max(1, time.Since(began).Microseconds()))
}

// beside measures other calls without searches and beside them.
func (s *searching) beside(ctx context.Context, engine string) (report.Table, error) {
	table := report.Table{Columns: []string{engine, "p99 without searches", fmt.Sprintf("p99 beside %d callers who search", searchers), "ratio"}}
	var phases [2]neighbours
	for i := range phases {
		var err error
		if phases[i], err = s.phase(ctx, i == 1); err != nil {
			return table, err
		}
	}
	add := func(what string, of func(neighbours) *hdrhistogram.Histogram) {
		without, with := percentile(of(phases[0]), 99), percentile(of(phases[1]), 99)
		table.Add(what, report.NewFigure("ms", without).String(), report.NewFigure("ms", with).String(),
			s.bench.record("search/"+engine+"/"+what, "", with/without).String())
	}
	add("GetUserByEmail", func(o neighbours) *hdrhistogram.Histogram { return o.emails })
	add("GetUserByExternalId", func(o neighbours) *hdrhistogram.Histogram { return o.externals })
	add("CreateUser", func(o neighbours) *hdrhistogram.Histogram { return o.creates })
	return table, nil
}

// neighbours are the times of calls that are no searches.
type neighbours struct{ emails, externals, creates *hdrhistogram.Histogram }

// phase calls for a while, beside searches or not.
func (s *searching) phase(ctx context.Context, searched bool) (neighbours, error) {
	ctx, stop := context.WithTimeout(ctx, s.bench.surge)
	defer stop()
	found := neighbours{load.NewHistogram(), load.NewHistogram(), load.NewHistogram()}
	var callers sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	call := func(f func(turn int) error) {
		callers.Go(func() {
			for turn := 0; ctx.Err() == nil; turn++ {
				if err := f(turn); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	timed := func(times *hdrhistogram.Histogram, f func(turn int) error) func(int) error {
		return func(turn int) error {
			began := time.Now()
			if err := f(turn); err != nil {
				return err
			}
			return times.RecordValue(max(1, time.Since(began).Microseconds()))
		}
	}
	call(timed(found.emails, func(turn int) error {
		i := scattered(turn) % s.bench.people
		return s.lookup(i, "GetUserByEmail", &userv1.GetUserByEmailRequest{Email: personsEmail(i)}, new(userv1.GetUserByEmailResponse))
	}))
	call(timed(found.externals, func(turn int) error {
		i := scattered(turn) % s.bench.people
		return s.lookup(i, "GetUserByExternalId", &userv1.GetUserByExternalIdRequest{ExternalId: personsExternalID(i)}, new(userv1.GetUserByExternalIdResponse))
	}))
	call(timed(found.creates, func(int) error { return s.session.Unary(s.created, 0) }))
	for i := range searchers {
		if searched {
			call(func(turn int) error {
				_, err := s.turn(s.searches[(turn+i)%len(s.searches)], load.NewHistogram())
				if pause := load.RetryDelay(err); pause > 0 {
					time.Sleep(pause)
					return nil
				}
				return err
			})
		}
	}
	callers.Wait()
	return found, errors.Join(errs...)
}

// lookup reads a person by what nobody else has.
func (s *searching) lookup(i int, method string, request proto.Message, response interface {
	proto.Message
	GetUser() *userv1.User
},
) error {
	encoded, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	err = s.session.Call(method, encoded, func(message []byte) error { return proto.Unmarshal(message, response) })
	if err == nil && response.GetUser().GetId() != population.ID(peopleKind, i) {
		err = fmt.Errorf("%s: %s was asked for, the answer has %q", method, personsEmail(i), response.GetUser().GetEmail())
	}
	return err
}
