/**
 * What travels between nodes: balsa.v1.PeerFrame behind a length.
 *
 * | offset | bytes | what                                             |
 * |--------|-------|--------------------------------------------------|
 * | 0      | 4     | length of what follows, big-endian               |
 * | 4      | n     | PeerFrame                                        |
 *
 * The dialer sends PEER_MAGIC once before its first frame, so that one port serves peers and gRPC. Only shapes are
 * judged here: who may say what is the transport's business.
 */

import { invariant } from "../sql/invariant.ts";
import { MessageReader, malformed } from "./message-reader.ts";
import { MessageWriter } from "./message-writer.ts";
import { type MeasuredBatch, type RaftBatch, readRaftBatch } from "./raft-codec.ts";
import { bytesFieldSize, SizedWriter, varintSize } from "./sized-writer.ts";

/** First on every connection that a node opens to another. Its first byte begins neither HTTP nor TLS. */
export const PEER_MAGIC: Buffer = Buffer.from("\0balsa\r\n", "latin1");

/** Of the frames below; nodes of different versions do not talk. */
export const PEER_VERSION = 1;

/** Bytes of the length in front of a frame. */
export const FRAME_HEADER_BYTES = 4;

/** Largest frame that is accepted: a log entry is below 8 MiB, and senders cut at 1 MB where they can. */
export const FRAME_BYTES_MAX = 16 * 1024 * 1024;

const PHASES = ["blank", "forming", "formed", "lost"] as const;
export type PeerPhase = (typeof PHASES)[number];

export interface Hello {
  readonly version: number;
  readonly id: number;
  /** Empty: blank. */
  readonly clusterId: string;
  readonly phase: PeerPhase;
  readonly members: readonly number[];
  readonly incarnation: string;
  /** SHA-256 of the file that its database was begun with, hex; empty: none. */
  readonly seed: string;
  /** Where clients reach it. */
  readonly address: string;
  /** Whom the sender believes to be talking to. */
  readonly to: number;
  /** Architecture and C library. */
  readonly machine: string;
  /** The SQLite in use. */
  readonly engine: string;
  /** Of two directories of one id the later one has the higher number; 0: a founder's, or not admitted yet. */
  readonly votesFrom: number;
  /** SQLite's extensions in use, a text for each. */
  readonly extensions: readonly string[];
  /** What it runs; empty: a program that does not tell. */
  readonly machineVersion: string;
}

export interface Form {
  readonly clusterId: string;
  readonly phase: "forming" | "formed";
  readonly members: readonly number[];
  /** To a node that was made a member. */
  readonly admission: { readonly incarnation: string; readonly votesFrom: number } | null;
}

export interface FormResult {
  readonly clusterId: string;
  readonly phase: PeerPhase;
  /** 0: not said. */
  readonly removedAt: number;
  /** As in the hello. */
  readonly votesFrom: number;
}

export const FINDING_KINDS = ["notYet", "agrees", "differs", "unknown"] as const;

/** What the sender's machine found a log entry to do. */
export interface Finding {
  readonly index: number;
  readonly term: number;
  readonly kind: (typeof FINDING_KINDS)[number];
  /** Of `differs`; 0: none, and `detail` says why. */
  readonly digest: number;
  readonly detail: string;
  /** The receiver's finding is asked for. */
  readonly asks: boolean;
}

export type PeerFrame =
  | { readonly kind: "hello"; readonly hello: Hello }
  | { readonly kind: "raft"; readonly batch: RaftBatch }
  | { readonly kind: "goodbye" }
  | { readonly kind: "form"; readonly form: Form }
  | { readonly kind: "formResult"; readonly result: FormResult }
  | { readonly kind: "ping"; readonly answer: boolean }
  | { readonly kind: "finding"; readonly finding: Finding }
  /** Of a later version; to be passed over. */
  | { readonly kind: "unknown" };

const HELLO = 1;
const RAFT = 2;
const GOODBYE = 3;
const FORM = 4;
const FORM_RESULT = 5;
const PING = 6;
const FINDING = 7;

// --- encoding: length and frame in one buffer ------------------------------------------------------------------

