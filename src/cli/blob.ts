/**
 * `balsa blob`: large values in, out, listed and removed, through the client library. A file that is made appears under its name
 * only when all of it is there.
 */

import { createReadStream, createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { type BlobInfo, connect, type Database } from "../client/index.ts";
import { withInterrupt } from "./database-copy.ts";
import { CliError, EXIT, type ExitCode } from "./exit-code.ts";
import { checkTarget } from "./export.ts";
import type { Output } from "./output.ts";
import { formatTable } from "./table.ts";

export interface BlobOptions {
  readonly endpoints: readonly string[];
  readonly deadlineMs: number;
}

const STANDARD = "-";

async function withDatabase<T>(
  { endpoints, deadlineMs }: BlobOptions,
  run: (db: Database) => Promise<T>,
): Promise<T> {
  const db = connect({ endpoints, deadlineMs });
  try {
    return await run(db);
  } finally {
    await db.close();
  }
}

const nothing = async (): Promise<void> => {};

export async function putBlob(
  name: string,
  file: string,
  options: BlobOptions & { readonly type?: string },
  output: Output,
): Promise<ExitCode> {
  const { type } = options;
  await withDatabase(options, (db) =>
    withInterrupt(async (signal) => {
      const source = file === STANDARD ? process.stdin : createReadStream(file);
      const given = type === undefined ? { signal } : { signal, type };
      const { id, size, sha256 } = await db.blob.write(name, source, given);
      output.out(`${name}: id ${id}, ${size} bytes, sha256 ${sha256}\n`);
    }, nothing),
  );
  return EXIT.ok;
}

export async function getBlob(
  name: string,
  file: string,
  options: BlobOptions & { readonly force?: boolean },
): Promise<ExitCode> {
  const path = file === STANDARD ? null : resolve(file);
  if (path !== null) checkTarget(path, options.force === true);
  const part = `${path}.part`;
  await withDatabase(options, (db) =>
    withInterrupt(
      async (signal) => {
        const bytes = db.blob.createReadStream(name);
        if (path === null) return pipeline(bytes, process.stdout, { signal, end: false });
        await pipeline(bytes, createWriteStream(part), { signal });
        await rename(part, path);
      },
      () => (path === null ? nothing() : rm(part, { force: true })),
    ),
  );
  return EXIT.ok;
}

export async function listBlobs(
  prefix: string | undefined,
  options: BlobOptions & { readonly json?: boolean },
  output: Output,
): Promise<ExitCode> {
  await withDatabase(options, async (db) => {
    const rows: string[][] = [];
    for await (const blob of db.blob.list(prefix === undefined ? {} : { prefix })) {
      if (options.json === true) output.out(`${JSON.stringify(blob)}\n`);
      else rows.push(cellsOf(blob));
    }
    if (options.json !== true) output.out(formatTable(COLUMNS, rows));
  });
  return EXIT.ok;
}

const COLUMNS = [
  { title: "id", align: "right" },
  { title: "bytes", align: "right" },
  { title: "written" },
  { title: "type" },
  { title: "name" },
] as const;

function cellsOf({ id, size, writtenAt, type, name }: BlobInfo): string[] {
  return [`${id}`, `${size}`, writtenAt.toISOString(), type ?? "", name];
}

export async function removeBlob(
  name: string,
  options: BlobOptions,
  output: Output,
): Promise<ExitCode> {
  await withDatabase(options, async (db) => {
    if (!(await db.blob.delete(name)))
      throw new CliError(EXIT.failed, `there is no blob "${name}"`);
    await db.blob.sweep();
    output.out(`${name} is removed; its space is used again in a minute\n`);
  });
  return EXIT.ok;
}
