/**
 * Passes writes on to the leader: one stream for each leader, shared by all callers of this node. What the leader
 * answers is passed back unchanged. A write that may have reached a leader which then went away has an unknown outcome.
 */

import { Client, type ClientDuplexStream, credentials, type Metadata } from "@grpc/grpc-js";
import type { Logger } from "../node/ports.ts";
import type { ExecuteCall, ExecuteSink } from "../node/service.ts";
import type { Failure, Outcome } from "../sql/errors.ts";
import type { Limits } from "../sql/limits.ts";
import {
  type ClientRequest,
  decodeServerFrame,
  encodeClientFrame,
  encodeOpenSessionResponse,
  type RequestBody,
  requestSize,
  type ServerResponse,
} from "../wire/sql-codec.ts";
import { SQL_METHODS } from "./grpc-methods.ts";
import type { RunningWrite } from "./write-gate.ts";

/** Frames are cut here. */
const FRAME_BYTES = 900_000;
/** Until the leader has confirmed a new stream. */
const OPEN_MS = 5_000;
/** A stream without a request for this long is closed. */
const IDLE_MS = 60_000;
/** A leader that was followed by another one may answer for so long: it may know what became of its writes. */
const DEPOSED_MS = 300;
/** On top of a write's deadline: the leader's own answer says more than ours. */
const GRACE_MS = 500;

const CHANNEL_OPTIONS = {
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_retries": 0,
  "grpc.enable_channelz": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
  "grpc-node.flow_control_window": 1024 * 1024,
  "grpc.keepalive_time_ms": 5_000,
  "grpc.keepalive_timeout_ms": 5_000,
};

export interface ForwarderParts {
  readonly limits: Limits;
  readonly logger: Logger;
}

