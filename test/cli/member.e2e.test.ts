/** `balsa member`, `balsa transfer` and `balsa recover` on a cluster of real processes. */

import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TestCluster } from "../../src/testing/cluster.ts";
import { balsa, freePorts, killAll, RunningCommand } from "./command.ts";

let cluster: TestCluster;
let at: string[];

beforeEach(async () => {
  cluster = await TestCluster.start();
  await cluster.ready();
  at = ["--endpoints", cluster.endpoints.join(",")];
  await cluster.connect().exec("CREATE TABLE t (v)");
});

afterEach(async () => {
  killAll();
  await cluster.stop();
});

function joiner(id: number, port: number): RunningCommand {
  const listen = `127.0.0.1:${port}`;
  const dir = join(cluster.dir, `joiner${id}`);
  return new RunningCommand(["serve", "--id", `${id}`, "--dir", dir, "--listen", listen, "--join"]);
}

describe("members", () => {
  test("are added as learners, become voters, lead, and are removed", async () => {
    const port = await freePorts(1);
    const node = joiner(4, port);
    await node.prints(/listening/);
    const address = `127.0.0.1:${port}`;
    const added = await balsa("member", "add", "--id", "4", "--address", address, ...at);
    expect(added).toMatchObject({ code: 0, out: "node 4 is a voter\n" });
    expect(added.err).toContain(`adding node 4 at ${address} as a learner`);
    const listed = await balsa("member", "list", ...at);
    expect(listed.out).toMatch(new RegExp(`^ 4  ${address} +voter +yes +\\d+ +\\d+$`, "m"));

    const moved = await balsa("transfer", "--to", "4", "--deadline-ms", "20000", ...at);
    expect(moved).toMatchObject({ code: 0, out: "node 4 leads\n" });
    // The leader itself: it hands over and goes.
    const removed = await balsa("member", "remove", "--id", "4", ...at);
    expect(removed.code).toBe(0);
    expect(removed.out).toMatch(/^node 4 is no member any more/);
    await node.prints(/no member since log entry \d+/);
    const list = await balsa("member", "list", "--json", ...at);
    const { members } = JSON.parse(list.out);
    expect(members.map(({ id }: { id: number }) => id)).toEqual([1, 2, 3]);
    expect(members[0]).toMatchObject({ role: "voter", connected: true, awaitsVote: false });
  });

  test("a learner that is to stay one gets its vote by promote", async () => {
    const port = await freePorts(1);
    await joiner(4, port).prints(/listening/);
    const add = ["member", "add", "--id", "4", "--address", `127.0.0.1:${port}`, "--learner"];
    expect(await balsa(...add, ...at)).toMatchObject({ code: 0, out: "node 4 is a learner\n" });
    await cluster.until("node 4 did not catch up", 30_000, async () => {
      const { members } = await cluster.admin.leader();
      return members.find(({ id }) => id === 4)?.caughtUp || null;
    });
    const promoted = await balsa("member", "promote", "--id", "4", ...at);
    expect(promoted).toMatchObject({ code: 0, out: "node 4 is a voter\n" });
  });

  test("what cannot be is refused with status 1 and the reason", async () => {
    const refused = async (pattern: RegExp, ...argv: string[]) => {
      const { code, out, err } = await balsa(...argv, ...at);
      expect({ code, out }).toEqual({ code: 1, out: "" });
      expect(err).toMatch(pattern);
    };
    await refused(
      /REFUSED: node 3 is a member already/,
      ..."member add --id 3 --address a:1".split(" "),
    );
    await refused(/REFUSED: node 7 is no member/, ..."member remove --id 7".split(" "));
    await refused(/REFUSED: node 2 has a vote already/, ..."member promote --id 2".split(" "));
    await refused(/REFUSED: node 9 has no vote/, ..."transfer --to 9".split(" "));
    const port = await freePorts(1);
    const nobody = `member add --id 8 --address 127.0.0.1:${port} --deadline-ms 1500`;
    await refused(/DEADLINE_EXCEEDED: .*node 8 at .* does not answer/, ...nobody.split(" "));
    const leader = await cluster.leader();
    const [first, second] = cluster.nodes.filter(({ id }) => id !== leader.id);
    await first?.kill();
    await cluster.until("it is still connected", 20_000, async () => {
      const { members } = await cluster.admin.leader();
      return members.find(({ id }) => id === first?.id)?.connected === false || null;
    });
    await refused(/REFUSED: no quorum would be left/, "member", "remove", "--id", `${second?.id}`);
  });
});

describe("a cluster that lost its majority", () => {
  test("goes on with one node that is told to, and the others cannot come back", async () => {
    await cluster.connect().prepare("INSERT INTO t VALUES (?)").run([1]);
    await cluster.caughtUp();
    await cluster.stopNodes();
    const [one, two, three] = cluster.nodes;
    if (one === undefined || two === undefined || three === undefined)
      throw new Error("three nodes");
    rmSync(two.dir, { recursive: true });
    const doubtful = await balsa("recover", "--dir", one.dir);
    expect(doubtful.code).toBe(2);
    expect(doubtful.err).toMatch(/--yes/);
    const recovered = await balsa("recover", "--dir", one.dir, "--yes");
    expect(recovered).toMatchObject({ code: 0 });
    expect(recovered.out).toMatch(/node 1 is the only member of the new cluster [0-9a-f]{32}/);
    one.start();
    const db = cluster.connect({ endpoints: [one.endpoint], discover: false, deadlineMs: 30_000 });
    await db.prepare("INSERT INTO t VALUES (?)").run([2]);
    expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: 2 });
    // With its old directory it belongs to a cluster that is past; with an empty one it can be added.
    three.start();
    await cluster.until("node 3 said nothing", 20_000, async () => {
      return three.lastWords(40).includes("WRONG_CLUSTER") || null;
    });
    await three.kill();
    rmSync(three.dir, { recursive: true });
    const port = await freePorts(1);
    await joiner(4, port).prints(/listening/);
    const only = ["--endpoints", one.endpoint];
    const add = ["member", "add", "--id", "4", "--address", `127.0.0.1:${port}`];
    expect(await balsa(...add, ...only)).toMatchObject({ code: 0, out: "node 4 is a voter\n" });
  });
});
