package main

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

// peopleKind is the kind of the users that are searched.
const peopleKind = 3

// firstPerson is when the first of them was created. Each other one was ten seconds later.
var firstPerson = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// What one in so many has, and in how many ways another attribute differs.
const (
	editors, auditors, disabledOnes, pros, tenants, inactives = 10, 10_000, 1_000, 20, 5_000, 100
)

// person is user i as an import sends it: names as people have them, and one in so many
// with what the searches look for.
func person(i int) *userv1.CreateUserRequest {
	created := firstPerson.Add(time.Duration(i) * 10 * time.Second)
	row := &userv1.CreateUserRequest{
		UserId: population.ID(peopleKind, i), Email: personsEmail(i), DisplayName: personsName(i), Roles: []string{"member"},
		ExternalId: personsExternalID(i),
		Attributes: map[string]string{"tenant": fmt.Sprintf("t%d", i%tenants), "plan": "free"},
		Disabled:   i%disabledOnes == 3,
		CreatedAt:  timestamppb.New(created),
	}
	if i%pros == 0 {
		row.Attributes["plan"] = "pro"
	}
	if i%editors == 0 {
		row.Roles = append(row.Roles, "editor")
	}
	if i%auditors == 7 {
		row.Roles = append(row.Roles, "auditor")
	}
	if i%inactives != 11 {
		row.LastLogin = timestamppb.New(created.AddDate(2, 0, i%365))
	}
	return row
}

func personsEmail(i int) string { return fmt.Sprintf("%s.%07d@people.example", syllables(i%676, 2), i) }

func personsExternalID(i int) string { return fmt.Sprintf("issuer|%d", i) }

// personsName has one of 300 first names and one of 50,000 last names.
func personsName(i int) string {
	return title(syllables(scattered(i)%300, 2)) + " " + title(syllables(scattered(i*7+1)%50_000, 4))
}

// scattered looks random and is not.
func scattered(i int) int { return int(uint32(i+1) * 2_654_435_761 >> 3) }

func title(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// syllables writes a number in so many syllables, each one of 100.
func syllables(number, count int) string {
	const consonants, vowels = "bdfghklmnprstvwzcjxq", "aeiou"
	var word strings.Builder
	for range count {
		word.WriteByte(consonants[number%20])
		word.WriteByte(vowels[number/20%5])
		number /= 26 // The next syllable is not independent of this one, as in a language.
	}
	return word.String()
}
