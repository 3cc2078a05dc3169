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
