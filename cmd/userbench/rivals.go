package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

// rival is a server that answers the same calls as others.
type rival struct {
	key, name string
	server    *lab.Server
}

// Keys of rivals that are not always there: userd of the revision to compare with, tonic
// where .ci/tonic has built it, and h2o where it is installed.
const (
	before = "before"
	tonic  = "tonic"
	floor  = "h2o"
)

// rivalNames are all rivals.
var rivalNames = map[string]string{
	"userd":    "userd",
	before:     "userd before",
	"storeoff": "userd, store off",
	tonic:      "tonic",
	floor:      "h2o, a file",
	"grpc-go":  "grpc-go, its own transport",
	"connect":  "Connect on net/http",
}

// rivals starts servers by their keys. Where tonic or h2o is not there, the section says so.
func (b *bench) rivals(ctx context.Context, section *report.Section, keys ...string) ([]rival, error) {
	var started []rival
	for _, key := range keys {
		if key == before && b.before == "" {
			continue
		}
		server, err := b.startRival(ctx, key)
		if why := unavailable(""); errors.As(err, &why) {
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
		return b.fleet.userdOnSQLite(ctx, b.lab.Root())
	case before:
		return b.fleet.userdOnSQLite(ctx, b.before)
	case "storeoff":
		return b.fleet.other(ctx, storeoffFolder)
	case tonic:
		return b.fleet.tonic(ctx)
	case floor:
		return b.fleet.h2o(ctx)
	}
	return b.fleet.other(ctx, peersFolder, "-peer", key)
}

// enterAll enters rivals with a load of cachedGets.
func (b *bench) enterAll(scenario string, rivals []rival, wire load.Wire) ([]*contestant, error) {
	var contestants []*contestant
	for _, r := range rivals {
		c, err := b.enter(fmt.Sprintf("%s/%s/%s", scenario, r.key, &wire), fmt.Sprintf("%s, %s", r.name, &wire), r.server, b.cachedGets(wire))
		if err != nil {
			return nil, err
		}
		contestants = append(contestants, c)
	}
	return contestants, nil
}

// cachedGets is a load of GetUser for users that every cache holds.
func (b *bench) cachedGets(wire load.Wire) load.Target {
	return load.Target{Wire: wire, Read: load.GetUser(b.small, wire.Codec), Keys: load.Uniform(b.hot)}
}

// sinceBefore adds a table of how userd compares with the revision before, where there
// is one. Its contestants come right behind userd's.
func (b *bench) sinceBefore(section *report.Section, contestants []*contestant) {
	if b.before == "" {
		return
	}
	table := newStandings("now, and the ratios to before")
	for i, c := range contestants {
		if strings.Contains(c.key, "/"+before+"/") {
			table.add(contestants[i-1], c)
		}
	}
	if len(table.Rows) > 0 {
		section.Tables = append(section.Tables, table.Table)
	}
}
