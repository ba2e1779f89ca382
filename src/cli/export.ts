/**
 * `balsa export`: a plain SQLite file with the users' data of a cluster as of one log index, while the cluster goes on. The
 * file appears under its name only when it is complete and checked; it replaces nothing unless told to.
 */

import { existsSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { readExtensions } from "../machine/extension-files.ts";
import { makePlain } from "../machine/plain-copy.ts";
import {
  type CopyOptions,
  demandNotStopped,
  removeDatabase,
  renameDurably,
  takeCopy,
  withInterrupt,
} from "./database-copy.ts";
import { CliError, EXIT, type ExitCode } from "./exit-code.ts";
import type { Output } from "./output.ts";

export interface ExportCommandOptions extends CopyOptions {
  readonly compact?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

export async function exportFile(
  target: string,
  options: ExportCommandOptions,
  output: Output,
): Promise<ExitCode> {
  const path = resolve(target);
  checkTarget(path, options.force === true);
  const extensions = readExtensions(options.extension ?? []);
  const part = `${path}.${process.pid}.part`;
  const compacted = options.compact === true ? `${part}.compact` : null;
  const copy = await withInterrupt(
    async (signal) => {
      const taken = await takeCopy(options, part, output, signal);
      output.err(compacted === null ? "checking the copy\n" : "checking and compacting the copy\n");
      makePlain(part, compacted, extensions);
      await demandNotStopped(signal);
      if (options.force === true) await removeLeftovers(path);
      else checkTarget(path, false);
      await renameDurably(compacted ?? part, path);
      return taken;
    },
    () => removeParts(part),
  );
  await removeParts(part);
  const { index, from } = copy;
  const bytes = statSync(path).size;
  if (options.json === true) output.out(`${JSON.stringify({ path, index, bytes, from })}\n`);
  else output.out(`${target}: the database of ${from} at log index ${index}, ${bytes} bytes\n`);
  return EXIT.ok;
}

/** @throws CliError when there is something that would be overwritten, or no place */
export function checkTarget(path: string, mayOverwrite: boolean): void {
  if (!existsSync(dirname(path))) {
    throw new CliError(EXIT.failed, `there is no directory ${dirname(path)}`);
  }
  if (mayOverwrite) {
    if (existsSync(path) && !statSync(path).isFile()) {
      throw new CliError(EXIT.failed, `${path} is no file`);
    }
    return;
  }
  // SQLite would take what another database has left for the new one's.
  for (const found of [path, `${path}-wal`, `${path}-journal`]) {
    if (!existsSync(found)) continue;
    throw new CliError(EXIT.failed, `${found} is there already; give another name, or --force`);
  }
}

async function removeLeftovers(path: string): Promise<void> {
  for (const suffix of ["-wal", "-shm", "-journal"]) await rm(path + suffix, { force: true });
}

async function removeParts(part: string): Promise<void> {
  await removeDatabase(part);
  await removeDatabase(`${part}.compact`);
}
