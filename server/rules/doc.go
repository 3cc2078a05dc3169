// Package rules says which requests are valid.
//
//   - validate.go refuses requests by the rules of the schema, which stand there with each field
//     (proto/user/v1).
//   - rules.go has them once more, as loops, and accepts the requests that come most often; what
//     it does not accept, validate.go looks at. timestamps.go has some for times that the schema
//     cannot say.
//   - shorten.go bounds what it costs to refuse a request.
//   - undecodable.go says what is wrong with one that cannot be decoded.
package rules
