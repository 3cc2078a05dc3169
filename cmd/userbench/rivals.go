package main

import (
	"context"
	"errors"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/report"
)

// rival is a server that answers the same calls as others.
type rival struct {
	key, name string
	prefix    string // Of the keys of its figures.
	http2     string // How it serves HTTP/2, for those that have the choice.
	server    *lab.Server
}

// otherPrefix is the prefix of figures of userd with the other way to serve HTTP/2,
// and of peers under the load that it gets.
const otherPrefix = "other/"

// tonic is the key of the rival that is there only where .ci/tonic has built it.
const tonic = "tonic"

// rivalNames are all rivals. Those that are ours come once for each way to serve
// HTTP/2.
var rivalNames = map[string]string{
	"userd":    "userd",
	"storeoff": "userd, store off",
	tonic:      "tonic",
	"grpc-go":  "grpc-go, its own transport",
	"net/http": "bare net/http, encoded beforehand",
	"connect":  "Connect on net/http",
}

// rivals starts servers by their keys. When tonic is not there, the section says so.
func (b *bench) rivals(ctx context.Context, section *report.Section, keys ...string) ([]rival, error) {
	usual, other, err := b.fleet.transports(ctx)
	if err != nil {
		return nil, err
	}
	var all []rival
	for _, key := range keys {
		r := rival{key: key, name: rivalNames[key], http2: usual}
		all = append(all, r)
		if key == "userd" || key == "storeoff" {
			r.name, r.prefix, r.http2 = r.name+", "+http2Flag+"="+other, otherPrefix, other
			all = append(all, r)
		}
	}
	var started []rival
	for _, r := range all {
		r.server, err = b.startRival(ctx, r)
		if why := unavailable(""); r.key == tonic && errors.As(err, &why) {
			section.Absent = append(section.Absent, report.Fact{Name: r.key, Value: string(why)})
			continue
		}
		if err != nil {
			return nil, err
		}
		started = append(started, r)
	}
	return started, nil
}

func (b *bench) startRival(ctx context.Context, r rival) (*lab.Server, error) {
	switch r.key {
	case "userd":
		database, err := b.fleet.sqlite(ctx, b.small, b.big)
		if err != nil {
			return nil, err
		}
		return b.fleet.userd(ctx, database, http2Flag, r.http2)
	case "storeoff":
		return b.fleet.storeoff(ctx, b.small, r.http2)
	case tonic:
		return b.fleet.tonic(ctx, b.small)
	}
	return b.fleet.peer(ctx, r.key, b.small)
}
