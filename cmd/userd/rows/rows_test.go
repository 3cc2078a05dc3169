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

// Programs of Windows begin files with a byte order mark, and some put quotes around all.
func TestFilesWithAByteOrderMark(t *testing.T) {
	t.Parallel()
	want := []string{"a@example.com"}
	for _, test := range []struct{ name, format, text string }{
		{"CSV", CSV, "email,display_name\na@example.com,A\n"},
		{"CSV with quotes", CSV, "\"email\",\"display_name\"\r\n\"a@example.com\",\"A\"\r\n"},
		{"JSON Lines", JSONLines, `{"email":"a@example.com"}`},
		{"Auth0", Auth0, `{"email":"a@example.com"}`},
		{"Firebase", Firebase, `{"users":[{"email":"a@example.com"}]}`},
	} {
		for _, begin := range []string{"", mark} {
			if emails, err := emailsIn(t, test.format, begin+test.text); err != nil || !slices.Equal(emails, want) {
				t.Errorf("%s beginning with %q: %q, error %v", test.name, begin, emails, err)
			}
		}
	}
	for _, short := range []string{"", "\xef", "\xef\xbb", mark} {
		if emails, err := emailsIn(t, JSONLines, short); err != nil || len(emails) > 1 {
			t.Errorf("%q: %q, error %v", short, emails, err)
		}
	}
}

// What is JSON but no object fails like other rows, and stands among those.
func TestRowsThatAreNoObjects(t *testing.T) {
	t.Parallel()
	for _, format := range []string{JSONLines, Auth0, Firebase} {
		for _, text := range []string{"null", "7", "[]", `"text"`} {
			in := text
			if format == Firebase {
				in = `{"users":[` + text + `]}`
			}
			reader, err := NewReader(format, strings.NewReader(in))
			if err != nil {
				t.Fatal(err)
			}
			row, err := reader.Read()
			if err != nil || row.User != nil || row.Why == "" {
				t.Errorf("%s: %s is a row: %v, error %v", format, text, row.User, err)
			}
			var failures strings.Builder
			if err := reader.Failures(&failures, false).Write(row, "none"); err != nil || !strings.HasPrefix(failures.String(), `{"failure":"none","line":`) {
				t.Errorf("%s: %s is told as %s, error %v", format, text, &failures, err)
			}
		}
	}
}
