// Package failure says how a failure looks to callers, and tells the operator what they are
// not told.
//
//   - failure.go has the one table from errors to codes, reasons and texts, and makes
//     errors of Connect with their details. What a database answers is an error of package
//     store by then: errors.go of its engine has made it one.
//   - fields.go says what is wrong with fields, by the names that the caller has for them.
//   - interceptor.go turns what handlers return, panics too, into those. What the table
//     does not know is INTERNAL.
//   - invalidusers.go tells the log now and then that users are left out, and counts them.
package failure
