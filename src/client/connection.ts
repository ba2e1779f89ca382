/**
 * One connection to one node: a gRPC channel, the stream that carries all requests of this client to it, and
 * status questions beside the stream. Lives once: when it ends, it hands back what it carried and is thrown away.
 * It never repeats anything and never chooses where a request goes.
 */

import type { ServiceError } from "@grpc/grpc-js";
import { Client, type ClientDuplexStream, credentials, Metadata, status } from "@grpc/grpc-js";
import { BalsaError } from "../sql/errors.ts";
import { decodeStatusResponse, type StatusResponse } from "../wire/cluster-codec.ts";
import {
  type ClientRequest,
  decodeServerFrame,
  encodeClientFrame,
  type RequestBody,
  requestSize,
  type ServerResponse,
} from "../wire/sql-codec.ts";
import type { Call } from "./call.ts";
import { Carried } from "./carried.ts";

/** A frame is closed when it has grown this large; a single larger request travels alone. */
const FRAME_BYTES = 900 * 1024;

/** Frames handed to the stream and not yet taken by the socket; beyond that requests gather for a fuller frame. */
const FRAMES_UNDER_WAY_MAX = 2;

/**
 * Answers that are given to their callers at once: these, or half of all that are awaited. What those callers ask next is sent
 * before the rest is looked at, so that node and client work at the same time; smaller groups cost more than that gives, of
 * writes on every node.
 */
const READS_MIN = 32;
const WRITES_MIN = 128;

const CHANNEL_OPTIONS = {
  // Nothing is shared between clients, so nothing of one slows the other, and closing leaves nothing behind.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
  "grpc-node.flow_control_window": 1024 * 1024,
};

export interface ConnectionOwner {
  connectionReady(connection: Connection): void;
  /** After it, the calls that were on it are told, one by one. */
  connectionLost(connection: Connection, error: BalsaError): void;
}

type Control = { readonly id: number; readonly body: RequestBody };

export class Connection {
  readonly address: string;
  readonly #owner: ConnectionOwner;
  readonly #connectTimeoutMs: number;
  #client: Client | null = null;
  #stream: ClientDuplexStream<Buffer, Buffer> | null = null;
  #state: "new" | "connecting" | "ready" | "lost" = "new";
  #connectTimer: NodeJS.Timeout | null = null;

  /** Sent or to be sent, by id. */
  readonly #carried = new Carried<Call>();
  #outbox: (Call | Control)[] = [];
  #flushScheduled = false;
  #framesUnderWay = 0;
  /** Answers that have come and are not looked at yet. */
  #inbox: ServerResponse[] = [];
  /** Of them, so many in each turn; 0: no turn is coming. */
  #groupSize = 0;

  /** When anything last came from the node, or was first owed by it. */
  lastHeardAt = 0;

  constructor(address: string, owner: ConnectionOwner, connectTimeoutMs: number) {
    this.address = address;
    this.#owner = owner;
    this.#connectTimeoutMs = connectTimeoutMs;
  }

  get isReady(): boolean {
    return this.#state === "ready";
  }

  get isLost(): boolean {
    return this.#state === "lost";
  }

  /** Requests of this turn that are not sent yet. */
  get gathered(): number {
    return this.#outbox.length;
  }

  /** Requests without an answer. */
  get outstanding(): number {
    return this.#carried.size;
  }

