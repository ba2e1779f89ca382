/**
 * Requests and responses around the statements and rows. The batch, statement, result and chunk inside stay bytes: node
 * and rpc pass them on without decoding them (a message field and a bytes field look the same on the wire).
 */

import type { Failure } from "../sql/errors.ts";
import { unreachable } from "../sql/invariant.ts";
import type { Consistency } from "../sql/statement.ts";
import type { TransactionTerms } from "../sql/transaction.ts";
import { readFailure, writeFailure } from "./failure-codec.ts";
import { MessageReader, malformed } from "./message-reader.ts";
import { MessageWriter } from "./message-writer.ts";
import {
  type BeginResponse,
  readBeginRequest,
  readBeginResponse,
  readStepRequest,
  type StepRequest,
  writeBeginRequest,
  writeBeginResponse,
  writeStepRequest,
} from "./transaction-codec.ts";

export interface ExecuteRequest {
  /** Encoded balsa.v1.Batch. */
  readonly batch: Uint8Array;
  /** 0: none. */
  readonly session: number;
  readonly sequence: number;
  readonly acknowledgedThrough: number;
  /** 0: the node's default. */
  readonly timeoutMs: number;
  readonly noForward: boolean;
  /** Instead of a batch: what became of the transaction that was to commit under this sequence? */
  readonly settle?: boolean;
}

export interface ExecuteResponse {
  /** Encoded balsa.v1.BatchResult. */
  readonly result: Uint8Array;
  readonly index: number;
}

export interface OpenSessionRequest {
  readonly timeoutMs: number;
  readonly noForward: boolean;
}

export interface OpenSessionResponse {
  readonly session: number;
  readonly index: number;
}

export interface QueryRequest {
  /** Encoded balsa.v1.Statement. */
  readonly statement: Uint8Array;
  readonly consistency: Consistency;
  readonly atLeast: number;
  /** 0: no bound. */
  readonly maxStalenessMs: number;
  readonly timeoutMs: number;
  /** Chunks that may be sent before a fetch; 0: no limit. */
  readonly window: number;
}

export interface QueryResponse {
  /** Encoded balsa.v1.RowChunk. */
  readonly chunk: Uint8Array;
  readonly done: boolean;
  readonly node: number;
  readonly index: number;
  readonly lagMs: number;
}

export type RequestBody =
  | ({ readonly kind: "execute" } & ExecuteRequest)
  | ({ readonly kind: "query" } & QueryRequest)
  | ({ readonly kind: "openSession" } & OpenSessionRequest)
  | { readonly kind: "fetch"; readonly chunks: number }
  | { readonly kind: "cancel" }
  | ({ readonly kind: "begin" } & TransactionTerms)
  | ({ readonly kind: "step" } & StepRequest);

/** One request of a stream; `id` is the client's. */
export interface ClientRequest {
  readonly id: number;
  readonly body: RequestBody;
}

export type ResponseBody =
  | ({ readonly kind: "execute" } & ExecuteResponse)
  | ({ readonly kind: "query" } & QueryResponse)
  | ({ readonly kind: "openSession" } & OpenSessionResponse)
  | { readonly kind: "failure"; readonly failure: Failure }
  | ({ readonly kind: "begin" } & BeginResponse);

/** One answer of a stream; `id` is the request's. */
export interface ServerResponse {
  readonly id: number;
  readonly body: ResponseBody;
}

/** balsa.v1.Consistency; unspecified is linearizable. */
const CONSISTENCY_NUMBERS: Record<Consistency, number> = { linearizable: 1, session: 2, stale: 3 };
const CONSISTENCY_NAMES: readonly Consistency[] = [
  "linearizable",
  "linearizable",
  "session",
  "stale",
];

/** More than an envelope without its bytes takes. */
const ENVELOPE_BYTES = 48;
const NOTHING = Buffer.alloc(0);
const writer = new MessageWriter();

/** Bytes that a request takes in a frame, within a few: for filling frames up to a size. */
export function requestSize(body: RequestBody): number {
  if (body.kind === "execute" || body.kind === "step") return body.batch.length + ENVELOPE_BYTES;
  if (body.kind === "query") return body.statement.length + ENVELOPE_BYTES;
  return ENVELOPE_BYTES;
}

