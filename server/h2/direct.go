package h2

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// directBytes is how much of a request is gathered for a Direct, in bytes. The Handler
// reads larger ones.
const directBytes = len(chunk{})

// Direct answers requests that have come whole, without a request and a response of
// net/http between it and the connection.
type Direct interface {
	// Route returns what answers the requests with a header, or nil to leave them to the
	// Handler. What it returns may be asked for several requests of one connection whose
	// headers are the same. The context is that of the connection, and the fields are
	// those of this call only. like is nil, or a route of the connection, for a header that
	// had the same fields and authority.
	Route(ctx context.Context, head *Head, like Route) Route
}

// Head is the header of a request.
type Head struct {
	Method, Authority, Path string
	Fields                  []hpack.HeaderField // Without the pseudo fields.
	TLS                     *tls.ConnectionState
}

// Route makes calls of requests.
type Route interface {
	// Open returns the call of a request, or nil to leave it to the Handler. The body
	// stays as it is until the call has been served.
	Open(remote string, body []byte) Call
}

// Call is one request that a Direct answers.
type Call interface {
	// Ready reports whether Serve is sure not to block. It then runs on the goroutine
	// that reads the connection, which is cheap, but lets all other requests of the
	// connection wait for it. The context is that of Serve.
	Ready(ctx context.Context) bool
	// Serve answers the request. The answer must stay as it is until Release.
	Serve(ctx context.Context) *Answer
	// Wait is called where the answer cannot be sent at once, and waits for the peer to read.
	// It returns nil, or what is sent instead. cut has the stream reset if the answer still
	// waits then.
	Wait(cut func()) *Answer
	// Release is called when the answer is not used any more.
	Release()
}

// Answer is the response of a Direct.
type Answer struct {
	// Header starts with the field :status.
	Header Fields
	// Dated adds the field date.
	Dated bool
	Body  []byte
	// Trailer ends the response where it is not empty.
	Trailer Fields
}

// Fields are fields of a header or a trailer: those that many responses share, which
// are encoded once for a connection, and then others.
type Fields struct {
	Shared *SharedFields
	More   []hpack.HeaderField
}

// SharedFields is a list of fields that is sent again and again. There must not be many.
type SharedFields struct {
	fields []hpack.HeaderField
	size   int
}

// ShareFields makes a list that is sent again and again. Names may be in any case.
func ShareFields(namesAndValues ...string) *SharedFields {
	s := new(SharedFields)
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		name, value := namesAndValues[i], namesAndValues[i+1]
		if name == ":status" {
			s.fields = append(s.fields, hpack.HeaderField{Name: name, Value: value})
		} else {
			s.fields = appendField(s.fields, name, value)
		}
	}
	s.size = listSize(s.fields)
	return s
}

// Grow makes room for so many more fields.
func (f *Fields) Grow(n int) { f.More = slices.Grow(f.More, n) }

// Add appends a field for each value, unless HTTP/2 cannot carry it. The name may be in any
// case.
func (f *Fields) Add(name string, values ...string) {
	for _, value := range values {
		f.More = appendField(f.More, name, value)
	}
}

// SetStatus begins a header with the field :status.
func (f *Fields) SetStatus(status string) {
	f.More = append(f.More, hpack.HeaderField{Name: ":status", Value: status})
}

// size is the size of the fields as RFC 9113 section 6.5.2 counts.
func (f *Fields) size() int {
	if f.Shared == nil {
		return listSize(f.More)
	}
	return f.Shared.size + listSize(f.More)
}

func listSize(fields []hpack.HeaderField) (size int) {
	for _, field := range fields {
		size += int(field.Size())
	}
	return size
}

func (f *Fields) empty() bool { return f.Shared == nil && len(f.More) == 0 }

// routed is what a Direct has made of a header, and the header for when it leaves a
// request to the Handler after all.
type routed struct {
	route Route
	head  head
}

