/**
 * What a log entry of kind "command" holds, as balsa.v1.Command. The batch stays as it came from the client: its bytes
 * are never decoded and encoded anew.
 */

import { BalsaError } from "../sql/errors.ts";
import type { Setting } from "../sql/settings.ts";
import { type LoggedChecksum, readChecksum, writeChecksum } from "./checksum-codec.ts";
import { MessageReader } from "./message-reader.ts";
import { MessageWriter } from "./message-writer.ts";
import {
  type FailedStatement,
  type LoggedTransaction,
  readFailedStatement,
  readTransaction,
  writeFailedStatement,
  writeTransaction,
} from "./transaction-codec.ts";

/**
 * Of Command.version: the highest known here. 3 with a setting, a verdict or a checksum; 2 with a transaction or a batch that
 * goes on; else 1. What an older program would pass over needs a higher version: it must stop there, not skip.
 */
export const COMMAND_VERSION = 3;

/** What a majority found an entry to do whose leader's database was not what it should have been. */
export interface LoggedVerdict {
  readonly index: number;
  /** 0: the entry does nothing, and `detail` says why. */
  readonly digest: number;
  readonly detail: string;
}

export interface Command {
  /** Log time: milliseconds since 1970. */
  readonly timeMs: number;
  /** 32 bits each, unsigned. */
  readonly seedHigh: number;
  readonly seedLow: number;
  /** 0: none. */
  readonly session: number;
  readonly sequence: number;
  readonly acknowledgedThrough: number;
  /** Encoded balsa.v1.Batch; empty when openSession. */
  readonly batch: Uint8Array;
  readonly openSession: boolean;
  /** crc32 of what it did on the leader (D5). */
  readonly digest: number;
  /** Instead of a batch. */
  readonly transaction?: LoggedTransaction | undefined;
  /** Of a batch that goes on behind a failed statement. */
  readonly failed?: readonly FailedStatement[] | undefined;
  /** Instead of a batch: from here on the cluster has it so. */
  readonly setting?: Setting | undefined;
  /** Instead of a batch. */
  readonly checksum?: LoggedChecksum | undefined;
  /** Instead of a batch; its log time means nothing. */
  readonly verdict?: LoggedVerdict | undefined;
}

const NO_BATCH = Buffer.alloc(0);
const NONE_FAILED: readonly FailedStatement[] = [];
const writer = new MessageWriter();

export function encodeCommand(command: Command): Buffer {
  writer.start();
  const { transaction, failed, setting, verdict, checksum } = command;
  writer.uint(1, versionOf(command));
  writer.uint(2, command.timeMs);
  writer.fixed32(3, command.seedHigh);
  writer.fixed32(4, command.seedLow);
  writer.uint(5, command.session);
  writer.uint(6, command.sequence);
  writer.uint(7, command.acknowledgedThrough);
  const isOther = command.openSession || transaction !== undefined || setting !== undefined;
  const isBatch = !isOther && verdict === undefined && checksum === undefined;
  if (isBatch) writer.bytes(8, command.batch);
  writer.bool(9, command.openSession);
  writer.fixed32(10, command.digest);
  if (transaction !== undefined) {
    const begin = writer.beginMessage(11);
    writeTransaction(writer, transaction);
    writer.endMessage(begin);
  }
  for (const statement of failed ?? NONE_FAILED) {
    const begin = writer.beginMessage(12);
    writeFailedStatement(writer, statement);
    writer.endMessage(begin);
  }
  if (setting !== undefined) {
    const begin = writer.beginMessage(13);
    writer.string(1, setting.name);
    writer.string(2, setting.value);
    writer.endMessage(begin);
  }
  if (verdict !== undefined) writeVerdict(verdict);
  if (checksum !== undefined) {
    const begin = writer.beginMessage(15);
    writeChecksum(writer, checksum);
    writer.endMessage(begin);
  }
  return writer.finish();
}

function versionOf({ transaction, failed, setting, verdict, checksum }: Command): number {
  if (setting !== undefined || verdict !== undefined || checksum !== undefined) return 3;
  return transaction === undefined && failed === undefined ? 1 : 2;
}

