// How quantities are written: by a name for each kind, of what is counted or measured.
import type { Duration } from "@bufbuild/protobuf/wkt";

const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 3 });
const plain = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });

export type Format = (value: number) => string;

export const rate: Format = (value) => value < 0.1 ? plain.format(value) : short.format(value);

export const count: Format = (value) => short.format(value);

/** seconds writes a duration in the unit that suits it. */
export const seconds: Format = (value) => {
  if (value === 0) return "0 ms";
  if (value < 0.001) return `${plain.format(value * 1e6)} µs`;
  return value < 1 ? `${plain.format(value * 1e3)} ms` : `${plain.format(value)} s`;
};

export const bytes: Format = (value) => {
  if (value < 2 ** 20) return `${plain.format(value / 2 ** 10)} KiB`;
  return value < 2 ** 30 ? `${plain.format(value / 2 ** 20)} MiB` : `${plain.format(value / 2 ** 30)} GiB`;
};

/** secondsOf is a duration, if there is one. */
export function secondsOf(duration: Duration | undefined): number | null {
  return duration === undefined ? null : Number(duration.seconds) + duration.nanos / 1e9;
}
