import { useRef } from "preact/hooks";

/** useOnce makes of an action one that does not begin again while it is under way, as with a click too many. */
export function useOnce<Args extends unknown[]>(action: (...args: Args) => Promise<void>): (...args: Args) => Promise<void> {
  const isBusy = useRef(false);
  return async (...args) => {
    if (isBusy.current) return;
    isBusy.current = true;
    try {
      await action(...args);
    } finally {
      isBusy.current = false;
    }
  };
}
