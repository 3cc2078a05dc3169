package edge

import (
	"net/http"
	"sync"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/webtext"
)

// holder is who has streams open.
type holder struct {
	kind kind
	name string
}

type kind string

const (
	principal kind = "principal"
	address   kind = "address"
	health    kind = "health" // An address, of streams that need no credentials: they take no place of others.
	memory    kind = "memory" // The process.
	vital     kind = "vital"  // The process, of streams as those of health.
)

// healthShare is the part of the streams of a process that watches of health have for themselves.
const healthShare = 4

// StreamLimit bounds how many streams a principal, and an address, may have open at a time, and
// how many there are in all: each holds memory for as long as it likes. All with the same name
// are one principal. None has more than half of what the process has room for.
type StreamLimit struct {
	most    map[kind]int
	refused map[kind]prometheus.Counter

	mu   sync.Mutex
	open map[holder]int
}

// NewStreamLimit returns limits whose metrics are in a registry. The process has room for so
// many streams.
func NewStreamLimit(perPrincipal, perAddress, room int, registry prometheus.Registerer) *StreamLimit {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "userd_streams_refused_total", Help: "Streams refused because their principal or address had as many open as it may, or the process as many as it has memory for; health is watches of health of an address.",
	}, []string{"by"})
	registry.MustRegister(refused)
	ofHealth := room / healthShare
	ofOthers := room - ofHealth
	l := &StreamLimit{
		most: map[kind]int{
			principal: min(perPrincipal, ofOthers/2), address: min(perAddress, ofOthers/2), memory: ofOthers,
			health: min(perAddress, ofHealth/2), vital: ofHealth,
		},
		refused: make(map[kind]prometheus.Counter), open: make(map[holder]int),
	}
	for _, kind := range []kind{principal, address, health, memory} {
		l.refused[kind] = refused.WithLabelValues(string(kind))
	}
	l.refused[vital] = l.refused[memory]
	return l
}

// tooManyStreams is made once: where it is needed, it is needed often.
var tooManyStreams = sync.OnceValue(func() *connect.Error { return failure.New(failure.TooManyStreams) })

// LimitStreams refuses streams of callers who have too many. kinds says which are streams.
func LimitStreams(l *StreamLimit, kinds map[string]connect.StreamType) Middleware {
	return func(next http.Handler) http.Handler {
		refuse := webtext.Translate(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { refuse(w, r, tooManyStreams()) }))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if kinds[r.URL.Path] == connect.StreamTypeUnary { // Or nothing that is there.
				next.ServeHTTP(w, r)
				return
			}
			end := l.begin(r)
			if end == nil {
				refuse.ServeHTTP(w, r)
				return
			}
			defer end()
			next.ServeHTTP(w, r)
		})
	}
}

// begin counts a stream until end is called. It returns nil where that would be too many.
func (l *StreamLimit) begin(r *http.Request) (end func()) {
	holders := holdersOf(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range holders {
		if l.open[h] >= l.most[h.kind] {
			l.refused[h.kind].Inc()
			return nil
		}
	}
	for _, h := range holders {
		l.open[h]++
	}
	return func() { l.end(holders) }
}

// holdersOf are those for whom a stream counts.
func holdersOf(r *http.Request) []holder {
	from := networkOf(r.RemoteAddr)
	if auth.ScopeOf(r.URL.Path) == auth.Public {
		return []holder{{vital, ""}, {health, from}}
	}
	if known := auth.PrincipalOf(r.Context()); known != nil {
		return []holder{{memory, ""}, {principal, known.Name}, {address, from}}
	}
	return []holder{{memory, ""}, {address, from}}
}

func (l *StreamLimit) end(holders []holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range holders {
		if l.open[h]--; l.open[h] == 0 {
			delete(l.open, h)
		}
	}
}
