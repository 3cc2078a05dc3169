package main

import (
	"fmt"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
)

// census checks that a list has every user once.
type census struct {
	users []*population.Users
	index map[string]place
	seen  [][]bool
	found int
}

// place is where a user is among those that are expected.
type place struct {
	population, number int
}

func newCensus(users ...*population.Users) *census {
	c := &census{users: users, index: make(map[string]place)}
	for p, u := range users {
		c.seen = append(c.seen, make([]bool, u.Len()))
		for i := range u.Len() {
			c.index[u.ID(i)] = place{p, i}
		}
	}
	return c
}

// take takes an encoded User.
func (c *census) take(message []byte) error {
	id, err := load.UserID(message)
	if err != nil {
		return err
	}
	at, ok := c.index[string(id)]
	if !ok {
		return fmt.Errorf("user %s is not expected", id)
	}
	if c.seen[at.population][at.number] {
		return fmt.Errorf("user %s comes twice", id)
	}
	c.seen[at.population][at.number] = true
	c.found++
	return load.CheckUser(message, c.users[at.population], at.number)
}

// complete returns an error unless everybody has been taken.
func (c *census) complete() error {
	if c.found != len(c.index) {
		return fmt.Errorf("%d of %d users were listed", c.found, len(c.index))
	}
	return nil
}
