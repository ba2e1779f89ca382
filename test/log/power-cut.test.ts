/**
 * The log on real files, its process killed and the power cut: what it told to be durable is there. The simulated disk shows
 * every moment; this shows that the real one asks the kernel for what it promises.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { NodeDisk } from "../../src/log/node-disk.ts";
import { openLogNow } from "../../src/log/open-log.ts";
import type { SegmentedLog } from "../../src/log/segmented-log.ts";
import { PowerCut, whyNoPowerCut } from "../support/power-cut.ts";

const reason = whyNoPowerCut();
const name = `a power cut${reason === null ? "" : ` (skipped: ${reason})`}`;
const SOURCE = new URL("../../src/log/", import.meta.url).href;

/** Runs `program` with a log open at ROOT/a/log; it ends by a kill when it calls `die()`. Gives what it printed. */
function run(root: string, cut: PowerCut, durability: string, program: string): string {
  const code = `
    import { NodeDisk } from "${SOURCE}node-disk.ts";
    import { openLogNow } from "${SOURCE}open-log.ts";
    const disk = new NodeDisk({ durability: "${durability}" });
    const dir = process.env.ROOT + "/a/log";
    const log = openLogNow({ dir, nodeId: 1, disk, segmentBytes: 4096 });
    const entry = (index) => ({ index, term: 1, kind: "command", payload: Buffer.alloc(700, index) });
    const die = () => process.kill(process.pid, "SIGKILL");
    ${program}
  `;
  const result = spawnSync(
    process.execPath,
    ["--import=tsx", "--input-type=module", "--eval", code],
    {
      env: { ...process.env, ...cut.environment(), ROOT: root },
      encoding: "utf8",
      timeout: 60_000,
    },
  );
  if (result.signal !== "SIGKILL") throw new Error(`the program failed: ${result.stderr}`);
  return result.stdout;
}

describe.skipIf(reason !== null)(name, { timeout: 60_000 }, () => {
  function begin(): { root: string; cut: PowerCut } {
    const parent = realpathSync(mkdtempSync(join(tmpdir(), "balsa-log-cut-")));
    const root = join(parent, "root");
    mkdirSync(root);
    const cut = new PowerCut(root, { realSync: false });
    onTestFinished(async () => {
      // A log prepares its next segment in the background: not in a directory that is gone.
      await Promise.all(
        opened.splice(0).map((log) => new Promise<void>((done) => log.close(done))),
      );
      cut.dispose();
      rmSync(parent, { recursive: true, force: true });
    });
    return { root, cut };
  }

  const opened: SegmentedLog[] = [];
  const reopen = (root: string): SegmentedLog => {
    const dir = join(root, "a", "log");
    const log = openLogNow({ dir, nodeId: 1, disk: new NodeDisk(), segmentBytes: 4096 });
    opened.push(log);
    return log;
  };

  test.each(["dsync", "fdatasync"])("F1: leaves what was told to be durable (%s)", (durability) => {
    const { root, cut } = begin();
    run(
      root,
      cut,
      durability,
      // Enough for several segments, so that prepared ones are used as well.
      `const next = (index) => {
         if (index > 12) die();
         log.append({ currentTerm: 1, votedFor: 1, commitIndex: 0 }, [entry(index)], () => next(index + 1));
       };
       next(1);`,
    );
    cut.rewind();
    const log = reopen(root);
    expect(log.lastIndex()).toBe(12);
    expect(log.hardState.currentTerm).toBe(1);
    expect(log.entries(12, 13, 1e9)[0]?.payload[0]).toBe(12);
  });

  test.each(["dsync", "fdatasync"])("F1: leaves the identity that was told (%s)", (durability) => {
    const { root, cut } = begin();
    run(
      root,
      cut,
      durability,
      `const formed = { clusterId: "c".repeat(32), phase: "formed", members: [1, 2, 3] };
       log.setIdentity({ ...log.identity, ...formed }, die);`,
    );
    cut.rewind();
    expect(reopen(root).identity).toMatchObject({ phase: "formed", members: [1, 2, 3] });
  });

  test("F1: leaves the identity that a first start made", () => {
    const { root, cut } = begin();
    const told = run(
      root,
      cut,
      "fdatasync",
      "console.log(log.identity.incarnation); setImmediate(die);",
    );
    cut.rewind();
    expect(`${reopen(root).identity.incarnation}\n`).toBe(told);
  });

  test("F1: leaves what a start found, also what a killed process had only in the page cache", () => {
    const { root, cut } = begin();
    run(root, cut, "fdatasync", "die();");
    cut.rewind();
    const { incarnation } = reopen(root).identity;
    run(root, cut, "fdatasync", "console.log(log.identity.incarnation); setImmediate(die);");
    cut.rewind();
    expect(reopen(root).identity.incarnation).toBe(incarnation);
  });
});
