package main

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestWithoutPaths(t *testing.T) {
	t.Parallel()
	var profile, want []byte
	for _, texts := range [][2]string{{"", ""}, {"net/http.(*conn).serve", "net/http.(*conn).serve"}, {"/home/ada/src/reads.go", "reads.go"}} {
		profile = protowire.AppendString(protowire.AppendTag(profile, profileStrings, protowire.BytesType), texts[0])
		want = protowire.AppendString(protowire.AppendTag(want, profileStrings, protowire.BytesType), texts[1])
	}
	profile = protowire.AppendVarint(protowire.AppendTag(profile, 9, protowire.VarintType), 1)
	want = protowire.AppendVarint(protowire.AppendTag(want, 9, protowire.VarintType), 1)
	got, err := withoutPaths(profile)
	if err != nil || string(got) != string(want) {
		t.Errorf("profile is %q, error %v, want %q", got, err, want)
	}
	if _, err := withoutPaths(profile[:len(profile)-1]); err == nil {
		t.Error("a torn profile has no error")
	}
}