// route returns what answers requests with this header, and remembers it, or nil where
// the Handler does.
func (c *conn) route(h *head, block []byte) *routed {
	direct := c.srv.config.Direct
	if direct == nil || h.malformed != "" || h.tooLarge || h.Authority == "" {
		return nil
	}
	h.TLS = c.tls
	var like Route
	last := c.lastRouted
	if last != nil && last.head.Authority == h.Authority && slices.Equal(last.head.Fields, h.Fields) {
		like = last.route
	}
	route := direct.Route(c.ctx, &h.Head, like)
	if route == nil {
		return nil
	}
	r := &routed{route: route, head: *h}
	if like != nil {
		r.head.Fields = last.head.Fields
	} else {
		r.head.Fields = slices.Clone(h.Fields) // The decoder overwrites its own.
	}
	if h.isLarge() {
		return r // It is not kept.
	}
	c.lastRouted = r
	if key, _, ok := c.routes.split(block); ok {
		c.routes.add(key, c.decoder.inserted, r)
	}
	return r
}

// directStream is a stream for a Direct, or for the Handler when the Direct does not
// take its request.
type directStream struct {
	stream
	routed *routed
	opened time.Time
	looked time.Time // When the connection was to end; and seen what had come then.
	seen   int64
	ctx    context.Context
	call   Call
	answer *Answer // Waits to be sent.

	awaited bool // The call knows that its answer waits.
}

// directStreams has streams that are over, of which only the reader of their connection knew.
var directStreams = sync.Pool{New: func() any { return new(directStream) }}

// openDirect opens a stream for a Direct. The reader calls it.
func (c *conn) openDirect(id uint32, r *routed, end bool) {
	d := directStreams.Get().(*directStream)
	d.c, d.id, d.declared, d.routed, d.work = c, id, r.head.contentLength, r, d
	c.mu.Lock()
	d.opened = c.lastRead
	c.open(&d.stream, end)
	c.mu.Unlock()
	d.progress()
}

// progress starts the call when its request is here. The reader calls it.
func (d *directStream) progress() {
	c := d.c
	c.mu.Lock()
	whole, large := d.remoteDone, d.body.size > directBytes || d.isInTheWay()
	if d.started || d.localDone || !whole && !large {
		c.mu.Unlock()
		return
	}
	d.started = true
	if large {
		d.leave()
		c.mu.Unlock()
		return
	}
	d.held = true
	body := d.body.head()
	c.mu.Unlock()
	if d.begin(body) {
		*d = directStream{}
		directStreams.Put(d)
	}
}

// isInTheWay reports whether the part of the request that is here takes room which the
// connection is short of: the rest, and that of others, could not come. The Handler reads it.
// conn.mu is held.
func (d *directStream) isInTheWay() bool {
	return !d.remoteDone && d.body.size > 0 && d.c.recvWindow < d.c.srv.config.ConnWindow/2
}

// begin makes a call of the request, and serves it here or has it served. It reports whether the
// stream is over and nobody else knows of it.
func (d *directStream) begin(body []byte) (over bool) {
	defer d.recover()
	d.call = d.routed.route.Open(d.c.remote, body)
	if d.call != nil && d.call.Ready(d.c.ctx) {
		d.c.srv.stats.Inline.Add(1)
		d.answer = d.call.Serve(d.c.ctx)
		return d.deliver()
	}
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	switch {
	case d.err != nil: // Its caller has cancelled it.
		d.letGo()
	case d.call == nil:
		d.held = false
		d.leave()
	default:
		d.c.srv.stats.Direct.Add(1)
		d.ctx, d.cancel = context.WithCancel(d.c.ctx)
		d.c.start(&d.stream)
	}
	return false
}

// leave lets the Handler have the request. conn.mu is held.
func (d *directStream) leave() {
	d.c.srv.stats.Handled.Add(1)
	x := &exchange{stream: &d.stream}
	if err := x.init(&d.routed.head, d.remoteDone); err != nil {
		d.reset(http2.ErrCodeProtocol, errStreamClosed)
		return
	}
	d.c.start(&d.stream)
}

