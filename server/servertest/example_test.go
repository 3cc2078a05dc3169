package servertest_test

import (
	"testing"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// A test of a program that calls userd starts a real one, which ends with the test.
func ExampleStart() {
	var t *testing.T // That of the test.
	running := servertest.Start(t, nil)
	users := running.Client(t)
	created, err := users.CreateUser(t.Context(), &userv1.CreateUserRequest{Email: "ada@example.com", DisplayName: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(running.URL, created.GetUser().GetId())
}

// What a test needs otherwise is set before the server starts.
func ExampleStart_configured() {
	var t *testing.T // That of the test.
	servertest.Start(t, func(config *server.Config) {
		config.MaxMessageBytes = 1024
		config.CORSOrigins = []string{"https://app.example.com"}
	})
}
