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
	server    *lab.Server
}

// tonic is the key of the rival that is there only where .ci/tonic has built it.
const tonic = "tonic"

// rivalNames are all rivals.
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
	var started []rival
	for _, key := range keys {
		server, err := b.startRival(ctx, key)
		if why := unavailable(""); key == tonic && errors.As(err, &why) {
			section.Absent = append(section.Absent, report.Fact{Name: key, Value: string(why)})
			continue
		}
		if err != nil {
			return nil, err
		}
		started = append(started, rival{key, rivalNames[key], server})
	}
	return started, nil
}

func (b *bench) startRival(ctx context.Context, key string) (*lab.Server, error) {
	switch key {
	case "userd":
		database, err := b.fleet.sqlite(ctx, b.small, b.big)
		if err != nil {
			return nil, err
		}
		return b.fleet.userd(ctx, database)
	case "storeoff":
		return b.fleet.storeoff(ctx, b.small)
	case tonic:
		return b.fleet.tonic(ctx, b.small)
	}
	return b.fleet.peer(ctx, key, b.small)
}
