/**
 * Far more than the cluster can serve, in three ways: a flood of writes at the leader, the same at a follower, and a client
 * that reads no answers. Prints the rate served at its peak and meanwhile, how quickly the rest was refused, what
 * memory grew by, whether anybody stood for leader, and how soon it was well again.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { NodeProcess } from "../../src/testing/node-process.ts";
import { type Bed, INSERT, TEXT } from "./bed.ts";
import { FloodStream, Tally, UnreadStream } from "./flood.ts";
import { closedLoop, quantile, rounded } from "./measure.ts";
import { type ProcessKind, processesOf, pssMib } from "./processes.ts";

/** Callers at the peak of the rate, and far more than a node admits. */
const CALLERS_PEAK = 256;
const CALLERS_OVER = 40_000;
/** Streams: a node reads 4,096 writes of each at a time, and admits 10,000. */
const STREAMS = 12;
/** Reads, and as many writes, of a client that takes no answer. */
const UNREAD = 10_000;
/** Rows that are there before, more than SQLite's page cache of 16 MB takes, and the pause after the load that comes first. */
const ROWS = 200_000;
const IDLE_MS = 5_000;

export async function overload(bed: Bed): Promise<void> {
  const { settings } = bed;
  const insert = bed.db.prepare(INSERT);
  const started = Memory.of(bed);
  await bed.fill(ROWS);
  await closedLoop(64, settings.warmup, () => insert.run(bed.key(), TEXT));
  await pause(IDLE_MS);
  const idle = Memory.of(bed);
  bed.print({ metric: "overload", case: "idle", startedMiB: started.totals, idleMiB: idle.totals });
  const watch = new Watch(bed);
  const peak = await closedLoop(CALLERS_PEAK, settings.window, () => insert.run(bed.key(), TEXT));
  const leader = await bed.cluster.leader();
  const grown = watch.end().over(idle, leader.id);
  const { perSecond: peakPerSecond } = peak;
  bed.print({ metric: "overload", case: `${CALLERS_PEAK} callers`, peakPerSecond, ...grown });
  const follower = bed.cluster.nodes.find(({ id }) => id !== leader.id) ?? leader;
  for (const node of [leader, follower]) {
    const to = node === leader ? "the leader" : "a follower";
    await measured(bed, `flood at ${to}`, idle, () => flood(bed, node, node === leader));
  }
  await measured(bed, "answers not read", idle, () => unread(bed));
  await bed.cluster.caughtUp();
}

/** One way of too much, what it did to memory and terms, and the rate right after it. */
async function measured(
  bed: Bed,
  name: string,
  idle: Memory,
  run: () => Promise<object>,
): Promise<void> {
  const termBefore = await term(bed);
  const leader = await bed.cluster.leader();
  const watch = new Watch(bed);
  const figure = await run();
  const grown = watch.end().over(idle, leader.id);
  const insert = bed.db.prepare(INSERT);
  const after = await closedLoop(CALLERS_PEAK, 1, () => insert.run(bed.key(), TEXT));
  const terms = (await term(bed)) - termBefore;
  bed.print({
    metric: "overload",
    case: name,
    ...figure,
    ...grown,
    terms,
    afterPerSecond: after.perSecond,
  });
}

async function flood(bed: Bed, to: NodeProcess, noForward: boolean): Promise<object> {
  const seconds = bed.settings.window;
  const tally = new Tally();
  const key = () => bed.key();
  const probe = noForward ? new Probe(to.endpoint) : null;
  const streams = Array.from(
    { length: STREAMS },
    () => new FloodStream(to.endpoint, key, tally, noForward),
  );
  for (const stream of streams) stream.send(Math.ceil(CALLERS_OVER / STREAMS));
  await pause(seconds * 1_000);
  const beside = (await probe?.end()) ?? {};
  for (const stream of streams) stream.close();
  const refusedMs = tally.refusedMs.sort((a, b) => a - b);
  return {
    callers: CALLERS_OVER,
    servedPerSecond: Math.round(tally.served / seconds),
    refusedPerSecond: Math.round(refusedMs.length / seconds),
    refusedP50Ms: rounded(quantile(refusedMs, 0.5)),
    refusedP99Ms: rounded(quantile(refusedMs, 0.99)),
    ...beside,
    otherErrors: tally.others,
  };
}

