/**
 * Raft's messages as balsa.v1.RaftMessages, by hand: this is the path of every write. Payloads of decoded entries are
 * views into the received bytes, never copies. It judges shapes only, never who sent a message or whether it is true.
 */

import type { Entry, EntryKind } from "../raft/entry.ts";
import type { Message, MessageKind } from "../raft/message.ts";
import { BalsaError } from "../sql/errors.ts";
import { unreachable } from "../sql/invariant.ts";
import {
  bytesFieldSize,
  ProtobufReader,
  ProtobufWriter,
  uintFieldSize,
  WIRE_BYTES,
  WIRE_VARINT,
} from "./protobuf-bytes.ts";

/** RaftMessage.kind; numbers are never reused. */
export const MESSAGE_KIND_NUMBERS: Record<MessageKind, number> = {
  AppendEntries: 1,
  AppendEntriesResult: 2,
  Heartbeat: 3,
  HeartbeatResult: 4,
  RequestVote: 5,
  RequestVoteResult: 6,
  ReadIndex: 7,
  ReadIndexResult: 8,
  TimeoutNow: 9,
  InstallSnapshot: 10,
};

/** LogEntry.kind. */
const ENTRY_KIND_NUMBERS: Record<EntryKind, number> = { command: 0, noop: 1, configuration: 2 };
const ENTRY_KINDS: readonly EntryKind[] = ["command", "noop", "configuration"];

export interface RaftBatch {
  /** Which database; 0 is main. */
  readonly group: number;
  readonly messages: readonly Message[];
  /** The sender's wall clock, ms since 1970. */
  readonly clockMs: number;
}

const NO_ENTRIES: readonly Entry[] = [];
const NO_PAYLOAD: Uint8Array = Buffer.alloc(0);

/** The fields of RaftMessage, flat: one shape for all kinds keeps the hot path monomorphic. */
class Fields {
  kind = 0;
  from = 0;
  to = 0;
  term = 0;
  index = 0;
  logTerm = 0;
  commit = 0;
  hintIndex = 0;
  hintTerm = 0;
  context = 0;
  rejected = false;
  preVote = false;
  transfer = false;
  entries: readonly Entry[] = NO_ENTRIES;
}

function toFields(message: Message): Fields {
  const fields = new Fields();
  fields.kind = MESSAGE_KIND_NUMBERS[message.kind];
  fields.from = message.from;
  fields.to = message.to;
  fields.term = message.term;
  switch (message.kind) {
    case "AppendEntries":
      fields.index = message.prevLogIndex;
      fields.logTerm = message.prevLogTerm;
      fields.commit = message.leaderCommit;
      fields.entries = message.entries;
      return fields;
    case "AppendEntriesResult":
      fields.index = message.index;
      fields.rejected = message.rejected;
      fields.hintIndex = message.hintIndex;
      fields.hintTerm = message.hintTerm;
      return fields;
    case "Heartbeat":
      fields.commit = message.leaderCommit;
      fields.context = message.readPosition;
      return fields;
    case "HeartbeatResult":
      fields.context = message.readPosition;
      return fields;
    case "RequestVote":
      fields.preVote = message.preVote;
      fields.index = message.lastLogIndex;
      fields.logTerm = message.lastLogTerm;
      fields.transfer = message.transfer;
      return fields;
    case "RequestVoteResult":
      fields.preVote = message.preVote;
      fields.rejected = message.rejected;
      return fields;
    case "ReadIndex":
      fields.context = message.context;
      return fields;
    case "ReadIndexResult":
      fields.context = message.context;
      fields.index = message.index;
      return fields;
    case "TimeoutNow":
      return fields;
    case "InstallSnapshot":
      fields.index = message.lastIncludedIndex;
      fields.logTerm = message.lastIncludedTerm;
      return fields;
    default:
      return unreachable(message);
  }
}

