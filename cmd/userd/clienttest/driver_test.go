package clienttest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// driver makes calls through a program below testdata; see doc.go.
type driver struct {
	process *process
	ended   chan struct{}

	mu    sync.Mutex
	last  int
	calls map[int]*rpc
	err   error // Set when the program has ended.
}

// order is a line to the program.
type order struct {
	Call   int               `json:"call"`
	Method protoreflect.Name `json:"method,omitempty"`
	Send   json.RawMessage   `json:"send,omitempty"`
	Close  bool              `json:"close,omitempty"`
	Cancel bool              `json:"cancel,omitempty"`
}

// report is a line from the program.
type report struct {
	Call     int             `json:"call"`
	Response json.RawMessage `json:"response"`
	End      *end            `json:"end"`
}

// startDriver runs a program until the test ends.
func startDriver(t *testing.T, name string, args ...string) *driver {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), timeout)
	d := &driver{process: start(ctx, name, args...), ended: make(chan struct{}), calls: map[int]*rpc{}}
	go d.read()
	t.Cleanup(func() {
		d.stop()
		cancel()
	})
	return d
}

// stop lets the program end and returns what it wrote to its standard error.
func (d *driver) stop() string {
	d.process.stdin.Close()
	<-d.ended
	return d.process.stderr.String()
}

func (d *driver) read() {
	defer close(d.ended)
	lines := json.NewDecoder(d.process.stdout)
	for {
		var line report
		if err := lines.Decode(&line); err != nil {
			d.process.stdin.Close() // Ends a program that has said nonsense.
			_, _ = io.Copy(io.Discard, d.process.stdout)
			d.fail(errors.Join(err, d.process.wait()))
			return
		}
		d.mu.Lock()
		call := d.calls[line.Call]
		d.mu.Unlock()
		if line.Response != nil {
			call.responses <- line.Response
		}
		if line.End != nil {
			call.finish(*line.End)
			d.mu.Lock()
			delete(d.calls, line.Call)
			d.mu.Unlock()
		}
	}
}

// fail ends the open calls and all to come.
func (d *driver) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	for _, call := range d.calls {
		call.finish(end{err: err})
	}
}

func (d *driver) open(_ context.Context, method protoreflect.Name) *rpc {
	r := newRPC()
	d.mu.Lock()
	d.last++
	number := d.last
	d.calls[number] = r
	if d.err != nil {
		r.finish(end{err: d.err})
	}
	d.mu.Unlock()

	write := func(o order) {
		o.Call = number
		line, err := json.Marshal(o)
		if err != nil {
			panic(err)
		}
		// When the program is gone, fail says so.
		_, _ = d.process.stdin.Write(append(line, '\n'))
	}
	r.send = func(request []byte) { write(order{Send: request}) }
	r.close = func() { write(order{Close: true}) }
	r.cancel = func() { write(order{Cancel: true}) }
	write(order{Method: method})
	return r
}
