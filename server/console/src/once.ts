import { useRef, useState } from "preact/hooks";

/** useOnce makes of an action one that does not begin again while it is under way, as with a click too many, and says whether it is. */
export function useOnce<Args extends unknown[]>(action: (...args: Args) => Promise<void>): [once: (...args: Args) => Promise<void>, isBusy: boolean] {
  const isBusy = useRef(false);
  const [shown, show] = useState(false);
  const set = (busy: boolean) => {
    isBusy.current = busy;
    show(busy);
  };
  const once = async (...args: Args) => {
    if (isBusy.current) return;
    set(true);
    try {
      await action(...args);
    } finally {
      set(false);
    }
  };
  return [once, shown];
}
