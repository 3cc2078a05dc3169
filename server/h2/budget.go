package h2

import (
	"time"

	"golang.org/x/net/http2"
)

// The budget of frames that make work and bring nothing. What a peer has to say because of
// what it was sent, or to take back what it has asked for, is free:
//
//   - WINDOW_UPDATE for DATA that it was sent, in pieces as small as it likes. Go's client
//     gives back every 4 KiB, to the stream and to the connection; grpc-go, grpc-java,
//     nghttp2, hyper, curl and Chromium a quarter or half of a window; a peer whose reader
//     takes a byte at a time may send 26 bytes for each. That is still less work for us,
//     byte by byte, than the requests which the same peer could send instead.
//   - RST_STREAM for a stream that it has opened, once: a call may be cancelled, and costs
//     no more than one that is answered. A proxy that shares a connection among callers with
//     short deadlines sends tens of thousands a second when a server stalls. What makes
//     rapid reset an attack (CVE-2023-44487) is work for calls that are gone while others
//     are let in; here a handler keeps its place until it returns, and streams that are reset
//     while they wait for a place are paid for when none comes free (fruitlessFactor). Go's
//     client sends a PING with it, to learn when the stream is gone, and so one PING for each
//     is free. grpc-java 1.41 writes the message of a call behind the RST_STREAM that cancels it
//     at once, and so is one DATA frame for each whose request had not ended.
//   - DATA that was on its way when we have reset its stream, as much as its window allowed.
//     grpc-go sends a frame for each message, however small.
//   - acknowledgements of our SETTINGS and PING.
//
// The rest is paid for from the budget, which time and answers refill. The clients named
// above send, when nobody asks for it: up to ten SETTINGS for a connection (grpc-go, as it
// learns the bandwidth), a PING with some of the DATA (grpc-go, grpc-java and gRPC C++, to
// measure the delay: one for a round trip), one for 10 seconds of silence at most, a
// PRIORITY or PRIORITY_UPDATE for a request (Chromium, Firefox, nghttp2), and streams beyond
// the limit before they have seen our SETTINGS (gRPC C++, h2load). A flood uses up the
// budget in milliseconds.
const (
	budgetBurst = 2000 // Frames at once.
	budgetRate  = 200  // Frames a second.
	frameCredit = 4    // Frames for one that the peer was sent, such as a PING and a PRIORITY.

	costControl  = 1  // PING, PRIORITY, WINDOW_UPDATE beyond what was sent, empty DATA, RST_STREAM on an idle stream, unknown frames.
	costSettings = 10 // May touch all streams.
	costRefused  = 4  // A stream beyond the limit, when the peer knows it, or reset before it had a place.
	costError    = 10 // A stream that the peer has made us reset, or a header that is too large.

	// fruitlessFactor times Config.MaxConcurrentStreams streams may be reset while they
	// wait and no handler ends. It is what net/http lets wait.
	fruitlessFactor = 4

	// tinyFrame is the size of DATA, in bytes, below which a frame that the peer's
	// windows have cut short earns nothing: else windows of one byte would pay for PINGs.
	tinyFrame = 1 << 10
)

// budget is what a peer may still spend.
type budget struct {
	credit float64
	at     time.Time
}

// refill adds what the time since the last one and the frames sent are worth.
func (b *budget) refill(now time.Time, earned int) {
	b.credit = min(budgetBurst, b.credit+now.Sub(b.at).Seconds()*budgetRate+float64(earned))
	b.at = now
}

func (b *budget) spend(cost int) error {
	b.credit -= float64(cost)
	if b.credit < 0 {
		return connectionError(http2.ErrCodeEnhanceYourCalm, "too many frames that bring nothing")
	}
	return nil
}
