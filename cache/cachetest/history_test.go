package cachetest

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestHistoryIsReadAsWritten(t *testing.T) {
	t.Parallel()
	want := []Op{
		{Server: 1, Client: 2, Kind: Update, User: 3, Version: 4, Start: 5, End: 6},
		{Server: 1, Kind: Get, Found: true, User: 3, MinVersion: 1, Version: 4, Start: 7, End: 8},
	}
	var b bytes.Buffer
	for _, op := range want {
		if err := op.Write(&b); err != nil {
			t.Fatal(err)
		}
	}
	b.WriteString("torn")
	if got, err := ReadHistory(&b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestCheckTellsEachViolation(t *testing.T) {
	t.Parallel()
	const second = int64(time.Second)
	created := Op{Server: 1, Kind: Create, Version: 1, Start: 1, End: 2}
	updated := Op{Server: 1, Kind: Update, Version: 2, Start: 3, End: 4}
	for name, test := range map[string]struct {
		op   Op
		want string
	}{
		"right":        {Op{Server: 1, Kind: Get, Found: true, Version: 2, Start: 5, End: 6}, ""},
		"a bit behind": {Op{Server: 2, Kind: Get, Found: true, Version: 1, Start: 2 * second, End: 3 * second}, ""},
		"too late":     {Op{Server: 2, Kind: Get, Found: true, Version: 1, Start: 3 * second, End: 3*second + 1}, "staleness"},
		"own write":    {Op{Server: 1, Kind: Get, Found: true, Version: 1, Start: 5, End: 6}, "own write"},
		"not found":    {Op{Server: 1, Kind: Get, Start: 5, End: 6}, "own write"},
		"asked for":    {Op{Server: 2, Kind: Get, Found: true, Version: 1, MinVersion: 2, Start: 5, End: 6}, "min_version"},
		"no-cache":     {Op{Server: 2, Kind: NoCache, Found: true, Version: 1, Start: 5, End: 6}, "no-cache"},
		"the future":   {Op{Server: 2, Kind: NoCache, Found: true, Version: 2, Start: 2, End: 2}, "not linearizable"},
		"by name":      {Op{Server: 2, Kind: ByName, Found: true, MinVersion: 2, Version: 2, Start: 5, End: 6}, ""},
		"changed name": {Op{Server: 2, Kind: ByName, MinVersion: 1, Start: 5, End: 6}, ""},
		"name in time": {Op{Server: 2, Kind: ByName, Found: true, MinVersion: 1, Version: 1, Start: 3, End: 5}, ""},
		"former name":  {Op{Server: 2, Kind: ByName, Found: true, MinVersion: 1, Version: 1, Start: 5, End: 6}, "no-cache"},
		"another name": {Op{Server: 2, Kind: ByName, Found: true, MinVersion: 1, Version: 2, Start: 5, End: 6}, "old name"},
		"no such name": {Op{Server: 2, Kind: ByName, MinVersion: 2, Start: 5, End: 6}, "not found by name"},
		"lost name":    {Op{Server: 2, Kind: ByName, MinVersion: 1, Start: 1, End: 2}, "not found by name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := strings.Join(Check([]Op{created, updated, test.op}, 2*time.Second).Violations, "\n")
			if (test.want == "") != (found == "") || !strings.Contains(found, test.want) {
				t.Errorf("violations %q, want one of %q", found, test.want)
			}
		})
	}
	shown := []Op{
		created, updated,
		{Server: 2, Kind: Get, Found: true, Version: 2, Start: 5, End: 6},
		{Server: 2, Kind: Get, Found: true, Version: 1, Start: 7, End: 8},
	}
	if found := Check(shown, 2*time.Second).Violations; len(found) != 1 || !strings.Contains(found[0], "back in time") {
		t.Errorf("violations %q, want one of back in time", found)
	}
}

// A server that was killed may have changed a name and not have said so. What has ended is
// known, though its beginning is recorded as well.
func TestNamesThatMayHaveChanged(t *testing.T) {
	t.Parallel()
	const second = int64(time.Second)
	created := Op{Server: 1, Kind: Create, Version: 1, Start: 1, End: 2}
	begun := Op{Server: 2, Client: 3, Kind: Update, Start: 4}
	ended := begun
	ended.Version, ended.End = 2, 6
	inVain := Op{Server: 1, Kind: ByName, MinVersion: 1, Start: 7, End: 8}
	found := Op{Server: 1, Kind: ByName, Found: true, MinVersion: 2, Version: 2, Start: 7, End: 8}
	lost := Op{Server: 1, Kind: ByName, MinVersion: 2, Start: 7, End: 8}
	for name, test := range map[string]struct {
		ops  []Op
		want string
	}{
		"nobody changed it":        {[]Op{created, inVain}, "not found by name"},
		"somebody may have":        {[]Op{created, begun, inVain}, ""},
		"and a read shows it":      {[]Op{created, begun, inVain, {Server: 1, Kind: Get, Found: true, Version: 2, Start: 3 * second, End: 3*second + 1}}, ""},
		"the new name is found":    {[]Op{created, begun, ended, found}, ""},
		"the new name is lost":     {[]Op{created, begun, ended, lost}, "not found by name"},
		"somebody began too late":  {[]Op{created, inVain, {Server: 2, Client: 3, Kind: Update, Start: 9}}, "not found by name"},
		"another server's is open": {[]Op{created, begun, ended, {Server: 3, Client: 3, Kind: Update, Start: 4}, lost}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(Check(test.ops, 2*time.Second).Violations, "\n")
			if (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("violations %q, want one of %q", got, test.want)
			}
		})
	}
}

