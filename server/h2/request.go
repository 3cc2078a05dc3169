package h2

import (
	"context"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// headerBlock is a header block whose last part has not come.
type headerBlock struct {
	stream    uint32 // 0 where there is none.
	fragments []byte
	end       bool // END_STREAM
}

func (c *conn) headersFrame(h frameHeader, payload []byte) error {
	fragment, err := unpad(h, payload)
	if err != nil {
		return err
	}
	block := headerBlock{stream: h.stream, end: h.flags.Has(http2.FlagDataEndStream)}
	if h.flags.Has(http2.FlagHeadersPriority) {
		if len(fragment) < priorityFieldSize {
			return connectionError(http2.ErrCodeFrameSize, "HEADERS is too short for its priority")
		}
		if dependency(fragment) == h.stream {
			return connectionError(http2.ErrCodeProtocol, "stream depends on itself")
		}
		fragment = fragment[priorityFieldSize:]
	}
	block.fragments = fragment
	if h.flags.Has(http2.FlagHeadersEndHeaders) {
		return c.headers(block)
	}
	block.fragments = append([]byte(nil), fragment...)
	c.block = block
	return nil
}

func (c *conn) continuationFrame(h frameHeader, fragment []byte) error {
	if err := c.budget.spend(costControl); err != nil {
		return err
	}
	c.block.fragments = append(c.block.fragments, fragment...)
	if len(c.block.fragments) > blockFactor*c.srv.config.MaxHeaderBytes {
		return connectionError(http2.ErrCodeEnhanceYourCalm, "header block is too large")
	}
	if !h.flags.Has(http2.FlagHeadersEndHeaders) {
		return nil
	}
	block := c.block
	c.block = headerBlock{}
	return c.headers(block)
}

// blockFactor is how many times larger than Config.MaxHeaderBytes a header block may be
// that is read to its end and refused. The table of the peer stays in step with ours
// then, and other requests on the connection go on: behind a proxy they are those of
// other callers. Beyond it the connection ends.
const blockFactor = 4

// headers handles a header block: it opens a stream, or ends the request of one.
func (c *conn) headers(block headerBlock) error {
	if c.isIdle(block.stream) {
		if r := c.known(block.fragments); r != nil {
			return c.request(block.stream, &r.head, r, block.end)
		}
	}
	h, err := c.decoder.decode(block.fragments)
	if err != nil {
		return err
	}
	defer c.decoder.release(block.fragments)
	c.mu.Lock()
	s := c.streams[block.stream]
	late := s == nil && block.stream <= c.lastID && !c.wasReset(block.stream)
	ignored := s == nil && (block.stream <= c.lastID || c.closing)
	if ignored {
		c.noteReset(block.stream)
	}
	c.mu.Unlock()
	switch {
	case s != nil:
		return c.trailers(s, h, block.end)
	case late:
		return connectionError(http2.ErrCodeStreamClosed, "HEADERS on a closed stream")
	case ignored:
		return c.budget.spend(costControl)
	}
	h.checkRequest()
	if h.tooLarge {
		if err := c.budget.spend(costError); err != nil {
			return err
		}
	}
	return c.request(block.stream, h, c.route(h, block.fragments), block.end)
}

// trailers ends a request.
func (c *conn) trailers(s *stream, h *head, end bool) error {
	if len(h.seen) > 0 {
		h.fail("pseudo field in trailers")
	}
	err := c.endRequest(s, h, end)
	if err == nil {
		s.work.progress()
	}
	return err
}

func (c *conn) endRequest(s *stream, h *head, end bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.remoteDone:
		return streamError(s.id, http2.ErrCodeStreamClosed, "HEADERS after END_STREAM")
	case !end:
		return streamError(s.id, http2.ErrCodeProtocol, "trailers without END_STREAM")
	case h.malformed != "":
		return streamError(s.id, http2.ErrCodeProtocol, h.malformed)
	case h.tooLarge:
		return streamError(s.id, http2.ErrCodeEnhanceYourCalm, "trailers are too large")
	}
	if x, ok := s.work.(*exchange); ok {
		x.setTrailers(h.Fields)
	}
	return s.receive(nil, true)
}

// request opens a stream: for a Direct where there is a route, for an exchange else.
func (c *conn) request(id uint32, h *head, r *routed, end bool) error {
	malformed := h.malformed
	if end && h.contentLength > 0 {
		malformed = "content-length without content"
	}
	if malformed != "" {
		c.setLastID(id)
		return streamError(id, http2.ErrCodeProtocol, malformed)
	}
	if c.setLastID(id) {
		c.srv.stats.RefusedStreams.Add(1)
		return streamError(id, http2.ErrCodeRefusedStream, "too many streams")
	}
	if r != nil {
		c.openDirect(id, r, end)
		return nil
	}
	c.srv.stats.Handled.Add(1)
	x := &exchange{stream: &stream{c: c, id: id, declared: h.contentLength}}
	if err := x.init(h, end); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open(x.stream, end)
	c.start(x.stream)
	return nil
}

// setLastID notes that a stream was opened, and reports whether it is one too many.
func (c *conn) setLastID(id uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID = id
	return len(c.streams) >= c.srv.config.MaxConcurrentStreams
}

// start runs a stream's work, or lets it wait for a handler to end. c.mu is held.
func (c *conn) start(s *stream) {
	if limit := c.srv.config.MaxConcurrentStreams; c.running >= limit {
		if len(c.waiting) >= limit {
			c.waiting = slices.DeleteFunc(c.waiting, func(s *stream) bool { return s.err != nil })
		}
		s.waiting = true
		c.waiting = append(c.waiting, s)
		return
	}
	c.running++
	c.srv.workers.run(s.work)
}

