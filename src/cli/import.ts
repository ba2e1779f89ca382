/**
 * `balsa import`: prepares the empty directories of a new cluster's first nodes with an existing SQLite file, before their
 * first start. All of them or none; it touches no directory that holds anything, and no running node.
 */

import { existsSync, readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { seedLog } from "../log/seed-log.ts";
import { DirectoryLock } from "../machine/directory-lock.ts";
import { readExtensions } from "../machine/extension-files.ts";
import { learnNames } from "../machine/extension-names.ts";
import { copySeed, finishSeed, judgeSeed } from "../machine/seed-file.ts";
import type { ExtensionOptions, KnownExtension } from "../sql/extension.ts";
import { prepareDirectory } from "./data-directory.ts";
import { demandNotStopped, Progress, renameDurably, withInterrupt } from "./database-copy.ts";
import { CliError, EXIT, type ExitCode } from "./exit-code.ts";
import type { Output } from "./output.ts";

export interface ImportOptions {
  /** Data directories by node id. */
  readonly node: ReadonlyMap<number, string>;
  /** Of SQLite, that the file needs; the nodes are to be started with the same. */
  readonly extension?: readonly ExtensionOptions[];
}

/** What the file counts as in the log: whoever has not got it needs a snapshot. */
const SEED_ENTRY = { index: 1, term: 1 };

export async function importFile(
  file: string,
  { node, extension = [] }: ImportOptions,
  output: Output,
): Promise<ExitCode> {
  const extensions = readExtensions(extension).map(learnNames);
  const places = [...node].map(([id, dir]) => ({ id, dir: resolve(dir) }));
  for (const { dir } of places) demandEmpty(dir);
  const begun: string[] = [];
  const digest = await withInterrupt(
    async (signal) => {
      const locks: DirectoryLock[] = [];
      try {
        for (const { dir } of places) {
          prepareDirectory(dir);
          begun.push(dir);
          locks.push(DirectoryLock.take(dir));
        }
        return await fill({ file: resolve(file), places, extensions }, output, signal);
      } finally {
        for (const lock of locks) lock.release();
      }
    },
    async () => {
      for (const dir of begun) await empty(dir);
    },
  );
  for (const { id, dir } of places) output.out(`${dir}: node ${id} begins with ${file}\n`);
  output.out(`SHA-256 ${digest}\n`);
  return EXIT.ok;
}

async function fill(
  {
    file,
    places,
    extensions,
  }: {
    readonly file: string;
    readonly places: readonly { readonly id: number; readonly dir: string }[];
    readonly extensions: readonly KnownExtension[];
  },
  output: Output,
  signal: AbortSignal,
): Promise<string> {
  const copies = places.map(({ dir }) => join(dir, "import.db"));
  const progress = new Progress(output);
  const show = (done: number, total: number) => progress.show(done, total);
  const digest = await copySeed(file, copies, show, signal);
  output.err("checking the copy\n");
  // All copies are alike; the first is judged before Balsa's tables are in it.
  if (copies[0] !== undefined) judgeSeed(file, copies[0], extensions);
  await demandNotStopped(signal);
  for (const copy of copies) finishSeed(copy, SEED_ENTRY);
  for (const { id, dir } of places) {
    await demandNotStopped(signal);
    // The log last: without it no node starts on this database.
    await renameDurably(join(dir, "import.db"), join(dir, "main.db"));
    await seedLog(dir, id, digest, SEED_ENTRY);
  }
  return digest;
}

/** @throws CliError */
function demandEmpty(dir: string): void {
  if (!existsSync(dir)) return;
  const found = readdirSync(dir);
  if (found.length === 0) return;
  const message = `${dir} is not empty (${found[0]}): a file can only begin a new cluster; give an empty or a new directory`;
  throw new CliError(EXIT.failed, message);
}

/** It was empty when this command began, and locked since. */
async function empty(dir: string): Promise<void> {
  for (const name of readdirSync(dir)) await rm(join(dir, name), { recursive: true, force: true });
}
