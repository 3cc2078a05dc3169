package cachetest

import (
	"fmt"
	"strings"
	"testing"
)

// Cluster is three primaries that share the slots of a Cluster, without replicas.
type Cluster struct {
	Nodes [3]*Redis
}

// slots is how many hash slots a Cluster has.
const slots = 16384

// StartCluster runs the three nodes, with a security where there is one, and returns
// when all know the whole.
func StartCluster(t testing.TB, secure *Security) *Cluster {
	t.Helper()
	c := &Cluster{}
	for i := range c.Nodes {
		c.Nodes[i] = StartSecure(t, secure, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
			"--cluster-port", freePort(t))
		first, last := i*slots/len(c.Nodes), (i+1)*slots/len(c.Nodes)-1
		c.Nodes[i].Do("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(first), fmt.Sprint(last))
	}
	first := c.Nodes[0]
	for _, node := range c.Nodes[1:] {
		bus := node.Do("CONFIG", "GET", "cluster-port")
		settings, err := bus.AsStrMap()
		if err != nil {
			t.Fatal(err)
		}
		first.Do("CLUSTER", "MEET", "127.0.0.1", node.Port(), settings["cluster-port"])
	}
	c.AwaitWhole()
	return c
}

// AwaitWhole returns when every node says that all others are there.
func (c *Cluster) AwaitWhole() {
	for _, node := range c.Nodes {
		node.t.Helper()
		await(node.t, "the Cluster is whole", func() bool {
			info := text(node, "CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3") &&
				!strings.Contains(text(node, "CLUSTER", "NODES"), "fail")
		})
	}
}

// URL is how a client names the Cluster: by two of its addresses.
func (c *Cluster) URL() string { return c.Nodes[0].URL() + "?addr=" + c.Nodes[1].address }

func freePort(t testing.TB) string {
	t.Helper()
	address := FreeAddress(t)
	return address[strings.LastIndexByte(address, ':')+1:]
}
