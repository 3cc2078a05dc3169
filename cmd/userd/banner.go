package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/term"

	"github.com/example/userd/server/console"
)

// wantsBanner reports whether somebody may read a banner on standard output. The line
// "serving" of the log tells programs the same.
func (c *config) wantsBanner() bool {
	return c.banner == "always" || c.banner == "auto" && term.IsTerminal(int(os.Stdout.Fd()))
}

// writeBanner tells a person where the service is and how to try it.
func writeBanner(out io.Writer, c config, database database, address, admin net.Addr) {
	scheme, insecureFlag, credentials := "http", "", ""
	if c.knowsCallers() {
		credentials = `-H "Authorization: Bearer $USERD_TOKEN" `
	}
	if c.tlsCert != "" {
		scheme, insecureFlag = "https", "--insecure "
	}
	host, others := asked(c.listen, address)
	url := scheme + "://" + host
	fmt.Fprintf(out, "userd %s is serving gRPC, gRPC-Web, Connect and JSON\n\n", version())
	fmt.Fprintf(out, "  service   %s%s\n", url, others)
	if admin != nil {
		host, others := asked(c.adminListen, admin)
		fmt.Fprintf(out, "  metrics   http://%s/metrics%s\n", host, others)
	}
	if c.console {
		fmt.Fprintf(out, "  console   %s%s\n", url, console.Path)
	}
	fmt.Fprintf(out, "  database  %s\n\n", database)
	fmt.Fprintf(out, "Create a user:\n\n")
	fmt.Fprintf(out, "  curl %s%s/user.v1.UserService/CreateUser %s-H 'Content-Type: application/json' -d '{\"email\":\"ada@example.com\",\"displayName\":\"Ada Lovelace\",\"roles\":[\"admin\"]}'\n\n", insecureFlag, url, credentials)
}

// asked is the host and the port of a listener as its flag has them, with the port that was
// found where the flag leaves that open. A listener on all addresses is reached by this
// machine's own, and others says that there are more.
func asked(flag string, listening net.Addr) (address, others string) {
	host, _, _ := net.SplitHostPort(flag) // Listening on it has gone well.
	_, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return listening.String(), ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host, others = "127.0.0.1", " and all other addresses of this machine"
	}
	return net.JoinHostPort(host, port), others
}

func addressOf(address net.Addr) string {
	if address == nil {
		return ""
	}
	return address.String()
}