// silentAfter is how long a peer may say nothing in the middle of a request when the
// connection is to end.
const silentAfter = time.Second

// silent reports whether nothing of the request has come for a while, on a connection
// that is to end. conn.mu is held.
func (d *directStream) silent(now time.Time) bool {
	if d.c.draining.IsZero() || now.Sub(d.looked) < silentAfter {
		return false
	}
	silent := !d.looked.IsZero() && d.seen == d.received
	d.looked, d.seen = now, d.received
	return silent
}

// expire leaves a request that does not come to the Handler, with the part that is here
// and an error. conn.mu is held.
func (d *directStream) expire() {
	if d.bodyErr != nil {
		return
	}
	d.bodyErr = fmt.Errorf("http2: read: %w", os.ErrDeadlineExceeded)
	if !d.started {
		d.started = true
		d.leave()
	}
}

// run serves the call on a worker.
func (d *directStream) run() {
	defer d.c.done()
	defer d.recover()
	if d.answer == nil {
		defer d.cancel()
		d.answer = d.call.Serve(d.ctx)
	}
	d.deliver()
}

// deliver sends the response. What does not fit at once is sent by a worker, which may
// wait. It reports whether the stream is over, and of no more use to its connection.
func (d *directStream) deliver() (over bool) {
	c, a := d.c, d.answer
	c.mu.Lock()
	defer c.mu.Unlock()
	waits := d.sendErr() == nil && !c.fits(&d.stream, len(a.Body))
	if waits && !d.awaited {
		d.await()
	}
	if d.held {
		d.letGo()
		if d.cancel == nil && !c.fits(&d.stream, len(d.answer.Body)) {
			c.start(&d.stream)
			return false
		}
	}
	if err := d.sendAnswer(); err == nil {
		d.endLocal()
	} else if d.late != nil {
		d.resetLate(err)
	}
	d.call.Release()
	d.call, d.answer = nil, nil
	return d.err != nil && !d.queued && !d.awaited // Else cut may still be called.
}

// await tells the call that its answer has to wait. conn.mu is held, but not meanwhile.
func (d *directStream) await() {
	d.awaited = true
	d.c.mu.Unlock()
	defer d.c.mu.Lock()
	if instead := d.call.Wait(func() { go d.cut() }); instead != nil {
		d.answer = instead
	}
}

// cut gives up an answer that the peer does not read.
func (d *directStream) cut() {
	d.c.mu.Lock()
	defer d.c.unlockAndFlush()
	if len(d.pending) > 0 {
		d.c.srv.stats.Timeouts.Add(1)
		d.expireWrite()
	}
}

// letGo lets go of the body that a call has used. conn.mu is held.
func (d *directStream) letGo() {
	d.held = false
	d.c.giveBack(d.body.size)
	d.body.discard()
}

// sendAnswer sends header, body and trailer. conn.mu is held.
func (d *directStream) sendAnswer() error {
	a := d.answer
	if a.Dated {
		a.Header.More = append(a.Header.More, hpack.HeaderField{Name: "date", Value: date()})
	}
	bare := a.Trailer.empty()
	fits := d.c.fits(&d.stream, len(a.Body)) // Whatever the header needs: the reader must not wait for it.
	if err := d.sendHeaders(a.Header, bare && len(a.Body) == 0); err != nil {
		return err
	}
	switch {
	case len(a.Body) == 0:
	case fits:
		d.c.appendAll(&d.stream, a.Body, bare)
	default:
		if err := d.send(a.Body, bare); err != nil {
			return err
		}
	}
	if bare {
		return nil
	}
	return d.sendHeaders(a.Trailer, true)
}

// dated is a moment as the field date has it.
type dated struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[dated]

// date is the present second as the field date has it.
func date() string {
	now := time.Now()
	last := lastDate.Load()
	if last == nil || last.second != now.Unix() {
		last = &dated{now.Unix(), now.UTC().Format(http.TimeFormat)}
		lastDate.Store(last)
	}
	return last.text
}
