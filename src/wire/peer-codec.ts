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

import { BalsaError } from "../sql/errors.ts";
import {
  bytesFieldSize,
  ProtobufReader,
  ProtobufWriter,
  uintFieldSize,
  WIRE_BYTES,
  WIRE_VARINT,
} from "./protobuf-bytes.ts";
import { type MeasuredBatch, type RaftBatch, readRaftBatch } from "./raft-codec.ts";

/** First on every connection that a node opens to another. Its first byte begins neither HTTP nor TLS. */
export const PEER_MAGIC: Buffer = Buffer.from("\0balsa\r\n", "latin1");

/** Of the frames below; nodes of different versions do not talk. */
export const PEER_VERSION = 1;

/** Bytes of the length in front of a frame. */
export const FRAME_HEADER_BYTES = 4;

/** Largest frame that is accepted: a log entry is below 8 MiB, and senders cut at 1 MB where they can. */
export const FRAME_BYTES_MAX = 16 * 1024 * 1024;

const PHASES = ["blank", "forming", "formed"] as const;
export type PeerPhase = (typeof PHASES)[number];

export interface Hello {
  readonly version: number;
  readonly id: number;
  /** Empty: blank. */
  readonly clusterId: string;
  readonly phase: PeerPhase;
  readonly members: readonly number[];
  readonly incarnation: string;
  /** Where clients reach it. */
  readonly address: string;
  /** Whom the sender believes to be talking to. */
  readonly to: number;
}

export interface Form {
  readonly clusterId: string;
  readonly phase: "forming" | "formed";
  readonly members: readonly number[];
}

export interface FormResult {
  readonly clusterId: string;
  readonly phase: PeerPhase;
}

export type PeerFrame =
  | { readonly kind: "hello"; readonly hello: Hello }
  | { readonly kind: "raft"; readonly batch: RaftBatch }
  | { readonly kind: "goodbye" }
  | { readonly kind: "form"; readonly form: Form }
  | { readonly kind: "formResult"; readonly result: FormResult }
  | { readonly kind: "ping"; readonly answer: boolean }
  /** Of a later version; to be passed over. */
  | { readonly kind: "unknown" };

const HELLO = 1;
const RAFT = 2;
const GOODBYE = 3;
const FORM = 4;
const FORM_RESULT = 5;
const PING = 6;

// --- encoding: length and frame in one buffer ------------------------------------------------------------------

export function encodeRaftFrame(batch: MeasuredBatch): Buffer {
  return frame(RAFT, batch.size, (writer) => batch.write(writer));
}

export function encodeHello(hello: Hello): Buffer {
  return encodeFields(HELLO, [
    [1, hello.version],
    [2, hello.id],
    [3, hello.clusterId],
    [4, hello.phase],
    [5, hello.members],
    [6, hello.incarnation],
    [7, hello.address],
    [8, hello.to],
  ]);
}

export function encodeGoodbye(): Buffer {
  return encodeFields(GOODBYE, []);
}

export function encodeForm(form: Form): Buffer {
  return encodeFields(FORM, [
    [1, form.clusterId],
    [2, form.phase],
    [3, form.members],
  ]);
}

export function encodeFormResult(result: FormResult): Buffer {
  return encodeFields(FORM_RESULT, [
    [1, result.clusterId],
    [2, result.phase],
  ]);
}

export function encodePing(kind: "question" | "answer"): Buffer {
  return encodeFields(PING, kind === "answer" ? [[1, 1]] : []);
}

type Field = readonly [field: number, value: number | string | readonly number[]];

function frame(body: number, size: number, write: (writer: ProtobufWriter) => void): Buffer {
  const length = bytesFieldSize(size);
  const buffer = Buffer.allocUnsafe(FRAME_HEADER_BYTES + length);
  const writer = new ProtobufWriter(buffer);
  writer.uint32(length);
  writer.bytesHeader(body, size);
  write(writer);
  return buffer;
}

/** For frames that are rare and small. */
function encodeFields(body: number, fields: readonly Field[]): Buffer {
  const parts = fields.flatMap(([field, value]) => encodeField(field, value));
  const bytes = Buffer.concat(parts);
  return frame(body, bytes.length, (writer) => writer.raw(bytes));
}

