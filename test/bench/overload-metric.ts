/**
 * Far more writes than the cluster can serve. Prints the rate served at its peak and under overload, how quickly the
 * rest was refused, what memory grew by, whether anybody stood for leader, and how soon it was well again.
 */

import { setTimeout as pause } from "node:timers/promises";
import { Client, type ClientDuplexStream, credentials, Metadata } from "@grpc/grpc-js";
import {
  type ClientRequest,
  decodeServerFrame,
  encodeClientFrame,
} from "../../src/wire/sql-codec.ts";
import { encodeBatch } from "../../src/wire/statement-codec.ts";
import { type Bed, INSERT, TEXT } from "./bed.ts";
import { closedLoop, quantile, rounded } from "./measure.ts";
import { processesOf, pssMib } from "./processes.ts";

/** Callers at the peak of the rate, and far more than a node admits. */
const CALLERS_PEAK = 256;
const CALLERS_OVER = 40_000;
/** Streams: a node reads 4,096 writes of each at a time, and admits 20,000. */
const STREAMS = 12;
/** A refused caller comes back after this long, as an impatient user would. */
const AGAIN_MS = 50;

export async function overload(bed: Bed): Promise<void> {
  const { cluster, settings } = bed;
  const insert = bed.db.prepare(INSERT);
  await closedLoop(64, settings.warmup, () => insert.run(bed.key(), TEXT));
  const termBefore = await term(bed);
  const idleMib = nodesMib(bed);
  const peak = await closedLoop(CALLERS_PEAK, settings.window, () => insert.run(bed.key(), TEXT));
  const loadedMib = nodesMib(bed);
  const flood = await floodFor(bed, settings.window);
  const after = await closedLoop(CALLERS_PEAK, 1, () => insert.run(bed.key(), TEXT));
  const figure = {
    peakPerSecond: peak.perSecond,
    servedPerSecond: flood.servedPerSecond,
    refusedPerSecond: flood.refusedPerSecond,
    refusedP50Ms: flood.refusedP50Ms,
    refusedP99Ms: flood.refusedP99Ms,
    otherErrors: flood.others,
    grownMiB: grown(flood.mib, idleMib),
    grownBeforeMiB: grown(loadedMib, idleMib),
    leaderMiB: flood.leaderMib,
    terms: (await term(bed)) - termBefore,
    afterPerSecond: after.perSecond,
  };
  bed.print({ metric: "overload", callers: CALLERS_OVER, ...figure });
  await cluster.caughtUp();
}

/** Of the node that grew most. */
function grown(mib: readonly number[], idleMib: readonly number[]): number {
  return Math.round(Math.max(...mib.map((now, at) => now - (idleMib[at] ?? 0))));
}

interface Flood {
  readonly servedPerSecond: number;
  readonly refusedPerSecond: number;
  readonly refusedP50Ms: number;
  readonly refusedP99Ms: number;
  readonly others: { readonly [code: string]: number };
  /** Highest seen, by node. */
  readonly mib: readonly number[];
  /** Of the leader, at the end, by what the process is. */
  readonly leaderMib: { readonly [kind: string]: number };
}

/** What the streams of a flood have counted. */
class Tally {
  served = 0;
  readonly refusedMs: number[] = [];
  readonly others: { [code: string]: number } = {};

  failed(code: string, ms: number): void {
    if (code === "OVERLOADED") this.refusedMs.push(ms);
    else this.others[code] = (this.others[code] ?? 0) + 1;
  }
}

/** Keeps requests under way on one stream, without our client: it would hold back what a node refused. */
class FloodStream {
  readonly #bed: Bed;
  readonly #tally: Tally;
  readonly #client: Client;
  readonly #stream: ClientDuplexStream<Buffer, Buffer>;
  readonly #sentAt = new Map<number, number>();
  #nextId = 1;

  constructor(bed: Bed, endpoint: string, tally: Tally) {
    this.#bed = bed;
    this.#tally = tally;
    this.#client = new Client(endpoint, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
    });
    const path = "/balsa.v1.Sql/Connect";
    this.#stream = this.#client.makeBidiStreamRequest(path, same, same, new Metadata(), {});
    this.#stream.on("data", (frame: Buffer) => this.#take(frame));
    this.#stream.on("error", () => {});
  }

  send(count: number): void {
    const now = performance.now();
    const requests = Array.from({ length: count }, (): ClientRequest => {
      const batch = encodeBatch([{ sql: INSERT, args: [this.#bed.key(), TEXT] }]);
      const id = this.#nextId;
      this.#nextId += 1;
      this.#sentAt.set(id, now);
      const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: 30_000 };
      return { id, body: { kind: "execute", batch, ...numbers, noForward: true } };
    });
    this.#stream.write(encodeClientFrame(requests));
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }

  #take(frame: Buffer): void {
    const now = performance.now();
    let served = 0;
    let refused = 0;
    for (const { id, body } of decodeServerFrame(frame)) {
      const sentAt = this.#sentAt.get(id) ?? now;
      this.#sentAt.delete(id);
      if (body.kind === "failure") {
        this.#tally.failed(body.failure.code, now - sentAt);
        refused += 1;
      } else {
        this.#tally.served += 1;
        served += 1;
      }
    }
    if (served > 0) this.send(served);
    if (refused > 0) setTimeout(() => this.send(refused), AGAIN_MS);
  }
}

async function floodFor(bed: Bed, seconds: number): Promise<Flood> {
  const tally = new Tally();
  const { endpoint } = await bed.cluster.leader();
  const streams = Array.from({ length: STREAMS }, () => new FloodStream(bed, endpoint, tally));
  let mib = nodesMib(bed);
  const watch = setInterval(() => {
    const now = nodesMib(bed);
    mib = mib.map((most, at) => Math.max(most, now[at] ?? 0));
  }, 500);
  for (const stream of streams) stream.send(CALLERS_OVER / STREAMS);
  await pause(seconds * 1_000);
  clearInterval(watch);
  const leaderMib = await mibByKind(bed);
  for (const stream of streams) stream.close();
  const refusedMs = tally.refusedMs.sort((a, b) => a - b);
  return {
    servedPerSecond: Math.round(tally.served / seconds),
    refusedPerSecond: Math.round(refusedMs.length / seconds),
    refusedP50Ms: rounded(quantile(refusedMs, 0.5)),
    refusedP99Ms: rounded(quantile(refusedMs, 0.99)),
    others: tally.others,
    mib,
    leaderMib,
  };
}

async function mibByKind(bed: Bed): Promise<{ [kind: string]: number }> {
  const { pid } = await bed.cluster.leader();
  const by: { [kind: string]: number } = {};
  for (const child of processesOf(pid ?? 0)) {
    by[child.kind] = Math.round((by[child.kind] ?? 0) + pssMib(child.pid));
  }
  return by;
}

function same(bytes: Buffer): Buffer {
  return bytes;
}

function nodesMib(bed: Bed): number[] {
  return bed.cluster.nodes.map(({ pid }) => {
    if (pid === null) return 0;
    return processesOf(pid).reduce((sum, child) => sum + pssMib(child.pid), 0);
  });
}

async function term(bed: Bed): Promise<number> {
  const status = await bed.cluster.status();
  return Math.max(...status.nodes.map(({ status: node }) => node?.term ?? 0));
}
