package deploy_test

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/cmd/userd/userdtest"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
	"github.com/example/userd/store/storetest/transcript"
)

func TestIncidentRedisDown(t *testing.T) {
	t.Parallel()
	redis := cachetest.StartTCP(t)
	i := play(t, "Redis down", func(log *transcript.Log) *userdtest.Userd {
		return userdtest.StartLogging(t, log, "--redis", redis.URL())
	})
	i.await("Redis is used", func() bool { return len(i.query(`userd_cache_redis_up == 1`)) == 1 })
	redis.Kill()
	i.awaitAlert("UserdRedisDown", true)
	i.seen(1)
	if err := i.create(t.Context(), "without"); err != nil {
		t.Errorf("without Redis: %v", err)
	}
	i.await("errors are counted", func() bool { return len(i.query(`userd_cache_errors_total > 0`)) > 0 })
	redis.Up()
	i.seen(1)
	i.awaitAlert("UserdRedisDown", false)
	i.over()
}

func TestIncidentPostgreSQLFailover(t *testing.T) {
	t.Parallel()
	primary := storetest.NewServer(t, "fsync=off")
	if _, err := postgres.Migrate(t.Context(), postgres.Config{URL: primary.URL("postgres")}); err != nil {
		t.Fatal(err)
	}
	standby := primary.NewStandby(t, "standby")
	hosts := url.Values{"host": {primary.Host() + "," + standby.Host()}, "user": {"postgres"}}
	i := play(t, "PostgreSQL failover", func(log *transcript.Log) *userdtest.Userd {
		return userdtest.StartLogging(t, log, "--database", "postgres:///postgres?"+hosts.Encode())
	})
	if err := i.create(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	primary.Kill(t)
	i.awaitAlert("UserdStoreUnavailable", true)
	i.awaitAlert("UserdCacheNotTrusted", true)
	i.seen(2)
	if err := i.create(t.Context(), "between"); err == nil {
		t.Error("without a primary a user is created")
	}
	standby.Promote(t)
	i.seen(2)
	if err := i.create(t.Context(), "after"); err != nil {
		t.Errorf("with the new primary: %v", err)
	}
	i.awaitAlert("UserdStoreUnavailable", false)
	i.awaitAlert("UserdCacheNotTrusted", false)
	i.over()
}

// A database that says nothing fails no call in time, and nobody may call at night.
func TestAlertOfADatabaseThatSaysNothing(t *testing.T) {
	t.Parallel()
	database := storetest.NewServer(t, "fsync=off").URL("postgres")
	if _, err := postgres.Migrate(t.Context(), postgres.Config{URL: database}); err != nil {
		t.Fatal(err)
	}
	server := userdtest.StartLogging(t, io.Discard, "--database", database)
	p := startPrometheus(t, server, "")
	lock, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close(context.WithoutCancel(t.Context()))
	if _, err := lock.Exec(t.Context(), "begin; lock table changes in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	p.awaitAlert("UserdStoreUnavailable", true)
	if _, err := lock.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	p.awaitAlert("UserdStoreUnavailable", false)
}

// onSmallDisks is a command that mounts disks of a few megabytes on two folders and then
// becomes another one. Only that one sees the disks.
func onSmallDisks(t *testing.T, users, audit string, command ...string) *exec.Cmd {
	t.Helper()
	args := []string{"--mount"}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	script := `for disk in "$0" "$1"; do mount -t tmpfs -o size=4m disk "$disk"; done; shift; exec setpriv --pdeathsig KILL "$@"`
	return exec.Command(userdtest.Program(t, "unshare"), append(append(args, "sh", "-ec", script, users, audit), command...)...)
}

// fill writes to a file until its disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, size := range []int{64 << 10, 1} { // The last page, too.
		for err == nil {
			_, err = file.Write(make([]byte, size))
		}
		err = nil
	}
}

func TestIncidentDiskFull(t *testing.T) {
	t.Parallel()
	users, audit := t.TempDir(), t.TempDir()
	i := play(t, "Disk full", func(log *transcript.Log) *userdtest.Userd {
		return userdtest.Run(t, log, onSmallDisks(t, users, audit, append([]string{userdtest.Binary(t)}, userdtest.Arguments(t,
			"--database", "sqlite:"+filepath.Join(users, "userd.db"), "--audit-log", filepath.Join(audit, "audit"))...)...))
	})
	ballast := func(folder string) string {
		return filepath.Join("/proc", fmt.Sprint(i.server.Process().Pid), "root", folder, "ballast")
	}
	fill(t, ballast(audit))
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	creates := i.goOn(1, func(ctx context.Context, n int) {
		<-pace.C
		_ = i.create(ctx, fmt.Sprint("user-", n))
	})
	i.awaitAlert("UserdAuditLogNotWritten", true)
	fill(t, ballast(users))
	i.awaitAlert("UserdStoreUnavailable", true)
	i.seen(2)
	for _, folder := range []string{users, audit} {
		if err := os.Remove(ballast(folder)); err != nil {
			t.Fatal(err)
		}
	}
	i.seen(2)
	i.awaitAlert("UserdStoreUnavailable", false)
	i.awaitAlert("UserdAuditLogNotWritten", false)
	creates()
	i.over()
}