  open(): void {
    this.#state = "connecting";
    const client = new Client(this.address, credentials.createInsecure(), CHANNEL_OPTIONS);
    this.#client = client;
    this.#connectTimer = setTimeout(() => {
      const text = `no Balsa node answered within ${this.#connectTimeoutMs} ms`;
      this.#end(new BalsaError("UNAVAILABLE", `${this.address}: ${text}`));
    }, this.#connectTimeoutMs);
    const stream: ClientDuplexStream<Buffer, Buffer> = client.makeBidiStreamRequest(
      "/balsa.v1.Sql/Connect",
      same,
      same,
      new Metadata(),
      {},
    );
    this.#stream = stream;
    stream.on("metadata", () => this.#onGreeting());
    stream.on("data", (frame: Buffer) => this.#onFrame(frame));
    stream.on("error", (error: ServiceError) => this.#end(toBalsaError(this.address, error)));
    stream.on("end", () => {
      this.#end(new BalsaError("UNAVAILABLE", `${this.address}: the node ended the stream`));
    });
  }

  /** A node greets at once. Nothing is written before: what was never sent can be told from what was. */
  #onGreeting(): void {
    if (this.#state !== "connecting") return;
    this.#state = "ready";
    this.#stopConnectTimer();
    this.lastHeardAt = performance.now();
    this.#owner.connectionReady(this);
    this.#flush();
  }

  send(call: Call): void {
    if (this.#carried.size === 0) this.lastHeardAt = performance.now();
    this.#carried.add(call);
    call.connection = this;
    this.#outbox.push(call);
    this.#schedule();
  }

  /** Asks for more chunks of a read. */
  fetch(call: Call, chunks: number): void {
    if (call.connection === this) this.#control(call.id, { kind: "fetch", chunks });
  }

  /** Forgets a call; a node that has it is told that nobody waits for it. True if it may have been sent. */
  drop(call: Call): boolean {
    if (call.connection !== this) return false;
    call.connection = null;
    this.#carried.delete(call.id);
    const at = this.#outbox.indexOf(call);
    if (at >= 0) {
      this.#outbox.splice(at, 1);
      return false;
    }
    this.#control(call.id, { kind: "cancel" });
    return true;
  }

  #control(id: number, body: RequestBody): void {
    if (this.#state === "lost") return;
    this.#outbox.push({ id, body });
    this.#schedule();
  }

  /** Asks the node for its status, beside the stream. Answers once, never inside this call. */
  status(
    timeoutMs: number,
    answer: (error: BalsaError | null, status: StatusResponse | null) => void,
  ): void {
    const client = this.#client;
    if (client === null || this.#state === "lost") {
      const error = new BalsaError("UNAVAILABLE", `${this.address}: the connection is lost`);
      process.nextTick(answer, error, null);
      return;
    }
    client.makeUnaryRequest(
      "/balsa.v1.Cluster/Status",
      same,
      decodeStatusResponse,
      EMPTY,
      new Metadata(),
      { deadline: Date.now() + timeoutMs },
      (error, response) => {
        if (error !== null || response === undefined) {
          answer(toBalsaError(this.address, error), null);
          return;
        }
        this.lastHeardAt = performance.now();
        answer(null, response);
      },
    );
  }

  /** Ends it; what it carries is handed back as lost for this reason. */
  close(reason: BalsaError): void {
    this.#end(reason);
  }

  #schedule(): void {
    if (this.#flushScheduled || this.#state !== "ready") return;
    this.#flushScheduled = true;
    // All that the callers of this turn ask for travels in one frame, also of those whose answers came from elsewhere; but
    // in front of the answers that are still to be looked at.
    if (this.#inbox.length > 0) process.nextTick(flushConnection, this);
    else setImmediate(flushConnection, this);
  }

  /** For `flushConnection` alone. */
  flushNow(): void {
    this.#flushScheduled = false;
    this.#flush();
  }

  #flush(): void {
    const stream = this.#stream;
    if (stream === null || this.#state !== "ready") return;
    const now = performance.now();
    while (this.#outbox.length > 0 && this.#framesUnderWay < FRAMES_UNDER_WAY_MAX) {
      this.#framesUnderWay += 1;
      stream.write(this.#nextFrame(now), this.#onWritten);
    }
  }

  #onWritten = (): void => {
    this.#framesUnderWay -= 1;
    if (this.#outbox.length > 0) this.#schedule();
  };

  #nextFrame(now: number): Buffer {
    const outbox = this.#outbox;
    const requests: ClientRequest[] = [];
    let bytes = 0;
    let taken = 0;
    for (; taken < outbox.length; taken += 1) {
      const item = outbox[taken] as Call | Control;
      const body = typeof item.body === "function" ? item.body(now) : item.body;
      const size = requestSize(body);
      if (taken > 0 && bytes + size > FRAME_BYTES) break;
      bytes += size;
      requests.push({ id: item.id, body });
    }
    if (taken === outbox.length) this.#outbox = [];
    else this.#outbox = outbox.slice(taken);
    return encodeClientFrame(requests);
  }

  #onFrame(frame: Buffer): void {
    this.lastHeardAt = performance.now();
    try {
      const responses = decodeServerFrame(frame);
      this.#inbox = this.#inbox.length === 0 ? responses : this.#inbox.concat(responses);
      if (this.#groupSize === 0) this.#takeGroup();
    } catch (error) {
      this.#unreadable(error);
    }
  }

  #unreadable(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    const message = `${this.address}: an answer cannot be read: ${text}`;
    this.#inbox = [];
    this.#end(new BalsaError("PROTOCOL", message, { cause: error }));
  }

  /** Gives a group of answers to its callers; the next one follows behind what those ask now. */
  #takeGroup(): void {
    const inbox = this.#inbox;
    if (this.#groupSize === 0) {
      const least = inbox[0]?.body.kind === "query" ? READS_MIN : WRITES_MIN;
      this.#groupSize = Math.max(least, Math.ceil(this.#carried.size / 2));
    }
    const group = inbox.length <= this.#groupSize ? inbox : inbox.slice(0, this.#groupSize);
    this.#inbox = group === inbox ? [] : inbox.slice(group.length);
    if (this.#inbox.length === 0) this.#groupSize = 0;
    else setImmediate(takeGroup, this);
    for (const response of group) this.#onResponse(response);
  }

  /** For `takeGroup` alone. */
  takeGroupNow(): void {
    // It has ended meanwhile.
    if (this.#inbox.length === 0) return;
    try {
      this.#takeGroup();
    } catch (error) {
      this.#unreadable(error);
    }
  }

  #onResponse({ id, body }: ServerResponse): void {
    const call = this.#carried.get(id);
    if (call === null) return; // a late answer to a call that was dropped
    if (body.kind === "failure") {
      this.#release(call);
      call.owner.refused(call, body.failure, this.address);
      return;
    }
    const receipt = call.receive(body);
    if (receipt === "more") return;
    this.#release(call);
    if (receipt === "enough") this.#control(id, { kind: "cancel" });
    call.owner.answered(call);
  }

  /** What has come is no less an answer because nothing follows it. One that cannot be read is as good as none. */
  #takeRest(): void {
    const rest = this.#inbox;
    this.#inbox = [];
    try {
      for (const response of rest) this.#onResponse(response);
    } catch {
      // Its call, and those behind it, are lost with the connection.
    }
  }

  #release(call: Call): void {
    this.#carried.delete(call.id);
    call.connection = null;
  }

  #end(error: BalsaError): void {
    if (this.#state === "lost") return;
    const wasReady = this.#state === "ready";
    this.#takeRest();
    this.#state = "lost";
    this.#stopConnectTimer();
    const calls = this.#carried.takeAll();
    const unsent = new Set(this.#outbox);
    this.#outbox = [];
    this.#stream?.cancel();
    this.#client?.close();
    this.#owner.connectionLost(this, error);
    for (const call of calls) {
      call.connection = null;
      call.owner.lost(call, error, wasReady && !unsent.has(call) ? "sent" : "unsent");
    }
  }

  #stopConnectTimer(): void {
    if (this.#connectTimer !== null) clearTimeout(this.#connectTimer);
    this.#connectTimer = null;
  }
}

const EMPTY = Buffer.alloc(0);

function same(bytes: Buffer): Buffer {
  return bytes;
}

function flushConnection(connection: Connection): void {
  connection.flushNow();
}

function takeGroup(connection: Connection): void {
  connection.takeGroupNow();
}

/** What gRPC reports, in our words: something else that answers is told from nothing that answers. */
function toBalsaError(address: string, error: ServiceError | null): BalsaError {
  const details = error?.details ?? "no answer";
  const isOther =
    error?.code === status.UNIMPLEMENTED ||
    /protocol error|HTTP\/?1|http status|content-type/i.test(details);
  if (isOther) {
    const message = `${address}: something other than a Balsa node answers there (${details})`;
    return new BalsaError("PROTOCOL", message, { facts: { endpoint: address } });
  }
  return new BalsaError("UNAVAILABLE", `${address}: ${details}`, {
    facts: { endpoint: address },
  });
}
