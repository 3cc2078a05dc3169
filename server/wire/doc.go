// Package wire is a user on the wire: how the messages of user.v1 become those of package
// store and back.
//
//   - user.go turns users and requests into each other's form, and encodes a user as
//     caches keep it and callers get it.
//   - responses.go and events.go are responses made of encoded users, json.go their JSON, and
//     that of GetUser's request.
//   - codec.go are the codecs of the server. decode.go decodes the messages of protobuf that
//     come most often. lists.go bounds what long ones become.
package wire
