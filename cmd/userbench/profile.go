package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

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
	merged := b.lab.Path("merged.pprof")
	merge := []string{"tool", "pprof", "-proto", "-output", merged}
	for _, transport := range []string{usual, other} {
		part := b.lab.Path(transport + ".pprof")
		if err := b.profileTransport(ctx, transport, part); err != nil {
			return fmt.Errorf("profile of %s: %w", transport, err)
		}
		merge = append(merge, part)
	}
	if _, err := b.lab.Run(exec.CommandContext(ctx, "go", merge...)); err != nil {
		return err
	}
	return writeWithoutPaths(file, merged)
}

func (b *bench) profileTransport(ctx context.Context, transport, file string) error {
	database, err := b.fleet.sqlite(ctx, b.small, b.big)
	if err != nil {
		return err
	}
	server, err := b.fleet.userd(ctx, database, http2Flag, transport, "--pprof")
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
			found, err := kind.run(b, rival{key: "userd", name: transport, server: server}, round)
			if err != nil {
				return err
			}
			fmt.Fprintf(b.log, "%s, %s: %.1f µs, %.0f/s\n", transport, kind.title, found.cpu, found.rate)
		}
	}
	return nil
}

// writeWithoutPaths writes a profile without the paths of this machine. The compiler
// needs the names of functions only.
func writeWithoutPaths(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	unpacked, err := gzip.NewReader(source)
	if err != nil {
		return err
	}
	profile, err := io.ReadAll(unpacked)
	if err != nil {
		return err
	}
	if profile, err = withoutPaths(profile); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, err = writer.Write(profile)
	if err = errors.Join(err, writer.Close()); err != nil {
		return err
	}
	return os.WriteFile(to, packed.Bytes(), 0o644)
}

// profileStrings is the field of a profile that has all its texts.
const profileStrings = 6

func withoutPaths(profile []byte) (short []byte, err error) {
	for len(profile) > 0 {
		number, kind, n := protowire.ConsumeTag(profile)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(number, kind, profile[n:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		field := profile[:n+size]
		profile = profile[n+size:]
		if text, _ := protowire.ConsumeBytes(field[n:]); number == profileStrings && bytes.HasPrefix(text, []byte("/")) {
			short = protowire.AppendTag(short, number, kind)
			short = protowire.AppendString(short, path.Base(string(text)))
			continue
		}
		short = append(short, field...)
	}
	return short, nil
}
