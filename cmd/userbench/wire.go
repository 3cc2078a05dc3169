package main

import (
	"context"
	"fmt"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/cmd/userbench/report"
)

// batch is the number of users of 1 KiB that make 64 KiB.
const batch = 64

var wireScenario = scenario{
	name:  "wire",
	title: "Protocols, codecs, compression, sizes",
	text: fmt.Sprintf("Closed loop, 8 connections × 16 streams (HTTP/1.1: 128 connections), users that every cache holds, server on one core. "+
		"The payload is the encoded user: 150 B and 1 KiB by GetUser. The rules of the schema allow no user of 64 KiB, so that is BatchGetUsers of %d users of 1 KiB. "+
		"Responses below 1 KiB are not compressed; the text of the users is easy to compress.", batch),
	run: runWire,
}

// wires are the ways to call that are compared.
func wires() []load.Wire {
	var all []load.Wire
	for _, compression := range []string{"", "gzip", "zstd"} {
		all = append(all,
			load.Wire{Protocol: load.GRPC, Codec: load.Proto, Compression: compression},
			load.Wire{Protocol: load.GRPCWeb, Codec: load.Proto, Compression: compression},
			load.Wire{Protocol: load.Connect, Codec: load.Proto, Compression: compression},
			load.Wire{Protocol: load.Connect, Codec: load.JSON, Compression: compression},
			load.Wire{Protocol: load.ConnectHTTP1, Codec: load.Proto, Compression: compression},
			load.Wire{Protocol: load.ConnectHTTP1, Codec: load.JSON, Compression: compression})
	}
	return append(all,
		load.Wire{Protocol: load.GRPC, Codec: load.JSON},
		load.Wire{Protocol: load.GRPCWeb, Codec: load.JSON},
		load.Wire{Protocol: load.Connect, Codec: load.Proto, Get: true},
		load.Wire{Protocol: load.Connect, Codec: load.JSON, Get: true},
		load.Wire{Protocol: load.ConnectHTTP1, Codec: load.Proto, Get: true},
		load.Wire{Protocol: load.ConnectHTTP1, Codec: load.JSON, Get: true})
}

// payload is a size of response.
type payload struct {
	key, name string
	users     *population.Users
	read      func(load.Codec) *load.Op
}

func (b *bench) payloads() []payload {
	return []payload{
		{"150", "150 B", b.small, func(c load.Codec) *load.Op { return load.GetUser(b.small, c) }},
		{"1Ki", "1 KiB", b.big, func(c load.Codec) *load.Op { return load.GetUser(b.big, c) }},
		{"64Ki", "64 KiB", b.big, func(c load.Codec) *load.Op { return load.BatchGetUsers(b.big, c, batch) }},
	}
}

func runWire(ctx context.Context, b *bench, section *report.Section) error {
	database, err := b.fleet.sqlite(ctx, b.small, b.big)
	if err != nil {
		return err
	}
	server, err := b.fleet.userd(ctx, database)
	if err != nil {
		return err
	}
	table := report.Table{Columns: []string{"calls/s"}}
	rates := make(map[string][]string)
	for _, size := range b.payloads() {
		var contestants []*contestant
		for _, wire := range wires() {
			c, err := b.enter("wire/"+wire.String()+"/"+size.key, wire.String(), server, load.Target{
				Wire: wire, Read: size.read(wire.Codec), Keys: load.Uniform(min(b.hot, size.users.Len())),
			})
			if err != nil {
				return err
			}
			contestants = append(contestants, c)
		}
		if err := b.race(ctx, b.slice/2, (b.rounds+1)/3, contestants...); err != nil {
			return err
		}
		table.Columns = append(table.Columns, size.name, "p99", "CPU a call")
		for _, c := range contestants {
			rates[c.name] = append(rates[c.name], report.NewFigure("", c.rate...).WithSpread(),
				report.NewFigure("ms", c.p99...).String(), report.NewFigure("µs", c.cpu...).String())
		}
		b.fleet.disconnect()
	}
	for _, wire := range wires() {
		table.Add(append([]string{wire.String()}, rates[wire.String()]...)...)
	}
	section.Tables = append(section.Tables, table)
	return nil
}
