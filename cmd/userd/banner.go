package main

import (
	"fmt"
	"io"
	"net"

	"github.com/example/userd/server/console"
)

// writeBanner tells a person where the service is and how to try it.
func writeBanner(out io.Writer, c config, database database, address, admin net.Addr) {
	scheme, insecureFlag, credentials := "http", "", ""
	if c.knowsCallers() {
		credentials = `-H "Authorization: Bearer $USERD_TOKEN" `
	}
	if c.tlsCert != "" {
		scheme, insecureFlag = "https", "--insecure "
	}
	url := scheme + "://" + reachable(address)
	fmt.Fprintf(out, "userd %s is serving gRPC, gRPC-Web, Connect and JSON\n\n", version())
	fmt.Fprintf(out, "  service   %s\n", url)
	if admin != nil {
		fmt.Fprintf(out, "  metrics   http://%s/metrics\n", reachable(admin))
	}
	if c.console {
		fmt.Fprintf(out, "  console   %s%s\n", url, console.Path)
	}
	fmt.Fprintf(out, "  database  %s\n\n", database)
	fmt.Fprintf(out, "Create a user:\n\n")
	fmt.Fprintf(out, "  curl %s%s/user.v1.UserService/CreateUser %s-H 'Content-Type: application/json' -d '{\"email\":\"ada@example.com\",\"displayName\":\"Ada Lovelace\",\"roles\":[\"admin\"]}'\n\n", insecureFlag, url, credentials)
}

// reachable is an address that this machine can connect to.
func reachable(address net.Addr) string {
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return address.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func addressOf(address net.Addr) string {
	if address == nil {
		return ""
	}
	return address.String()
}
