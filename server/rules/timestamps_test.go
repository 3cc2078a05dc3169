package rules

import (
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
)

// A time in binary form is taken where JSON can say it, within the rules of the schema.
func FuzzTimestamp(f *testing.F) {
	for _, at := range []*timestamppb.Timestamp{{}, {Nanos: -1}, {Nanos: 999_999_999}, {Nanos: 1e9}, {Seconds: -1}, {Seconds: 1 << 62}} {
		f.Add(at.GetSeconds(), at.GetNanos())
	}
	rules := New()
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