export class Forwarder {
  readonly #parts: ForwarderParts;
  readonly #streams = new Map<string, LeaderStream>();
  #leader = "";
  #count = 0;
  #bytes = 0;
  #closed = false;
  /** A flood is told the same again and again: one object, so that its encoding can be kept, too. */
  readonly #overloaded = notApplied(
    "OVERLOADED",
    "too many writes are waiting for the leader; try again later",
  );

  constructor(parts: ForwarderParts) {
    this.#parts = parts;
  }

  /** The sink is called once, never inside this call. @param call with its deadline from now, above 0. */
  forward(leader: string, call: ExecuteCall, sink: ExecuteSink): RunningWrite {
    const size = call.batch.length;
    const full = this.full(size);
    if (this.#closed || full !== null) {
      const failure = full ?? notApplied("CLOSED", "the node is stopping");
      const timer = setImmediate(() => sink.failed(failure));
      return { cancel: () => clearImmediate(timer) };
    }
    this.#count += 1;
    this.#bytes += size;
    const settle = () => {
      this.#count -= 1;
      this.#bytes -= size;
    };
    return this.#stream(leader).add(call, sink, settle);
  }

  /** Why one more of so many bytes would be refused. Counts nothing. */
  full(bytes: number): Failure | null {
    const { pendingWrites, pendingBytes } = this.#parts.limits;
    const isFull = this.#count >= pendingWrites || this.#bytes + bytes > pendingBytes;
    return isFull ? this.#overloaded : null;
  }

  /** Who leads now; empty while nobody is known to. A former leader that hangs would answer at the deadlines only. */
  leads(address: string): void {
    if (address === "" || address === this.#leader) return;
    this.#leader = address;
    for (const [leader, stream] of this.#streams) {
      if (leader === address) continue;
      setTimeout(() => {
        if (this.#leader !== leader) stream.close(`${address} leads now`);
      }, DEPOSED_MS).unref();
    }
  }

  /** Ends all streams; what is under way fails. */
  close(): void {
    this.#closed = true;
    for (const stream of this.#streams.values()) stream.close("this node is stopping");
  }

  #stream(leader: string): LeaderStream {
    const open = this.#streams.get(leader);
    if (open !== undefined) return open;
    const stream = new LeaderStream(leader, this.#parts.logger, () => {
      if (this.#streams.get(leader) === stream) this.#streams.delete(leader);
    });
    this.#streams.set(leader, stream);
    stream.open();
    return stream;
  }
}

interface Forwarded {
  readonly id: number;
  readonly body: RequestBody;
  readonly sink: ExecuteSink;
  readonly settle: () => void;
  readonly timer: NodeJS.Timeout;
  /** It may have reached the leader. */
  sent: boolean;
}

/** Lives until its connection breaks; the next write opens another. */
class LeaderStream {
  readonly #leader: string;
  readonly #logger: Logger;
  readonly #ended: () => void;
  readonly #pending = new Map<number, Forwarded>();
  #outbox: ClientRequest[] = [];
  #client: Client | null = null;
  #stream: ClientDuplexStream<Buffer, Buffer> | null = null;
  /** Confirmed by the leader, and taking frames. */
  #ready = false;
  #blocked = false;
  #flushing = false;
  #over = false;
  #nextId = 1;
  #timer: NodeJS.Timeout | null = null;

  constructor(leader: string, logger: Logger, ended: () => void) {
    this.#leader = leader;
    this.#logger = logger;
    this.#ended = ended;
  }

  open(): void {
    const client = new Client(this.#leader, credentials.createInsecure(), CHANNEL_OPTIONS);
    this.#client = client;
    const { path, requestSerialize, responseDeserialize } = SQL_METHODS.connect;
    const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    this.#stream = stream;
    this.#timer = setTimeout(() => this.close(`no answer within ${OPEN_MS} ms`), OPEN_MS);
    stream.on("metadata", (_headers: Metadata) => {
      this.#ready = true;
      this.#rest();
      this.#flush();
    });
    stream.on("data", (bytes: Buffer) => this.#receive(bytes));
    stream.on("drain", () => {
      this.#blocked = false;
      this.#flush();
    });
    stream.on("error", (error) => this.close(error.message));
    stream.on("end", () => this.close("the leader ended the stream"));
  }

  add(call: ExecuteCall, sink: ExecuteSink, settle: () => void): RunningWrite {
    const id = this.#freeId();
    const timer = setTimeout(() => this.#timeOut(id), call.timeoutMs + GRACE_MS);
    const entry: Forwarded = { id, body: toBody(call), sink, settle, timer, sent: false };
    this.#pending.set(id, entry);
    this.#outbox.push(entry);
    this.#rest();
    this.#schedule();
    return { cancel: () => this.#withdraw(id) };
  }

  /** Everything under way fails, each as its outcome is. */
  close(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#stream?.cancel();
    this.#client?.close();
    this.#ended();
    const facts = { leader: this.#leader, reason, pending: this.#pending.size };
    this.#logger.info(facts, "the stream for forwarded writes ended");
    const entries = [...this.#pending.values()];
    this.#pending.clear();
    for (const entry of entries) {
      clearTimeout(entry.timer);
      entry.settle();
      // Not inside whatever call this is.
      setImmediate(() => entry.sink.failed(this.#lost(entry.sent, reason)));
    }
  }

  #lost(sent: boolean, reason: string): Failure {
    const leader = this.#leader;
    const outcome: Outcome = sent ? "unknown" : "not-applied";
    const what = sent ? "went away while it had the write" : "cannot be reached";
    const message = `the leader at ${leader} ${what}: ${reason}`;
    return { code: "UNAVAILABLE", message, outcome, statementIndex: 0, facts: { leader } };
  }

  #timeOut(id: number): void {
    const entry = this.#take(id);
    if (entry === null) return;
    const outcome: Outcome = entry.sent ? "unknown" : "not-applied";
    const message = `the leader at ${this.#leader} did not answer before the deadline`;
    const facts = { leader: this.#leader };
    entry.sink.failed({ code: "DEADLINE_EXCEEDED", message, outcome, statementIndex: 0, facts });
    this.#cancelAt(entry);
  }

  #withdraw(id: number): void {
    const entry = this.#take(id);
    if (entry !== null) this.#cancelAt(entry);
  }

  #cancelAt(entry: Forwarded): void {
    if (entry.sent) this.#outbox.push({ id: entry.id, body: { kind: "cancel" } });
    else this.#outbox = this.#outbox.filter((request) => request !== entry);
    this.#schedule();
  }

  #take(id: number): Forwarded | null {
    const entry = this.#pending.get(id);
    if (entry === undefined) return null;
    this.#pending.delete(id);
    clearTimeout(entry.timer);
    entry.settle();
    this.#rest();
    return entry;
  }

  /** Once the stream stands, it may only be idle for so long. */
  #rest(): void {
    if (!this.#ready) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#pending.size > 0 || this.#over) return;
    this.#timer = setTimeout(() => this.close("idle"), IDLE_MS);
    this.#timer.unref();
  }

  // --- sending -------------------------------------------------------------------------------------------------

  /** What one turn of the loop brings travels together. */
  #schedule(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    const stream = this.#stream;
    while (stream !== null && this.#ready && !this.#blocked && !this.#over) {
      const requests = this.#nextFrame();
      if (requests.length === 0) return;
      for (const { id } of requests) {
        const entry = this.#pending.get(id);
        if (entry !== undefined) entry.sent = true;
      }
      this.#blocked = !stream.write(encodeClientFrame(requests));
    }
  }

  #nextFrame(): ClientRequest[] {
    let size = 0;
    let count = 0;
    for (const { body } of this.#outbox) {
      size += requestSize(body);
      if (count > 0 && size > FRAME_BYTES) break;
      count += 1;
    }
    return this.#outbox.splice(0, count);
  }

  // --- receiving -----------------------------------------------------------------------------------------------

  #receive(bytes: Buffer): void {
    let responses: ServerResponse[];
    try {
      responses = decodeServerFrame(bytes);
    } catch (error) {
      this.close(error instanceof Error ? error.message : String(error));
      return;
    }
    for (const { id, body } of responses) {
      const entry = this.#take(id);
      if (entry === null) continue;
      if (body.kind === "execute") entry.sink.done(body.result, body.index);
      else if (body.kind === "openSession") {
        entry.sink.done(encodeOpenSessionResponse(body), body.index);
      } else if (body.kind === "failure") entry.sink.failed(body.failure);
      else this.close(`a ${body.kind} in answer to a write`);
    }
  }

  #freeId(): number {
    while (this.#pending.has(this.#nextId)) this.#nextId = nextId(this.#nextId);
    const id = this.#nextId;
    this.#nextId = nextId(id);
    return id;
  }
}

function nextId(id: number): number {
  return id >= 0xffff_ffff ? 1 : id + 1;
}

function toBody(call: ExecuteCall): RequestBody {
  const { timeoutMs } = call;
  if (call.openSession) return { kind: "openSession", timeoutMs, noForward: true };
  const { batch, session, sequence, acknowledgedThrough } = call;
  const numbers = { session, sequence, acknowledgedThrough };
  const settle = call.verb === "settle";
  return { kind: "execute", batch, ...numbers, timeoutMs, noForward: true, settle };
}

function notApplied(code: "OVERLOADED" | "CLOSED", message: string): Failure {
  return { code, message, outcome: "not-applied", statementIndex: 0, facts: {} };
}