/** The other callers go on meanwhile. */
async function unread(bed: Bed): Promise<object> {
  const streams = bed.cluster.nodes.map(({ endpoint }) => new UnreadStream(endpoint, bed, UNREAD));
  const insert = bed.db.prepare(INSERT);
  const beside = await closedLoop(64, bed.settings.window, () => insert.run(bed.key(), TEXT));
  for (const stream of streams) stream.close();
  return { reads: UNREAD, writes: UNREAD, besidePerSecond: beside.perSecond };
}

/** A request every 20 ms, from a process of its own. */
class Probe {
  readonly #child: ChildProcess;
  readonly #output: Promise<string>;

  constructor(endpoint: string) {
    const program = fileURLToPath(new URL("refusal-probe.ts", import.meta.url));
    const sql = "UPDATE bench SET value = value WHERE id = -1";
    const args = ["--import", "tsx", program, endpoint, sql];
    this.#child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#output = new Promise((resolve) => {
      let text = "";
      this.#child.stdout?.on("data", (part) => {
        text += String(part);
      });
      this.#child.once("close", () => resolve(text));
    });
  }

  async end(): Promise<object> {
    this.#child.stdin?.end();
    const { refused } = JSON.parse(await this.#output) as { refused: number[] };
    return {
      besideRefused: refused.length,
      besideP50Ms: rounded(quantile(refused, 0.5)),
      besideP99Ms: rounded(quantile(refused, 0.99)),
    };
  }
}

type ByKind = { readonly [kind in ProcessKind]?: number };

/** Proportional set sizes of all nodes with their children, MiB. */
class Memory {
  readonly #nodes: readonly { readonly id: number; readonly by: ByKind }[];

  private constructor(nodes: readonly { readonly id: number; readonly by: ByKind }[]) {
    this.#nodes = nodes;
  }

  static of(bed: Bed): Memory {
    const nodes = bed.cluster.nodes.map(({ id, pid }) => {
      const by: { [kind in ProcessKind]?: number } = {};
      for (const child of pid === null ? [] : processesOf(pid)) {
        by[child.kind] = (by[child.kind] ?? 0) + pssMib(child.pid);
      }
      return { id, by };
    });
    return new Memory(nodes);
  }

  get totals(): number[] {
    return this.#nodes.map(({ by }) => Math.round(total(by)));
  }

  /** Of each node the sample in which it was largest. */
  larger(other: Memory): Memory {
    return new Memory(
      this.#nodes.map((node, at) => {
        const also = other.#nodes[at] ?? node;
        return total(also.by) > total(node.by) ? also : node;
      }),
    );
  }

  /** Growth of the leader and of the follower that grew most, in total and by process. */
  over(idle: Memory, leaderId: number): object {
    const grown = this.#nodes.map(({ id, by }, at) => {
      const before = idle.#nodes[at]?.by ?? {};
      const kinds = Object.entries(by) as [ProcessKind, number][];
      const parts = kinds.map(([kind, mib]) => [kind, Math.round(mib - (before[kind] ?? 0))]);
      return { id, mib: Math.round(total(by) - total(before)), by: Object.fromEntries(parts) };
    });
    const leader = grown.find(({ id }) => id === leaderId);
    const followers = grown.filter(({ id }) => id !== leaderId).sort((a, b) => b.mib - a.mib);
    return {
      grownMiB: { leader: leader?.mib, follower: followers[0]?.mib },
      grownBy: { leader: leader?.by, follower: followers[0]?.by },
    };
  }
}

function total(by: ByKind): number {
  return Object.values(by).reduce((sum, mib) => sum + mib, 0);
}

/** Looks at memory twice a second and keeps the most. */
class Watch {
  readonly #bed: Bed;
  readonly #timer: NodeJS.Timeout;
  #most: Memory;

  constructor(bed: Bed) {
    this.#bed = bed;
    this.#most = Memory.of(bed);
    this.#timer = setInterval(() => this.#look(), 500);
  }

  #look(): void {
    this.#most = this.#most.larger(Memory.of(this.#bed));
  }

  end(): Memory {
    clearInterval(this.#timer);
    this.#look();
    return this.#most;
  }
}

async function term(bed: Bed): Promise<number> {
  const status = await bed.cluster.status();
  return Math.max(...status.nodes.map(({ status: node }) => node?.term ?? 0));
}
