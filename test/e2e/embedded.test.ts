import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { EmbeddedNode, EmbeddedNodeOptions } from "../../src/service/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { freePorts } from "../cli/command.ts";

const BUILT = new URL("../../dist/service/index.js", import.meta.url);
/** The built one: its thread runs JavaScript. */
const { openNode } = (await import(BUILT.href)) as typeof import("../../src/service/index.ts");

describe("a node inside an app (D12)", () => {
  let cluster: TestCluster;
  let dir: string;
  const nodes: EmbeddedNode[] = [];

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "balsa-embedded-"));
    cluster = await TestCluster.start();
    await cluster.ready();
    await cluster.connect().exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n)");
  });

  afterEach(async () => {
    await Promise.all(nodes.splice(0).map((node) => node.close()));
    await cluster.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Joins the cluster as its fourth member, with a vote. */
  async function embed(options: Partial<EmbeddedNodeOptions> = {}): Promise<EmbeddedNode> {
    const address = await freeAddress();
    const node = await openNode({
      ...{ id: 4, dir: join(dir, "node4"), listen: address, join: true, logLevel: "error" },
      ...options,
    });
    nodes.push(node);
    await cluster.admin.changeMembers({ steps: [{ kind: "add", id: 4, address: node.address }] });
    await cluster.voter(4);
    return node;
  }

  it("reads its own file in place, and behind a barrier all that was acknowledged to anybody", async () => {
    const node = await embed();
    const db = cluster.connect();
    const largest = node.local.prepare("SELECT max(id) FROM t").pluck();
    for (let id = 1; id <= 30; id += 1) {
      await db.prepare("INSERT INTO t VALUES (?, 0)").run(id);
      await node.barrier();
      expect(largest.get()).toBe(id);
    }
    // Its client writes, wherever the leader is.
    await node.db.prepare("UPDATE t SET n = id").run();
    await node.barrier();
    expect(node.local.prepare("SELECT sum(n) FROM t").pluck().get()).toBe(465);
    expect(() => node.local.prepare("UPDATE t SET n = 0")).toThrow("all else is for node.db");
  });

  it("leads through the longest ticks of the app", async () => {
    const node = await embed();
    await cluster.admin.transferLeadership(4);
    const before = await leaderOf(node);
    expect(before.id).toBe(4);
    // Three times the longest election timeout.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3_000);
    expect(await leaderOf(node)).toEqual(before);
    await cluster.connect().prepare("INSERT INTO t VALUES (1, 1)").run();
  });

  it("leaves in order: the leadership goes to another, its directory can be opened again", async () => {
    const node = await embed();
    await cluster.admin.transferLeadership(4);
    await node.close();
    await node.close();
    await expect(node.db.prepare("SELECT 1").get()).rejects.toMatchObject({ code: "CLOSED" });
    const next = await cluster.leader();
    expect(next.id).not.toBe(4);
    const again = await openNode({
      ...{ id: 4, dir: join(dir, "node4"), listen: node.address, join: true, logLevel: "error" },
    });
    nodes.push(again);
    await cluster.connect().prepare("INSERT INTO t VALUES (1, 1)").run();
    await again.barrier();
    expect(again.local.prepare("SELECT count(*) FROM t").pluck().get()).toBe(1);
  });

  it("says what is wrong before it opens, and leaves nothing behind", async () => {
    const listen = await freeAddress();
    const base = { id: 4, dir: join(dir, "node4"), join: true, logLevel: "silent" as const };
    const open = (options: Partial<EmbeddedNodeOptions>) =>
      openNode({ ...base, listen, ...options }).then((node) => {
        nodes.push(node);
        return "opened";
      });
    const refused = (code: string) => expect.objectContaining({ name: "BalsaError", code });
    await expect(open({ listen: "nowhere" })).rejects.toEqual(refused("INVALID_ARGUMENT"));
    await expect(open({ listen: "0.0.0.0:0" })).rejects.toEqual(refused("REFUSED"));
    await expect(open({ heartbeatMs: 1 })).rejects.toEqual(refused("INVALID_ARGUMENT"));
    await expect(open({ limits: { requestByte: 5 } as object })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      facts: { option: "limits.requestByte" },
    });
    await expect(openNode(null as unknown as EmbeddedNodeOptions)).rejects.toEqual(
      refused("INVALID_ARGUMENT"),
    );
    await expect(open({ listen: cluster.endpoints[0] ?? "" })).rejects.toEqual(
      refused("UNAVAILABLE"),
    );
    const other = await open({});
    expect(other).toBe("opened");
    const second = open({ listen: await freeAddress() });
    await expect(second).rejects.toEqual(refused("UNAVAILABLE"));
  });

  it("an app that is killed takes its node's processes with it, and is missed by nobody", async () => {
    const address = await freeAddress();
    const source = `
      const { openNode } = await import(${JSON.stringify(BUILT.href)});
      const dir = ${JSON.stringify(join(dir, "node4"))};
      // However the test ends: its end of the pipe closes.
      process.stdin.resume().once("end", () => process.exit());
      await openNode({ id: 4, dir, listen: "${address}", join: true, logLevel: "silent" });
      console.log("open");
    `;
    const app = spawn(process.execPath, ["--input-type=module", "-e", source], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const exited = new Promise((resolve) => app.once("exit", resolve));
    const open = new Promise((resolve) => app.stdout.once("data", () => resolve("open")));
    expect(await Promise.race([open, exited])).toBe("open");
    await cluster.admin.changeMembers({ steps: [{ kind: "add", id: 4, address }] });
    await cluster.voter(4);
    await cluster.admin.transferLeadership(4);
    app.kill("SIGKILL");
    await exited;
    await cluster.connect().prepare("INSERT INTO t VALUES (1, 1)").run();
    // The kernel gives the locks back only when all its processes are gone.
    const again = await cluster.until("the directory stayed locked", 10_000, () =>
      openNode({ id: 4, dir: join(dir, "node4"), listen: address, join: true, logLevel: "error" }),
    );
    nodes.push(again);
    await again.barrier();
    expect(again.local.prepare("SELECT count(*) FROM t").pluck().get()).toBe(1);
  });
});

async function freeAddress(): Promise<string> {
  return `127.0.0.1:${await freePorts(1)}`;
}

async function leaderOf(node: EmbeddedNode): Promise<{ id: number; term: number }> {
  const { nodes } = await node.db.status();
  const own = nodes.find(({ endpoint }) => endpoint === node.address)?.status;
  return { id: own?.leader ?? 0, term: own?.term ?? 0 };
}