// --- each message's fields, in the order of sql.proto --------------------------------------------------------

function writeExecuteRequest(target: MessageWriter, request: ExecuteRequest): void {
  target.bytes(1, request.batch);
  target.uint(2, request.session);
  target.uint(3, request.sequence);
  target.uint(4, request.acknowledgedThrough);
  target.uint(5, request.timeoutMs);
  target.bool(6, request.noForward);
  target.bool(7, request.settle === true);
}

function readExecuteRequest(reader: MessageReader): { readonly kind: "execute" } & ExecuteRequest {
  let batch: Uint8Array = NOTHING;
  let session = 0;
  let sequence = 0;
  let acknowledgedThrough = 0;
  let timeoutMs = 0;
  let noForward = false;
  let settle = false;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) batch = reader.bytes();
    else if (tag === 16) session = reader.uint();
    else if (tag === 24) sequence = reader.uint();
    else if (tag === 32) acknowledgedThrough = reader.uint();
    else if (tag === 40) timeoutMs = reader.uint32();
    else if (tag === 48) noForward = reader.bool();
    else if (tag === 56) settle = reader.bool();
    else reader.skip(tag);
  }
  const request = {
    kind: "execute" as const,
    batch,
    session,
    sequence,
    acknowledgedThrough,
    timeoutMs,
    noForward,
  };
  return settle ? { ...request, settle } : request;
}

function writeExecuteResponse(target: MessageWriter, response: ExecuteResponse): void {
  target.bytes(1, response.result);
  target.uint(2, response.index);
}

function readExecuteResponse(
  reader: MessageReader,
): { readonly kind: "execute" } & ExecuteResponse {
  let result: Uint8Array = NOTHING;
  let index = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) result = reader.bytes();
    else if (tag === 16) index = reader.uint();
    else reader.skip(tag);
  }
  return { kind: "execute", result, index };
}

function writeOpenSessionRequest(target: MessageWriter, request: OpenSessionRequest): void {
  target.uint(1, request.timeoutMs);
  target.bool(2, request.noForward);
}

function readOpenSessionRequest(
  reader: MessageReader,
): { readonly kind: "openSession" } & OpenSessionRequest {
  let [timeoutMs, noForward] = [0, false];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) timeoutMs = reader.uint32();
    else if (tag === 16) noForward = reader.bool();
    else reader.skip(tag);
  }
  return { kind: "openSession", timeoutMs, noForward };
}

function writeOpenSessionResponse(target: MessageWriter, response: OpenSessionResponse): void {
  target.uint(1, response.session);
  target.uint(2, response.index);
}

function readOpenSessionResponse(
  reader: MessageReader,
): { readonly kind: "openSession" } & OpenSessionResponse {
  let [session, index] = [0, 0];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) session = reader.uint();
    else if (tag === 16) index = reader.uint();
    else reader.skip(tag);
  }
  return { kind: "openSession", session, index };
}

function writeQueryRequest(target: MessageWriter, request: QueryRequest): void {
  target.bytes(1, request.statement);
  target.uint(2, CONSISTENCY_NUMBERS[request.consistency]);
  target.uint(3, request.atLeast);
  target.uint(4, request.maxStalenessMs);
  target.uint(5, request.timeoutMs);
  target.uint(6, request.window);
}

function readQueryRequest(reader: MessageReader): { readonly kind: "query" } & QueryRequest {
  let statement: Uint8Array = NOTHING;
  let consistency: Consistency = "linearizable";
  let atLeast = 0;
  let maxStalenessMs = 0;
  let timeoutMs = 0;
  let window = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) statement = reader.bytes();
    else if (tag === 16) consistency = toConsistency(reader.uint());
    else if (tag === 24) atLeast = reader.uint();
    else if (tag === 32) maxStalenessMs = reader.uint32();
    else if (tag === 40) timeoutMs = reader.uint32();
    else if (tag === 48) window = reader.uint32();
    else reader.skip(tag);
  }
  return { kind: "query", statement, consistency, atLeast, maxStalenessMs, timeoutMs, window };
}

