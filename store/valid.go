package store

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// InvalidUserError is a user in the store that no call could have stored: another
// program has written the row, or the file is damaged. Its text holds nothing of the
// user but the id.
type InvalidUserError struct {
	ID    string // "" where that is what is not valid.
	Field string // The first field that is not valid, by its name in the schema.
}

func (e *InvalidUserError) Error() string {
	if e.ID == "" {
		return "stored user: id is not a UUID in lower case"
	}
	return fmt.Sprintf("stored user %s: %s is not valid", e.ID, e.Field)
}

// UnreadableRoles stands for roles that an engine cannot read: no user has a role
// without a name.
func UnreadableRoles() []string { return []string{""} }

// UnreadableAttributes stands for attributes that an engine cannot read: no attribute has
// no name.
func UnreadableAttributes() []Attribute { return []Attribute{{}} }

// The times of a Timestamp: the years 1 to 9999.
var (
	firstTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
)

// Check returns an InvalidUserError where u cannot be shown to callers: it has text
// that is not UTF-8, a time that is none, no UUID, or no version.
func (u *User) Check() error {
	if !isUUID(u.ID) {
		return &InvalidUserError{Field: "id"}
	}
	if field := u.invalidField(); field != "" {
		return &InvalidUserError{ID: u.ID, Field: field}
	}
	return nil
}

func (u *User) invalidField() string {
	switch {
	case !utf8.ValidString(u.Email):
		return "email"
	case !utf8.ValidString(u.DisplayName):
		return "display_name"
	case !isTime(u.CreatedAt):
		return "created_at"
	case !isTime(u.LastLogin):
		return "last_login"
	case !isTime(u.UpdatedAt):
		return "updated_at"
	case u.Version < 1:
		return "version"
	case !utf8.ValidString(u.ExternalID):
		return "external_id"
	}
	for _, role := range u.Roles {
		if role == "" || !utf8.ValidString(role) {
			return "roles"
		}
	}
	for _, attribute := range u.Attributes {
		if attribute.Name == "" || !utf8.ValidString(attribute.Name) || !utf8.ValidString(attribute.Value) {
			return "attributes"
		}
	}
	return ""
}

func isTime(t time.Time) bool { return t.Unix() >= firstTime && t.Unix() <= lastTime }

// isUUID reports whether id is a UUID in lower case.
func isUUID(id string) bool {
	if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[18] != '-' || id[23] != '-' {
		return false
	}
	digits := 0
	for i := range len(id) {
		digits += int(lowerHex[id[i]])
	}
	return digits == 32 // All but the hyphens.
}

// lowerHex is 1 for each hexadecimal digit in lower case.
var lowerHex = func() (digits [256]byte) {
	for _, c := range []byte("0123456789abcdef") {
		digits[c] = 1
	}
	return digits
}()
