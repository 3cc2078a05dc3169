import { useEffect, useRef, useState } from "preact/hooks";
import { session } from "./client";
import { page } from "./page";
import { Store, useStore } from "./store";

/**
 * What is typed and not stored, by the address of its page. A token that ends takes nothing of it
 * away: it is shown again to the same caller, and to nobody else.
 */
const drafts = new Map<string, unknown>();
let owner = "";

/** Outlived is what has become of drafts whose token ended. */
interface Outlived {
  /** The addresses of those that are there again. */
  kept: string[];
  /** There were some of another caller. */
  gone: boolean;
}

const outlived = new Store<Outlived>({ kept: [], gone: false });

session.follow(() => {
  const { state, caller, why } = session.value;
  if (state === "signedOut" && why === "") drafts.clear(); // It was meant.
  if (state === "signedOut" && drafts.size === 0) owner = "";
  if (state !== "signedIn") return;
  const isOwner = caller === owner;
  outlived.value = { kept: isOwner ? [...drafts.keys()] : [], gone: !isOwner && drafts.size > 0 };
  if (!isOwner) drafts.clear();
  owner = caller;
});

page.follow(() => { outlived.value = { ...outlived.value, gone: false }; });

export function hasDraft(address: string): boolean {
  return drafts.has(address);
}

/** useDraft is useState for what is typed on the page with an address. Whoever leaves the page gives it up. */
export function useDraft<T>(address: string, begin: () => T): [T, (draft: T) => void] {
  const [draft, setDraft] = useState(() => hasDraft(address) ? drafts.get(address) as T : begin());
  const isGivenUp = useRef(false);
  useEffect(() => () => {
    if (session.value.state !== "signedIn") return; // The token has ended.
    isGivenUp.current = true;
    drafts.delete(address);
    outlived.value = { ...outlived.value, kept: outlived.value.kept.filter((kept) => kept !== address) };
  }, [address]);
  const put = (draft: T) => {
    if (!isGivenUp.current) drafts.set(address, draft);
    setDraft(draft);
  };
  return [draft, put];
}

/** Kept says, while nobody is signed in, what becomes of drafts. */
export function Kept() {
  if (drafts.size === 0) return null;
  return <p class="notice">What you had typed is kept for you: sign in with the same token, or with another JWT of the same subject. With any other it is dropped.</p>;
}

/** WhatOutlived says what has become of them. */
export function WhatOutlived() {
  const { kept, gone } = useStore(outlived);
  const here = useStore(page);
  if (gone) return <p class="notice" role="status">What was typed here with another token, and not saved, is gone.</p>;
  if (kept.length === 0) return null;
  const elsewhere = kept.filter((address) => address !== here.address);
  return (
    <div class="notice" role="status">
      <p>You are signed in again. What you had typed is there, and not saved yet.</p>
      {elsewhere.map((address) => <p key={address}><a href={address}>{names[address] ?? "User"}</a></p>)}
    </div>
  );
}

const names: Record<string, string> = { "#/new": "New user", "#/import": "Import" };
