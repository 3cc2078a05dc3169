// Package users is what the RPCs of user.v1.UserService do. Each turns a request into one
// call of the store, or of the cache before it, and the answer into a response.
//
//   - users.go: the writes of one user. reads.go: the reads of users by id and email, with
//     conditional.go for those that HTTP caches ask for, and near.go for those that are at
//     hand before their call begins.
//   - list.go and search.go: lists, page by page or all; pagetoken.go seals the tokens.
//   - import.go and updates.go: the streams of writes; updatequeue.go is between those who
//     receive and apply updates. What becomes of a row whose email is taken, or whose user is
//     there, the stores decide: edits.go of store/postgres, users.go of store/sqlite. Package
//     watch serves watchers.
package users
