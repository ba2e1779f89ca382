/**
 * `balsa dump`: all data as SQL, from a consistent copy that it makes first, to standard output or a file. A file appears
 * under its name only when it is complete.
 */

import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { readExtensions } from "../machine/extension-files.ts";
import { makePlain } from "../machine/plain-copy.ts";
import { dumpDatabase } from "../machine/sql-dump.ts";
import { type CopyOptions, renameDurably, takeCopy, withInterrupt } from "./database-copy.ts";
import { EXIT, type ExitCode } from "./exit-code.ts";
import { checkTarget } from "./export.ts";
import type { Output } from "./output.ts";

export interface DumpOptions extends CopyOptions {
  readonly force?: boolean;
}

const STANDARD_OUTPUT = "-";

export async function dumpSql(
  target: string,
  options: DumpOptions,
  output: Output,
): Promise<ExitCode> {
  const path = target === STANDARD_OUTPUT ? null : resolve(target);
  if (path !== null) checkTarget(path, options.force === true);
  const extensions = readExtensions(options.extension ?? []);
  // Beside the result, where there is room for one; else where temporary files go.
  const place = await mkdtemp(join(path === null ? tmpdir() : dirname(path), "balsa-dump-"));
  const remove = () => rm(place, { recursive: true, force: true });
  await withInterrupt(async (signal) => {
    const copy = join(place, "copy.db");
    const { index, from } = await takeCopy(options, copy, output, signal);
    makePlain(copy, null, extensions);
    const sql = Readable.from(dumpDatabase(copy, extensions));
    if (path === null) {
      await pipeline(sql, process.stdout, { signal, end: false });
    } else {
      const part = join(place, "dump.sql");
      await pipeline(sql, createWriteStream(part), { signal });
      if (options.force !== true) checkTarget(path, false);
      await renameDurably(part, path);
    }
    output.err(`the database of ${from} at log index ${index}\n`);
  }, remove);
  await remove();
  return EXIT.ok;
}
