package h2_test

import (
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/example/userd/server/h2"
)

// A header or trailer that is larger than its peer takes is made to fit, and one that is
// not is sent as it is.
func TestHeadersFit(t *testing.T) {
	t.Parallel()
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value := strings.Repeat("v", 300)
		if r.URL.Path == "/huge" {
			value = strings.Repeat("v", 9<<10)
		}
		w.Header().Set("X-Large", value)
		w.Header().Set(http.TrailerPrefix+"X-Large", value)
		_, _ = w.Write([]byte("body"))
	})
	withoutLarge := func(fields []hpack.HeaderField, _ int) (left []hpack.HeaderField) {
		for _, f := range fields {
			if f.Name != "x-large" {
				left = append(left, f)
			}
		}
		return append(left, hpack.HeaderField{Name: "x-cut", Value: "1"})
	}
	const limit = http2.SettingMaxHeaderListSize
	for name, test := range map[string]struct {
		settings []http2.Setting
		path     string
		fit      func([]hpack.HeaderField, int) []hpack.HeaderField
		wantCut  bool
	}{
		"no limit":          {nil, "/", withoutLarge, false},
		"large limit":       {[]http2.Setting{{ID: limit, Val: 1<<32 - 1}}, "/", withoutLarge, false},
		"small limit":       {[]http2.Setting{{ID: limit, Val: 300}}, "/", withoutLarge, true},
		"changed limit":     {[]http2.Setting{{ID: limit, Val: 300}, {ID: limit, Val: 1000}}, "/", withoutLarge, false},
		"default limit":     {nil, "/huge", withoutLarge, true},
		"nothing that fits": {[]http2.Setting{{ID: limit, Val: 300}}, "/", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startEngine(t, h2.Config{Handler: answer, FitHeader: test.fit})
			p := greet(t, s.addr, test.settings...)
			p.must(p.open(1, true, p.request("GET", test.path)))
			for part, fields := range map[string]map[string]string{"header": p.header(1), "trailer": p.header(1)} {
				if cut := fields["x-cut"] != ""; cut != test.wantCut || cut == (fields["x-large"] != "") {
					t.Errorf("%s is cut: %v, want %v", part, cut, test.wantCut)
				}
			}
		})
	}
}

// header is the next header or trailer of a stream.
func (p *peer) header(id uint32) map[string]string {
	p.tb.Helper()
	for block := []byte(nil); ; {
		f, err := p.ReadFrame()
		p.must(err)
		ended := false
		switch f := f.(type) {
		case *http2.HeadersFrame:
			if f.StreamID == id {
				block, ended = append(block, f.HeaderBlockFragment()...), f.HeadersEnded()
			}
		case *http2.ContinuationFrame:
			block, ended = append(block, f.HeaderBlockFragment()...), f.HeadersEnded()
		}
		if ended {
			fields, err := p.table.DecodeFull(block)
			p.must(err)
			values := make(map[string]string)
			for _, field := range fields {
				values[field.Name] = field.Value
			}
			return values
		}
	}
}
