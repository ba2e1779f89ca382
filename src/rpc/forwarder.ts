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
  decodeServerFrame,
  encodeClientFrame,
  encodeOpenSessionResponse,
  type RequestBody,
  type ServerResponse,
} from "../wire/sql-codec.ts";
import { ForwardOutbox } from "./forward-outbox.ts";
import { SQL_METHODS } from "./grpc-methods.ts";
import { OpenRequests } from "./open-requests.ts";
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
/** How often deadlines are looked at: thousands of timers would cost more than the precision is worth. */
const SWEEP_MS = 100;

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

  /** The sink is called once, never inside this call. @param timeoutMs from now, above 0; instead of the call's own. */
  forward(leader: string, call: ExecuteCall, timeoutMs: number, sink: ExecuteSink): RunningWrite {
    const size = call.batch.length;
    const full = this.full(size);
    if (this.#closed || full !== null) {
      const failure = full ?? notApplied("CLOSED", "the node is stopping");
      const timer = setImmediate(() => sink.failed(failure));
      return { cancel: () => clearImmediate(timer) };
    }
    this.#count += 1;
    this.#bytes += size;
    return this.#stream(leader).add(call, timeoutMs, sink);
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
    const stream = new LeaderStream(leader, this.#parts.logger, {
      settled: (bytes) => {
        this.#count -= 1;
        this.#bytes -= bytes;
      },
      ended: () => {
        if (this.#streams.get(leader) === stream) this.#streams.delete(leader);
      },
    });
    this.#streams.set(leader, stream);
    stream.open();
    return stream;
  }
}

interface StreamOwner {
  /** A write of so many bytes has its answer, or needs none any more. */
  settled(bytes: number): void;
  ended(): void;
}

/** A write until its answer. One object, for thousands wait in an overload. */
class Forwarded implements RunningWrite {
  readonly id: number;
  readonly bytes: number;
  readonly body: RequestBody;
  readonly sink: ExecuteSink;
  readonly deadlineAtMs: number;
  /** It may have reached the leader. */
  sent = false;
  /** Nobody waits for it, and it was not sent. */
  isWithdrawn = false;
  readonly #stream: LeaderStream;

  constructor(
    id: number,
    call: ExecuteCall,
    timeoutMs: number,
    sink: ExecuteSink,
    stream: LeaderStream,
  ) {
    this.id = id;
    this.bytes = call.batch.length;
    this.body = toBody(call, timeoutMs);
    this.sink = sink;
    this.deadlineAtMs = performance.now() + timeoutMs + GRACE_MS;
    this.#stream = stream;
  }

  cancel(): void {
    this.#stream.withdraw(this);
  }
}

/** Lives until its connection breaks; the next write opens another. */
class LeaderStream {
  readonly #leader: string;
  readonly #logger: Logger;
  readonly #owner: StreamOwner;
  readonly #pending = new OpenRequests<Forwarded>();
  readonly #outbox = new ForwardOutbox();
  #client: Client | null = null;
  #stream: ClientDuplexStream<Buffer, Buffer> | null = null;
  /** Confirmed by the leader, and taking frames. */
  #ready = false;
  #blocked = false;
  #flushing = false;
  #over = false;
  #nextId = 1;
  #timer: NodeJS.Timeout | null = null;
  #sweeper: NodeJS.Timeout | null = null;

  constructor(leader: string, logger: Logger, owner: StreamOwner) {
    this.#leader = leader;
    this.#logger = logger;
    this.#owner = owner;
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

  add(call: ExecuteCall, timeoutMs: number, sink: ExecuteSink): RunningWrite {
    const write = new Forwarded(this.#freeId(), call, timeoutMs, sink, this);
    this.#pending.add(write);
    this.#outbox.add(write);
    this.#sweeper ??= setTimeout(() => this.#sweep(), SWEEP_MS).unref();
    this.#rest();
    this.#schedule();
    return write;
  }

  /** Its caller gave up. Does nothing if it has its answer. */
  withdraw(write: Forwarded): void {
    if (this.#pending.get(write.id) !== write) return;
    this.#take(write);
    this.#takeBack(write);
  }

  /** Everything under way fails, each as its outcome is. */
  close(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    for (const timer of [this.#timer, this.#sweeper]) if (timer !== null) clearTimeout(timer);
    this.#stream?.cancel();
    this.#client?.close();
    this.#owner.ended();
    const facts = { leader: this.#leader, reason, pending: this.#pending.size };
    this.#logger.info(facts, "the stream for forwarded writes ended");
    const writes = this.#pending.values();
    this.#pending.clear();
    for (const { bytes, sink, sent } of writes) {
      this.#owner.settled(bytes);
      // Not inside whatever call this is.
      setImmediate(() => sink.failed(this.#lost(sent, reason)));
    }
  }

  #lost(sent: boolean, reason: string): Failure {
    const leader = this.#leader;
    const outcome: Outcome = sent ? "unknown" : "not-applied";
    const what = sent ? "went away while it had the write" : "cannot be reached";
    const message = `the leader at ${leader} ${what}: ${reason}`;
    return { code: "UNAVAILABLE", message, outcome, statementIndex: 0, facts: { leader } };
  }

  #sweep(): void {
    this.#sweeper = null;
    const nowMs = performance.now();
    for (const write of this.#pending.values()) {
      if (write.deadlineAtMs <= nowMs) this.#timeOut(write);
    }
    if (this.#pending.size > 0) this.#sweeper = setTimeout(() => this.#sweep(), SWEEP_MS).unref();
  }

  #timeOut(write: Forwarded): void {
    this.#take(write);
    const outcome: Outcome = write.sent ? "unknown" : "not-applied";
    const message = `the leader at ${this.#leader} did not answer before the deadline`;
    const facts = { leader: this.#leader };
    write.sink.failed({ code: "DEADLINE_EXCEEDED", message, outcome, statementIndex: 0, facts });
    this.#takeBack(write);
  }

  /** From the outbox, or from the leader. */
  #takeBack(write: Forwarded): void {
    if (write.sent) this.#outbox.add({ id: write.id, body: { kind: "cancel" } });
    else this.#outbox.withdraw(write);
    this.#schedule();
  }

  /** It is not under way any more. */
  #take({ id, bytes }: Forwarded): void {
    this.#pending.delete(id);
    this.#owner.settled(bytes);
    this.#rest();
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
      const requests = this.#outbox.take(FRAME_BYTES);
      if (requests.length === 0) return;
      for (const request of requests) if (request instanceof Forwarded) request.sent = true;
      this.#blocked = !stream.write(encodeClientFrame(requests));
    }
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
      const write = this.#pending.get(id);
      if (write === null) continue;
      this.#take(write);
      if (body.kind === "execute") write.sink.done(body.result, body.index);
      else if (body.kind === "openSession") {
        write.sink.done(encodeOpenSessionResponse(body), body.index);
      } else if (body.kind === "failure") write.sink.failed(body.failure);
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

/** Field by field: a spread would take V8's slow way, for each write. */
function toBody(call: ExecuteCall, timeoutMs: number): RequestBody {
  if (call.openSession) return { kind: "openSession", timeoutMs, noForward: true };
  return {
    kind: "execute",
    batch: call.batch,
    session: call.session,
    sequence: call.sequence,
    acknowledgedThrough: call.acknowledgedThrough,
    timeoutMs,
    noForward: true,
    settle: call.verb === "settle",
  };
}

function notApplied(code: "OVERLOADED" | "CLOSED", message: string): Failure {
  return { code, message, outcome: "not-applied", statementIndex: 0, facts: {} };
}
