/** The real clock: deadlines and ticks go by one that nobody sets. */

import { afterEach, expect, test, vi } from "vitest";
import { realEnvironment } from "../../src/node/environment.ts";

afterEach(() => void vi.useRealTimers());

test("F7: setting the clock moves no deadline", () => {
  const before = realEnvironment.monotonicMs();
  vi.useFakeTimers({ toFake: ["Date"] });
  for (const wallMs of [0, 4_102_444_800_000]) {
    vi.setSystemTime(wallMs);
    expect(realEnvironment.wallMs()).toBe(wallMs);
    const passed = realEnvironment.monotonicMs() - before;
    expect(passed).toBeGreaterThanOrEqual(0);
    expect(passed).toBeLessThan(3_600_000);
  }
});
