package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/example/userd/cmd/userd/cli"
)

// healthcheckTimeout is how long a server may take to say that it is ready.
const healthcheckTimeout = 5 * time.Second

func healthcheckCommand() *cobra.Command {
	var admin string
	cmd := &cobra.Command{
		Use:     "healthcheck",
		Short:   "Ask a server on this machine whether it is ready; exit code 0 if so",
		Example: "  userd healthcheck --admin-listen 127.0.0.1:9090",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return healthcheck(cmd.Context(), admin) },
	}
	cmd.Flags().StringVar(&admin, "admin-listen", defaultAdminListen, "address of the server's admin listener, host:port")
	return cmd
}

func healthcheck(ctx context.Context, admin string) error {
	host, port, err := net.SplitHostPort(admin)
	if err != nil {
		return cli.Wrong(errors.New("--admin-listen must be host:port"))
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	req.Host = "localhost"                                // Whatever the address is called: a server answers to that name.
	client := http.Client{Transport: new(http.Transport)} // Without a proxy: that would be asked instead.
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("not reachable: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return errors.New("not ready: " + strings.TrimSpace(string(text)))
	}
	return nil
}
