package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
)

// profile writes a CPU profile of userd to a file, for the compiler: how it serves
// cached reads over gRPC and as JSON over HTTP/1.1, and streams. It prints what each
// call has cost.
func (b *bench) profile(ctx context.Context, file string) error {
	defer b.fleet.stop()
	if err := b.lab.Cores.PinLoad(); err != nil {
		return err
	}
	database, err := b.fleet.sqlite(ctx, b.small, b.big)
	if err != nil {
		return err
	}
	server, err := b.fleet.userd(ctx, database, "--pprof")
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
	return writeWithoutPaths(file, data)
}

// profiledLoad is half calls over gRPC, a quarter calls over HTTP/1.1, and a quarter
// streams.
func (b *bench) profiledLoad(server *lab.Server) error {
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
		c, err := b.enter("profile", "userd", server, target)
		if err != nil {
			return err
		}
		if err := c.slice(slice); err != nil {
			return err
		}
		fmt.Fprintf(b.log, "%s: %.1f µs, %.0f/s\n", target.Wire.Protocol, c.cpu[0], c.rate[0])
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

// writeWithoutPaths writes a profile without the paths of this machine. The compiler
// needs the names of functions only.
func writeWithoutPaths(to string, packedProfile []byte) error {
	unpacked, err := gzip.NewReader(bytes.NewReader(packedProfile))
	if err != nil {
		return err
	}
	profile, err := io.ReadAll(unpacked)
	if err != nil {
		return err
	}
	if profile, err = withoutPaths(profile); err != nil {
		return fmt.Errorf("profile: %w", err)
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
