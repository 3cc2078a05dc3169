import { useEffect, useState } from "preact/hooks";
import { Chart } from "./chart";
import { session } from "./client";
import type { RpcStatus, WatchStatusResponse } from "@example/userd/status";
import { Moments } from "./moments";
import { bytes, count, rate, seconds, secondsOf } from "./quantity";
import { follow, watched, type Moment, type Watched } from "./server";
import { useStore } from "./store";
import { Time } from "./time";

const states: Record<Watched["state"], string> = {
  off: "Stopped.",
  connecting: "Connecting…",
  live: "Live: a look every second.",
  away: "The server is away. The pictures go on when it is back.",
};

const spans: [number, string][] = [[60, "1 minute"], [300, "5 minutes"], [900, "15 minutes"]];

/** StatusPage shows how the server is doing. */
export function StatusPage() {
  const { rights } = useStore(session);
  const now = useStore(watched);
  const [held, setHeld] = useState<Moment[]>();
  const [span, setSpan] = useState(60);
  useEffect(() => rights.admin ? follow() : undefined, [rights.admin]);
  if (!rights.admin) return <p>This token may not see the status of the server.</p>;
  const moments = held ?? now.moments;
  const last = moments.findLast(({ status }) => status !== undefined)?.status;
  return (
    <>
      <h1 tabIndex={-1}>Status</h1>
      <p role="status" class={`notice ${now.state === "live" ? "good" : ""}`}>{now.problem || states[now.state]}</p>
      <div class="buttons">
        <button type="button" aria-pressed={held !== undefined} onClick={() => setHeld(held === undefined ? now.moments : undefined)}>Hold</button>
        <label for="span">The last</label>
        <select id="span" class="short" value={span} onChange={(event) => setSpan(Number(event.currentTarget.value))}>
          {spans.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
        </select>
        {now.changes > 0 && <span>Restarts, or other servers: {now.changes}</span>}
      </div>
      {last !== undefined && (
        <>
          <Facts now={last} />
          <Pictures moments={new Moments(moments, span)} now={last} />
          <Calls rpcs={last.rpcs} />
        </>
      )}
    </>
  );
}

function Facts({ now: { version, startedAt, cache, process } }: { now: WatchStatusResponse }) {
  return (
    <dl class="card facts">
      <dt>Version</dt><dd>{version || <span class="faint">unknown</span>}</dd>
      <dt>Started</dt><dd><Time at={startedAt} /></dd>
      <dt>Cache</dt>
      <dd>
        {cache === undefined
          ? <span class="faint">none</span>
          : <><State good={cache.trusted} yes="trusted" no="not trusted: reads go to the database" /> {count(Number(cache.entries))} in memory</>}
      </dd>
      {cache?.redisUp !== undefined && <><dt>Redis</dt><dd><State good={cache.redisUp} yes="used" no="away" /></dd></>}
      <dt>Processors busy</dt><dd>{rate(process?.cpusBusy ?? 0)}</dd>
      <dt>Goroutines</dt><dd>{count(Number(process?.goroutines ?? 0))}</dd>
    </dl>
  );
}

function State({ good, yes, no }: { good: boolean; yes: string; no: string }) {
  return <span class={good ? "tag" : "tag bad"}>{good ? yes : no}</span>;
}

function Pictures({ moments, now: { cache, pools } }: { moments: Moments; now: WatchStatusResponse }) {
  const { line, rateLine } = moments;
  return (
    <div class="charts">
      <Chart title="Calls a second" format={rate} moments={moments}
        lines={moments.split(({ rpcs }) => rpcs.map((rpc) => [shortName(rpc), rpc.callsPerSecond]), "all calls")} />
      <Chart title="Errors a second" format={rate} moments={moments}
        lines={moments.split(({ errors }) => errors.map(({ code, errorsPerSecond }) => [code, errorsPerSecond]), "all errors")} />
      <Chart title="Latency of unary calls" format={seconds} moments={moments} lines={[
        line("half of the calls (p50)", ({ unary }) => secondsOf(unary?.p50)),
        line("99 of 100 calls (p99)", ({ unary }) => secondsOf(unary?.p99)),
      ]} />
      {cache !== undefined && (
        <>
          <Chart title="Users read a second, from where" format={rate} moments={moments} lines={[
            rateLine("this process", ({ cache }) => cache?.nearHitsPerSecond),
            ...cache.redisUp === undefined ? [] : [rateLine("Redis", ({ cache }) => cache?.redisHitsPerSecond)],
            rateLine("the database", ({ cache }) => cache?.missesPerSecond),
          ]} />
          <Chart title="Staleness" format={seconds} moments={moments} lines={[
            line("how old cached reads can be", ({ cache }) => secondsOf(cache?.staleness)),
            line("relay lag", ({ cache }) => secondsOf(cache?.relayLag)),
          ]} />
        </>
      )}
      {pools.map(({ name, max }) => (
        <Chart key={name} title={name === "calls" ? `Connections to the database, at most ${max}` : `Connections of the server itself, at most ${max}`} format={count} moments={moments} lines={[
          line("in use", ({ pools }) => Number(pools.find((pool) => pool.name === name)?.inUse ?? 0n)),
          line("idle", ({ pools }) => Number(pools.find((pool) => pool.name === name)?.idle ?? 0n)),
          line("calls that wait", ({ pools }) => Number(pools.find((pool) => pool.name === name)?.waiting ?? 0n)),
        ]} />
      ))}
      <Chart title="Memory" format={bytes} moments={moments} lines={[
        line("the process", ({ process }) => Number(process?.residentBytes)),
        line("heap", ({ process }) => Number(process?.heapBytes)),
      ]} />
      <Chart title="Callers" format={count} moments={moments} lines={[
        line("connections", ({ connections }) => Number(connections?.open)),
        line("streams", ({ connections }) => Number(connections?.streams)),
        line("watchers", ({ connections }) => Number(connections?.watchersFollowing)),
        line("watchers behind", ({ connections }) => Number(connections?.watchersCatchingUp)),
      ]} />
    </div>
  );
}

/** shortName is the name of an RPC of the user service without that of the service. */
function shortName({ name }: RpcStatus): string {
  return name === "_OTHER" ? "unknown RPCs" : name.replace(/^user\.v1\.UserService\//, "");
}

function Calls({ rpcs }: { rpcs: RpcStatus[] }) {
  return (
    <section aria-label="RPCs">
      <h2>RPCs</h2>
      <table>
        <caption class="hidden">RPCs that were called in the last second, or are under way</caption>
        <thead>
          <tr>
            <th scope="col">RPC</th>
            <th scope="col" class="number">Calls/s</th>
            <th scope="col" class="number">Errors/s</th>
            <th scope="col" class="number wide">Under way</th>
            <th scope="col" class="number wide">p50</th>
            <th scope="col" class="number">p99</th>
          </tr>
        </thead>
        <tbody>
          {rpcs.map((rpc) => (
            <tr key={rpc.name}>
              <th scope="row">{shortName(rpc)}</th>
              <td class="number">{rate(rpc.callsPerSecond)}</td>
              <td class="number">{rate(rpc.errorsPerSecond)}</td>
              <td class="number wide">{count(Number(rpc.active))}</td>
              <td class="number wide">{rpc.latency && seconds(secondsOf(rpc.latency.p50)!)}</td>
              <td class="number">{rpc.latency && seconds(secondsOf(rpc.latency.p99)!)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
