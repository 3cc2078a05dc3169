package main

import (
	"bufio"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/example/userd/cache/cachetest"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store/storetest/transcript"
)

// A server whose Redis has another password starts, serves, and says so once; a
// metric counts on.
func TestStartsWithAWrongRedisPassword(t *testing.T) {
	t.Parallel()
	redis := cachetest.StartTCP(t, "--requirepass", "right-secret")
	var logged transcript.Log
	p := startLogging(t, &logged, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"), "--log-format", "json",
		"--redis", "redis://:wrong-secret@127.0.0.1:"+redis.Port())
	client := grpcClient(t, p.url)
	if _, err := client.CreateUser(t.Context(), &userv1.CreateUserRequest{Email: "someone@example.com", DisplayName: "Ann"}); err != nil {
		t.Errorf("create: %v", err)
	}
	awaitMetric(t, p.adminHost, `userd_cache_errors_total\{cause="wrong_password"\} [4-9]`)
	said := 0
	for lines := bufio.NewScanner(strings.NewReader(logged.String())); lines.Scan(); {
		var line struct{ Level, Msg, Cause string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Cause == "wrong_password" {
			said++
			if line.Level != "ERROR" || line.Msg != "cache is bypassed" {
				t.Errorf("logged %+v, want cache is bypassed at ERROR", line)
			}
		}
	}
	if said != 1 {
		t.Errorf("said %d times, want once", said)
	}
	if strings.Contains(logged.String(), "secret") {
		t.Errorf("a log has the password: %s", logged.String())
	}
}
