import { useEffect, useState } from "preact/hooks";

/** Store is a value that parts of the page follow. */
export class Store<T> {
  readonly #followers = new Set<() => void>();
  #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set value(value: T) {
    this.#value = value;
    for (const follower of this.#followers) follower();
  }

  follow(follower: () => void): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }
}

/** useStore returns the value of a store, and shows the component again when it changes. */
export function useStore<T>(store: Store<T>): T {
  const [shown, show] = useState(store.value);
  useEffect(() => {
    show(store.value); // It may have changed since it was drawn.
    return store.follow(() => show(store.value));
  }, [store]);
  return shown;
}
