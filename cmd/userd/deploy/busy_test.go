package deploy_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/cmd/userd/userdtest"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/auth/authtest"
)

// busy is a server with all that has metrics: Redis, callers, TLS, an audit log, a memory limit.
type busy struct {
	t      *testing.T
	server *userdtest.Userd
	redis  *cachetest.Redis
	token  string
	client userv1connect.UserServiceClient
}

func startBusy(t *testing.T) *busy {
	t.Helper()
	folder := t.TempDir()
	callers, keys := filepath.Join(folder, "auth"), filepath.Join(folder, "keys.json")
	if err := os.WriteFile(keys, []byte(authtest.NewIssuer(t).Set()), 0o600); err != nil {
		t.Fatal(err)
	}
	token, err := exec.Command(userdtest.Binary(t), "token", "new", "--name", "everybody",
		"--scopes", "users.read,users.list,users.write,users.delete,admin", "--append", callers).Output()
	if err != nil {
		t.Fatal(err)
	}
	pair, _ := userdtest.Certificate(t)
	b := &busy{t: t, redis: cachetest.StartTCP(t), token: strings.TrimSpace(string(token))}
	cmd := exec.Command(userdtest.Binary(t), userdtest.Arguments(t, "--redis", b.redis.URL(), "--auth-file", callers,
		"--jwt-keys", keys, "--jwt-issuer", "https://issuer.example.com", "--jwt-audience", "userd",
		"--audit-log", filepath.Join(folder, "audit"), "--tls-cert", pair, "--tls-key", pair)...)
	cmd.Env = append(os.Environ(), "GOMEMLIMIT=512MiB")
	b.server = userdtest.Run(t, io.Discard, cmd)
	b.client = newClient(t, b.server, b.token)
	return b
}

// work calls the server again and again, in all ways that a metric tells of, until stop is
// called. Redis goes away once.
func (b *busy) work() (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	b.redis.Kill()
	b.redis.Up()
	var group sync.WaitGroup
	group.Go(func() { b.watch(ctx) })
	group.Go(func() {
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for round := 0; ctx.Err() == nil; round++ {
			b.round(ctx, round)
			<-ticker.C
		}
	})
	return func() {
		cancel()
		group.Wait()
	}
}

// round is some calls. Whether they succeed is for other tests.
func (b *busy) round(ctx context.Context, round int) {
	email := fmt.Sprintf("user-%d@example.com", round)
	created, err := b.client.CreateUser(ctx, &userv1.CreateUserRequest{Email: email, DisplayName: "One"})
	if err != nil {
		if ctx.Err() == nil {
			b.t.Errorf("create: %v", err)
		}
		return
	}
	for range 2 {
		_, _ = b.client.GetUser(ctx, &userv1.GetUserRequest{UserId: created.GetUser().GetId()})
	}
	_, _ = b.client.DeleteUser(ctx, &userv1.DeleteUserRequest{UserId: "00000000-0000-4000-8000-000000000000"}) // NOT_FOUND.
	if list, err := b.client.ListUsers(ctx, &userv1.ListUsersRequest{}); err == nil {
		for err == nil {
			_, err = list.Receive()
		}
		list.Close()
	}
}

// watch follows all changes.
func (b *busy) watch(ctx context.Context) {
	stream, err := b.client.WatchUsers(ctx, &userv1.WatchUsersRequest{})
	if err != nil {
		b.t.Errorf("watch: %v", err)
		return
	}
	defer stream.Close()
	for err == nil {
		_, err = stream.Receive()
	}
}
