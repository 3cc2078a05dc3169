package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
)

// profile writes a CPU profile of userd to a file, for the compiler: how it serves
// cached reads over gRPC and as JSON over HTTP/1.1, and streams, with each transport
// that it has. It prints what each call has cost.
func (b *bench) profile(ctx context.Context, file string) error {
	defer b.fleet.stop()
	if err := b.lab.Cores.PinLoad(); err != nil {
		return err
	}
	usual, other, err := b.fleet.transports(ctx)
	if err != nil {
		return err
	}
	merge := []string{"tool", "pprof", "-proto", "-output", file}
	for _, transport := range []string{usual, other} {
		part := b.lab.Path(transport + ".pprof")
		if err := b.profileTransport(ctx, transport, part); err != nil {
			return fmt.Errorf("profile of %s: %w", transport, err)
		}
		merge = append(merge, part)
	}
	_, err = b.lab.Run(exec.CommandContext(ctx, "go", merge...))
	return err
}

func (b *bench) profileTransport(ctx context.Context, transport, file string) error {
	database, err := b.fleet.sqlite(ctx, b.small, b.big)
	if err != nil {
		return err
	}
	server, err := b.fleet.userd(ctx, database, http2Flag, transport)
	if err != nil {
		return err
	}
	defer b.fleet.disconnect()
	profiled := make(chan error, 1)
	go func() {
		data, err := server.Profile(ctx, b.profiled)
		if err == nil {
			err = os.WriteFile(file, data, 0o600)
		}
		profiled <- err
	}()
	err = b.profiledLoad(transport, server)
	return errors.Join(err, <-profiled)
}

// profiledLoad is half calls over gRPC, a quarter calls over HTTP/1.1, and a quarter
// streams.
func (b *bench) profiledLoad(transport string, server *lab.Server) error {
	began := time.Now()
	for _, target := range []load.Target{
		{Wire: load.Wire{Protocol: load.GRPC, Codec: load.Proto}, Read: load.GetUser(b.small, load.Proto)},
		{Wire: load.Wire{Protocol: load.ConnectHTTP1, Codec: load.JSON}, Read: load.GetUser(b.small, load.JSON)},
	} {
		target.Keys = load.Uniform(b.hot)
		slice := (b.profiled - time.Since(began)) * 2 / 3
		if target.Wire.Protocol == load.GRPC {
			slice = b.profiled / 2
		}
		c, err := b.enter("profile", transport, server, target)
		if err != nil {
			return err
		}
		if err := c.slice(slice); err != nil {
			return err
		}
		fmt.Fprintf(b.log, "%s, %s: %.1f µs, %.0f/s\n", transport, target.Wire.Protocol, c.cpu[0], c.rate[0])
	}
	for round := 0; time.Since(began) < b.profiled; round++ {
		kinds := streamKinds
		if round > 0 {
			kinds = kinds[1:] // The list is known until users are imported.
		}
		for _, kind := range kinds {
			found, err := kind.run(b, rival{key: transport, name: transport, server: server}, round)
			if err != nil {
				return err
			}
			fmt.Fprintf(b.log, "%s, %s: %.1f µs, %.0f/s\n", transport, kind.title, found.cpu, found.rate)
		}
	}
	return nil
}
