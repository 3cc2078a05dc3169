// Package packing is compression, and a bound of what large messages hold while they are
// received, unpacked and decoded: a few bytes unpack to megabytes.
package packing
