package rows

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// emailsIn are those of the rows of a text, and why it could not be read to its end.
func emailsIn(t *testing.T, format, text string) (emails []string, err error) {
	t.Helper()
	reader, err := NewReader(format, strings.NewReader(text))
	for err == nil {
		var row Row
		if row, err = reader.Read(); err == nil {
			emails = append(emails, row.User.GetEmail())
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return emails, err
}

// A file that was cut off is not taken for one that has fewer users.
func TestListsThatEndTooEarly(t *testing.T) {
	t.Parallel()
	const whole = `{"realm":"test","users":[{"email":"a@example.com"},{"email":"b@example.com"}],"clients":[{}]}`
	end := strings.Index(whole, "]") + 1
	for length := range end {
		if emails, err := emailsIn(t, Keycloak, whole[:length]); err == nil {
			t.Errorf("%s is read without an error: %q", whole[:length], emails)
		}
	}
	if emails, err := emailsIn(t, Keycloak, whole); err != nil || !slices.Equal(emails, []string{"a@example.com", "b@example.com"}) {
		t.Errorf("%q, error %v", emails, err)
	}
}
