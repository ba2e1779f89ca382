/** Metrics of reads by primary key: each consistency against the leader, one follower and all nodes. */

import type { Database } from "../../src/client/index.ts";
import { type Bed, SELECT } from "./bed.ts";
import { closedLoop, rounded, windows } from "./measure.ts";
import { cpuUs, processesOf } from "./processes.ts";

const ROWS = 10_000;
type Consistency = "linearizable" | "session" | "stale";

export const readLinearizable = (bed: Bed) => reads(bed, "readLinearizable", "linearizable");
export const readSession = (bed: Bed) => reads(bed, "readSession", "session");
export const readStale = (bed: Bed) => reads(bed, "readStale", "stale");

async function reads(bed: Bed, metric: string, consistency: Consistency): Promise<void> {
  const { cluster, settings } = bed;
  await bed.fill(ROWS);
  await cluster.caughtUp();
  const leader = await cluster.leader();
  const follower = cluster.nodes.find(({ id }) => id !== leader.id) ?? leader;
  // What goes to all nodes may be spread by one client, or come from a client for each.
  const routes: [from: string, clients: Database[]][] = [
    ["leader", [cluster.connectTo(leader.id)]],
    ["follower", [cluster.connectTo(follower.id)]],
    ["all", cluster.nodes.map(({ id }) => cluster.connectTo(id))],
  ];
  for (const [from, clients] of routes) {
    const statements = clients.map((client) => client.with({ consistency }).prepare(SELECT));
    const call = async (caller: number, turn: number) => {
      const key = ((caller * 7919 + turn) % ROWS) + 1;
      await statements[caller % statements.length]?.get(key);
    };
    await closedLoop(64, settings.warmup, call);
    const meter = await bed.meter();
    for (const callers of settings.callers) {
      bed.print({
        metric,
        from,
        clients: callers,
        ...(await windows(settings, callers, call, meter)),
      });
    }
  }
}

/** Stale reads from one node with two readers: what part of the processor time each has. The reserve has next to none. */
export async function readers(bed: Bed): Promise<void> {
  const { cluster, settings } = bed;
  await bed.fill(ROWS);
  await cluster.caughtUp();
  const leader = await cluster.leader();
  const get = cluster.connectTo(leader.id).with({ consistency: "stale" }).prepare(SELECT);
  const call = (caller: number, turn: number) => get.get(((caller * 7919 + turn) % ROWS) + 1);
  await closedLoop(64, settings.warmup, call);
  const pids = processesOf(leader.pid ?? 0).flatMap(({ pid, kind }) =>
    kind === "reader" ? [pid] : [],
  );
  for (const callers of settings.callers) {
    const before = pids.map(cpuUs);
    const { perSecond } = await closedLoop(callers, settings.window, call);
    const used = pids.map((pid, at) => cpuUs(pid) - (before[at] ?? 0));
    const all = used.reduce((sum, us) => sum + us, 0);
    const parts = used.map((us) => rounded(us / all)).sort((a, b) => b - a);
    bed.print({ metric: "readers", clients: callers, perSecond, parts });
  }
}
