// Package auth knows who may do what: principals, by the tokens and client certificates in
// a file and by the JWT of an issuer, and the scopes that RPCs need.
//
//   - file.go reads the file, one credential a line: name, credential, scopes.
//     Without a line nobody is let in, and without a scope an RPC needs Admin.
//   - scope.go says what each RPC needs.
//   - authorizer.go decides about requests by their header, before their body is read:
//     credential.go finds what they show, refusal.go says why they are not let in. A
//     connection remembers the last answer, until the principals change.
//   - jwt.go verifies JWT by the keys that package jwk reads; memory.go remembers them.
//     issuer.go fetches the keys. keyfunc would do that, but lets callers wait for its limit of
//     fetches, and reads answers of any size.
//   - reload.go reads files again when they have changed; clock.go has the time for what
//     ends by itself.
//   - stream.go finds streams whose credentials have gone; what then ends them, package edge
//     has (authorize.go there).
//   - slowdown.go lets addresses wait whose credentials are wrong again and again.
//   - token.go makes tokens.
//
// A token is known by its SHA-256 alone: the file holds no secret, and what is compared is
// the hash, so that the time it takes tells nothing of tokens.
package auth
