/** A rolling upgrade of real processes: who leads meanwhile, and when nobody else could. */

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Database, NodeStatus } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { balsa } from "../cli/command.ts";

const OLD = "engine 1, machine 1";
const NEW = "engine 2, machine 1";
const runs = (version: string) => ["--machine-version", version];

describe("a cluster whose nodes are replaced by newer ones", () => {
  let cluster: TestCluster;
  let db: Database;
  let endpoints: string[];

  beforeEach(async () => {
    cluster = await TestCluster.start({ args: runs(OLD) });
    await cluster.ready();
    endpoints = ["--endpoints", cluster.endpoints.join(",")];
    db = cluster.connect();
    await db.exec("CREATE TABLE t (n INTEGER PRIMARY KEY)");
    await set(OLD);
  });

  afterEach(() => cluster.stop());

  const write = async (n: number) => db.prepare("INSERT INTO t VALUES (?)").run(n);
  const statuses = async (): Promise<NodeStatus[]> => {
    const { nodes } = await cluster.status();
    return nodes.flatMap(({ status }) => (status === null ? [] : [status]));
  };
  const set = (version: string) =>
    cluster.until(`${version} was not set`, 20_000, async () => {
      const all = await statuses();
      const isSet = all.every(({ machineVersion }) => machineVersion === version);
      return all.length > 0 && isSet ? all : null;
    });
  const replace = async (id: number, version: string) => {
    const node = cluster.node(id);
    await node.stop();
    node.start(runs(version));
    await cluster.until(`node ${id} is not back`, 20_000, async () => {
      const found = (await statuses()).find((one) => one.id === id);
      return found?.ownMachineVersion === version && found.leader !== 0 ? true : null;
    });
  };

  it("is led by old ones until an operator says otherwise, and by new ones from then on", async () => {
    const old = (await cluster.leader()).id;
    const [first, second] = cluster.nodes.map(({ id }) => id).filter((id) => id !== old);
    await replace(first ?? 0, NEW);
    await write(1);
    const refused = await balsa("upgrade", ...endpoints);
    expect(refused.code).toBe(1);
    expect(refused.err).toContain(`not every voter runs ${NEW}`);
    expect(refused.err).toContain(`node ${old} runs ${OLD}`);
    expect(refused.err).toContain("--majority");
    const transfer = await balsa("transfer", "--to", `${first}`, ...endpoints);
    expect(transfer).toMatchObject({ code: 1, err: expect.stringContaining("machine version") });
    await replace(second ?? 0, NEW);
    expect((await cluster.leader()).id).toBe(old);
    const shown = await balsa("status", ...endpoints);
    expect(shown.out).toContain(`machine version ${OLD}`);
    expect(shown.out).toContain(`node ${first} runs ${NEW}, and does not lead`);

    const raised = await balsa("upgrade", "--majority", ...endpoints);
    expect(raised).toMatchObject({ code: 0, out: `machine version ${NEW} (before: ${OLD})\n` });
    await set(NEW);
    await cluster.until("the old one still leads", 20_000, async () => {
      return (await cluster.leader()).id === old ? null : true;
    });
    await write(2);
    // The old one votes, appends and applies: with another node gone, the majority is the leader and it.
    const leader = (await cluster.leader()).id;
    await cluster.node(leader === first ? (second ?? 0) : (first ?? 0)).kill();
    await write(3);
    const again = await balsa("upgrade", "--to", NEW, ...endpoints);
    expect(again).toMatchObject({ code: 1, err: expect.stringContaining("not connected") });
    expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: 3 });
  });

  it("raises by itself when all its nodes are new ones", async () => {
    await write(1);
    await cluster.stopNodes();
    for (const node of cluster.nodes) node.start(runs(NEW));
    await cluster.ready();
    await write(2);
    await set(NEW);
    expect(await balsa("upgrade", ...endpoints)).toMatchObject({
      code: 0,
      out: `machine version ${NEW} (as before)\n`,
    });
  });

  it("raises by itself when two of three are new ones and the last old one is dead", async () => {
    const old = await cluster.leader();
    for (const { id } of cluster.nodes) if (id !== old.id) await replace(id, NEW);
    await write(1);
    await old.kill();
    await db.with({ deadlineMs: 30_000 }).prepare("INSERT INTO t VALUES (2)").run();
    await set(NEW);
    // The old one comes back as it was: it follows.
    old.start(runs(OLD));
    await cluster.caughtUp();
    expect((await cluster.leader()).id).not.toBe(old.id);
    await write(3);
  });
});