export function encodeRaftFrame(batch: MeasuredBatch): Buffer {
  return frame(RAFT, batch.size, (target) => batch.write(target));
}

export function encodeHello(hello: Hello): Buffer {
  writer.start();
  writer.uint(1, hello.version);
  writer.uint(2, hello.id);
  writer.string(3, hello.clusterId);
  writer.string(4, hello.phase);
  writer.bytes(5, packed(hello.members));
  writer.string(6, hello.incarnation);
  writer.string(7, hello.address);
  writer.uint(8, hello.to);
  writer.string(9, hello.machine);
  writer.string(10, hello.engine);
  writer.string(11, hello.seed);
  writer.uint(12, hello.votesFrom);
  for (const extension of hello.extensions) writer.string(15, extension);
  writer.string(13, hello.machineVersion);
  return rareFrame(HELLO);
}

export function encodeGoodbye(): Buffer {
  writer.start();
  return rareFrame(GOODBYE);
}

export function encodeForm(form: Form): Buffer {
  writer.start();
  writer.string(1, form.clusterId);
  writer.string(2, form.phase);
  writer.bytes(3, packed(form.members));
  if (form.admission !== null) {
    writer.string(4, form.admission.incarnation);
    writer.uint(5, form.admission.votesFrom);
  }
  return rareFrame(FORM);
}

export function encodeFormResult(result: FormResult): Buffer {
  writer.start();
  writer.string(1, result.clusterId);
  writer.string(2, result.phase);
  writer.uint(3, result.removedAt);
  writer.uint(4, result.votesFrom);
  return rareFrame(FORM_RESULT);
}

export function encodePing(kind: "question" | "answer"): Buffer {
  writer.start();
  writer.bool(1, kind === "answer");
  return rareFrame(PING);
}

export function encodeFinding(finding: Finding): Buffer {
  writer.start();
  writer.uint(1, finding.index);
  writer.uint(2, finding.term);
  writer.uint(3, FINDING_KINDS.indexOf(finding.kind));
  writer.fixed32(4, finding.digest);
  writer.string(5, finding.detail);
  writer.bool(6, finding.asks);
  return rareFrame(FINDING);
}

const writer = new MessageWriter();

function frame(body: number, size: number, write: (target: SizedWriter) => void): Buffer {
  const length = bytesFieldSize(size);
  const buffer = Buffer.allocUnsafe(FRAME_HEADER_BYTES + length);
  const target = new SizedWriter(buffer);
  target.uint32(length);
  target.bytesHeader(body, size);
  write(target);
  invariant(target.position === buffer.length, `frame ${body}: its size was computed wrongly`);
  return buffer;
}

/** Around what `writer` holds. */
function rareFrame(body: number): Buffer {
  const bytes = writer.finish();
  return frame(body, bytes.length, (target) => target.raw(bytes));
}

/** A repeated number, as proto3 writes it. */
function packed(values: readonly number[]): Buffer {
  const size = values.reduce((sum, value) => sum + varintSize(value), 0);
  const target = new SizedWriter(Buffer.allocUnsafe(size));
  for (const value of values) target.varint(value);
  return target.buffer;
}

// --- decoding --------------------------------------------------------------------------------------------------

/** @param bytes one frame, without its length. @throws BalsaError PROTOCOL if it is none. */
export function decodePeerFrame(bytes: Uint8Array): PeerFrame {
  const reader = new MessageReader(bytes);
  let found: PeerFrame = { kind: "unknown" };
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    const read = (tag & 7) === 2 ? BODIES[tag >>> 3] : undefined;
    if (read === undefined) reader.skip(tag);
    else {
      const outer = reader.enter();
      found = read(reader);
      reader.leave(outer);
    }
  }
  return found;
}

/** By field number of PeerFrame. */
const BODIES: { readonly [field: number]: (reader: MessageReader) => PeerFrame } = {
  [HELLO]: readHello,
  [RAFT]: (reader) => ({ kind: "raft", batch: readRaftBatch(reader) }),
  [GOODBYE]: (reader) => {
    for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) reader.skip(tag);
    return { kind: "goodbye" };
  },
  [FORM]: readForm,
  [FORM_RESULT]: readFormResult,
  [PING]: (reader) => {
    let answer = false;
    for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
      if (tag === 8) answer = reader.bool();
      else reader.skip(tag);
    }
    return { kind: "ping", answer };
  },
  [FINDING]: readFinding,
};