function toConsistency(value: number): Consistency {
  const name = CONSISTENCY_NAMES[value];
  if (name === undefined) throw malformed(`consistency ${value}`);
  return name;
}

function writeQueryResponse(target: MessageWriter, response: QueryResponse): void {
  target.bytes(1, response.chunk);
  target.bool(2, response.done);
  target.uint(3, response.node);
  target.uint(4, response.index);
  target.uint(5, response.lagMs);
}

function readQueryResponse(reader: MessageReader): { readonly kind: "query" } & QueryResponse {
  let chunk: Uint8Array = NOTHING;
  let done = false;
  let node = 0;
  let index = 0;
  let lagMs = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) chunk = reader.bytes();
    else if (tag === 16) done = reader.bool();
    else if (tag === 24) node = reader.uint();
    else if (tag === 32) index = reader.uint();
    else if (tag === 40) lagMs = reader.uint();
    else reader.skip(tag);
  }
  return { kind: "query", chunk, done, node, index, lagMs };
}

export function encodeExecuteRequest(request: ExecuteRequest): Buffer {
  writeExecuteRequest(writer.start(), request);
  return writer.finish();
}

export function decodeExecuteRequest(bytes: Uint8Array): ExecuteRequest {
  return readExecuteRequest(new MessageReader(bytes));
}

export function encodeExecuteResponse(response: ExecuteResponse): Buffer {
  writeExecuteResponse(writer.start(), response);
  return writer.finish();
}

export function decodeExecuteResponse(bytes: Uint8Array): ExecuteResponse {
  return readExecuteResponse(new MessageReader(bytes));
}

export function encodeOpenSessionRequest(request: OpenSessionRequest): Buffer {
  writeOpenSessionRequest(writer.start(), request);
  return writer.finish();
}

export function decodeOpenSessionRequest(bytes: Uint8Array): OpenSessionRequest {
  return readOpenSessionRequest(new MessageReader(bytes));
}

export function encodeOpenSessionResponse(response: OpenSessionResponse): Buffer {
  writeOpenSessionResponse(writer.start(), response);
  return writer.finish();
}

export function decodeOpenSessionResponse(bytes: Uint8Array): OpenSessionResponse {
  return readOpenSessionResponse(new MessageReader(bytes));
}

export function encodeQueryRequest(request: QueryRequest): Buffer {
  writeQueryRequest(writer.start(), request);
  return writer.finish();
}

export function decodeQueryRequest(bytes: Uint8Array): QueryRequest {
  return readQueryRequest(new MessageReader(bytes));
}

export function encodeQueryResponse(response: QueryResponse): Buffer {
  writeQueryResponse(writer.start(), response);
  return writer.finish();
}

export function decodeQueryResponse(bytes: Uint8Array): QueryResponse {
  return readQueryResponse(new MessageReader(bytes));
}

// --- frames of the stream ------------------------------------------------------------------------------------

export function encodeClientFrame(requests: readonly ClientRequest[]): Buffer {
  writer.start();
  for (const { id, body } of requests) {
    const atLeast = body.kind === "execute" ? body.batch.length : 0;
    const request = writer.beginMessage(1, atLeast);
    writer.uint(1, id);
    writeRequestBody(writer, body);
    writer.endMessage(request, atLeast);
  }
  return writer.finish();
}

/** The requests of a frame, one by one: a frame may hold thousands, and its reader have other things to do. */
export class ClientFrameReader {
  readonly #reader: MessageReader;

  constructor(bytes: Uint8Array) {
    this.#reader = new MessageReader(bytes);
  }

  /** Null at the end. @throws BalsaError PROTOCOL. */
  next(): ClientRequest | null {
    const reader = this.#reader;
    for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
      if (tag === 10) return readInside(reader, readRequest);
      reader.skip(tag);
    }
    return null;
  }
}

export function decodeClientFrame(bytes: Uint8Array): ClientRequest[] {
  const reader = new ClientFrameReader(bytes);
  const requests: ClientRequest[] = [];
  for (let next = reader.next(); next !== null; next = reader.next()) requests.push(next);
  return requests;
}

