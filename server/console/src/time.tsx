import { timestampDate, type Timestamp } from "@bufbuild/protobuf/wkt";
import { Store, useStore } from "./store";

/** utc says whether times are shown in UTC, or in the zone of whoever looks. */
export const utc = new Store(localStorage.getItem("userd.utc") === "yes");

utc.follow(() => localStorage.setItem("userd.utc", utc.value ? "yes" : "no"));

export function zone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

// Made once: that takes longer than to use them.
const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const inGreenwich = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", timeZone: "UTC" });

function format(date: Date, inUTC: boolean): string {
  return inUTC ? `${inGreenwich.format(date)} UTC` : local.format(date);
}

/** timeOfDay is short, for a scale. */
export function timeOfDay(date: Date, inUTC: boolean): string {
  return date.toLocaleTimeString(undefined, { timeStyle: "medium", timeZone: inUTC ? "UTC" : undefined });
}

/** Time is a moment; the other zone is at hand. */
export function Time({ at, none = "never" }: { at: Timestamp | Date | undefined; none?: string }) {
  const inUTC = useStore(utc);
  if (at === undefined) return <span class="faint">{none}</span>;
  const date = at instanceof Date ? at : timestampDate(at);
  return <time dateTime={date.toISOString()} title={format(date, !inUTC)}>{format(date, inUTC)}</time>;
}

/** momentOf is the moment that a datetime-local field holds, as ISO 8601 has it; "" is none. */
export function momentOf(text: string, inUTC: boolean): string {
  const date = new Date(text + (inUTC && text !== "" ? "Z" : ""));
  return Number.isNaN(date.getTime()) ? "" : date.toISOString();
}

/** textOf is what a datetime-local field holds of a moment. */
export function textOf(moment: string, inUTC: boolean): string {
  if (moment === "") return "";
  const date = new Date(moment);
  const away = inUTC ? 0 : date.getTimezoneOffset() * 60_000;
  return new Date(Math.round(date.getTime() - away)).toISOString().replace(/:\d\d\.\d{3}Z$/, "");
}