function readHello(reader: MessageReader): PeerFrame {
  let [version, id, to, votesFrom] = [0, 0, 0, 0];
  let [clusterId, phase, incarnation, address] = ["", "", "", ""];
  let [machine, engine, seed, machineVersion] = ["", "", "", ""];
  const members: number[] = [];
  const extensions: string[] = [];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) version = reader.uint();
    else if (tag === 16) id = reader.uint();
    else if (tag === 26) clusterId = reader.string();
    else if (tag === 34) phase = reader.string();
    else if (tag === 40 || tag === 42) readMembers(reader, tag, members);
    else if (tag === 50) incarnation = reader.string();
    else if (tag === 58) address = reader.string();
    else if (tag === 64) to = reader.uint();
    else if (tag === 74) machine = reader.string();
    else if (tag === 82) engine = reader.string();
    else if (tag === 90) seed = reader.string();
    else if (tag === 96) votesFrom = reader.uint();
    else if (tag === 122) extensions.push(reader.string());
    else if (tag === 106) machineVersion = reader.string();
    else reader.skip(tag);
  }
  const who = { version, id, clusterId, phase: toPhase(phase), members };
  const runs = { machine, engine, seed, votesFrom, extensions, machineVersion };
  const rest = { incarnation, address, to, ...runs };
  return { kind: "hello", hello: { ...who, ...rest } };
}

function readForm(reader: MessageReader): PeerFrame {
  let [clusterId, text, incarnation] = ["", "", ""];
  let votesFrom = 0;
  const members: number[] = [];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) clusterId = reader.string();
    else if (tag === 18) text = reader.string();
    else if (tag === 24 || tag === 26) readMembers(reader, tag, members);
    else if (tag === 34) incarnation = reader.string();
    else if (tag === 40) votesFrom = reader.uint();
    else reader.skip(tag);
  }
  const phase = toPhase(text);
  if (phase === "blank" || phase === "lost") throw malformed(`a Form of phase ${phase}`);
  const admission = incarnation === "" ? null : { incarnation, votesFrom };
  return { kind: "form", form: { clusterId, phase, members, admission } };
}

function readFormResult(reader: MessageReader): PeerFrame {
  let [clusterId, phase] = ["", ""];
  let [removedAt, votesFrom] = [0, 0];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) clusterId = reader.string();
    else if (tag === 18) phase = reader.string();
    else if (tag === 24) removedAt = reader.uint();
    else if (tag === 32) votesFrom = reader.uint();
    else reader.skip(tag);
  }
  return { kind: "formResult", result: { clusterId, phase: toPhase(phase), removedAt, votesFrom } };
}

function readFinding(reader: MessageReader): PeerFrame {
  let [index, term, kindNumber, digest] = [0, 0, 0, 0];
  let detail = "";
  let asks = false;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) index = reader.uint();
    else if (tag === 16) term = reader.uint();
    else if (tag === 24) kindNumber = reader.uint();
    else if (tag === 37) digest = reader.fixed32();
    else if (tag === 42) detail = reader.string();
    else if (tag === 48) asks = reader.bool();
    else reader.skip(tag);
  }
  const kind = FINDING_KINDS[kindNumber];
  if (kind === undefined) throw malformed(`a Finding of kind ${kindNumber}`);
  return { kind: "finding", finding: { index, term, kind, digest, detail, asks } };
}

/** Packed or one by one: a reader of proto3 takes both. */
function readMembers(reader: MessageReader, tag: number, members: number[]): void {
  if ((tag & 7) === 0) {
    members.push(reader.uint());
    return;
  }
  const outer = reader.enter();
  while (!reader.done) members.push(reader.uint());
  reader.leave(outer);
}

function toPhase(text: string): PeerPhase {
  const phase = PHASES.find((known) => known === text);
  if (phase === undefined) throw malformed(`unknown phase "${text}"`);
  return phase;
}
