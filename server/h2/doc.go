// Package h2 serves HTTP/2 connections for any http.Handler, and unary gRPC calls
// without one.
package h2
