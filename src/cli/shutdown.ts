/** How a process is told to end: signals, and the end of standard input. Decides when, not how. */

/** Ctrl-C reaches a process from the terminal and again from npm or make: one wish within this time is one. */
const SAME_WISH_MS = 500;

/**
 * Calls `stop` at the first SIGINT, SIGTERM or SIGHUP and `abandon` at the second. Returns a function that stops
 * listening.
 */
export function onStopSignals(stop: (why: string) => void, abandon: () => void): () => void {
  let firstAt: number | null = null;
  const onSignal = (signal: string) => {
    const now = performance.now();
    if (firstAt === null) {
      firstAt = now;
      stop(signal);
    } else if (now - firstAt > SAME_WISH_MS) {
      abandon();
    }
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, onSignal);
  return () => {
    for (const signal of signals) process.off(signal, onSignal);
  };
}

/** Calls `stop` when whoever holds the other end of standard input is gone, however it ended. */
export function onInputEnd(stop: (why: string) => void): void {
  const ended = () => stop("end of standard input");
  process.stdin.once("end", ended);
  process.stdin.once("error", ended);
  process.stdin.resume();
  process.stdin.unref();
}
