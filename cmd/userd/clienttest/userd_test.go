package clienttest

import (
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

func TestMain(m *testing.M) { userdtest.Main(m) }
