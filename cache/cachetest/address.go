package cachetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// given are the ports that NewAddress has returned.
var given sync.Map

// FreeAddress is NewAddress for a test.
func FreeAddress(t testing.TB) string {
	t.Helper()
	address, err := NewAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// NewAddress returns an address for a program that cannot say which port it has got, or
// that is to get the same one twice. The ports are below those that the system gives to
// connections, and so are those of the buses of Redis Clusters, which are 10,000 above.
func NewAddress() (string, error) {
	for range 100 {
		port := 10_000 + rand.IntN(10_000)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		address := fmt.Sprintf("127.0.0.1:%d", port)
		if listener, err := net.Listen("tcp", address); err == nil {
			return address, listener.Close()
		}
	}
	return "", errors.New("no port is free")
}
