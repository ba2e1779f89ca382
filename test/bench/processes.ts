/**
 * What the processes of a cluster use, as Linux tells it: processor time and memory by what each process is. Reads
 * /proc; touches nothing.
 */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { TestCluster } from "../../src/testing/cluster.ts";
import type { Meter } from "./measure.ts";
import { rounded } from "./measure.ts";

export type ProcessKind = "node" | "writer" | "reader";

export interface NodeChild {
  readonly pid: number;
  readonly kind: ProcessKind;
}

/** A tick of the kernel's accounting: 1/100 s on every Linux that Node runs on. */
const TICK_US = 10_000;

/** The node's own process and its children. Who holds the writer's lock is the writer; the reserve counts as a reader. */
export function processesOf(pid: number): NodeChild[] {
  const children: NodeChild[] = [{ pid, kind: "node" }];
  for (const child of childrenOf(pid)) {
    children.push({ pid: child, kind: holdsWriterLock(child) ? "writer" : "reader" });
  }
  return children;
}

function childrenOf(pid: number): number[] {
  const children: number[] = [];
  for (const task of namesIn(`/proc/${pid}/task`)) {
    const text = textOf(`/proc/${pid}/task/${task}/children`);
    children.push(...text.split(" ").filter(Boolean).map(Number));
  }
  return children;
}

function holdsWriterLock(pid: number): boolean {
  return namesIn(`/proc/${pid}/fd`).some((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).endsWith("/writer.lock");
    } catch {
      return false;
    }
  });
}

/** Microseconds of processor time, in user and kernel mode, since the process began. 0 if it is gone. */
export function cpuUs(pid: number): number {
  const text = textOf(`/proc/${pid}/stat`);
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * TICK_US;
}

/** Proportional set size, MiB: pages that several processes share are counted once in the sum. 0 if it is gone. */
export function pssMib(pid: number): number {
  const match = /^Pss:\s+(\d+)/m.exec(textOf(`/proc/${pid}/smaps_rollup`));
  return Number(match?.[1] ?? 0) / 1_024;
}

/** Load average of the last minute: figures of a busy machine are worth less. */
export function loadAverage(): number {
  return Number(textOf("/proc/loadavg").split(" ")[0]);
}

/** Microseconds of processor time an operation, by what the process is; "cpuUs" is the sum of all. */
export class CpuMeter implements Meter {
  readonly #kinds = new Map<number, string>([[process.pid, "client"]]);
  #before = new Map<number, number>();

  constructor(cluster: TestCluster, leaderId: number) {
    for (const { id, pid } of cluster.nodes) {
      if (pid === null) continue;
      const role = id === leaderId ? "leader" : "follower";
      for (const child of processesOf(pid)) {
        const name = child.kind === "node" ? role : `${role}${capital(child.kind)}`;
        this.#kinds.set(child.pid, name);
      }
    }
  }

  start(): void {
    this.#before = new Map([...this.#kinds.keys()].map((pid) => [pid, cpuUs(pid)]));
  }

  stop(operations: number): object {
    const by: { [kind: string]: number } = {};
    let sum = 0;
    for (const [pid, kind] of this.#kinds) {
      const used = Math.max(0, cpuUs(pid) - (this.#before.get(pid) ?? 0)) / Math.max(1, operations);
      by[kind] = (by[kind] ?? 0) + used;
      sum += used;
    }
    for (const kind of Object.keys(by)) by[kind] = rounded(by[kind] ?? 0);
    return { cpuUs: rounded(sum), cpuUsBy: by, load: loadAverage() };
  }
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
