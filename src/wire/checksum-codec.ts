/**
 * The range checksums that a log entry holds, as balsa.v1.Checksum: which rows of which table, and what they came to on
 * the leader. Keys keep their kind and their exact bytes, also of text that is not valid UTF-8.
 */

import { type MessageReader, malformed } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";

/** A value as it is stored: INTEGER is a bigint, REAL a number, BLOB bytes; TEXT by its bytes. */
export type StoredValue = null | bigint | number | Uint8Array | { readonly text: Uint8Array };

export interface TableRange {
  /** `schema`: all of its text, the header's two numbers, and what Balsa itself counts; it has neither table nor key. */
  readonly kind: "rows" | "schema";
  readonly table: string;
  /** Key of the row behind which it begins; empty: at the first row. */
  readonly after: readonly StoredValue[];
  readonly rows: number;
  /** No row follows. */
  readonly isLast: boolean;
  readonly checksum: number;
  /** SQLite's code if the leader could not read it; empty otherwise. */
  readonly failed: string;
}

export interface LoggedChecksum {
  readonly ranges: readonly TableRange[];
  /** With it, everything has been read once. */
  readonly endsPass: boolean;
}

const KINDS = ["rows", "schema"] as const;

export function writeChecksum(target: MessageWriter, checksum: LoggedChecksum): void {
  for (const range of checksum.ranges) {
    const begin = target.beginMessage(1);
    target.uint(1, KINDS.indexOf(range.kind));
    target.string(2, range.table);
    for (const value of range.after) writeKeyValue(target, value);
    target.uint(4, range.rows);
    target.bool(5, range.isLast);
    target.fixed32(6, range.checksum);
    if (range.failed !== "") target.string(7, range.failed);
    target.endMessage(begin);
  }
  target.bool(2, checksum.endsPass);
}

function writeKeyValue(target: MessageWriter, value: StoredValue): void {
  const begin = target.beginMessage(3);
  if (typeof value === "bigint") target.int64(1, value);
  else if (typeof value === "number") target.double(2, value);
  else if (value instanceof Uint8Array) target.bytes(4, value);
  else if (value !== null) target.bytes(3, value.text);
  target.endMessage(begin);
}

export function readChecksum(reader: MessageReader): LoggedChecksum {
  const ranges: TableRange[] = [];
  let endsPass = false;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) {
      const outer = reader.enter();
      ranges.push(readRange(reader));
      reader.leave(outer);
    } else if (tag === 16) endsPass = reader.bool();
    else reader.skip(tag);
  }
  return { ranges, endsPass };
}

function readRange(reader: MessageReader): TableRange {
  let kind = 0;
  let table = "";
  const after: StoredValue[] = [];
  let rows = 0;
  let isLast = false;
  let checksum = 0;
  let failed = "";
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) kind = reader.uint32();
    else if (tag === 18) table = reader.string();
    else if (tag === 26) {
      const outer = reader.enter();
      after.push(readKeyValue(reader));
      reader.leave(outer);
    } else if (tag === 32) rows = reader.uint();
    else if (tag === 40) isLast = reader.bool();
    else if (tag === 53) checksum = reader.fixed32();
    else if (tag === 58) failed = reader.string();
    else reader.skip(tag);
  }
  const name = KINDS[kind];
  if (name === undefined) throw malformed(`a range of kind ${kind}`);
  return { kind: name, table, after, rows, isLast, checksum, failed };
}

function readKeyValue(reader: MessageReader): StoredValue {
  let value: StoredValue = null;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) value = reader.bigint64();
    else if (tag === 17) value = reader.double();
    else if (tag === 26) value = { text: Buffer.from(reader.bytes()) };
    else if (tag === 34) value = Buffer.from(reader.bytes());
    else reader.skip(tag);
  }
  return value;
}
