package cache

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/rueidis"
)

// writableScript does nothing, but says that it might write: Redis refuses it where
// it would refuse a write, because the node has become a replica, or has no memory
// left. A replica answers reads, and would look well for ever.
var writableScript = newScript("#!lua\nreturn 1")

func (r *redis) beat(ctx context.Context) (err error) {
	ctx, end := r.observe(ctx, "beat")
	defer func() { end(err) }()
	if err := r.connect(); err != nil {
		return r.away(err)
	}
	_, err = attempt(ctx, r, func(client rueidis.Client) (struct{}, error) {
		err := r.writable(ctx, client)
		if c := causeOf(err); err != nil && !c.refusal {
			return struct{}{}, r.diagnosed(ctx, client, err)
		}
		if err := r.hearMarks(ctx, client); err != nil {
			return struct{}{}, r.diagnosed(ctx, client, err)
		}
		if !r.up.Load() {
			r.survey(ctx, client)
		}
		return struct{}{}, nil
	})
	if err != nil {
		return r.away(err)
	}
	r.up.Store(true)
	return nil
}

// connect makes the client where there is none yet.
func (r *redis) connect() error {
	if r.client.Load() != nil {
		return nil
	}
	client, err := rueidis.NewClient(r.option)
	if client == nil {
		return r.unconnected(err)
	}
	r.client.Store(&client)
	return nil
}

// unconnected blames an error reply that Sentinels, or the node that they name, give
// to a client that is new: rueidis does not tell who it was.
func (r *redis) unconnected(err error) error {
	switch {
	case causeOf(err) != otherReply:
		return err
	case r.option.SelectDB != 0:
		return blame(noDatabase, err)
	case r.option.Sentinel.MasterSet != "":
		return blame(noMasterSet, err)
	default:
		return err
	}
}

// away ends the use of Redis after a heartbeat that went wrong. Where Redis has
// answered, what it said may depend on the node, or on what the connection began
// with, so the next heartbeat is on a new one.
func (r *redis) away(err error) error {
	err = r.misnamed(err)
	r.tally.add(causeOf(err))
	r.lost(err)
	if code(err) != "" || refusedCommand(err) != "" {
		r.dialer.drop()
	}
	return err
}

// misnamed blames the scheme of the URL where the port speaks the other one: without
// TLS Redis waits for the end of what it takes for a line, and with TLS it hangs up.
func (r *redis) misnamed(err error) error {
	c, address := causeOf(err), r.option.InitAddress[0]
	switch {
	case r.option.TLSConfig == nil && c == hungUp && speaksTLS(address):
		return blame(tlsPort, err)
	case r.option.TLSConfig != nil && (c == timedOut || c == tlsFailed) && speaksPlainly(address):
		return blame(plainPort, err)
	default:
		return err
	}
}

// writable returns an error where a bucket takes no writes.
func (r *redis) writable(ctx context.Context, client rueidis.Client) error {
	calls := make([]invocation, r.keys.buckets)
	for i := range calls {
		calls[i] = invocation{script: writableScript, keys: []string{r.keys.mark(i)}}
	}
	_, err := invoke(ctx, client, "", calls...)
	if err != nil && causeOf(err).refusal {
		r.failed(err)
	}
	return err
}

// hearMarks makes the near cache hear the watermarks.
func (r *redis) hearMarks(ctx context.Context, client rueidis.Client) error {
	commands := make([]rueidis.CacheableTTL, r.keys.buckets)
	for i := range commands {
		commands[i] = rueidis.CT(client.B().Get().Key(r.keys.mark(i)).Cache(), r.ttl.value)
	}
	for _, answer := range client.DoMultiCache(ctx, commands...) {
		if err := answer.Error(); err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
	}
	return nil
}

// diagnosed finds what Redis refuses where an error does not tell: one of the
// commands that the cache uses, by itself. None of them changes anything.
func (r *redis) diagnosed(ctx context.Context, client rueidis.Client, err error) error {
	if errors.Is(err, rueidis.ErrNoCache) && causeOf(err) != tooOld {
		return &blamed{error: err, cause: causeOf(err), command: "CLIENT TRACKING"}
	}
	unclear := causeOf(err) == otherReply
	if !unclear && causeOf(err) != noRights && !errors.Is(err, rueidis.ErrDoCacheAborted) {
		return err
	}
	key := r.keys.mark(0)
	none, b := key+":none", client.B()
	for _, command := range []rueidis.Completed{
		b.Ping().Build(),
		b.Evalsha().Sha1(writableScript.sha).Numkeys(1).Key(key).Build(),
		b.Eval().Script("return 1").Numkeys(1).Key(key).Build(),
		b.Get().Key(key).Build(), b.Getex().Key(key).Build(), b.Pttl().Key(key).Build(), b.Exists().Key(key).Build(),
		b.Set().Key(none).Value("").Xx().Build(), b.Del().Key(none).Build(), b.Dbsize().Build(),
	} {
		name := command.Commands()[0]
		failure := client.Do(ctx, command).Error()
		switch refused := code(failure); {
		case refused != "" && refused != "NOSCRIPT":
			return r.refused(name, failure)
		case refused == "" && failure != nil && !rueidis.IsRedisNil(failure):
			return err
		}
	}
	if unclear { // Each is fine, so it is how the script begins.
		return &blamed{error: err, cause: tooOld, command: "EVAL"}
	}
	return &blamed{error: err, cause: noRights, command: "MULTI"}
}

// refused blames an error reply to a command. The first one also gets what a new
// connection begins with and is refused, which is HELLO and SELECT.
func (r *redis) refused(command string, err error) error {
	c := causeOf(err)
	switch {
	case c != otherReply:
	case command == "PING" && r.option.SelectDB != 0:
		c = noDatabase
	case command == "PING":
		c = noClients
	default:
		c = noCommand
	}
	return &blamed{error: err, cause: c, command: command}
}

// survey warns of settings that do harm later, where it may read them.
func (r *redis) survey(ctx context.Context, client rueidis.Client) {
	info, err := client.Do(ctx, client.B().Info().Section("memory").Build()).ToString()
	if err != nil {
		return
	}
	for field := range strings.Lines(info) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(field), ":"); {
		case name == "maxmemory" && value == "0":
			r.onWarning(noBound)
		case name == "maxmemory_policy" && value != "volatile-lru":
			r.onWarning(wrongEviction)
		}
	}
}
