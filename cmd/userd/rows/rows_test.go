package rows

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
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

// A compressed file that was cut off, wherever that is, is not taken for a whole one.
func TestCompressedFilesThatAreCutOff(t *testing.T) {
	t.Parallel()
	const text = `{"email":"a@example.com"}` + "\n"
	for _, name := range []string{"users.jsonl.gz", "users.jsonl.zst"} {
		var file bytes.Buffer
		out, err := Compress(name, &file)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(out, text) // Close tells.
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		whole := file.Bytes()
		for length := range len(whole) + 1 {
			var got []byte
			in, err := Decompress(name, bytes.NewReader(whole[:length]))
			if err == nil {
				got, err = io.ReadAll(in)
			}
			if isWhole := length == len(whole); (err == nil) != isWhole || isWhole && string(got) != text {
				t.Errorf("%d of %d bytes of %s are read as %q, error %v", length, len(whole), name, got, err)
			}
		}
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

// A file of UTF-16, as PowerShell writes what a command shows, is refused as a whole.
func TestFilesInUTF16(t *testing.T) {
	t.Parallel()
	for _, order := range []interface {
		binary.ByteOrder
		binary.AppendByteOrder
	}{binary.LittleEndian, binary.BigEndian} {
		var text []byte
		for _, unit := range utf16.Encode([]rune(mark + "{\"email\":\"a@example.com\"}\n")) {
			text = order.AppendUint16(text, unit)
		}
		if emails, err := emailsIn(t, JSONLines, string(text)); err == nil || !strings.Contains(err.Error(), "save it as UTF-8") {
			t.Errorf("%s: %q, error %v", order, emails, err)
		}
	}
}

// What is JSON but no object fails like other rows, and stands among those.
func TestFilesWithOtherSeparators(t *testing.T) {
	t.Parallel()
	for separator, called := range map[string]string{";": "semicolons", "\t": "tabs"} {
		for _, first := range []string{"email", "attributes.tenant", "failure"} {
			text := mark + first + separator + "display_name\r\na" + separator + "b\r\n"
			emails, err := emailsIn(t, CSV, text)
			if err == nil || err.Error() != "the columns are separated by "+called+": separate them by commas" {
				t.Errorf("%q: %q, error %v", text, emails, err)
			}
		}
	}
}

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

// Names elsewhere that become one here lose nothing in silence, and not one of them by chance:
// the row fails, and says which.
func TestNamesThatBecomeOne(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ format, user, why string }{
		{Keycloak, `"attributes":{"Tenant":["a"],"tenant":["b"]}`, "attributes.Tenant and attributes.tenant would both become the attribute tenant"},
		{Keycloak, `"attributes":{"größe":["a"],"grüße":["b"]}`, "attributes.größe and attributes.grüße would both become the attribute gr_e"},
		{Keycloak, `"username":"ada","attributes":{"Username":["other"]}`, "username and attributes.Username would both become the attribute username"},
		{Keycloak, `"emailVerified":true,"attributes":{"email verified":["no"]}`, "emailVerified and attributes.email verified would both become the attribute email_verified"},
		{Keycloak, `"realmRoles":["Admin","billing","admin"]`, "Admin and admin would both become the role admin"},
		{Auth0, `"user_metadata":{"Theme":"dark","theme":"light"}`, "user_metadata.Theme and user_metadata.theme would both become the attribute user_metadata.theme"},
		{Auth0, `"app_metadata":{"a b":1,"a c":2,"A b":3}`, "app_metadata.A b and app_metadata.a b would both become the attribute app_metadata.a_b"},
		{Firebase, `"customAttributes":"{\"Level\":1,\"level\":2}"`, "customAttributes.Level and customAttributes.level would both become the attribute claims.level"},
		{Keycloak, `"username":"ada","attributes":{"Username":["ada"],"tenant":["a"]}`, ""},
		{Auth0, `"user_metadata":{"theme":"dark"},"app_metadata":{"theme":"light"}`, ""},
	} {
		for range 20 { // Maps are in another order each time.
			if row := elsewhere(t, test.format, `{"email":"a@example.com",`+test.user+`}`); row.Why != test.why || (row.User == nil) != (test.why != "") {
				t.Errorf("%s %s: %q, want %q", test.format, test.user, row.Why, test.why)
				break
			}
		}
	}
}

// What is allowed in names stays as it is, and what is null is not there.
func TestNamesThatAreKept(t *testing.T) {
	t.Parallel()
	user := elsewhere(t, Keycloak, `{"email":"a@example.com","attributes":{"a.b-c:d":["1"]},"realmRoles":["svc:read"]}`).User
	if !maps.Equal(user.GetAttributes(), map[string]string{"a.b-c_d": "1"}) || !slices.Equal(user.GetRoles(), []string{"svc:read"}) {
		t.Errorf("attributes %q, roles %q", user.GetAttributes(), user.GetRoles())
	}
	user = elsewhere(t, Auth0, `{"email":"a@example.com","user_metadata":{"none":null,"empty":"","list":[1, 2]}}`).User
	if !maps.Equal(user.GetAttributes(), map[string]string{"user_metadata.empty": "", "user_metadata.list": "[1,2]"}) {
		t.Errorf("attributes %q", user.GetAttributes())
	}
}

// elsewhere is a user of another system, as a row.
func elsewhere(t *testing.T, format, user string) Row {
	t.Helper()
	if format != Auth0 {
		user = `{"users":[` + user + `]}`
	}
	reader, err := NewReader(format, strings.NewReader(user))
	if err != nil {
		t.Fatal(err)
	}
	row, err := reader.Read()
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// A failed row stays as it came, with the reason under the name of that column, however many
// cells it has. Unmended it fails again.
func TestFailedRowsOfCSV(t *testing.T) {
	t.Parallel()
	text := "email,display_name,roles\na@example.com,A\nb@example.com,B,admin,billing\nc@example.com,C,admin\nd@example.com\n"
	want := [][]string{
		{"failure", "email", "display_name", "roles"},
		{"why 0", "a@example.com", "A"},
		{"why 1", "b@example.com", "B", "admin", "billing"},
		{"why 2", "c@example.com", "C", "admin"},
		{"why 3", "d@example.com"},
	}
	for range 3 { // The failed rows fail again.
		var failures strings.Builder
		reader, err := NewReader(CSV, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		writer := reader.Failures(&failures, false)
		for n := range 4 {
			row, err := reader.Read()
			if err != nil || (row.User != nil) != (n == 2) {
				t.Errorf("row %d is read as %v, error %v", n, row.User, err)
			}
			if err := writer.Write(row, fmt.Sprint("why ", n)); err != nil {
				t.Fatal(err)
			}
		}
		records := csv.NewReader(strings.NewReader(failures.String()))
		records.FieldsPerRecord = -1
		if got, err := records.ReadAll(); err != nil || !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("the failed rows are %q, error %v", got, err)
		}
		text = failures.String()
	}
}
