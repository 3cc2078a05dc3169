package cachetest

import (
	"fmt"
	"slices"
)

// Move is a hash slot on its way from one node of a Cluster to another.
type Move struct {
	cluster  *Cluster
	slot     string
	from, to *Redis
}

// Move begins to move the hash slot of a key. What is in the slot stays until it is taken.
func (c *Cluster) Move(key string) *Move {
	c.Nodes[0].t.Helper()
	answer := c.Nodes[0].Do("CLUSTER", "KEYSLOT", key)
	slot, err := answer.AsInt64()
	if err != nil {
		c.Nodes[0].t.Fatal(err)
	}
	at := slices.IndexFunc(c.Nodes[:], func(node *Redis) bool {
		_, err := node.Try("EXISTS", key)
		return err == nil // The others say which one it is.
	})
	if at < 0 {
		c.Nodes[0].t.Fatalf("no node has slot %d", slot)
	}
	m := &Move{cluster: c, slot: fmt.Sprint(slot), from: c.Nodes[at], to: c.Nodes[(at+1)%len(c.Nodes)]}
	m.to.Do("CLUSTER", "SETSLOT", m.slot, "IMPORTING", text(m.from, "CLUSTER", "MYID"))
	m.from.Do("CLUSTER", "SETSLOT", m.slot, "MIGRATING", text(m.to, "CLUSTER", "MYID"))
	return m
}

// Take takes keys to the new node. Whoever asks the old one for them is sent there.
func (m *Move) Take(keys ...string) {
	m.from.t.Helper()
	m.from.Do(append([]string{"MIGRATE", "127.0.0.1", m.to.Port(), "", "0", "5000", "KEYS"}, keys...)...)
}

// End takes what is left, and tells all nodes who has the slot now.
func (m *Move) End() {
	m.from.t.Helper()
	for {
		answer := m.from.Do("CLUSTER", "GETKEYSINSLOT", m.slot, "100")
		keys, err := answer.AsStrSlice()
		if err != nil {
			m.from.t.Fatal(err)
		}
		if len(keys) == 0 {
			break
		}
		m.Take(keys...)
	}
	owner := text(m.to, "CLUSTER", "MYID")
	for _, node := range append([]*Redis{m.to, m.from}, m.cluster.Nodes[:]...) { // The new one first.
		node.Do("CLUSTER", "SETSLOT", m.slot, "NODE", owner)
	}
}
