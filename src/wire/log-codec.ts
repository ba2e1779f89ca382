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
 * Of Command.version: the highest known here. 3 with a setting or a checksum; 2 with a transaction or a batch that goes on;
 * else 1. What an older program would pass over needs a higher version: it must stop there, not skip.
 */
export const COMMAND_VERSION = 3;

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
}

const NO_BATCH = Buffer.alloc(0);
const writer = new MessageWriter();

export function encodeCommand(command: Command): Buffer {
  writer.start();
  const { transaction, failed, setting, checksum } = command;
  writer.uint(1, versionOf(command));
  writer.uint(2, command.timeMs);
  writer.fixed32(3, command.seedHigh);
  writer.fixed32(4, command.seedLow);
  writer.uint(5, command.session);
  writer.uint(6, command.sequence);
  writer.uint(7, command.acknowledgedThrough);
  const isOther = transaction !== undefined || setting !== undefined || checksum !== undefined;
  const isBatch = !command.openSession && !isOther;
  if (isBatch) writer.bytes(8, command.batch);
  writer.bool(9, command.openSession);
  writer.fixed32(10, command.digest);
  if (transaction !== undefined) {
    const begin = writer.beginMessage(11);
    writeTransaction(writer, transaction);
    writer.endMessage(begin);
  }
  for (const statement of failed ?? []) {
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
  if (checksum !== undefined) {
    const begin = writer.beginMessage(15);
    writeChecksum(writer, checksum);
    writer.endMessage(begin);
  }
  return writer.finish();
}

function versionOf({ transaction, failed, setting, checksum }: Command): number {
  if (setting !== undefined || checksum !== undefined) return 3;
  return transaction === undefined && failed === undefined ? 1 : 2;
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
  const failed: FailedStatement[] = [];
  let setting: Setting | undefined;
  let checksum: LoggedChecksum | undefined;
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
    else if (tag === 98) failed.push(inside(reader, readFailedStatement));
    else if (tag === 106) setting = inside(reader, readSetting);
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
    failed: version === 1 ? undefined : failed,
    setting,
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

function inside<T>(reader: MessageReader, read: (reader: MessageReader) => T): T {
  const outer = reader.enter();
  const message = read(reader);
  reader.leave(outer);
  return message;
}
