package server

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/cache"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/store"
)

// nobodyNear has nobody at hand.
type nobodyNear struct{}

func (nobodyNear) Cached(string, cache.Read) (cache.Entry, bool) { return cache.Entry{}, false }

// What a shortcut has read and cannot use is there for the next handler.
func TestShortcutPutsBodiesBack(t *testing.T) {
	t.Parallel()
	rpc := connect.NewServer()
	userv1connect.RegisterUserServiceHandler(rpc, &users{})
	broken := errors.New("connection reset")
	for name, body := range map[string]func() io.Reader{
		"at once":           func() io.Reader { return strings.NewReader("\n\x2411111111-1111-4111-8111-111111111111") },
		"in pieces":         func() io.Reader { return iotest.OneByteReader(strings.NewReader("\n\x2411111111-1111")) },
		"end with the last": func() io.Reader { return iotest.DataErrReader(strings.NewReader("hush")) },
		"none":              func() io.Reader { return strings.NewReader("") },
		"long":              func() io.Reader { return strings.NewReader(strings.Repeat("h", 3*shortcutBytes)) },
		"full":              func() io.Reader { return strings.NewReader(strings.Repeat("h", shortcutBytes)) },
		"broken":            func() io.Reader { return io.MultiReader(strings.NewReader("hush"), iotest.ErrReader(broken)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, wantErr := io.ReadAll(body())
			called := false
			next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				called = true
				if got, err := io.ReadAll(r.Body); string(got) != string(want) || !errors.Is(err, wantErr) {
					t.Errorf("body is %q, error %v, want %q and %v", got, err, want, wantErr)
				}
			})
			request := httptest.NewRequest(http.MethodPost, userv1connect.UserServiceGetUserProcedure, body())
			request.ContentLength = 4 // Of the first piece: the rest is a surprise.
			request.Header.Set("Content-Type", "application/proto")
			newShortcut(rpc, nobodyNear{}, nil, next).ServeHTTP(httptest.NewRecorder(), request)
			if !called {
				t.Error("the next handler is not called")
			}
		})
	}
}

// No answer that a shortcut takes is one to be compressed, whatever the user.
func TestShortcutUsersAreSmall(t *testing.T) {
	t.Parallel()
	for name, grow := range map[string]func(*store.User){
		"quotes": func(user *store.User) { user.DisplayName += `"` },
		"roles":  func(user *store.User) { user.Roles = append(user.Roles, "a") },
		"wide":   func(user *store.User) { user.DisplayName += "\u2028" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := benchmarkUser()
			user.Email, user.DisplayName, user.Roles = "", "", nil
			for len(EncodeUser(user)) <= shortcutUser {
				for _, codec := range codecs() {
					var answer strings.Builder
					response := &encodedUser{cache.Entry{Data: EncodeUser(user), Found: true}}
					if err := codec.MarshalWrite(t.Context(), &answer, response); err != nil {
						t.Fatal(err)
					}
					if answer.Len() >= compressMinBytes {
						t.Fatalf("%d bytes of a user are %d as %s", len(response.entry.Data), answer.Len(), codec.Name())
					}
				}
				grow(&user)
			}
		})
	}
}
