package cache

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"
)

// The scripts give back raw forms as they are, and never fail on a foreign type:
// it counts as corrupt. well tells whether a raw form is one of ours. GETEX is GET, but
// Redis does not remember for the near cache what it has read.
const library = `
local function get(k)
  local v = redis.pcall('GETEX', k)
  if type(v) == 'table' then redis.call('DEL', k) return false end
  return v
end
local function well(v)
  return string.find(v, '^[VTL]%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d') ~= nil
end
local function apply(k, version, raw, px)
  local v = get(k)
  if not v then return end
  if version == '' or not well(v) or string.sub(v, 1, 1) == 'L' then
    redis.call('DEL', k)
  elseif tonumber(string.sub(v, 2, 17)) < tonumber(version) then
    if raw == '' then redis.call('DEL', k) else redis.call('SET', k, raw, 'PX', px) end
  end
end
`

// script is a Lua script that works on the keys of one bucket.
type script struct{ text, sha string }

func newScript(text string) script {
	return script{text, scriptHash(text)}
}

var (
	// acquireScript: key; lease, its life in ms, raw form that counts as empty, the name of the
	// watermark. That is an error here where only the key has moved to another node, or has not.
	acquireScript = newScript(library + `
if not redis.pcall('GETEX', ARGV[4]) then return 0 end
local v = get(KEYS[1])
if v and well(v) and v ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`)

	// fillScript: key; lease, slot, its life in ms.
	fillScript = newScript(library + `
if get(KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

	// applyScript: keys; for each a version, a raw form and its life in ms.
	applyScript = newScript(library + `
for i, k in ipairs(KEYS) do apply(k, ARGV[3*i-2], ARGV[3*i-1], ARGV[3*i]) end
return 1`)

	// relayScript: the watermark and keys; from, to, and for each key as in apply.
	relayScript = newScript(library + `
if redis.call('GETEX', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 2, #KEYS do apply(KEYS[i], ARGV[3*i-3], ARGV[3*i-2], ARGV[3*i-1]) end
redis.call('SET', KEYS[1], ARGV[2])
return 1`)

	// beginScript: the watermark; where its node has no data at all, and else; the names of
	// all watermarks. Those of other nodes are errors here.
	beginScript = newScript(`
local marks = 0
for i = 3, #ARGV do
  local n = redis.pcall('EXISTS', ARGV[i])
  if type(n) == 'number' then marks = marks + n end
end
local empty = redis.call('DBSIZE') == marks
return redis.call('SET', KEYS[1], empty and ARGV[1] or ARGV[2], 'NX') and 1 or 0`)
)

// invocation is a script with its keys and arguments.
type invocation struct {
	script script
	keys   []string
	args   []string
}

func (i invocation) build(client rueidis.Client, whole bool) rueidis.Completed {
	n := int64(len(i.keys))
	if whole {
		return client.B().Eval().Script(i.script.text).Numkeys(n).Key(i.keys...).Arg(i.args...).Build()
	}
	return client.B().Evalsha().Sha1(i.script.sha).Numkeys(n).Key(i.keys...).Arg(i.args...).Build()
}

// invoke runs scripts in one round trip, and again those that a server does not
// know yet. It returns what each returned, an integer. Where fence is a key, its
// existence is asked for behind the scripts on the same connection: when that
// answer is there, so are the invalidations that the scripts caused.
func invoke(ctx context.Context, client rueidis.Client, fence string, calls ...invocation) ([]int64, error) {
	out := make([]int64, len(calls))
	whole := false
	for again := pending(len(calls)); len(again) > 0; whole = true {
		commands := make(rueidis.Commands, 0, len(again)+1)
		for _, i := range again {
			commands = append(commands, calls[i].build(client, whole))
		}
		if fence != "" {
			commands = append(commands, client.B().Exists().Key(fence).Build())
		}
		var unknown []int
		for at, answer := range client.DoMulti(ctx, commands...) {
			n, err := answer.AsInt64()
			if failure, ok := rueidis.IsRedisErr(err); ok && failure.IsNoScript() && !whole && at < len(again) {
				unknown = append(unknown, again[at])
				continue
			}
			if err != nil {
				return nil, err
			}
			if at < len(again) {
				out[again[at]] = n
			}
		}
		again = unknown
	}
	return out, nil
}

func pending(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func milliseconds(l int64) string { return strconv.FormatInt(max(1, l/1e6), 10) }
