/** A closed loop of callers, and what it measured. Prints figures; asserts nothing. */

export interface Figure {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failures: number;
}

/** Runs `callers` loops for `seconds`; each awaits its call before the next. */
export async function closedLoop(
  callers: number,
  seconds: number,
  call: (caller: number, turn: number) => Promise<unknown>,
): Promise<Figure> {
  const latencies: number[] = [];
  const startedAt = performance.now();
  const end = startedAt + seconds * 1_000;
  let failures = 0;
  const loop = async (caller: number) => {
    for (let turn = 0; performance.now() < end; turn += 1) {
      const began = performance.now();
      try {
        await call(caller, turn);
        latencies.push(performance.now() - began);
      } catch {
        failures += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, caller) => loop(caller)));
  const took = (performance.now() - startedAt) / 1_000;
  latencies.sort((a, b) => a - b);
  return {
    perSecond: Math.round(latencies.length / took),
    p50Ms: rounded(quantile(latencies, 0.5)),
    p99Ms: rounded(quantile(latencies, 0.99)),
    failures,
  };
}

export function quantile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}

export function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
