package clienttest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	userv1 "github.com/example/userd/gen/user/v1"
)

// person is a user as documents describe it.
type person struct {
	label, email, name string
	roles              []string
	version            int64
	login              string
}

func (p person) String() string {
	return fmt.Sprintf("%s v%d <%s> %q %q, last login %s", p.label, p.version, p.email, p.name, p.roles, p.login)
}

func createAda() *userv1.CreateUserRequest {
	return &userv1.CreateUserRequest{Email: "Ada@Example.com", DisplayName: "Ada Lovelace ☕", Roles: []string{"dev", "admin"}}
}

func createGrace() *userv1.CreateUserRequest {
	return &userv1.CreateUserRequest{Email: "grace@example.com", DisplayName: "Grace Hopper", UserId: graceID}
}

// row is row i of the import.
func row(i int) *userv1.CreateUserRequest {
	r := &userv1.CreateUserRequest{Email: fmt.Sprintf("row-%05d@import.example", i), DisplayName: fmt.Sprintf("Row %d", i)}
	if i%7 == 0 {
		r.Roles = []string{"seventh", "imported"}
	}
	switch rowFailure(i) {
	case userv1.Reason_REASON_INVALID_FIELD:
		r.Email = "not an address"
	case userv1.Reason_REASON_EMAIL_TAKEN:
		r.Email = strings.ToUpper(row(i - 1).GetEmail())
	}
	if i == rowCount-1 {
		r.Email = createAda().GetEmail()
	}
	return r
}

// rowFailure is why row i cannot be stored.
func rowFailure(i int) userv1.Reason {
	switch {
	case i%100 == 13:
		return userv1.Reason_REASON_INVALID_FIELD
	case i%100 == 57, i == rowCount-1:
		return userv1.Reason_REASON_EMAIL_TAKEN
	}
	return userv1.Reason_REASON_UNSPECIFIED
}

func rowLabel(i int) string { return fmt.Sprintf("row %05d", i) }

// renamed is the name that update k gives.
func renamed(k int) string { return fmt.Sprintf("Renamed %d", k) }

// updateFailure is why update k cannot be applied.
func updateFailure(k int) userv1.Reason {
	switch k % 50 {
	case 1, 7:
		return userv1.Reason_REASON_USER_NOT_FOUND
	case 23:
		return userv1.Reason_REASON_VERSION_MISMATCH
	case 31:
		return userv1.Reason_REASON_INVALID_FIELD
	}
	return userv1.Reason_REASON_UNSPECIFIED
}

var searches = []*userv1.SearchUsersRequest{
	{EmailPrefix: "ROW-002", Role: "seventh", PageSize: 6},
	{EmailPrefix: "row-001", Role: "renamed", PageSize: 100},
	{NameContains: "OF LOVE"},
	{EmailPrefix: "nobody"},
}

func searchName(r *userv1.SearchUsersRequest) string {
	return fmt.Sprintf("%q %q %q", r.GetEmailPrefix(), r.GetRole(), r.GetNameContains())
}

// expected returns the document that every client has to bring back.
func expected() document {
	d := document{}
	ada := person{"ada", "Ada@Example.com", "Ada Lovelace ☕", []string{"admin", "dev"}, 1, "never"}
	grace := person{"grace", "grace@example.com", "Grace Hopper", nil, 1, "never"}
	d.users(&ada, grace)
	d.errors()
	people := append([]*person{&ada, &grace}, d.importRows()...)
	d.list(people)
	d.updates(people[2:])
	d.search(people)
	d.watchAndDelete(people, grace)
	return d
}

func (d document) say(section, format string, args ...any) {
	d[section] = append(d[section], fmt.Sprintf(format, args...))
}

func (d document) users(ada *person, grace person) {
	d.say("users", "create: %s", ada)
	d.say("users", "create with an id: %s", grace)
	d.say("users", "create with an id: %s", grace)
	d.say("users", "get ada: %s", ada)
	d.say("users", "get grace: %s", grace)
	d.say("users", "get nobody: no user")
	d.say("users", "get aDA@eXAMPLE.cOM: %s", ada)
	d.say("users", "get nobody@example.com: no user")
	ada.name, ada.version = "Countess of Lovelace", 2
	d.say("users", "update: %s", ada)
	ada.roles, ada.version = []string{"admin", "ops"}, 3
	d.say("users", "update: %s", ada)
	d.say("users", "update: %s", ada)
	ada.login, ada.version = login.Format(time.RFC3339Nano), 4
	d.say("users", "record login: %s", ada)
	d.say("users", "record login: %s", ada)
	d.say("users", "get at least version 4: %s", ada)
	d.say("users", "batch get: %s", grace)
	d.say("users", "batch get: %s", ada)
	d.say("users", "batch get: missing nobody")
}

