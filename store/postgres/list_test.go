package postgres_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/example/userd/store"
	"github.com/example/userd/store/stats"
)

// Among so many users, a walk past all of them takes several pages.
func TestWhatIndexesKnowIsFoundInOnePage(t *testing.T) {
	t.Parallel()
	const n = 25_000
	s, url := openNew(t)
	s.SearchWithoutLimit()
	var users []store.NewUser
	for i := range n {
		users = append(users, store.NewUser{
			ID: uuid.NewString(), Email: fmt.Sprintf("u%d@example.com", i), DisplayName: fmt.Sprintf("Member %d", i), Roles: []string{"member"},
		})
	}
	rare := &users[n-1]
	rare.DisplayName, rare.Roles, rare.Disabled = `Šárka 50%_\\ off`, []string{"auditor"}, true
	rare.Attributes = []store.Attribute{{Name: "tenant", Value: `"blue"`}}
	for part := range slices.Chunk(users, 1000) { // In one, a busy machine seems frozen to PostgreSQL.
		mustImport(t, s, part)
	}
	run(t, connect(t, url), `analyze users`)
	for name, query := range map[string]store.Query{
		"role":                  {Role: "auditor"},
		"name":                  {NameContains: "sark"},
		"name with wildcards":   {NameContains: `50%_\\ O`},
		"whole name":            {NameContains: rare.DisplayName},
		"words of a name":       {NameContains: `ŠÁRKA 50`},
		"attribute":             {Attributes: rare.Attributes},
		"disabled":              {Disabled: new(true)},
		"all of them":           {Role: "auditor", NameContains: "SÁRKA", Attributes: rare.Attributes, Disabled: new(true)},
		"name and other filter": {NameContains: "Sarka", EmailPrefix: "u"},
	} {
		query.Limit = 10
		page, err := s.List(t.Context(), query)
		if err != nil || len(page.Users) != 1 || page.Users[0].ID != rare.ID || page.Next != (store.Position{}) {
			t.Errorf("%s: %d users, then %v, %v", name, len(page.Users), page.Next, err)
		}
	}
	for name, query := range map[string]store.Query{
		"role": {Role: "emperor"}, "name": {NameContains: "quetzal"},
		"attribute": {Attributes: []store.Attribute{{Name: "tenant", Value: "red"}}},
	} {
		query.Limit = 10
		if page, err := s.List(t.Context(), query); err != nil || len(page.Users) != 0 || page.Next != (store.Position{}) {
			t.Errorf("%s of nobody: %d users, then %v, %v", name, len(page.Users), page.Next, err)
		}
	}
	if walks := s.Stats().Pages[stats.Walk]; walks != 0 {
		t.Errorf("%d pages were walks", walks)
	}
}
