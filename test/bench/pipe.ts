/**
 * Round trips through the pipes of the machine, without SQLite's work in them: toy children answer at once. Prints
 * figures and asserts none: `npx tsx test/bench/pipe.ts`, after a build.
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openMachine, type ProcessMachine } from "../../src/machine/process-machine.ts";
import { job, SILENT, TOY } from "../machine/support/toy-processes.ts";

const SECONDS = 2;

type RoundTrip = (done: () => void) => void;

/** Keeps `callers` round trips under way for a while. */
function measure(
  callers: number,
  start: RoundTrip,
): Promise<{ perSecond: number; p50: number; p99: number }> {
  return new Promise((resolve) => {
    const took: number[] = [];
    const beganMs = performance.now();
    let underWay = callers;
    const next = (): void => {
      const sentMs = performance.now();
      start(() => {
        const nowMs = performance.now();
        took.push(nowMs - sentMs);
        if (nowMs - beganMs < SECONDS * 1_000) return next();
        underWay -= 1;
        if (underWay > 0) return;
        took.sort((a, b) => a - b);
        const at = (part: number): number => took[Math.floor(took.length * part)] ?? 0;
        const perSecond = (took.length * 1_000) / (nowMs - beganMs);
        resolve({ perSecond, p50: at(0.5), p99: at(0.99) });
      });
    };
    for (let n = 0; n < callers; n += 1) next();
  });
}

async function report(name: string, start: RoundTrip): Promise<void> {
  for (const callers of [1, 16, 64, 256]) {
    const { perSecond, p50, p99 } = await measure(callers, start);
    const rate = Math.round(perSecond).toLocaleString("en");
    console.log(
      `${name}, ${callers} callers: ${rate}/s, p50 ${p50.toFixed(3)} ms, p99 ${p99.toFixed(3)} ms`,
    );
  }
}

function pssMiB(pid: number): string {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return (Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0) / 1_024).toFixed(0);
}

/** From openWriter to ready, the old one being killed: with the process in reserve, and from cold. */
async function replacements(machine: ProcessMachine, old: { kill(): void }): Promise<void> {
  for (const name of ["reserve", "cold"]) {
    const beganMs = performance.now();
    await new Promise<void>((resolve) => {
      const ignore = (): void => undefined;
      const quiet = { executed: ignore, applied: ignore, committed: ignore, exited: ignore };
      const events = { ...quiet, checkpointed: ignore, settings: ignore, changed: ignore };
      const writer = machine.openWriter({ ...events, ready: () => resolve() });
      old.kill();
      old = writer;
    });
    console.log(`a writer replaced, ${name}: ${(performance.now() - beganMs).toFixed(0)} ms`);
  }
}

async function main(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "balsa-pipe-"));
  const machine = openMachine({ dir, logger: SILENT, command: TOY, readersMin: 2 });
  const waiting: (() => void)[] = [];
  let nextJob = 1;
  const writer = await new Promise<ReturnType<ProcessMachine["openWriter"]>>((resolve) => {
    const opened = machine.openWriter({
      ready: () => resolve(opened),
      executed: () => waiting.shift()?.(),
      applied: () => undefined,
      committed: () => undefined,
      checkpointed: () => undefined,
      changed: () => undefined,
      settings: () => undefined,
      exited: () => undefined,
    });
  });
  await report("writer", (done) => {
    waiting.push(done);
    writer.execute(job(nextJob++, ""));
  });
  const statement = Buffer.from("SELECT 1");
  const limits = { deadlineMs: 10_000, window: Number.POSITIVE_INFINITY };
  await report("two readers", (done) => {
    machine.readers.query(statement, limits, { chunk: () => done(), failed: () => done() });
  });
  const pids = { node: process.pid, writer: writer.pid, reserve: machine.reservePid };
  for (const [name, pid] of Object.entries(pids)) console.log(`PSS ${name}: ${pssMiB(pid)} MiB`);
  for (const pid of machine.readers.pids) console.log(`PSS reader: ${pssMiB(pid)} MiB`);
  await replacements(machine, writer);
  machine.readers.close(() => {
    rmSync(dir, { recursive: true });
    process.exit();
  });
}

await main();
