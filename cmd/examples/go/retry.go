package main

import (
	"context"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/gen/user/v1/userv1errors"
)

// How often and after how long a call is made again.
const (
	mostTries = 8
	firstWait = 100 * time.Millisecond
	mostWait  = 5 * time.Second
)

// retry makes unary calls again that a server did not do: those that it says may come again
// after a while, and those that only read where it was not to be reached. A write that was
// not answered may have been done; make it safe to repeat (a user_id, an expected_version)
// and decide for yourself. A deadline of the context ends it.
func retry(next connect.ClientFunc) connect.ClientFunc {
	return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
		if spec.StreamType != connect.StreamTypeUnary {
			return next(ctx, spec)
		}
		return &call{next: next, ctx: ctx, spec: spec}, nil
	}
}

// call keeps its request, which it sends with each try.
type call struct {
	next    connect.ClientFunc
	ctx     context.Context
	spec    connect.Spec
	request any
}

func (c *call) SendHeaders() error { return nil }
func (c *call) CloseSend() error   { return nil }
func (c *call) Close() error       { return nil }

func (c *call) Send(request any) error {
	c.request = request
	return nil
}

func (c *call) Receive(response any) error {
	for try := 1; ; try++ {
		err := c.try(response)
		wait, again := waitFor(err, c.spec, try)
		if !again || try == mostTries {
			return err
		}
		if pause(c.ctx, wait) != nil {
			return err
		}
	}
}

func (c *call) try(response any) error {
	stream, err := c.next(c.ctx, c.spec)
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := stream.Send(c.request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.Receive(response)
}

// waitFor says whether a call may be made again, and after how long.
func waitFor(err error, spec connect.Spec, try int) (time.Duration, bool) {
	if err == nil {
		return 0, false
	}
	wait := backoff(try)
	if delay, ok := userv1errors.RetryDelay(err); ok {
		return delay + wait, true
	}
	return wait, connect.CodeOf(err) == connect.CodeUnavailable && spec.IdempotencyLevel == connect.IdempotencyNoSideEffects
}

// backoff is twice as long with each try. It is partly random, so that not all callers of a
// server that comes back come at once.
func backoff(try int) time.Duration {
	longest := min(firstWait<<min(try-1, 10), mostWait)
	return longest/2 + rand.N(longest/2)
}

func pause(ctx context.Context, wait time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}