func (d document) errors() {
	d["errors"] = []string{
		"create with a taken email: already_exists user.v1/EMAIL_TAKEN email",
		"create with a taken id: already_exists user.v1/USER_ID_TAKEN user_id",
		"create with a bad email: invalid_argument user.v1/INVALID_FIELD email",
		"create with a bad role: invalid_argument user.v1/INVALID_FIELD roles[1]",
		"get a bad id: invalid_argument user.v1/INVALID_FIELD user_id",
		"update an old version: aborted user.v1/VERSION_MISMATCH",
		"update nobody: not_found user.v1/USER_NOT_FOUND",
		"record a login of nobody: not_found user.v1/USER_NOT_FOUND",
		"delete nobody: not_found user.v1/USER_NOT_FOUND",
		"search with a bad token: invalid_argument user.v1/INVALID_PAGE_TOKEN page_token",
		"list with a bad token: invalid_argument user.v1/INVALID_PAGE_TOKEN page_token",
		"watch from a bad cursor: invalid_argument user.v1/INVALID_CURSOR cursor",
	}
}

func (d document) importRows() []*person {
	var stored []*person
	d.say("import", "")
	for i := range rowCount {
		if reason := rowFailure(i); reason != userv1.Reason_REASON_UNSPECIFIED {
			d.say("import", "row %d: %s", i, reason)
			continue
		}
		r := row(i)
		roles := slices.Sorted(slices.Values(r.GetRoles()))
		stored = append(stored, &person{rowLabel(i), r.GetEmail(), r.GetDisplayName(), roles, 1, "never"})
	}
	d["import"][0] = fmt.Sprintf("import: ok, stored %d with %d ids, failed %d", len(stored), len(stored), rowCount-len(stored))
	return stored
}

func (d document) list(people []*person) {
	for i, p := range people[:12] {
		d.say("list", "page: %s", p)
		if i%4 == 3 {
			d.say("list", "page: ok")
		}
	}
	for _, p := range people {
		d.say("list", "all: %s", p)
	}
	d.say("list", `all: ok, next page ""`)
}

func (d document) updates(stored []*person) {
	for k, p := range stored[:updateCount] {
		if reason := updateFailure(k); reason != userv1.Reason_REASON_UNSPECIFIED {
			d.say("updates", "update %d: %s", k, reason)
			continue
		}
		p.name, p.version = renamed(k), 2
		p.roles = slices.Sorted(slices.Values(append(p.roles, "renamed")))
		d.say("updates", "update %d: %s", k, p)
	}
}

func (d document) search(people []*person) {
	for _, filters := range searches {
		var found []*person
		for _, p := range people {
			if strings.HasPrefix(strings.ToLower(p.email), strings.ToLower(filters.GetEmailPrefix())) &&
				strings.Contains(strings.ToLower(p.name), strings.ToLower(filters.GetNameContains())) &&
				(filters.GetRole() == "" || slices.Contains(p.roles, filters.GetRole())) {
				found = append(found, p)
			}
		}
		d.searchPages(filters, found)
	}
}

func (d document) searchPages(filters *userv1.SearchUsersRequest, found []*person) {
	size := int(filters.GetPageSize())
	if size == 0 {
		size = 10
	}
	for page := 1; page == 1 || len(found) > 0; page++ {
		d.say("search", "%s page %d: ok", searchName(filters), page)
		count := min(size, len(found))
		for _, p := range found[:count] {
			d.say("search", "%s", p)
		}
		found = found[count:]
	}
}

func (d document) watchAndDelete(people []*person, grace person) {
	for _, p := range people {
		d.say("watch", "%s", p)
	}
	slices.Sort(d["watch"])
	another := person{"another grace", grace.email, "Another Grace", nil, 1, "never"}
	d["delete"] = []string{
		"delete another version: aborted user.v1/VERSION_MISMATCH",
		"delete: version 2",
		"watch: grace deleted v2",
		"resumed watch: grace deleted v2",
		"get: no user",
		"delete again: not_found user.v1/USER_NOT_FOUND",
		"create with the id of a deleted user: already_exists user.v1/USER_ID_TAKEN user_id",
		"create with the email of a deleted user: " + another.String(),
	}
}
