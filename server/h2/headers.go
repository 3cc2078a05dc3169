package h2

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// tableSize is the largest HPACK table in either direction, in bytes. It is what
// RFC 7541 starts with.
const tableSize = 4 << 10

// head is a header block, decoded: the fields of a request or its trailers.
type head struct {
	Head
	scheme        string
	seen          []string // Names of the pseudo fields.
	size          int      // As RFC 9113 section 6.5.2 counts.
	contentLength int64    // -1 where there is none.
	tooLarge      bool     // Fields that did not fit are missing.
	malformed     string   // What is wrong, or "".
}

func (h *head) fail(reason string) {
	if h.malformed == "" {
		h.malformed = reason
	}
}

// decoder turns header blocks into heads. One head at a time: the next block
// overwrites it.
type decoder struct {
	hpack    *hpack.Decoder
	head     head
	limit    int
	inserted uint64 // How often a block may have changed the table.
}

func newDecoder(limit int) *decoder {
	d := &decoder{limit: limit}
	d.hpack = hpack.NewDecoder(tableSize, d.field)
	return d
}

// decode decodes a whole header block. An error ends the connection, since the
// table of the peer is then another one; a malformed head does not.
func (d *decoder) decode(block []byte) (*head, error) {
	d.head = head{Head: Head{Fields: d.head.Fields[:0]}, seen: d.head.seen[:0], contentLength: -1}
	if _, _, _, ok := cutPath(block); !ok {
		d.inserted++
	}
	if _, err := d.hpack.Write(block); err != nil {
		return nil, connectionError(http2.ErrCodeCompression, err.Error())
	}
	if err := d.hpack.Close(); err != nil {
		return nil, connectionError(http2.ErrCodeCompression, err.Error())
	}
	return &d.head, nil
}

// isLarge reports whether it would be much for a connection that is idle.
func (h *head) isLarge() bool { return h.size > tableSize }

// release lets go of what a large block has left: its head, and the block itself, of which
// hpack keeps the last that it was given. That is then a reference to the static table.
func (d *decoder) release(block []byte) {
	if len(block) <= tableSize && !d.head.isLarge() {
		return
	}
	const methodGet = 0x82
	d.head = head{}
	d.hpack.SetEmitEnabled(false)
	_, _ = d.hpack.Write([]byte{methodGet}) // It is valid at any time, as is the end behind it.
	_ = d.hpack.Close()
	d.hpack.SetEmitEnabled(true)
}

// onlyIndexed reports whether a block consists of references to the table, so that
// it leaves the table alone and means the same until the table changes.
func onlyIndexed(block []byte) bool { return indexedPrefix(block) == len(block) }

// indexedPrefix is the length of the references to the table that a block begins with.
func indexedPrefix(block []byte) int {
	i := 0
	for ; i < len(block) && block[i]&0x80 != 0; i++ {
		if block[i] == 0xff { // The index goes on in bytes whose last has no high bit.
			for i++; i < len(block) && block[i]&0x80 != 0; i++ {
			}
		}
	}
	return min(i, len(block))
}

// field takes one field from the HPACK decoder.
func (d *decoder) field(f hpack.HeaderField) {
	h := &d.head
	if h.size+int(f.Size()) > d.limit {
		h.tooLarge = true // What still fits says how to answer.
		if f.Name == ":path" {
			h.pseudo(hpack.HeaderField{Name: f.Name, Value: "/"}) // Without one there is no answer.
		}
		return
	}
	h.size += int(f.Size())
	if !httpguts.ValidHeaderFieldValue(f.Value) {
		h.fail("invalid field value")
	}
	if f.IsPseudo() {
		h.pseudo(f)
		return
	}
	if !validName(f.Name) {
		h.fail("invalid field name")
	}
	h.check(f)
	h.Fields = append(h.Fields, f)
}

func (h *head) pseudo(f hpack.HeaderField) {
	var value *string
	switch f.Name {
	case ":method":
		value = &h.Method
	case ":scheme":
		value = &h.scheme
	case ":authority":
		value = &h.Authority
	case ":path":
		value = &h.Path
	default:
		h.fail("unknown pseudo field")
		return
	}
	switch {
	case len(h.Fields) > 0:
		h.fail("pseudo field after a regular one")
	case slices.Contains(h.seen, f.Name):
		h.fail("pseudo field twice")
	}
	h.seen = append(h.seen, f.Name)
	*value = f.Value
}

// check looks at the fields that HTTP/2 has rules about (RFC 9113 sections 8.1.1
// and 8.2.2).
func (h *head) check(f hpack.HeaderField) {
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		h.fail("field of HTTP/1.1 connections")
	case "te":
		if f.Value != "trailers" && f.Value != "" {
			h.fail("te is not trailers")
		}
	case "content-length":
		length, err := strconv.ParseUint(f.Value, 10, 63)
		if err != nil || h.contentLength >= 0 && h.contentLength != int64(length) {
			h.fail("invalid content-length")
		}
		h.contentLength = int64(length)
	}
}

// checkRequest fails a head that no request can have.
func (h *head) checkRequest() {
	switch {
	case h.Method == http.MethodConnect:
		if h.Authority == "" || h.Path != "" || h.scheme != "" {
			h.fail("invalid CONNECT")
		}
	case h.Method == "" || h.Path == "" || h.scheme != "http" && h.scheme != "https":
		h.fail("missing or invalid pseudo field")
	case strings.Contains(h.Authority, "@"):
		h.fail("user information in the authority")
	}
}

// validName reports whether a field name is a token in lower case.
func validName(name string) bool {
	return httpguts.ValidHeaderFieldName(name) && strings.ToLower(name) == name
}

