// Package store says what userd asks of a database.
//
// [Store] is the interface; the comments of its methods are its specification,
// and storetest checks each sentence of them against every engine. The package
// knows neither protobuf nor HTTP nor any driver.
//
// # Versions
//
// A user has a version: 1 when it is created, one more with every change, and
// once more when it is deleted. An id is never used again after that, so a
// version of an id means one state for ever. Optimistic locks, ETags and the
// fences of a cache rest on it.
//
// # The change log
//
// Every change writes a row to the change log in its own transaction: user id,
// version, kind and time, no personal data. A [Cursor] is a position in it.
// Whoever reads [Store.Changes] from a cursor to the end, over restarts, misses
// no committed change.
//
// # Files
//
//   - store.go: what is kept, and the interface with its specification. errors.go: what calls
//     fail with.
//   - fold.go: emails and names as they are compared and searched. attributes.go: attributes as
//     engines keep them. valid.go: whether a user that was read can be shown.
//   - invain.go: what an index did not find in time, which the next page does not ask it for.
//   - copy.go copies one store into another. prune.go removes old changes.
//   - vital.go marks calls that never wait behind those of users, and calls that catch up.
//     causes.go tells the log why calls fail. schema.go compares versions of the schema.
package store
