/** One listener a signal, however many wait for it: Node warns of more than ten, and a signal may end thousands of uploads. */

const watched = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `run` when the signal aborts, unless the function that it returns was called before. Not of one that has aborted. */
export function onAbort(signal: AbortSignal, run: () => void): () => void {
  const known = watched.get(signal);
  const runs = known ?? new Set();
  // The same function may wait twice.
  const own = (): void => run();
  runs.add(own);
  if (known === undefined) {
    watched.set(signal, runs);
    const all = (): void => {
      for (const each of [...runs]) each();
    };
    signal.addEventListener("abort", all, { once: true });
  }
  return () => {
    runs.delete(own);
  };
}
