/** `--extension`: a cluster whose data rest on an extension, and nodes that have another set. */

import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { readExtensions } from "../../src/machine/extension-files.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { NodeProcess } from "../../src/testing/node-process.ts";
import { compileExtension, compilerTrouble } from "../support/extension.ts";
import { balsa, freePorts, killAll, RunningCommand, until } from "./command.ts";

const trouble = compilerTrouble();
const skipped = trouble === null ? "" : ` (skipped: ${trouble})`;

let home = "";
let pure = "";
let wild = "";
let cluster: TestCluster | null = null;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "balsa-extensions-"));
  if (trouble !== null) return;
  pure = compileExtension(home, "pure");
  wild = compileExtension(home, "wild", 'PREFIX="wild_"', "FLAGS=0");
});

afterEach(async () => {
  killAll();
  await cluster?.stopNodes();
  await cluster?.stop();
  cluster = null;
  rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
});

const SCHEMA = `
  CREATE TABLE t (id INTEGER PRIMARY KEY, n, twice AS (times(n)) STORED);
  CREATE INDEX tn ON t(times(n));
  CREATE TABLE w (k TEXT COLLATE backwards PRIMARY KEY) WITHOUT ROWID`;

describe.skipIf(trouble !== null)(`a cluster with extensions${skipped}`, () => {
  const both = () => ["--extension", `${pure}#deterministic`, "--extension", wild];

  test("writes, fails over, takes in a node, is verified, exported and dumped", async () => {
    cluster = await TestCluster.start({ args: both() });
    await cluster.ready();
    const db = cluster.connect();
    await db.exec(SCHEMA);
    await db.prepare("INSERT INTO t(n) SELECT value FROM upto(200)").run();
    await db.prepare("INSERT INTO w SELECT 'k' || n FROM t").run();
    await expect(db.prepare("INSERT INTO t(n) VALUES (wild_times(1))").run()).rejects.toMatchObject(
      {
        code: "REFUSED",
        message: expect.stringMatching(/wild_times\(\) of the extension wild/),
      },
    );
    const read = "SELECT wild_times(twice) AS x FROM t WHERE times(n) = 40";
    for (const { id } of cluster.nodes) {
      expect(await cluster.connectTo(id).prepare(read).get()).toEqual({ x: 80 });
    }
    const killed = await cluster.killLeader();
    await db.prepare("UPDATE t SET n = n + 1 WHERE times(n) > 300").run();
    killed.start();
    const added = await cluster.add();
    await cluster.caughtUp();
    expect(await cluster.connectTo(added.id).prepare(read).get()).toEqual({ x: 80 });
    const endpoints = ["--endpoints", cluster.endpoints.join(",")];
    const verified = await balsa("verify", ...endpoints);
    expect(verified, verified.err).toMatchObject({ code: 0 });
    const [plain, failed] = [join(home, "plain.db"), join(home, "failed.db")];
    const exported = await balsa("export", plain, "--compact", ...endpoints, ...both());
    expect(exported, exported.err).toMatchObject({ code: 0 });
    const without = await balsa("export", failed, ...endpoints);
    expect(without).toMatchObject({
      code: 2,
      err: expect.stringMatching(/backwards.*--extension/),
    });
    const dumped = await balsa("dump", ...endpoints, ...both());
    expect(dumped.out).toContain("CREATE INDEX tn ON t(times(n))");
    await cluster.stopNodes();
    const extensions = readExtensions([{ path: pure }, { path: wild }]);
    const contents = cluster.nodes.map(
      ({ dir }) => readFileContent(join(dir, "main.db"), extensions).digest,
    );
    expect(new Set(contents).size).toBe(1);
    expect(readFileContent(plain, extensions).digest).toBe(contents[0]);
  });

  test("hears no node that has another set, says what differs, and goes on", async () => {
    cluster = await TestCluster.start({ args: ["--extension", `${pure}#deterministic`] });
    const leader = await cluster.ready();
    const db = cluster.connect();
    await db.exec(SCHEMA);
    const other = cluster.nodes.find(({ id }) => id !== leader.id) as NodeProcess;
    await other.stop();
    const { options } = other;
    const logFile = join(home, "other.log");
    const undeclared = new NodeProcess({ ...options, logFile, args: ["--extension", pure] });
    undeclared.start();
    try {
      const differs = /pure is declared otherwise there \(here (\w+), there (\w+)\)/;
      await until(
        () => differs.test(undeclared.lastWords(50)) && differs.test(leader.lastWords(50)),
        () => `${undeclared.lastWords(50)}\n${leader.lastWords(50)}`,
      );
      expect(differs.exec(undeclared.lastWords(50))?.[1]).toBe("undeclared");
      expect(differs.exec(leader.lastWords(50))?.[1]).toBe("deterministic");
      await db.prepare("INSERT INTO t(n) VALUES (1)").run();
    } finally {
      await undeclared.kill();
    }
    other.start();
    await cluster.caughtUp();
  });

  test("begins with a file that needs one", async () => {
    const places = [1, 2, 3].flatMap((id) => [
      "--node",
      `${id}=${join(home, "data", `node${id}`)}`,
    ]);
    const file = join(home, "file.db");
    const maker = await TestCluster.start({ nodes: 1, args: both() });
    try {
      await maker.ready();
      await maker.connect().exec(`${SCHEMA}; INSERT INTO t(n) VALUES (1), (2)`);
      const from = ["--endpoints", maker.endpoints.join(","), ...both()];
      expect((await balsa("export", file, ...from)).code).toBe(0);
    } finally {
      await maker.stop();
    }
    const refused = await balsa("import", file, ...places);
    expect(refused).toMatchObject({ code: 1, err: expect.stringMatching(/cannot be imported/) });
    const imported = await balsa("import", file, ...places, ...both());
    expect(imported, imported.err).toMatchObject({ code: 0 });
    cluster = await TestCluster.start({ dir: join(home, "data"), args: both() });
    await cluster.ready();
    await cluster.connect().prepare("INSERT INTO t(n) VALUES (3)").run();
    const sum = await cluster.connect().prepare("SELECT sum(twice) AS s FROM t").get();
    expect(sum).toEqual({ s: 12 });
  });
});

