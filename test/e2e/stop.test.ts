/** A leader that is stopped in order: it hands over before its process goes, and no caller of a client notices. */

import { afterEach, expect, it } from "vitest";
import { TestCluster } from "../../src/testing/cluster.ts";
import type { NodeProcess } from "../../src/testing/node-process.ts";

const WRITERS = 16;
const READERS = 4;

let cluster: TestCluster | undefined;

afterEach(() => cluster?.stop());

interface Leadership {
  readonly leader: number;
  readonly term: number;
  readonly role: string;
}

/** What the node knew last of who leads, as it said in its log. */
function lastLeadership(node: NodeProcess): Leadership {
  const lines = node.lastWords(1_000).split("\n");
  const events = lines.flatMap((line) => {
    const event = JSON.parse(line) as Leadership & { readonly event?: string };
    return event.event === "leader" ? [event] : [];
  });
  const { leader, term, role } = events.at(-1) ?? { leader: 0, term: 0, role: "none" };
  return { leader, term, role };
}

it("hands over, and no caller sees an error; what was acknowledged is there", async () => {
  cluster = await TestCluster.start({ args: ["--log-format", "json"] });
  await cluster.ready();
  const db = cluster.connect();
  await db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY)");
  const insert = db.prepare("INSERT INTO t VALUES (?)");
  const count = db.prepare("SELECT count(*) AS n FROM t");
  let next = 1;
  let written = 0;
  let read = 0;
  let running = true;
  const failures: unknown[] = [];
  const loop = async (turn: () => Promise<void>) => {
    while (running) await turn().catch((error: unknown) => failures.push(error));
  };
  const write = async () => {
    next += 1;
    await insert.run(next);
    written += 1;
  };
  const ask = async () => {
    await count.get();
    read += 1;
  };
  const loops = [
    ...Array.from({ length: WRITERS }, () => loop(write)),
    ...Array.from({ length: READERS }, () => loop(ask)),
  ];
  const progress = async () => {
    const [writes, reads] = [written + 500, read + 50];
    await cluster?.until("no progress", 30_000, async () => {
      return (written >= writes && read >= reads) || null;
    });
  };
  for (let round = 0; round < 3; round += 1) {
    await progress();
    const leader = await cluster.ready();
    const { term } = lastLeadership(leader);
    await leader.stop();
    const last = lastLeadership(leader);
    expect(last).toMatchObject({ term: term + 1, role: "follower" });
    expect([0, leader.id]).not.toContain(last.leader);
    await progress();
    leader.start();
    await cluster.ready();
  }
  running = false;
  await Promise.all(loops);
  expect(failures).toEqual([]);
  expect(await count.get()).toEqual({ n: written });
});
