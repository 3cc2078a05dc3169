// Generate is a plugin of buf that describes the unary RPCs of the schema, as they are called
// with JSON over HTTP, in OpenAPI 3.1: their messages with the rules of protovalidate, their
// errors with the reasons that the comments name, and examples.
//
// main.go writes the files, document.go has the operations, schema.go the messages, rules.go
// what is valid, comments.go what is read from comments, examples.go the calls that are
// shown, and parts.go what many of them share. .ci/openapi runs it.
package main
