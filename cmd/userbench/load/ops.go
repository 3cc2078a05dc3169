package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/example/userd/cmd/userbench/population"
)

// Codec is a form of messages.
type Codec string

// The codecs.
const (
	Proto Codec = "proto"
	JSON  Codec = "json"
)

// Op is a unary procedure with messages for the users of a population.
type Op struct {
	Method string
	// Append appends the request for a user.
	Append func(dst []byte, key int) []byte
	// Check returns what is wrong with the response for a user.
	Check func(message []byte, key int) error
}

// Field numbers of user.v1 that the checks look at.
const (
	fieldUserID  = 1 // Of User.
	fieldEmail   = 2
	fieldSuccess = 1 // Of UserUpdateResponse.
	fieldUpdated = 3
	fieldUsers   = 1 // Of BatchGetUsersResponse, and the user of all others.
	fieldEvents  = 1 // Of WatchUsersResponse.

	fieldPageToken = 2 // Of SearchUsersResponse.
)

// GetUser reads one user.
func GetUser(users *population.Users, codec Codec) *Op {
	if codec == JSON {
		return &Op{Method: "GetUser", Append: appendJSONID(users), Check: checkJSONUser(users)}
	}
	return &Op{
		Method: "GetUser",
		Append: func(dst []byte, key int) []byte { return appendString(dst, 1, users.ID(key)) },
		Check:  func(message []byte, key int) error { return checkUsers(message, users, key, 1) },
	}
}

// UpdateUser gives one user a new name.
func UpdateUser(users *population.Users) *Op {
	var renamed atomic.Int64
	return &Op{
		Method: "UpdateUser",
		Append: func(dst []byte, key int) []byte {
			name := "Renamed " + strconv.FormatInt(renamed.Add(1), 10)
			size := protowire.SizeTag(1) + protowire.SizeBytes(len(users.ID(key))) +
				protowire.SizeTag(2) + protowire.SizeBytes(len(name))
			dst = protowire.AppendTag(dst, 1, protowire.BytesType)
			dst = protowire.AppendVarint(dst, uint64(size))
			dst = appendString(dst, 1, users.ID(key))
			return appendString(dst, 2, name)
		},
		Check: func(message []byte, key int) error { return checkUsers(message, users, key, 1) },
	}
}

// CreateUser creates a user that no call before has created; the key does not
// matter.
func CreateUser(unique string) *Op {
	var created atomic.Int64
	return &Op{
		Method: "CreateUser",
		Append: func(dst []byte, _ int) []byte {
			n := strconv.FormatInt(created.Add(1), 10)
			dst = appendString(dst, 1, unique+"-"+n+"@bench.example")
			dst = appendString(dst, 2, "Created "+n)
			return appendString(dst, 3, "member")
		},
		Check: func(message []byte, _ int) error {
			if user, _, err := nextField(message); err != nil || user.number != fieldUsers || len(user.value) == 0 {
				return errors.New("the response has no user")
			}
			return nil
		},
	}
}

// CreateChosen creates the users of a kind, each key one, and says which of them the
// server has answered as created.
func CreateChosen(kind uint64, created func(key int)) *Op {
	return &Op{
		Method: "CreateUser",
		Append: func(dst []byte, key int) []byte {
			n := strconv.Itoa(key)
			dst = appendString(dst, 1, "k"+strconv.FormatUint(kind, 10)+"-"+n+"@bench.example")
			dst = appendString(dst, 2, "Created "+n)
			dst = appendString(dst, 3, "member")
			return appendString(dst, 4, population.ID(kind, key))
		},
		Check: func(message []byte, key int) error {
			user, _, err := nextField(message)
			if err != nil {
				return err
			}
			id, err := UserID(user.value)
			if err == nil && string(id) != population.ID(kind, key) {
				err = fmt.Errorf("user %s was to be created, the answer has %q", population.ID(kind, key), id)
			}
			if err == nil {
				created(key)
			}
			return err
		},
	}
}

// SearchUsers looks for one user by the name, which no other has, among those whose
// email addresses begin as the user's: all with fixed 0, a tenth of them with 1.
func SearchUsers(users *population.Users, fixed int) *Op {
	return &Op{
		Method: "SearchUsers",
		Append: func(dst []byte, key int) []byte {
			if fixed > 0 {
				email := users.Email(key)
				dst = appendString(dst, 1, email[:strings.Index(email, "-")+1+fixed])
			}
			return appendString(dst, 2, users.User(key).GetDisplayName())
		},
		Check: func(message []byte, key int) error { return checkPage(message, users, key) },
	}
}

// checkPage checks that a page of users has this one alone, or nobody as long as others
// follow: one that leaves out very many ends before it has found all.
func checkPage(message []byte, users *population.Users, key int) error {
	last, rest, err := nextField(message)
	if err == nil && last.number == fieldUsers {
		if err := CheckUser(last.value, users, key); err != nil || len(rest) == 0 {
			return err
		}
		last, rest, err = nextField(rest)
	}
	if err == nil && (last.number != fieldPageToken || len(rest) > 0) {
		err = fmt.Errorf("field %d, with %d bytes after it, where only the token of the next page can be", last.number, len(rest))
	}
	return err
}

