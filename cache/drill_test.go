package cache

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/store"
)

// drill is a run of peers over one store and one Redis, while faults happen. Peers
// are processes of this test with a cache in them: they can be told to be slow, to
// die between a commit and its apply, and to leave out a part of the protocol, which
// a server cannot. What servers do is the history in cmd/userd.
type drill struct {
	t        testing.TB
	dir      string
	store    store.Store
	site     *cachetest.Site
	settings peerSettings // What is the same for all peers.
	peers    []*peerProcess
	started  uint16
}

type peerProcess struct {
	server  uint16
	command *exec.Cmd
	input   interface{ Write([]byte) (int, error) }
	lines   *bufio.Scanner
	close   func() error
	history string
}

// newDrill starts the peers.
func newDrill(t testing.TB, settings peerSettings, peers int) *drill {
	t.Helper()
	d := &drill{t: t, dir: t.TempDir(), site: cachetest.NewSite(t), settings: settings}
	if settings.Database == "" {
		d.settings.Database = filepath.Join(d.dir, "userd.db")
	}
	s, err := openStore(t.Context(), d.settings.Database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	d.store = s
	ids := cachetest.Founders()
	for i := range settings.Load.Users {
		ids = append(ids, cachetest.UserID(uint32(i)))
	}
	users := make([]store.NewUser, len(ids))
	for i, id := range ids {
		users[i] = store.NewUser{ID: id, Email: cachetest.Email(id), DisplayName: cachetest.Name(id)}
	}
	if _, err := s.Import(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	for range peers {
		d.peers = append(d.peers, d.startPeer())
	}
	return d
}

func (d *drill) startPeer() *peerProcess {
	d.t.Helper()
	d.started++
	p := &peerProcess{server: d.started, history: filepath.Join(d.dir, fmt.Sprintf("history-%d", d.started))}
	own := d.settings
	own.Load.Server, own.Redis, own.History = p.server, d.site.Proxy().URL(), p.history
	settings, err := json.Marshal(own)
	if err != nil {
		d.t.Fatal(err)
	}
	p.command = exec.Command(os.Args[0])
	p.command.Env = append(os.Environ(), peerVariable+"="+string(settings))
	p.command.SysProcAttr = cachetest.DieWithParent()
	p.command.Stderr = os.Stderr
	input, err := p.command.StdinPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	output, err := p.command.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	p.input, p.close, p.lines = input, input.Close, bufio.NewScanner(output)
	if err := p.command.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = p.command.Process.Kill() })
	p.expect(d.t, "ready")
	p.tell(d.t, commandLoad)
	return p
}

func (p *peerProcess) tell(t testing.TB, command string) {
	t.Helper()
	if _, err := p.input.Write([]byte(command + "\n")); err != nil {
		t.Fatalf("tell server %d: %v", p.server, err)
	}
}

func (p *peerProcess) expect(t testing.TB, line string) {
	t.Helper()
	if !p.lines.Scan() || p.lines.Text() != line {
		t.Fatalf("server %d says %q, want %q", p.server, p.lines.Text(), line)
	}
}

// killBetween kills a peer between a commit and its apply, and starts another.
func (d *drill) killBetween() {
	d.t.Helper()
	victim := d.peers[0]
	victim.tell(d.t, commandDie)
	_ = victim.command.Wait()
	d.peers = append(d.peers[1:], d.startPeer())
}

// idle ends the clients. The peers go on: a scan may have to wait for their relay.
func (d *drill) idle() {
	d.t.Helper()
	for _, p := range d.peers {
		p.tell(d.t, commandIdle)
		p.expect(d.t, "idle")
	}
}

// finish ends the peers and returns the history.
func (d *drill) finish() []cachetest.Op {
	d.t.Helper()
	for _, p := range d.peers {
		_ = p.close()
		if err := p.command.Wait(); err != nil {
			d.t.Errorf("server %d: %v", p.server, err)
		}
	}
	return d.history()
}

// history returns what the peers have seen up to a moment ago.
func (d *drill) history() []cachetest.Op {
	d.t.Helper()
	var ops []cachetest.Op
	for i := range uint32(d.settings.Load.Users) {
		ops = append(ops, cachetest.Op{Kind: cachetest.Create, User: i, Version: 1, Start: 1, End: 2})
	}
	for server := uint16(1); server <= d.started; server++ {
		file, err := os.Open(filepath.Join(d.dir, fmt.Sprintf("history-%d", server)))
		if err != nil {
			d.t.Fatal(err)
		}
		more, err := cachetest.ReadHistory(file)
		file.Close()
		if err != nil {
			d.t.Fatal(err)
		}
		ops = append(ops, more...)
	}
	return ops
}