function fromFields(fields: Fields): Message {
  const { from, to, term, index, logTerm, context } = fields;
  const { preVote, rejected } = fields;
  switch (fields.kind) {
    case MESSAGE_KIND_NUMBERS.AppendEntries: {
      const { entries, commit: leaderCommit } = fields;
      const [prevLogIndex, prevLogTerm] = [index, logTerm];
      const kind = "AppendEntries";
      return { kind, from, to, term, prevLogIndex, prevLogTerm, entries, leaderCommit };
    }
    case MESSAGE_KIND_NUMBERS.AppendEntriesResult: {
      const { hintIndex, hintTerm } = fields;
      return { kind: "AppendEntriesResult", from, to, term, index, rejected, hintIndex, hintTerm };
    }
    case MESSAGE_KIND_NUMBERS.Heartbeat: {
      const leaderCommit = fields.commit;
      return { kind: "Heartbeat", from, to, term, leaderCommit, readPosition: context };
    }
    case MESSAGE_KIND_NUMBERS.HeartbeatResult:
      return { kind: "HeartbeatResult", from, to, term, readPosition: context };
    case MESSAGE_KIND_NUMBERS.RequestVote: {
      const { transfer } = fields;
      const [lastLogIndex, lastLogTerm] = [index, logTerm];
      return { kind: "RequestVote", from, to, term, preVote, lastLogIndex, lastLogTerm, transfer };
    }
    case MESSAGE_KIND_NUMBERS.RequestVoteResult:
      return { kind: "RequestVoteResult", from, to, term, preVote, rejected };
    case MESSAGE_KIND_NUMBERS.ReadIndex:
      return { kind: "ReadIndex", from, to, term, context };
    case MESSAGE_KIND_NUMBERS.ReadIndexResult:
      return { kind: "ReadIndexResult", from, to, term, context, index };
    case MESSAGE_KIND_NUMBERS.TimeoutNow:
      return { kind: "TimeoutNow", from, to, term };
    case MESSAGE_KIND_NUMBERS.InstallSnapshot: {
      const [lastIncludedIndex, lastIncludedTerm] = [index, logTerm];
      return { kind: "InstallSnapshot", from, to, term, lastIncludedIndex, lastIncludedTerm };
    }
    default:
      throw new BalsaError("PROTOCOL", `unknown Raft message kind ${fields.kind}`);
  }
}

// --- encoding --------------------------------------------------------------------------------------------------

function entrySize(entry: Entry): number {
  const { length } = entry.payload;
  return (
    uintFieldSize(entry.index) +
    uintFieldSize(entry.term) +
    uintFieldSize(ENTRY_KIND_NUMBERS[entry.kind]) +
    (length === 0 ? 0 : bytesFieldSize(length))
  );
}

function writeEntry(writer: ProtobufWriter, entry: Entry): void {
  writer.uintField(1, entry.index);
  writer.uintField(2, entry.term);
  writer.uintField(3, ENTRY_KIND_NUMBERS[entry.kind]);
  if (entry.payload.length === 0) return;
  writer.bytesHeader(4, entry.payload.length);
  writer.raw(entry.payload);
}

function fieldsSize(fields: Fields): number {
  let size =
    uintFieldSize(fields.kind) +
    uintFieldSize(fields.from) +
    uintFieldSize(fields.to) +
    uintFieldSize(fields.term) +
    uintFieldSize(fields.index) +
    uintFieldSize(fields.logTerm) +
    uintFieldSize(fields.commit) +
    uintFieldSize(fields.hintIndex) +
    uintFieldSize(fields.hintTerm) +
    uintFieldSize(fields.context);
  if (fields.rejected) size += 2;
  if (fields.preVote) size += 2;
  if (fields.transfer) size += 2;
  for (const entry of fields.entries) size += bytesFieldSize(entrySize(entry));
  return size;
}

function writeFields(writer: ProtobufWriter, fields: Fields): void {
  writer.uintField(1, fields.kind);
  writer.uintField(2, fields.from);
  writer.uintField(3, fields.to);
  writer.uintField(4, fields.term);
  writer.uintField(5, fields.index);
  writer.uintField(6, fields.logTerm);
  writer.uintField(7, fields.commit);
  writer.uintField(8, fields.hintIndex);
  writer.uintField(9, fields.hintTerm);
  writer.uintField(10, fields.context);
  writer.boolField(11, fields.rejected);
  writer.boolField(12, fields.preVote);
  writer.boolField(13, fields.transfer);
  for (const entry of fields.entries) {
    writer.bytesHeader(14, entrySize(entry));
    writeEntry(writer, entry);
  }
}

/** A batch whose size is known, ready to be written behind whatever frames it. */
export interface MeasuredBatch {
  readonly size: number;
  /** How many messages it holds. */
  readonly count: number;
  write(writer: ProtobufWriter): void;
}

/**
 * Cuts messages into batches of at most `maxBytes`, each at least one message: a single message may be larger.
 */