// BatchGetUsers reads count users from the given one on.
func BatchGetUsers(users *population.Users, count int) *Op {
	return &Op{
		Method: "BatchGetUsers",
		Append: func(dst []byte, key int) []byte {
			for i := range count {
				dst = appendString(dst, 1, users.ID((key+i)%users.Len()))
			}
			return dst
		},
		Check: func(message []byte, key int) error { return checkUsers(message, users, key, count) },
	}
}

func appendString(dst []byte, number protowire.Number, value string) []byte {
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	return protowire.AppendString(dst, value)
}

// field is one field of a protobuf message; value is set for the type bytes.
type field struct {
	number protowire.Number
	value  []byte
}

// nextField takes the first field of a message.
func nextField(message []byte) (field, []byte, error) {
	number, kind, n := protowire.ConsumeTag(message)
	if n < 0 {
		return field{}, nil, protowire.ParseError(n)
	}
	if kind == protowire.BytesType {
		value, m := protowire.ConsumeBytes(message[n:])
		if m < 0 {
			return field{}, nil, protowire.ParseError(m)
		}
		return field{number, value}, message[n+m:], nil
	}
	m := protowire.ConsumeFieldValue(number, kind, message[n:])
	if m < 0 {
		return field{}, nil, protowire.ParseError(m)
	}
	return field{number: number}, message[n+m:], nil
}

// checkUsers checks that a response has exactly these users, in order.
func checkUsers(message []byte, users *population.Users, key, count int) error {
	for i := range count {
		user, rest, err := nextField(message)
		if err != nil {
			return fmt.Errorf("user %d of %d: %w", i, count, err)
		}
		if user.number != fieldUsers {
			return fmt.Errorf("field %d where user %s was asked for", user.number, users.ID((key+i)%users.Len()))
		}
		if err := CheckUser(user.value, users, (key+i)%users.Len()); err != nil {
			return err
		}
		message = rest
	}
	if len(message) > 0 {
		return fmt.Errorf("%d bytes after the users", len(message))
	}
	return nil
}

// CheckUser checks that an encoded User is the given one.
func CheckUser(message []byte, users *population.Users, key int) error {
	id, err := UserID(message)
	if err == nil && string(id) != users.ID(key) {
		err = fmt.Errorf("user %s was asked for, the answer has %q", users.ID(key), id)
	}
	return err
}

// CountEvents is the number of events in a WatchUsersResponse.
func CountEvents(message []byte) (events int, err error) {
	for len(message) > 0 {
		var f field
		if f, message, err = nextField(message); err != nil {
			return 0, err
		}
		if f.number == fieldEvents {
			events++
		}
	}
	return events, nil
}

// UserID is the id in an encoded User, which has an email address, too.
func UserID(message []byte) ([]byte, error) {
	id, rest, err := nextField(message)
	if err != nil || id.number != fieldUserID {
		return nil, errors.Join(errors.New("a user without an id"), err)
	}
	email := false
	for len(rest) > 0 {
		var f field
		if f, rest, err = nextField(rest); err != nil {
			return nil, fmt.Errorf("user %s: %w", id.value, err)
		}
		email = email || f.number == fieldEmail && len(f.value) > 0
	}
	if !email {
		return nil, fmt.Errorf("user %s has no email", id.value)
	}
	return id.value, nil
}

func appendJSONID(users *population.Users) func([]byte, int) []byte {
	return func(dst []byte, key int) []byte {
		dst = append(dst, `{"userId":"`...)
		dst = append(dst, users.ID(key)...)
		return append(dst, `"}`...)
	}
}

// checkJSONUser looks for the id and for the end: a parser would cost more than the
// call.
func checkJSONUser(users *population.Users) func([]byte, int) error {
	return func(message []byte, key int) error {
		_, user, _ := bytes.Cut(message, []byte(`"id":`))
		id, ok := bytes.CutPrefix(bytes.TrimLeft(user, " "), []byte(`"`))
		if !ok || !bytes.HasPrefix(id, []byte(users.ID(key)+`"`)) {
			return fmt.Errorf("user %s was asked for, the answer is %.100q", users.ID(key), message)
		}
		if !bytes.HasSuffix(bytes.TrimSpace(id), []byte("}}")) {
			return fmt.Errorf("the response is cut off: %.100q", message)
		}
		return nil
	}
}

// CheckUpdated checks that a UserUpdateResponse says that a user was changed.
func CheckUpdated(message []byte, users *population.Users, key int) error {
	success := []byte{fieldSuccess << 3, 1}
	if !bytes.HasPrefix(message, success) {
		return fmt.Errorf("the update of user %s was not made", users.ID(key))
	}
	user, rest, err := nextField(message[len(success):])
	if err != nil {
		return err
	}
	if user.number != fieldUpdated || len(rest) > 0 {
		return fmt.Errorf("the answer to the update of user %s has no user", users.ID(key))
	}
	return CheckUser(user.value, users, key)
}