export function encodeServerFrame(responses: readonly ServerResponse[]): Buffer {
  writer.start();
  for (const { id, body } of responses) {
    const response = writer.beginMessage(1);
    writer.uint(1, id);
    writeResponseBody(writer, body);
    writer.endMessage(response);
  }
  return writer.finish();
}

export function decodeServerFrame(bytes: Uint8Array): ServerResponse[] {
  const reader = new MessageReader(bytes);
  const responses: ServerResponse[] = [];
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) responses.push(readInside(reader, readResponse));
    else reader.skip(tag);
  }
  return responses;
}

function writeRequestBody(target: MessageWriter, body: RequestBody): void {
  switch (body.kind) {
    case "execute":
      return nest(target, 2, writeExecuteRequest, body, body.batch.length);
    case "query":
      return nest(target, 3, writeQueryRequest, body);
    case "openSession":
      return nest(target, 4, writeOpenSessionRequest, body);
    case "fetch":
      return nest(target, 5, (inner, chunks) => inner.uint(1, chunks), body.chunks);
    case "cancel":
      return target.bytes(6, NOTHING);
    case "begin":
      return nest(target, 7, writeBeginRequest, body);
    case "step":
      return nest(target, 8, writeStepRequest, body);
    default:
      return unreachable(body);
  }
}

function nest<T>(
  target: MessageWriter,
  field: number,
  write: (target: MessageWriter, message: T) => void,
  message: T,
  atLeast = 0,
): void {
  const begin = target.beginMessage(field, atLeast);
  write(target, message);
  target.endMessage(begin, atLeast);
}

function readInside<T>(reader: MessageReader, read: (reader: MessageReader) => T): T {
  const outer = reader.enter();
  const message = read(reader);
  reader.leave(outer);
  return message;
}

function readRequest(reader: MessageReader): ClientRequest {
  let id = 0;
  let body: RequestBody | null = null;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) id = reader.uint32();
    else if (tag === 18) body = readInside(reader, readExecuteRequest);
    else if (tag === 26) body = readInside(reader, readQueryRequest);
    else if (tag === 34) body = readInside(reader, readOpenSessionRequest);
    else if (tag === 42) body = { kind: "fetch", chunks: readInside(reader, readFetch) };
    else if (tag === 50) {
      reader.skip(tag);
      body = { kind: "cancel" };
    } else if (tag === 58) body = { kind: "begin", ...readInside(reader, readBeginRequest) };
    else if (tag === 66) body = { kind: "step", ...readInside(reader, readStepRequest) };
    else reader.skip(tag);
  }
  if (body === null) throw malformed("a request of an unknown kind");
  return { id, body };
}

function readFetch(reader: MessageReader): number {
  let chunks = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) chunks = reader.uint32();
    else reader.skip(tag);
  }
  return chunks;
}

function writeResponseBody(target: MessageWriter, body: ResponseBody): void {
  switch (body.kind) {
    case "execute":
      return nest(target, 2, writeExecuteResponse, body);
    case "query":
      return nest(target, 3, writeQueryResponse, body);
    case "openSession":
      return nest(target, 4, writeOpenSessionResponse, body);
    case "failure":
      return nest(target, 5, writeFailure, body.failure);
    case "begin":
      return nest(target, 6, writeBeginResponse, body);
    default:
      return unreachable(body);
  }
}

function readResponse(reader: MessageReader): ServerResponse {
  let id = 0;
  let body: ResponseBody | null = null;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) id = reader.uint32();
    else if (tag === 18) body = readInside(reader, readExecuteResponse);
    else if (tag === 26) body = readInside(reader, readQueryResponse);
    else if (tag === 34) body = readInside(reader, readOpenSessionResponse);
    else if (tag === 42) body = { kind: "failure", failure: readInside(reader, readFailure) };
    else if (tag === 50) body = { kind: "begin", ...readInside(reader, readBeginResponse) };
    else reader.skip(tag);
  }
  if (body === null) throw malformed("a response of an unknown kind");
  return { id, body };
}
