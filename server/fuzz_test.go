package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// Only what was sealed opens, and only with its own list.
func FuzzPageToken(f *testing.F) {
	tokens, err := newPageTokens([32]byte{1})
	if err != nil {
		f.Fatal(err)
	}
	want := store.Position{CreatedAt: time.UnixMicro(1_700_000_000_000_001).UTC(), ID: "11111111-1111-4111-8111-111111111111"}
	const list = "search"
	sealed, err := tokens.seal(want, list)
	if err != nil {
		f.Fatal(err)
	}
	for _, token := range []string{"", sealed, sealed[1:], sealed + "AAAA", "AAAA", "{}", sealed[:68] + "__"} {
		f.Add(token, list)
		f.Add(token, listUsers)
	}
	f.Fuzz(func(t *testing.T, token, name string) {
		got, err := tokens.open(token, name)
		first := token == "" && got == store.Position{}
		opened := name == list && got == want
		if err == nil && !first && !opened || err != nil && !errors.Is(err, errInvalidPageToken) {
			t.Errorf("position %v, error %v", got, err)
		}
	})
}

// What was encoded in chunks of any size is decoded, however it arrives.
func FuzzWebTextReader(f *testing.F) {
	f.Add([]byte("a user service"), uint8(5))
	f.Add(bytes.Repeat([]byte("0123456789"), 110), uint8(0)) // More than is read at a time.
	f.Add([]byte{}, uint8(0))
	f.Fuzz(func(t *testing.T, want []byte, size uint8) {
		var text bytes.Buffer
		for rest := want; len(rest) > 0; {
			chunk := rest[:min(len(rest), int(size)+1)]
			text.WriteString(base64.StdEncoding.EncodeToString(chunk))
			rest = rest[len(chunk):]
		}
		for name, arriving := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "with its end": iotest.DataErrReader,
		} {
			got, err := io.ReadAll(&webTextReader{src: arriving(bytes.NewReader(text.Bytes()))})
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: decoded %q, error %v, want %q", name, got, err, want)
			}
		}
	})
}

// A text is decoded group by group, and what is no group is an error.
func FuzzWebTextReaderOfAnything(f *testing.F) {
	for _, text := range []string{"", "AAAA", "AA==AA==", "A", "====", "AA=A", "A===", "{}", "AA\n=="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := io.ReadAll(&webTextReader{src: strings.NewReader(text)})
		if strings.ContainsAny(text, "\r\n") {
			return // Package base64 skips these, wherever they stand.
		}
		want, wantErr := decodeGroups(text)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("decoded %q, error %v, want %q, error %v", got, err, want, wantErr)
		}
	})
}

func decodeGroups(text string) ([]byte, error) {
	var decoded []byte
	for len(text) > 0 {
		group := text[:min(4, len(text))]
		part, err := base64.StdEncoding.DecodeString(group)
		if err != nil {
			return nil, err
		}
		decoded, text = append(decoded, part...), text[len(group):]
	}
	return decoded, nil
}

// What is told of a request that cannot be decoded is made of these words, the
// names of fields, and nothing else of the request.
var decodeErrorTexts = regexp.MustCompile(`^(` +
	`([A-Za-z_]\w{0,99}: )?there is no such field|` +
	`(update|userId|user_id|displayName|display_name|addRoles|add_roles|removeRoles|remove_roles|expectedVersion|expected_version): ` +
	`must be (a string|a number|a list|an object|given once)|` +
	`the request (must be a JSON object|goes on after its message|is not valid UTF-8)|` +
	`the request is not valid JSON( for this method|: it ends too early|, at line \d+, column \d+)?` +
	`)$`)

func FuzzJSONError(f *testing.F) {
	for _, body := range []string{
		`{}`, `{`, `[]`, `"invalid value for hush@example.com field email: 1"`, `{"hush@example.com":1}`,
		`{"update":{"userId":1}}`, `{"update":{"addRoles":["a",{}]}}`, `{"update":{"expectedVersion":"hush"}}`,
		`{"update":{"userId":"a","userId":"b"}}`, `{"update":null}`, "{\"update\":{\"userId\":\"\xff\"}}",
	} {
		f.Add(body)
	}
	json := codecs()[1]
	f.Fuzz(func(t *testing.T, body string) {
		err := json.UnmarshalRead(context.Background(), strings.NewReader(body), new(userv1.UpdateUserRequest))
		if err == nil {
			return
		}
		if text := wireError(err).Message(); !decodeErrorTexts.MatchString(text) {
			t.Errorf("%q is told %q", body, text)
		}
	})
}

func FuzzBinaryError(f *testing.F) {
	for _, body := range []string{"", "\x0a\x7fhush", "\x0b\x0b", "\x0a\x06\x0a\x04hu\xffh", "\x0a\x03\x12\x01\xff"} {
		f.Add(body)
	}
	texts := regexp.MustCompile(`^([a-z_]+: must be valid UTF-8|the request is not a valid protobuf message of this method)$`)
	binary := codecs()[0]
	f.Fuzz(func(t *testing.T, body string) {
		err := binary.UnmarshalRead(context.Background(), strings.NewReader(body), new(userv1.UpdateUserRequest))
		if err == nil {
			return
		}
		if text := wireError(err).Message(); !texts.MatchString(text) {
			t.Errorf("%q is told %q", body, text)
		}
	})
}

// A time in binary form is taken where JSON can say it, within the rules of the schema.
func FuzzTimestamp(f *testing.F) {
	for _, at := range []*timestamppb.Timestamp{{}, {Nanos: -1}, {Nanos: 999_999_999}, {Nanos: 1e9}, {Seconds: -1}, {Seconds: 1 << 62}} {
		f.Add(at.GetSeconds(), at.GetNanos())
	}
	rules := newValidator()
	f.Fuzz(func(t *testing.T, seconds int64, nanos int32) {
		at := &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}
		request := &userv1.RecordLoginRequest{UserId: "11111111-1111-4111-8111-111111111111", At: at}
		_, notJSON := protojson.Marshal(request)
		past := seconds >= 0 && at.AsTime().Before(time.Now())
		if err := rules.Validate(request); (err == nil) != (notJSON == nil && past) {
			t.Errorf("%v is told %v, by JSON %v", at, err, notJSON)
		}
	})
}
