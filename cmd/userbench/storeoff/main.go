// Storeoff serves the product's own server over users in memory, of which nothing
// is kept. It shows what streams and handlers cost without a database; the product
// has no such switch.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/server"
)

// shutdownTimeout is how long calls under way may take at the end.
const shutdownTimeout = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "storeoff:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	count := flag.Int("users", 100_000, "users to serve")
	flag.Parse()
	users := newDiscard(population.New(0, *count))
	debug.FreeOSMemory() // Or what calls need would fit into what this has left.
	srv, err := server.New(server.Config{Store: users})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("  service   http://%s\n", listener.Addr())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return <-served
}
