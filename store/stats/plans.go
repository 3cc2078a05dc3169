package stats

import "sync/atomic"

// Plan is by what the users of a page were found.
type Plan int

// The plans.
const (
	InOrder     Plan = iota // Along all users, or those who are disabled, of whom filters leave out few.
	ByEmail                 // By the index of emails.
	ByName                  // By the trigrams of names.
	ByRole                  // By those who have a role.
	ByAttribute             // By those who have an attribute.
	ByContent               // By some of the last three: the database chooses.
	Walk                    // Along all users, as far as a page goes: no index bounds what is looked for.

	plans
)

// Plans counts pages by their plans.
type Plans [plans]atomic.Int64

// Count counts a page.
func (p *Plans) Count(plan Plan) { p[plan].Add(1) }

// Snapshot returns how many pages each plan has had so far.
func (p *Plans) Snapshot() (pages [plans]int64) {
	for plan := range p {
		pages[plan] = p[plan].Load()
	}
	return pages
}
