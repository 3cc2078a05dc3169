import { Store } from "./store";

/** Page is what is shown, by the part of the address after "#". It never has an email. */
export interface Page {
  name: "search" | "new" | "user" | "live" | "import" | "status" | "api";
  /** Of the user, or the name of the operation. */
  id: string;
  /** What leads here. */
  address: string;
  /** Whether somebody has come here from another page. */
  moved: boolean;
}

function read(moved: boolean): Page {
  const address = location.hash;
  const [, name, id = ""] = address.split("/");
  switch (name) {
    case "new":
    case "live":
    case "import":
    case "status":
      return { name, id: "", address, moved };
    case "user":
    case "api":
      return { name, id, address, moved };
    default:
      return { name: "search", id: "", address, moved };
  }
}

export const page = new Store<Page>(read(false));

addEventListener("hashchange", () => { page.value = read(true); });

export function addressOf(id: string): string {
  return `#/user/${id}`;
}

export function addressOfOperation(name: string): string {
  return `#/api/${name}`;
}

/** arrive goes to the part of the page that an address names, and says whether there is one. */
export function arrive(id: string): boolean {
  const part = document.getElementById(id);
  part?.focus();
  part?.scrollIntoView();
  return part !== null;
}

export function go(hash: string) {
  location.hash = hash;
}