function writeVerdict({ index, digest, detail }: LoggedVerdict): void {
  const begin = writer.beginMessage(14);
  writer.uint(1, index);
  writer.fixed32(2, digest);
  writer.string(3, detail);
  writer.endMessage(begin);
}

/** Null without the cost of decoding, for nearly all entries. @throws BalsaError PROTOCOL */
export function readVerdict(payload: Uint8Array): LoggedVerdict | null {
  const isOld = payload[0] === 8 && (payload[1] ?? 0) < 3;
  return isOld ? null : (decodeCommand(payload).verdict ?? null);
}

export function encodeVerdict(verdict: LoggedVerdict): Buffer {
  const { digest } = verdict;
  const nothing = { session: 0, sequence: 0, acknowledgedThrough: 0, seedHigh: 0, seedLow: 0 };
  const rest = { timeMs: 0, batch: NO_BATCH, openSession: false };
  return encodeCommand({ ...nothing, ...rest, digest, verdict });
}

/** @throws BalsaError PROTOCOL if it is malformed or of a version that this program does not know. */
export function decodeCommand(bytes: Uint8Array): Command {
  const reader = new MessageReader(bytes);
  let version = 0;
  let timeMs = 0;
  let seedHigh = 0;
  let seedLow = 0;
  let session = 0;
  let sequence = 0;
  let acknowledgedThrough = 0;
  let batch: Uint8Array = NO_BATCH;
  let openSession = false;
  let digest = 0;
  let transaction: LoggedTransaction | undefined;
  let failed: FailedStatement[] | undefined;
  let setting: Setting | undefined;
  let checksum: LoggedChecksum | undefined;
  let verdict: LoggedVerdict | undefined;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) version = reader.uint32();
    else if (tag === 16) timeMs = reader.uint();
    else if (tag === 29) seedHigh = reader.fixed32();
    else if (tag === 37) seedLow = reader.fixed32();
    else if (tag === 40) session = reader.uint();
    else if (tag === 48) sequence = reader.uint();
    else if (tag === 56) acknowledgedThrough = reader.uint();
    else if (tag === 66) batch = reader.bytes();
    else if (tag === 72) openSession = reader.bool();
    else if (tag === 85) digest = reader.fixed32();
    else if (tag === 90) transaction = inside(reader, readTransaction);
    else if (tag === 98) {
      failed ??= [];
      failed.push(inside(reader, readFailedStatement));
    } else if (tag === 106) setting = inside(reader, readSetting);
    else if (tag === 114) verdict = inside(reader, readLoggedVerdict);
    else if (tag === 122) checksum = inside(reader, readChecksum);
    else reader.skip(tag);
  }
  if (version < 1 || version > COMMAND_VERSION) {
    const message =
      `a log entry of version ${version}; this program knows 1 to ${COMMAND_VERSION}: ` +
      "start this node with the newer program that the others run";
    throw new BalsaError("PROTOCOL", message);
  }
  return {
    timeMs,
    seedHigh,
    seedLow,
    session,
    sequence,
    acknowledgedThrough,
    batch,
    openSession,
    digest,
    transaction,
    failed: version === 1 ? undefined : (failed ?? []),
    setting,
    verdict,
    checksum,
  };
}

function readSetting(reader: MessageReader): Setting {
  let [name, value] = ["", ""];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) name = reader.string();
    else if (tag === 18) value = reader.string();
    else reader.skip(tag);
  }
  return { name, value };
}

function readLoggedVerdict(reader: MessageReader): LoggedVerdict {
  let [index, digest] = [0, 0];
  let detail = "";
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) index = reader.uint();
    else if (tag === 21) digest = reader.fixed32();
    else if (tag === 26) detail = reader.string();
    else reader.skip(tag);
  }
  return { index, digest, detail };
}

function inside<T>(reader: MessageReader, read: (reader: MessageReader) => T): T {
  const outer = reader.enter();
  const message = read(reader);
  reader.leave(outer);
  return message;
}
