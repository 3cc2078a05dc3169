package main

import (
	"fmt"
	"hash/maphash"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

// tally checks that a list has every user once: by their number and the sum of the
// hashes of their ids.
type tally struct {
	users int
	sum   uint64
}

var tallySeed = maphash.MakeSeed()

func tallyOf(users *population.Users) (t tally) {
	for i := range users.Len() {
		t.add([]byte(users.ID(i)))
	}
	return t
}

func (t *tally) add(id []byte) {
	t.users++
	t.sum += maphash.Bytes(tallySeed, id)
}

// take takes an encoded User.
func (t *tally) take(message []byte) error {
	id, err := load.UserID(message)
	t.add(id)
	return err
}

// check returns an error unless both have the same users.
func (t *tally) check(want tally) error {
	if *t != want {
		return fmt.Errorf("%d users were listed, not each of the %d once", t.users, want.users)
	}
	return nil
}

// list lists all users and checks that they are the expected ones.
func list(session *load.Session, want tally) error {
	request, err := framed(&userv1.ListUsersRequest{All: true})
	if err != nil {
		return err
	}
	var listed tally
	stream := session.Open("ListUsers", listed.take)
	stream.Send(request)
	stream.CloseSend()
	if err := stream.Wait(); err != nil {
		return err
	}
	return listed.check(want)
}
