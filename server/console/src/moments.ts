import type { WatchStatusResponse } from "@example/userd/status";
import type { Moment } from "./server";

/** Line is what a picture shows of one thing, moment by moment; null where it is not known. */
export interface Line {
  label: string;
  values: (number | null)[];
}

type Look = (status: WatchStatusResponse) => number | null | undefined;

/** The lines that stand for one thing each; what else there is shares one. */
const maxLines = 6;

/** Moments is the last moments, as lines of pictures. */
export class Moments {
  readonly #moments: Moment[];
  /** When the moments were, in seconds of Unix time. */
  readonly times: number[];

  constructor(moments: Moment[], readonly span: number) {
    const from = (moments.at(-1)?.at ?? 0) - span;
    this.#moments = moments.filter(({ at }) => at >= from);
    this.times = this.#moments.map(({ at }) => at);
  }

  line = (label: string, look: Look): Line => ({
    label, values: this.#moments.map(({ status }) => status === undefined ? null : look(status) ?? null),
  });

  /** rateLine is line for what the first message of a stream does not know. */
  rateLine = (label: string, look: Look): Line => this.line(label, (status) => status.since === undefined ? null : look(status));

  /** split makes a line of each thing that has a rate: of the busiest, and of all others; or one of none. */
  split(rates: (status: WatchStatusResponse) => [name: string, rate: number][], all: string): Line[] {
    const totals = new Map<string, number>();
    for (const { status } of this.#moments) {
      for (const [name, rate] of status === undefined ? [] : rates(status)) totals.set(name, (totals.get(name) ?? 0) + rate);
    }
    const names = [...totals].filter(([, total]) => total > 0).sort(([, a], [, b]) => b - a).map(([name]) => name);
    if (names.length === 0) return [this.rateLine(all, () => 0)];
    const sum = (status: WatchStatusResponse, is: (name: string) => boolean) =>
      rates(status).reduce((sum, [name, rate]) => is(name) ? sum + rate : sum, 0);
    const [busy, rest] = [names.slice(0, maxLines).sort(), new Set(names.slice(maxLines))];
    const lines = busy.map((line) => this.rateLine(line, (status) => sum(status, (name) => name === line)));
    return rest.size === 0 ? lines : [...lines, this.rateLine("others", (status) => sum(status, (name) => rest.has(name)))];
  }
}
