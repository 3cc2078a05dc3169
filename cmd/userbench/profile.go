package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
)

// profile writes a CPU profile of userd to a file, for the compiler: how it serves
// cached reads in several protocols, and streams. It prints what each
// call has cost.
func (b *bench) profile(ctx context.Context, file string) error {
	defer b.fleet.stop()
	if err := b.lab.Cores.PinLoad(); err != nil {
		return err
	}
	b.fleet.buildFlags = []string{"-trimpath"} // The profile has the paths of the sources.
	server, err := b.fleet.userdOnSQLite(ctx, b.lab.Root(), "--pprof")
	if err != nil {
		return err
	}
	var data []byte
	profiled := make(chan error, 1)
	go func() {
		var err error
		data, err = server.Profile(ctx, b.profiled)
		profiled <- err
	}()
	err = b.profiledLoad(server)
	if err := errors.Join(err, <-profiled); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// profiledLoad is half calls over gRPC, a quarter calls in all other ways, and a quarter
// streams.
func (b *bench) profiledLoad(server *lab.Server) error {
	began := time.Now()
	for _, wire := range wires {
		slice := b.profiled / 2
		if wire.Protocol != load.GRPC {
			slice /= 2 * time.Duration(len(wires)-1)
		}
		c, err := b.enter("profile", "userd", server, b.cachedGets(wire))
		if err != nil {
			return err
		}
		if err := c.slice(slice); err != nil {
			return err
		}
		fmt.Fprintf(b.log, "%s: %.1f µs, %.0f/s\n", &wire, c.cpu[0], c.rate[0])
	}
	for round := 0; time.Since(began) < b.profiled; round++ {
		kinds := streamKinds
		if round > 0 {
			kinds = kinds[1:] // The list is known until users are imported.
		}
		for _, kind := range kinds {
			found, err := kind.run(b, rival{"userd", "userd", server}, round)
			if err != nil {
				return err
			}
			fmt.Fprintf(b.log, "%s: %.1f µs, %.0f/s\n", kind.title, found.cpu, found.rate)
		}
	}
	return nil
}
