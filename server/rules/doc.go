// Package rules says which requests are valid.
//
//   - validate.go checks requests by the rules of the schema, which stand there with each field
//     (proto/user/v1).
//   - rules.go has them once more, as loops, for the requests that come most often, and
//     timestamps.go has some for times that the schema cannot say.
//   - shorten.go bounds what it costs to refuse a request.
package rules
