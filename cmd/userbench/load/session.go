package load

import "time"

// Session is a connection for streaming calls over gRPC.
type Session struct {
	conn    *h2Conn
	wire    *Wire
	headers map[string]*header // By method; guarded by the connection's lock.
}

// DialSession connects to a server. window is what a server may send on a stream
// before the stream takes it, in bytes; 0 is a generous default.
func DialSession(address string, window int) (*Session, error) {
	if window == 0 {
		window = streamWindow
	}
	conn, err := dialH2(address, window)
	if err != nil {
		return nil, err
	}
	return &Session{conn: conn, wire: &Wire{Protocol: GRPC, Codec: Proto}, headers: make(map[string]*header)}, nil
}

// SetCaller says who makes the calls that begin from now on, and how long they may take.
func (s *Session) SetCaller(token string, deadline time.Duration) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.wire.Token, s.wire.Deadline = token, deadline
	clear(s.headers)
}

// gone reports whether the connection has ended.
func (s *Session) gone() bool {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.conn.err != nil
}

// Close closes the connection. Streams that have not ended fail.
func (s *Session) Close() { s.conn.close() }

// Stream is a streaming call. Its methods may be called from different goroutines.
type Stream struct {
	conn  *h2Conn
	raw   *stream // Nil when the call has ended.
	ended chan struct{}
	err   error
}

// Open begins a call. Each message of the response is given to take, which must not
// keep it nor call the session; an error ends the call.
func (s *Session) Open(method string, take func(message []byte) error) *Stream {
	return s.open(method, take, false)
}

// OpenStalled begins a call whose response is not taken beyond the first window.
func (s *Session) OpenStalled(method string, take func(message []byte) error) *Stream {
	return s.open(method, take, true)
}

func (s *Session) open(method string, take func([]byte) error, stalled bool) *Stream {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	call := &Stream{conn: c, ended: make(chan struct{})}
	if c.err != nil {
		call.end(nil, c.err)
		return call
	}
	h, ok := s.headers[method]
	if !ok {
		h = s.wire.header(method)
		s.headers[method] = h
	}
	call.raw = c.newStream()
	call.raw.wire, call.raw.message, call.raw.stalled, call.raw.done = s.wire, take, stalled, call.end
	c.open(call.raw, h, "", false)
	c.flush()
	return call
}

func (s *Stream) end(_ *stream, err error) {
	s.raw, s.err = nil, err
	close(s.ended)
}

// Send sends messages, each behind its prefix, see AppendPrefix. It blocks while the
// server's window is full, and returns early, without an error, when the call ends:
// Wait says why.
func (s *Stream) Send(messages []byte) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	for len(messages) > 0 && s.raw != nil {
		n := int(min(int64(len(messages)), maxFrame, s.conn.sendWindow, s.raw.sendWindow))
		if n <= 0 {
			s.conn.flush()
			if s.raw != nil && min(s.conn.sendWindow, s.raw.sendWindow) <= 0 {
				s.conn.sendable.Wait()
			}
			continue
		}
		s.conn.sendWindow -= int64(n)
		s.raw.sendWindow -= int64(n)
		_ = s.conn.framer.WriteData(s.raw.id, false, messages[:n])
		messages = messages[n:]
		if s.conn.out.Len() >= flushBytes {
			s.conn.flush()
		}
	}
	s.conn.flush()
}

// flushBytes is how much a stream gathers for one system call.
const flushBytes = 64 << 10

// CloseSend says that no more messages come.
func (s *Stream) CloseSend() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.raw != nil {
		_ = s.conn.framer.WriteData(s.raw.id, true, nil)
		s.conn.flush()
	}
}

// Wait returns when the call has ended, with an error unless it ended well.
func (s *Stream) Wait() error {
	<-s.ended
	return s.err
}

// Call makes a unary call and gives its response to take.
func (s *Session) Call(method string, request []byte, take func(message []byte) error) error {
	call := s.Open(method, take)
	call.Send(append(AppendPrefix(nil, len(request)), request...))
	call.CloseSend()
	return call.Wait()
}

// Unary makes one call of an operation and checks the answer.
func (s *Session) Unary(op *Op, key int) error {
	return s.Call(op.Method, op.Append(nil, key), func(message []byte) error { return op.Check(message, key) })
}
