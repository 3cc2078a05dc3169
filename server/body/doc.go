// Package body has the bodies of requests come: in time, well framed, and not too much at once.
//
//   - arrivals.go bounds how long a request may take to come; silence.go ends what stays
//     silent while the server drains.
//   - frames.go finds broken framing and messages that are too large; large.go has what has
//     come of large ones counted.
//   - athand.go decodes the messages of streams where they were read to.
package body