// A late control read excuses what its server did at about that time.
func TestStallsExcuse(t *testing.T) {
	t.Parallel()
	const ms = int64(time.Millisecond)
	stalls := FindStalls([]Op{
		{Server: 1, Client: control, Kind: NoCache, Start: 1, End: 10 * ms},
		{Server: 1, Client: control, Kind: NoCache, Start: 15 * ms, End: 20 * ms},
		{Server: 1, Client: control, Kind: NoCache, Start: 25 * ms, End: 120 * ms}, // 35 to 120 ms.
		{Server: 2, Client: control, Kind: NoCache, Start: 1, End: 10 * ms},
		{Server: 1, Kind: Get, Start: 100 * ms, End: 500 * ms},
		{Server: 3, Client: control, Kind: NoCache, Start: 0, End: 75 * ms}, // The first, 15 to 75 ms.
	})
	if got := stalls.Longest(); got != 85*time.Millisecond {
		t.Errorf("the longest stall is %v, want 85 ms", got)
	}
	for _, test := range []struct {
		op   Op
		want int64
	}{
		{Op{Server: 1, Start: 100 * ms, End: 600 * ms}, 75},
		{Op{Server: 2, Start: 100 * ms, End: 500 * ms}, 400},
		{Op{Server: 1, Start: 1000 * ms, End: 1401 * ms}, 401},
		{Op{Server: 1, Start: 13 * ms, End: 14 * ms}, 1},
		{Op{Server: 1, Start: 50 * ms, End: 120 * ms}, 15},
		{Op{Server: 3, Start: 0, End: 400 * ms}, 100},
	} {
		if got := stalls.Wait(test.op); got != time.Duration(test.want*ms) {
			t.Errorf("%+v waits %v, want %d ms", test.op, got, test.want)
		}
	}
}

func TestRegained(t *testing.T) {
	t.Parallel()
	ops := []Op{
		{Server: 1, Kind: Trusted, Start: 10},
		{Server: 1, Kind: Untrusted, Start: 20},
		{Server: 1, Kind: Trusted, Start: 30},
		{Server: 2, Kind: Untrusted, Start: 25},
	}
	for _, test := range []struct {
		server       uint16
		from, to     int64
		want         time.Duration
		wantRegained bool
	}{
		{1, 22, 100, 8, true},
		{1, 15, 100, 15, true},
		{1, 11, 19, 0, true},
		{1, 31, 100, 0, true},
		{1, 22, 29, 0, false},
		{1, 15, 29, 0, true}, // It trusted its cache when the fault was over.
		{2, 22, 100, 0, false},
	} {
		got, ok := Regained(ops, nil, test.server, test.from, test.to)
		if ok != test.wantRegained || ok && got != test.want {
			t.Errorf("server %d from %d to %d: %v, %v, want %v, %v", test.server, test.from, test.to, got, ok, test.want, test.wantRegained)
		}
	}
}
