package load

import "time"

// unaryConn makes unary calls over HTTP/2.
type unaryConn struct {
	*h2Conn
	wire    *Wire
	headers map[*Op]*header
	done    func(*stream, error)
	message []byte // Scratch for requests.
	body    []byte
}

func dialUnary(address string, wire *Wire) (*unaryConn, error) {
	c, err := dialH2(address, streamWindow)
	if err != nil {
		return nil, err
	}
	return &unaryConn{h2Conn: c, wire: wire, headers: make(map[*Op]*header)}, nil
}

func (u *unaryConn) start(done func(call, error)) {
	u.done = func(s *stream, err error) { done(s.call, err) }
}

func (u *unaryConn) lock()               { u.mu.Lock() }
func (u *unaryConn) unlock()             { u.mu.Unlock() }
func (u *unaryConn) time() time.Duration { return u.now }

func (u *unaryConn) begin(next call) {
	s := u.newStream()
	s.call, s.wire, s.done = next, u.wire, u.done
	u.message = next.op.Append(u.message[:0], next.key)
	if u.wire.Get {
		u.request(s, u.header(next.op), u.wire.path(next.op.Method, u.message), nil)
		return
	}
	u.body = u.wire.body(u.body[:0], u.message)
	u.request(s, u.header(next.op), "", u.body)
}

func (u *unaryConn) header(op *Op) *header {
	h, ok := u.headers[op]
	if !ok {
		h = u.wire.header(op.Method)
		u.headers[op] = h
	}
	return h
}