export function measureRaftBatches(
  messages: readonly Message[],
  clockMs: number,
  maxBytes: number,
): MeasuredBatch[] {
  const batches: MeasuredBatch[] = [];
  const base = uintFieldSize(clockMs);
  let gathered: Fields[] = [];
  let sizes: number[] = [];
  let size = base;
  for (const message of messages) {
    const fields = toFields(message);
    const own = fieldsSize(fields);
    const framed = bytesFieldSize(own);
    if (gathered.length > 0 && size + framed > maxBytes) {
      batches.push(measured(gathered, sizes, clockMs, size));
      gathered = [];
      sizes = [];
      size = base;
    }
    gathered.push(fields);
    sizes.push(own);
    size += framed;
  }
  if (gathered.length > 0) batches.push(measured(gathered, sizes, clockMs, size));
  return batches;
}

function measured(
  gathered: readonly Fields[],
  sizes: readonly number[],
  clockMs: number,
  size: number,
): MeasuredBatch {
  const write = (writer: ProtobufWriter): void => {
    gathered.forEach((fields, at) => {
      writer.bytesHeader(2, sizes[at] ?? 0);
      writeFields(writer, fields);
    });
    writer.uintField(3, clockMs);
  };
  return { size, count: gathered.length, write };
}

// --- decoding --------------------------------------------------------------------------------------------------

function readEntry(reader: ProtobufReader): Entry {
  let index = 0;
  let term = 0;
  let kindNumber = 0;
  let payload: Uint8Array = NO_PAYLOAD;
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === ((1 << 3) | WIRE_VARINT)) index = reader.varint();
    else if (tag === ((2 << 3) | WIRE_VARINT)) term = reader.varint();
    else if (tag === ((3 << 3) | WIRE_VARINT)) kindNumber = reader.varint();
    else if (tag === ((4 << 3) | WIRE_BYTES)) payload = reader.bytes();
    else reader.skip(tag & 7);
  }
  const kind = ENTRY_KINDS[kindNumber];
  if (kind === undefined) {
    throw new BalsaError("PROTOCOL", `unknown kind ${kindNumber} of log entry ${index}`);
  }
  return { index, term, kind, payload };
}

function readNumber(fields: Fields, field: number, value: number): void {
  if (field === 1) fields.kind = value;
  else if (field === 2) fields.from = value;
  else if (field === 3) fields.to = value;
  else if (field === 4) fields.term = value;
  else if (field === 5) fields.index = value;
  else if (field === 6) fields.logTerm = value;
  else if (field === 7) fields.commit = value;
  else if (field === 8) fields.hintIndex = value;
  else if (field === 9) fields.hintTerm = value;
  else if (field === 10) fields.context = value;
  else if (field === 11) fields.rejected = value !== 0;
  else if (field === 12) fields.preVote = value !== 0;
  else if (field === 13) fields.transfer = value !== 0;
}

const LAST_NUMBER_FIELD = 13;
const ENTRIES_FIELD = 14;

function readMessage(reader: ProtobufReader): Message {
  const fields = new Fields();
  let entries: Entry[] | null = null;
  while (!reader.done) {
    const tag = reader.varint();
    const field = tag >>> 3;
    const wireType = tag & 7;
    if (wireType === WIRE_VARINT && field <= LAST_NUMBER_FIELD) {
      readNumber(fields, field, reader.varint());
    } else if (wireType === WIRE_BYTES && field === ENTRIES_FIELD) {
      entries ??= [];
      entries.push(readEntry(reader.message()));
    } else {
      reader.skip(wireType);
    }
  }
  if (entries !== null) fields.entries = entries;
  return fromFields(fields);
}

/** Throws BalsaError PROTOCOL on anything that is not a RaftMessages of this version. */
export function readRaftBatch(reader: ProtobufReader): RaftBatch {
  let group = 0;
  let clockMs = 0;
  const messages: Message[] = [];
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === ((2 << 3) | WIRE_BYTES)) messages.push(readMessage(reader.message()));
    else if (tag === ((1 << 3) | WIRE_VARINT)) group = reader.varint();
    else if (tag === ((3 << 3) | WIRE_VARINT)) clockMs = reader.varint();
    else reader.skip(tag & 7);
  }
  return { group, messages, clockMs };
}

/** One RaftMessages by itself. */
export function encodeRaftBatch(messages: readonly Message[], clockMs: number): Buffer {
  const [batch] = measureRaftBatches(messages, clockMs, Number.POSITIVE_INFINITY);
  const buffer = Buffer.allocUnsafe(batch?.size ?? 0);
  batch?.write(new ProtobufWriter(buffer));
  return buffer;
}

export function decodeRaftBatch(bytes: Uint8Array): RaftBatch {
  return readRaftBatch(new ProtobufReader(bytes));
}
