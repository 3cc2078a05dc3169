package cache

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"

	"github.com/redis/rueidis"
)

// cause is why the cache is not used, or not as it could be. Its name is for
// metrics and alerts, its words are for people: what is wrong, and what to do. Both
// are ours: what Redis or a library says may hold names and addresses.
type cause struct {
	name, words string

	level     slog.Level // ERROR where nothing gets better by itself.
	elsewhere bool       // The node is not, or not yet, what the address stands for.
	refusal   bool       // Redis is there and takes no writes.
}

func (c *cause) Error() string { return c.words }

// causes are all of them.
var causes []*cause

func known(c cause) *cause {
	causes = append(causes, &c)
	return &c
}

func wrongSetting(name, words string) *cause {
	return known(cause{name: name, words: words, level: slog.LevelError})
}

func passing(name, words string) *cause {
	return known(cause{name: name, words: words, level: slog.LevelWarn})
}

func elsewhereNow(name, words string) *cause {
	return known(cause{name: name, words: words, level: slog.LevelWarn, elsewhere: true})
}

func refusesWrites(name, words string) *cause {
	return known(cause{name: name, words: words, level: slog.LevelWarn, refusal: true})
}

// What happens on the way to Redis.
var (
	unresolved     = wrongSetting("unresolved", "the host name of Redis does not resolve; check the URL and the DNS")
	notListening   = passing("not_listening", "nothing listens at the address of Redis; start it, or check the URL")
	unreachable    = passing("unreachable", "there is no way to the address of Redis; check the URL and the network")
	timedOut       = passing("timeout", "Redis does not answer in time; see whether it is frozen or busy, or a firewall drops packets")
	lostLink       = passing("connection_lost", "the connection to Redis was lost")
	plainPort      = wrongSetting("plain_port", "the port of Redis does not speak TLS; say redis:// instead of rediss://, or name its TLS port")
	tlsPort        = wrongSetting("tls_port", "the port of Redis speaks TLS; say rediss:// instead of redis://")
	badCertificate = wrongSetting("certificate", "the certificate of Redis is not accepted; it must be valid for the host in the URL and signed by an authority that this machine knows (SSL_CERT_FILE)")
	tlsFailed      = wrongSetting("tls", "the TLS handshake with Redis fails; check that it is a TLS port and asks for no client certificate")
	hungUp         = passing("hung_up", "Redis closes the connection before it says anything; see its log, and whether it has as many clients as it takes (maxclients)")
	notRedis       = wrongSetting("not_redis", "what answers at the address is not Redis; check host and port")
)

// What Redis says.
var (
	wrongPassword = wrongSetting("wrong_password", "Redis does not accept the user or the password of the URL (with Sentinels, perhaps theirs)")
	noPassword    = wrongSetting("no_password", "Redis asks for a password; give it in the URL, redis://USER:PASSWORD@HOST")
	noRights      = wrongSetting("no_rights", "the user of Redis lacks rights; cmd/userd/README.md lists what it needs")
	noCommand     = wrongSetting("no_command", "Redis does not know a command that the cache needs; is it renamed or disabled?")
	noDatabase    = wrongSetting("no_database", "Redis refuses the connection: it has no database with the number in the URL, or as many clients as it takes")
	noClients     = passing("refused", "Redis refuses the connection; see whether it has as many clients as it takes (maxclients)")
	noMasterSet   = wrongSetting("no_master_set", "the Sentinels know no master_set of the name in the URL")
	tooOld        = wrongSetting("too_old", "Redis is too old, or HELLO is renamed or disabled; the cache needs Redis 7 or newer")
	notCluster    = known(cause{name: "cluster", words: "this is a node of a Cluster; name further nodes in the URL, ?addr=HOST:PORT", level: slog.LevelError, elsewhere: true})
	denied        = wrongSetting("protected_mode", "Redis is in protected mode and takes connections from its own machine only; give it a password, or bind it elsewhere")
	demoted       = elsewhereNow("demoted", "the node is a replica and takes no writes; looking for the primary at the same address")
	masterDown    = elsewhereNow("replica_without_primary", "the node is a replica that has lost its primary; looking for the primary at the same address")
	loading       = elsewhereNow("loading", "Redis is loading its data")
	clusterDown   = elsewhereNow("cluster_down", "the Cluster is down; see CLUSTER INFO")
	slotMoves     = passing("slot_moves", "a slot of the Cluster is on its way to another node, and users of it have changed; what of it is cached is used again when it is there")
	scriptRuns    = passing("busy", "Redis is busy with somebody's script; see SCRIPT KILL")
	otherReply    = passing("unexpected_reply", "Redis answers with an error that the cache does not know")

	noMemory   = refusesWrites("no_memory", "Redis has no memory left for writes; raise maxmemory, and set maxmemory-policy volatile-lru")
	noDisk     = refusesWrites("no_disk", "Redis takes no writes because it cannot save its data; see its log and its disk")
	noReplicas = refusesWrites("no_replicas", "Redis takes no writes because it has too few replicas (min-replicas-to-write)")
)

