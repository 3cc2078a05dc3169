package failure

import (
	"errors"
	"fmt"
	"testing"

	"buf.build/go/protovalidate"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

func BenchmarkWireError(b *testing.B) {
	for name, err := range map[string]error{
		"known":   fmt.Errorf("update user: %w", store.ErrNotFound),
		"invalid": protovalidate.Validate(&userv1.GetUserRequest{}),
		"unknown": errors.New("disk is full"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ForCaller(b.Context(), err) == nil {
					b.Fatal("no error")
				}
			}
		})
	}
}