// canonicalNames are the names of fields that requests and responses often have,
// as http.Header writes them, by their form on the wire. lowerNames is the way back.
var canonicalNames, lowerNames = func() (canonical, lower map[string]string) {
	canonical, lower = make(map[string]string), make(map[string]string)
	for name := range strings.FieldsSeq(`accept accept-encoding accept-language accept-ranges age
		access-control-allow-credentials access-control-allow-headers access-control-allow-methods
		access-control-allow-origin access-control-expose-headers access-control-max-age
		access-control-request-headers access-control-request-method authorization cache-control
		connect-accept-encoding connect-content-encoding connect-protocol-version connect-timeout-ms
		content-disposition content-encoding content-language content-length content-location
		content-range content-type cookie date etag expect expires from grpc-accept-encoding
		grpc-encoding grpc-message grpc-status grpc-status-details-bin grpc-timeout host
		if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link
		location max-forwards origin pragma priority range referer retry-after sec-fetch-dest
		sec-fetch-mode sec-fetch-site server set-cookie strict-transport-security te traceparent
		tracestate trailer user-agent vary via www-authenticate x-forwarded-for x-forwarded-proto
		x-grpc-web x-request-id x-user-agent`) {
		canonical[name] = http.CanonicalHeaderKey(name)
		lower[canonical[name]] = name
	}
	return canonical, lower
}()

// CanonicalName is a name as http.Header writes it.
func CanonicalName(name string) string {
	if canonical, ok := canonicalNames[name]; ok {
		return canonical
	}
	return http.CanonicalHeaderKey(name)
}

func lowerName(key string) string {
	if lower, ok := lowerNames[key]; ok {
		return lower
	}
	return strings.ToLower(key)
}

// passing are fields whose values do not come again. They stay out of the table,
// where they would only drive out those that do.
var passing = map[string]bool{
	"content-length": true, "etag": true, "grpc-message": true, "grpc-status-details-bin": true,
	"last-modified": true, "location": true, "set-cookie": true, "x-request-id": true,
}

// appendField appends a field of a response, unless it is one that HTTP/2 cannot
// carry. key may be in any case.
func appendField(fields []hpack.HeaderField, key, value string) []hpack.HeaderField {
	name, known := lowerNames[key]
	if !known {
		name = strings.ToLower(key)
	}
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return fields
	case "te":
		if value != "trailers" {
			return fields
		}
	}
	if !known && !validName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return fields
	}
	return append(fields, hpack.HeaderField{Name: name, Value: value, Sensitive: passing[name]})
}

// encoder turns fields into header blocks, in the order in which they go out.
type encoder struct {
	hpack    *hpack.Encoder
	block    bytes.Buffer
	inserted uint64 // How often a field may have changed the table.
	shared   map[*SharedFields]encoded
	recent   recentFields
}

// recentFields are the last fields that were references of one byte to the table. To find
// them there takes four look-ups in maps.
type recentFields struct {
	fields     [8]hpack.HeaderField
	references [8]byte
	next       int    // To be overwritten.
	inserted   uint64 // Of the encoder: the references hold until its table changes.
}

// find returns the reference to a field, or 0 where it is not known.
func (r *recentFields) find(field hpack.HeaderField, inserted uint64) byte {
	if r.inserted == inserted {
		for i := range r.fields {
			if r.fields[i] == field {
				return r.references[i]
			}
		}
	}
	return 0
}

func (r *recentFields) add(field hpack.HeaderField, reference byte, inserted uint64) {
	if r.inserted != inserted {
		*r = recentFields{inserted: inserted}
	}
	r.fields[r.next], r.references[r.next] = field, reference
	r.next = (r.next + 1) % len(r.fields)
}

// encoded is a block that holds until the table changes.
type encoded struct {
	block    []byte
	inserted uint64
}

func newEncoder() *encoder {
	e := &encoder{shared: make(map[*SharedFields]encoded)}
	e.hpack = hpack.NewEncoder(&e.block)
	return e
}

// encode returns the block of fields, which holds until the next call. Fields that are
// sent again and again are a copy as long as the table stands still.
func (e *encoder) encode(f Fields) []byte {
	known, ok := e.shared[f.Shared]
	ok = ok && known.inserted == e.inserted
	if ok && len(f.More) == 0 {
		return known.block
	}
	e.block.Reset()
	switch {
	case ok:
		e.block.Write(known.block)
	case f.Shared != nil:
		e.write(f.Shared.fields)
		if block := e.block.Bytes(); onlyIndexed(block) {
			e.shared[f.Shared] = encoded{append(known.block[:0], block...), e.inserted}
		}
	}
	e.write(f.More)
	return e.block.Bytes()
}

// write appends fields to the block. Those that are sensitive leave the table alone.
func (e *encoder) write(fields []hpack.HeaderField) {
	for _, field := range fields {
		if reference := e.recent.find(field, e.inserted); reference != 0 {
			e.block.WriteByte(reference)
			continue
		}
		start := e.block.Len()
		_ = e.hpack.WriteField(field) // Writing to a buffer does not fail.
		if field.Sensitive {
			continue
		}
		if written := e.block.Bytes()[start:]; !onlyIndexed(written) {
			e.inserted++
		} else if len(written) == 1 {
			e.recent.add(field, written[0], e.inserted)
		}
	}
}

// resize follows the peer's SETTINGS_HEADER_TABLE_SIZE.
func (e *encoder) resize(size uint32) {
	e.hpack.SetMaxDynamicTableSize(min(size, tableSize))
	e.inserted++
}
