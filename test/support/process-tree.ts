/** Processes and what they use, from /proc. Reads only. */

import { readdirSync, readFileSync } from "node:fs";

/** Processes whose parent is `pid`. */
export function childrenOf(pid: number): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((child) => Number.isInteger(child) && child > 0 && parentOf(child) === pid);
}

/** Null if there is no such process. */
export function parentOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return null;
  }
}

/** The most memory that any of these, or of their children, has had, in MiB. */
export function peakOf(pids: readonly number[]): number {
  let peak = 0;
  const waiting = [...pids];
  for (let pid = waiting.pop(); pid !== undefined; pid = waiting.pop()) {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
    waiting.push(...childrenOf(pid));
  }
  return peak;
}