// done gives the place of a handler that has returned to the next stream, and
// flushes what it has left.
func (c *conn) done() {
	c.mu.Lock()
	c.running--
	c.fruitless = 0
	for len(c.waiting) > 0 && c.running < c.srv.config.MaxConcurrentStreams {
		next := c.waiting[0]
		c.waiting = c.waiting[1:]
		if next.waiting = false; next.err == nil {
			c.start(next)
		}
	}
	flush, alone := c.mustFlush(), c.running == 0
	c.changed.Broadcast()
	c.mu.Unlock()
	if flush {
		if !alone {
			runtime.Gosched() // Handlers that are about to end have their answers written along.
		}
		c.drain(nil)
	}
}

// exchange is a request for the server's http.Handler, and its response.
type exchange struct {
	*stream
	handler  http.Handler
	request  *http.Request
	expects  bool // A 100 response is due when the body is first read.
	begun    bool // The header of the response was sent. conn.mu guards it.
	trailer  http.Header
	response responseWriter
}

// init makes the http.Request that net/http would make.
func (x *exchange) init(h *head, end bool) error {
	header := make(http.Header, len(h.Fields))
	for _, f := range h.Fields {
		key := CanonicalName(f.Name)
		header[key] = append(header[key], f.Value)
	}
	x.work = x
	x.handler = x.c.srv.config.Handler
	x.expects = httpguts.HeaderValuesContainsToken(header["Expect"], "100-continue")
	if h.tooLarge {
		x.handler = x.c.srv.config.HeadersTooLarge
	}
	location, err := requestURL(h)
	if err != nil {
		return streamError(x.id, http2.ErrCodeProtocol, "invalid :path")
	}
	x.trailer = declaredTrailers(header)
	cleanHeader(header)
	x.makeRequest(h, header, location, end)
	x.response = responseWriter{x: x, header: make(http.Header), declared: -1}
	return nil
}

func (x *exchange) makeRequest(h *head, header http.Header, location *url.URL, end bool) {
	ctx, cancel := context.WithCancel(x.c.ctx)
	x.cancel = cancel
	r := &http.Request{
		Method: h.Method, URL: location, Proto: "HTTP/2.0", ProtoMajor: 2, Header: header,
		Host: h.Authority, RequestURI: h.Path, RemoteAddr: x.c.remote, Trailer: x.trailer,
		ContentLength: h.contentLength, Body: (*requestBody)(x), TLS: x.c.tls,
	}
	if end {
		r.ContentLength = 0
	}
	if h.Method == http.MethodConnect {
		r.RequestURI = h.Authority
	}
	if h.Authority == "" {
		r.Host = header.Get("Host")
	}
	x.request = r.WithContext(ctx)
}

func requestURL(h *head) (*url.URL, error) {
	if h.Method == http.MethodConnect {
		return &url.URL{Host: h.Authority}, nil
	}
	return url.ParseRequestURI(h.Path)
}

// declaredTrailers are the keys of the trailers that a request announces, without
// values, or nil.
func declaredTrailers(header http.Header) http.Header {
	var trailer http.Header
	for _, field := range header["Trailer"] {
		for name := range strings.SplitSeq(field, ",") {
			switch key := http.CanonicalHeaderKey(textproto.TrimString(name)); key {
			case "Transfer-Encoding", "Trailer", "Content-Length":
			default:
				if trailer == nil {
					trailer = make(http.Header)
				}
				trailer[key] = nil
			}
		}
	}
	return trailer
}

// cleanHeader does to the fields of a request what net/http does.
func cleanHeader(header http.Header) {
	delete(header, "Trailer")
	if httpguts.HeaderValuesContainsToken(header["Expect"], "100-continue") {
		delete(header, "Expect")
	}
	if cookies := header["Cookie"]; len(cookies) > 1 {
		header["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
}

// setTrailers keeps the trailers that were announced until the body is read. conn.mu
// is held.
func (x *exchange) setTrailers(fields []hpack.HeaderField) {
	received := make(http.Header)
	for _, f := range fields {
		key := CanonicalName(f.Name)
		if _, ok := x.trailer[key]; ok {
			received[key] = append(received[key], f.Value)
		}
	}
	x.trailer = received
}

// progress does nothing: the handler has run since the header was here.
func (*exchange) progress() {}

// run serves the exchange.
func (x *exchange) run() {
	defer x.c.done()
	defer x.cancel()
	defer x.recover()
	x.handler.ServeHTTP(&x.response, x.request)
	x.response.finish()
	if x.request.MultipartForm != nil {
		_ = x.request.MultipartForm.RemoveAll() // As net/http: files that are left are the system's.
	}
}

func refuseHeaders(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "request header fields are too large", http.StatusRequestHeaderFieldsTooLarge)
}

// requestBody is the Body of the request of an exchange.
type requestBody exchange

func (b *requestBody) Read(p []byte) (int, error) {
	x := (*exchange)(b)
	if x.expects {
		x.expects = false
		x.response.sendInformational(http.StatusContinue, nil)
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := x.stream.Read(p)
	if err == io.EOF && x.trailer != nil {
		x.c.mu.Lock()
		for key, values := range x.trailer {
			x.request.Trailer[key] = values
		}
		x.c.mu.Unlock()
	}
	return n, err
}

// Close lets the peer send what is left to nowhere.
func (b *requestBody) Close() error {
	x := (*exchange)(b)
	x.c.mu.Lock()
	x.breakBody(errBodyClosed)
	x.c.unlockAndFlush()
	return nil
}