function encodeField(field: number, value: Field[1]): Buffer[] {
  if (typeof value === "number") {
    const buffer = Buffer.alloc(uintFieldSize(value));
    new ProtobufWriter(buffer).uintField(field, value);
    return [buffer];
  }
  const bytes = typeof value === "string" ? Buffer.from(value) : packed(value);
  if (bytes.length === 0) return [];
  const buffer = Buffer.alloc(bytesFieldSize(bytes.length));
  const writer = new ProtobufWriter(buffer);
  writer.bytesHeader(field, bytes.length);
  writer.raw(bytes);
  return [buffer];
}

/** A repeated number, as proto3 writes it. */
function packed(values: readonly number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 8);
  const writer = new ProtobufWriter(buffer);
  for (const value of values) writer.varint(value);
  return buffer.subarray(0, writer.position);
}

// --- decoding --------------------------------------------------------------------------------------------------

/** @param bytes one frame, without its length. @throws BalsaError PROTOCOL if it is none. */
export function decodePeerFrame(bytes: Uint8Array): PeerFrame {
  const reader = new ProtobufReader(bytes);
  let found: PeerFrame = { kind: "unknown" };
  while (!reader.done) {
    const tag = reader.varint();
    if ((tag & 7) === WIRE_BYTES) found = decodeBody(tag >>> 3, reader.message());
    else reader.skip(tag & 7);
  }
  return found;
}

function decodeBody(body: number, reader: ProtobufReader): PeerFrame {
  if (body === RAFT) return { kind: "raft", batch: readRaftBatch(reader) };
  if (body > PING) return { kind: "unknown" };
  const fields = new RareFields(reader);
  switch (body) {
    case HELLO:
      return { kind: "hello", hello: toHello(fields) };
    case GOODBYE:
      return { kind: "goodbye" };
    case FORM: {
      const phase = toPhase(fields.text(2));
      if (phase === "blank") throw new BalsaError("PROTOCOL", "a Form of phase blank");
      const form = { clusterId: fields.text(1), phase, members: fields.numbers(3) };
      return { kind: "form", form };
    }
    case FORM_RESULT: {
      const result = { clusterId: fields.text(1), phase: toPhase(fields.text(2)) };
      return { kind: "formResult", result };
    }
    case PING:
      return { kind: "ping", answer: fields.number(1) !== 0 };
    default:
      return { kind: "unknown" };
  }
}

function toHello(fields: RareFields): Hello {
  return {
    version: fields.number(1),
    id: fields.number(2),
    clusterId: fields.text(3),
    phase: toPhase(fields.text(4)),
    members: fields.numbers(5),
    incarnation: fields.text(6),
    address: fields.text(7),
    to: fields.number(8),
  };
}

function toPhase(text: string): PeerPhase {
  const phase = PHASES.find((known) => known === text);
  if (phase === undefined) throw new BalsaError("PROTOCOL", `unknown phase "${text}"`);
  return phase;
}

/** The fields of a small message, by number; one that is missing has its proto3 default. */
class RareFields {
  readonly #numbers = new Map<number, number[]>();
  readonly #bytes = new Map<number, Uint8Array>();

  constructor(reader: ProtobufReader) {
    while (!reader.done) {
      const tag = reader.varint();
      const field = Math.floor(tag / 8);
      if (tag % 8 === WIRE_BYTES) this.#bytes.set(field, reader.bytes());
      else if (tag % 8 === WIRE_VARINT) this.#add(field, reader.varint());
      else reader.skip(tag % 8);
    }
  }

  number(field: number): number {
    return this.#numbers.get(field)?.at(-1) ?? 0;
  }

  /** Packed or not: a reader takes both. */
  numbers(field: number): number[] {
    const values = [...(this.#numbers.get(field) ?? [])];
    const bytes = this.#bytes.get(field);
    if (bytes === undefined) return values;
    const reader = new ProtobufReader(bytes);
    while (!reader.done) values.push(reader.varint());
    return values;
  }

  text(field: number): string {
    const bytes = this.#bytes.get(field);
    return bytes === undefined ? "" : new TextDecoder().decode(bytes);
  }

  #add(field: number, value: number): void {
    const values = this.#numbers.get(field);
    if (values === undefined) this.#numbers.set(field, [value]);
    else values.push(value);
  }
}
