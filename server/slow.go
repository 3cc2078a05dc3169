package server

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect/v2"
)

const (
	// sendTimeout is how long a message of a stream may wait for its reader.
	sendTimeout = 30 * time.Second
	// sendTimeoutRenewal is how often the deadline of a stream is moved. Moving it
	// costs more than a message.
	sendTimeoutRenewal = 5 * time.Second
)

// slowReaderInterceptor ends streams whose reader has stopped to read, so that
// nobody can hold memory and goroutines for ever.
func slowReaderInterceptor(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		if spec.StreamType&connect.StreamTypeServer == 0 {
			return next(ctx, spec, stream)
		}
		writer, ok := ctx.Value(streamKey{}).(*streamWriter)
		if !ok {
			return next(ctx, spec, stream)
		}
		return next(ctx, spec, &readStream{ServerStream: stream, controller: writer.controller})
	}
}

// readStream is a stream whose messages must be read in time.
type readStream struct {
	connect.ServerStream
	controller *http.ResponseController
	renewed    time.Time
}

func (s *readStream) Send(msg any) error {
	start := time.Now()
	if start.Sub(s.renewed) >= sendTimeoutRenewal {
		// A connection without deadlines is closed by its server instead.
		_ = s.controller.SetWriteDeadline(start.Add(sendTimeout))
		s.renewed = start
	}
	err := s.ServerStream.Send(msg)
	if errors.Is(err, os.ErrDeadlineExceeded) { // Often that of the message before, whose flush tells nothing.
		return errSlowConsumer
	}
	return err
}
