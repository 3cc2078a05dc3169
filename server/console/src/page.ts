import { Store } from "./store";

/** Page is what is shown, by the part of the address after "#". It never has an email. */
export interface Page {
  name: "search" | "new" | "user" | "live" | "import" | "status";
  id: string;
  /** Whether somebody has come here from another page. */
  moved: boolean;
}

function read(moved: boolean): Page {
  const [, name, id = ""] = location.hash.split("/");
  switch (name) {
    case "new":
    case "live":
    case "import":
    case "status":
      return { name, id: "", moved };
    case "user":
      return { name, id, moved };
    default:
      return { name: "search", id: "", moved };
  }
}

export const page = new Store<Page>(read(false));

addEventListener("hashchange", () => { page.value = read(true); });

export function addressOf(id: string): string {
  return `#/user/${id}`;
}

export function go(hash: string) {
  location.hash = hash;
}
