// Package packing is compression, and a bound of what large messages hold while they are
// received, unpacked and decoded: a few bytes unpack to megabytes. It bounds as well what
// answers hold that wait for their callers to read them.
//
//   - compress.go: gzip and zstd, and a look at how large a message is before memory is given to it.
//     How a response is compressed is decided in lane.go of package lane, from the header of
//     its request, or else by Connect.
//   - budget.go: the bound, and who lets something go when it is reached.
package packing
