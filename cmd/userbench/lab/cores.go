package lab

import (
	"fmt"
	"runtime"
)

// Cores says which processors are whose. Empty means all.
type Cores struct {
	All, Server, Load, Stores []int
}

// splitCores shares out the processors that this process may use.
func splitCores() Cores {
	return share(usableCores())
}

func share(cores []int) Cores {
	switch {
	case len(cores) < 2:
		return Cores{}
	case len(cores) == 2:
		return Cores{All: cores, Server: cores[:1], Load: cores[1:], Stores: cores[1:]}
	}
	return Cores{All: cores, Server: cores[:1], Load: cores[1:2], Stores: cores[2:]}
}

// String says it in words.
func (c Cores) String() string {
	if len(c.Server) == 0 {
		return "none, everything shares the processors"
	}
	return fmt.Sprintf("server on %v, load on %v, PostgreSQL and Redis on %v", c.Server, c.Load, c.Stores)
}

// PinLoad keeps this process on the load's processors from now on.
func (c Cores) PinLoad() error {
	if len(c.Load) == 0 {
		return nil
	}
	runtime.GOMAXPROCS(len(c.Load))
	return pinProcess(c.Load)
}

// UnpinLoad lets this process run everywhere again.
func (c Cores) UnpinLoad() error {
	if len(c.All) == 0 {
		return nil
	}
	runtime.GOMAXPROCS(len(c.All))
	return pinProcess(c.All)
}