// What does not depend on a reply.
var (
	behind        = passing("behind", "its watermark is behind the store")
	storeSilent   = passing("store", "the store does not answer, so nobody knows how old the cache is")
	noBound       = passing("no_maxmemory", "Redis has no maxmemory, and could take all memory of its machine")
	wrongEviction = passing("eviction_policy", "maxmemory-policy of Redis is not volatile-lru: it may evict the cache's own bookkeeping, or refuse writes when it is full")
)

// byCode is what the first word of an error reply means: the Redis protocol calls
// it the error's code.
var byCode = map[string]*cause{
	"WRONGPASS": wrongPassword, "NOAUTH": noPassword, "NOPERM": noRights, "NOPROTO": tooOld, "DENIED": denied,
	"READONLY": demoted, "MASTERDOWN": masterDown, "LOADING": loading, "BUSY": scriptRuns,
	"CLUSTERDOWN": clusterDown, "TRYAGAIN": slotMoves,
	"MOVED": notCluster, "ASK": notCluster, "CROSSSLOT": notCluster,
	"OOM": noMemory, "MISCONF": noDisk, "NOREPLICAS": noReplicas,
}

// blamed is an error whose cause is known where it arises.
type blamed struct {
	error
	cause   *cause
	command string // What Redis refused, "" where that is not it.
}

func (b *blamed) Unwrap() []error { return []error{b.cause, b.error} }

func blame(c *cause, err error) error { return &blamed{error: err, cause: c} }

// code returns the code of an error reply of Redis, "" where err is none.
func code(err error) string {
	var reply *rueidis.RedisError
	if !errors.As(err, &reply) || reply.IsNil() {
		return ""
	}
	word, _, _ := strings.Cut(reply.Error(), " ")
	return word
}

// causeOf names the cause of an error of a call in rueidis.
func causeOf(err error) *cause {
	var known *cause
	if errors.As(err, &known) {
		return known
	}
	if word := code(err); word != "" {
		if c := byCode[word]; c != nil {
			return c
		}
		return otherReply
	}
	var network net.Error
	switch {
	case errors.Is(err, rueidis.ErrNoCache):
		return untracked(err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return timedOut
	case errors.Is(err, errAway): // As many calls as may be wait for answers.
		return timedOut
	default:
		return lostLink
	}
}

// untracked is why a connection has no tracking. Where Redis refused CLIENT
// TRACKING, rueidis begins its error with the reply, and so with its code.
func untracked(err error) *cause {
	word, _, _ := strings.Cut(err.Error(), " ")
	if c := byCode[word]; c != nil {
		return c
	}
	return tooOld
}

// refusedCommand is the command that Redis refused, "" where an error is about
// something else.
func refusedCommand(err error) string {
	var known *blamed
	if errors.As(err, &known) {
		return known.command
	}
	return ""
}

// tally counts errors by cause.
type tally struct {
	mu     sync.Mutex
	counts map[string]int64
}

func (t *tally) add(c *cause) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = make(map[string]int64)
	}
	t.counts[c.name]++
}

// all returns the counts of all causes.
func (t *tally) all() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[string]int64, len(causes))
	for _, c := range causes {
		all[c.name] = t.counts[c.name]
	}
	return all
}