describe.skipIf(trouble !== null)(`a node that cannot have an extension${skipped}`, () => {
  async function serve(...flags: readonly string[]) {
    const listen = `127.0.0.1:${await freePorts(1)}`;
    const own = ["--id", "1", "--dir", join(home, "node"), "--listen", listen];
    return balsa("serve", ...own, "--peers", `1=${listen}`, ...flags);
  }

  test("does not start, and says why", async () => {
    const missing = await serve("--extension", join(home, "missing.so"));
    expect(missing).toMatchObject({ code: 2, err: expect.stringMatching(/there is no file/) });
    const hash = await serve("--extension", `${pure}#sha256=${"0".repeat(64)}`);
    expect(hash).toMatchObject({
      code: 2,
      err: expect.stringMatching(/has the SHA-256 [0-9a-f]{64}, not 0{64}/),
    });
    const syntax = await serve("--extension", `${pure}#determined`);
    expect(syntax).toMatchObject({ code: 2, err: expect.stringMatching(/"determined".*none of/) });
    writeFileSync(join(home, "text.so"), "no library");
    const text = await serve("--extension", join(home, "text.so"));
    expect(text).toMatchObject({
      code: 2,
      err: expect.stringMatching(/extension text cannot be loaded/),
    });
    const crashing = compileExtension(home, "crashing", "CRASHES");
    const crash = await serve("--extension", crashing);
    expect(crash).toMatchObject({
      code: 2,
      err: expect.stringMatching(/extension crashing cannot be used: .*SIG/),
    });
    const taker = compileExtension(home, "taker", 'TAKES="random"', "TAKES_COUNT=0");
    const taken = await serve("--extension", `${taker}#deterministic`);
    expect(taken).toMatchObject({ code: 2, err: expect.stringMatching(/replaces random\(\)/) });
  });
});

test.skipIf(trouble !== null)(
  `balsa cluster takes extensions, from the variable too${skipped}`,
  async () => {
    copyFileSync(wild, join(home, "b.so"));
    const port = await freePorts(1);
    process.env.BALSA_EXTENSIONS = `${pure}#deterministic:${join(home, "b.so")}`;
    try {
      const dir = ["--dir", join(home, "dev"), "--nodes", "1", "--port", `${port}`];
      const command = new RunningCommand(["cluster", ...dir]);
      await command.prints(/node 1 leads in term/);
      const sql = "SELECT times(4) AS a, wild_times(5) AS b";
      const asked = await balsa("sql", sql, "--json", "--endpoints", `127.0.0.1:${port}`);
      expect(asked.out.trim()).toBe('{"a":8,"b":10}');
      command.child.kill("SIGTERM");
      await command.ended;
    } finally {
      delete process.env.BALSA_EXTENSIONS;
    }
  },
);
