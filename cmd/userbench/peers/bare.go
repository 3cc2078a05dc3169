package main

import (
	"io"
	"net"
	"net/http"
)

// serveBare serves GetUser over gRPC with nothing but net/http: bytes made
// beforehand and trailers. It is the least that net/http's HTTP/2 costs.
func serveBare(listener net.Listener, u *users) error {
	if err := u.encode(); err != nil {
		return err
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(u.bare)}
	return server.Serve(listener)
}

func (u *users) bare(w http.ResponseWriter, r *http.Request) {
	var buffer [128]byte
	n, err := io.ReadFull(r.Body, buffer[:])
	if err != io.ErrUnexpectedEOF {
		http.Error(w, "a GetUserRequest is shorter", http.StatusBadRequest)
		return
	}
	header := w.Header()
	header["Content-Type"] = grpcContentType
	header["Trailer"] = grpcTrailers
	// An error here is a caller that is gone.
	_, _ = w.Write(u.encoded[requestedID(buffer[:n])])
	header["Grpc-Status"] = grpcOK
	header["Grpc-Message"] = noMessage
}

var (
	grpcContentType = []string{"application/grpc+proto"}
	grpcTrailers    = []string{"Grpc-Status, Grpc-Message"}
	grpcOK          = []string{"0"}
	noMessage       = []string{""}
)
