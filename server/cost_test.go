//go:build unix

package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	userv1 "github.com/example/userd/gen/user/v1"
)

// What a refused request may cost this process, client included.
const (
	maxRefusalCPU    = 100 * time.Millisecond * raceFactor
	maxRefusalMemory = 64 << 20 // Bytes that are allocated, whether or not they are freed again.
)

// TestRefusalIsCheap measures the whole process: nothing else may run.
func TestRefusalIsCheap(t *testing.T) {
	large := strings.Repeat("h", 2<<20)
	shorts := func(prefix string) []string {
		roles := make([]string, 50_000)
		for i := range roles {
			roles[i] = fmt.Sprint(prefix, i)
		}
		return roles
	}
	user := newUserRequest(1)
	tooLarge := failure{code: connect.CodeResourceExhausted, reason: userv1.Reason_REASON_MESSAGE_TOO_LARGE}
	gigabyte := func(pack func(testing.TB, []byte) []byte) []byte {
		return bytes.Repeat(pack(t, make([]byte, 16<<20)), 64)
	}
	inputs := []badInput{
		{name: "gzip bomb", message: user, encoding: "gzip", packed: gigabyte(gzipped), want: tooLarge},
		{name: "zstd bomb", message: user, encoding: "zstd", packed: gigabyte(zstandard), want: tooLarge},
		{name: "name", message: &userv1.CreateUserRequest{Email: testEmail(1), DisplayName: large}, want: invalid("display_name", "string.max_len")},
		{name: "email", message: &userv1.CreateUserRequest{Email: large, DisplayName: testName(1)}, want: invalid("email", "string.max_bytes")},
		{name: "roles", message: &userv1.CreateUserRequest{Email: testEmail(1), DisplayName: testName(1), Roles: shorts("a")}, want: invalid("roles", "repeated.max_items")},
		{name: "roles to add and remove", message: &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{
			UserId: someID, AddRoles: shorts("a"), RemoveRoles: shorts("b"),
		}}, want: invalid("update.add_roles", "repeated.max_items")},
		{name: "ids", message: &userv1.BatchGetUsersRequest{UserIds: shorts("")}, want: invalid("user_ids", "repeated.max_items")},
		{name: "deep JSON", message: user, jsonOnly: true, body: `{"roles": ` + strings.Repeat("[", 2<<20), want: malformed("")},
		{name: "deep JSON of a map", message: user, jsonOnly: true, body: `{"attributes": ` + strings.Repeat(`{"a":`, 400_000), want: malformed("")},
		{
			name: "deep JSON of an unknown field", message: user, jsonOnly: true, body: `{"phone": ` + strings.Repeat(`{"a":`, 400_000),
			want: describedByReason(connect.CodeInvalidArgument, userv1.Reason_REASON_UNKNOWN_FIELD, ""),
		},
		{name: "deep groups", message: user, body: strings.Repeat("\x7b", 2<<20), want: malformed("")},
		{name: "deep groups that end", message: user, body: strings.Repeat("\x7b", 1<<20) + strings.Repeat("\x7c", 1<<20), want: malformed("")},
	}
	for server, start := range servers {
		t.Run(server, func(t *testing.T) {
			victim := start(t)
			for _, input := range inputs {
				t.Run(input.name, func(t *testing.T) { testRefusalCost(t, victim, input) })
			}
		})
	}
}

func testRefusalCost(t *testing.T, victim attacked, input badInput) {
	if len(input.packed) > 1<<20 {
		t.Errorf("request has %d bytes, want at most 1 MiB", len(input.packed))
	}
	client := victim.client(t, input.options(input.protocols()[0])...)
	cpu, memory := time.Duration(math.MaxInt64), uint64(math.MaxUint64)
	for range 3 {
		runtime.GC()
		startCPU, startMemory := cpuTime(t), allocated()
		err := send(t.Context(), client, input.message)
		cpu, memory = min(cpu, cpuTime(t)-startCPU), min(memory, allocated()-startMemory)
		checkNamed(t, err, input.want)
	}
	if cpu > maxRefusalCPU {
		t.Errorf("refusing it takes %v of CPU, want at most %v", cpu, maxRefusalCPU)
	}
	if memory > maxRefusalMemory {
		t.Errorf("refusing it takes %d bytes, want at most %d", memory, maxRefusalMemory)
	}
}

// checkNamed checks that err is a failure that names what is wanted, besides other
// mistakes perhaps.
func checkNamed(tb testing.TB, err error, want failure) {
	tb.Helper()
	authored := new(connect.Error)
	if !errors.As(err, &authored) || authored.Code() != want.code {
		tb.Fatalf("error is %v, want %v %v", err, want.code, want.reason)
	}
	checkInfo(tb, details[*errdetails.ErrorInfo](tb, authored), want.reason)
	checkPrivate(tb, authored)
	for _, request := range details[*errdetails.BadRequest](tb, authored) {
		for _, violation := range request.GetFieldViolations() {
			if violation.GetField() == want.field && violation.GetReason() == want.rule {
				return
			}
		}
	}
	if want.field != "" {
		tb.Errorf("error does not name %s of %s: %v", want.rule, want.field, err)
	}
}

// cpuTime is the CPU time that this process has used.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// allocated is the memory that this process has ever allocated, in bytes.
func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}
