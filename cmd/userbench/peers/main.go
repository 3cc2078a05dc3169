// Peers are the servers that userd is measured beside, each in its best form:
// grpc-go on its own transport, and Connect on net/http. They answer from memory.
// With the argument sqlite it is SQLite's bare engine. Folder tonic has one more, in
// Rust.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime/debug"

	"github.com/example/userd/cmd/userbench/population"
)

// peers are the servers by name.
var peers = map[string]func(net.Listener, *users) error{
	"grpc-go": serveGRPC,
	"connect": serveConnect,
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 1 && os.Args[1] == "sqlite" {
		return importSQLite(os.Args[2:])
	}
	name := flag.String("peer", "", "grpc-go or connect")
	count := flag.Int("users", 100_000, "users to serve")
	flag.Parse()
	serve, ok := peers[*name]
	if !ok {
		return fmt.Errorf("-peer must be grpc-go or connect, not %q", *name)
	}
	served := newUsers(population.New(0, *count))
	debug.FreeOSMemory() // Or what calls need would fit into what this has left.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("  service   http://%s\n", listener.Addr())
	return serve(listener, served)
}
