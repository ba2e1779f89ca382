/**
 * A cluster of gRPC servers without Raft or SQLite behind them, for the client to talk to. They share one state, keep
 * sessions as real nodes do, and do whatever a test scripts: refuse, hint, hang, die after executing, before answering.
 */

import {
  status as grpcStatus,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";
import type { BalsaCode, Facts, Outcome } from "../../src/sql/errors.ts";
import { encodeStatusResponse, type StatusResponse } from "../../src/wire/cluster-codec.ts";
import { BatchResultWriter, RowChunkWriter } from "../../src/wire/result-codec.ts";
import {
  type ClientRequest,
  decodeClientFrame,
  encodeServerFrame,
  type ResponseBody,
} from "../../src/wire/sql-codec.ts";
import {
  type BoundStatement,
  decodeBatch,
  decodeStatement,
} from "../../src/wire/statement-codec.ts";
import type { SqliteValue } from "../../src/wire/value-codec.ts";

export type Body<K extends ClientRequest["body"]["kind"]> = Extract<
  ClientRequest["body"],
  { kind: K }
>;

/** One stream of one client, as a test sees it. */
export class FakeStream {
  readonly node: FakeNode;
  readonly #stream: ServerDuplexStream<Buffer, Buffer>;
  #isDropped = false;

  constructor(node: FakeNode, stream: ServerDuplexStream<Buffer, Buffer>) {
    this.node = node;
    this.#stream = stream;
  }

  send(id: number, body: ResponseBody): void {
    if (!this.#isDropped) this.#stream.write(encodeServerFrame([{ id, body }]));
  }

  fail(
    id: number,
    code: BalsaCode | `SQLITE_${string}`,
    options: { outcome?: Outcome; facts?: Facts; message?: string } = {},
  ): void {
    const { outcome = "not-applied", facts = {}, message = `scripted ${code}` } = options;
    this.send(id, {
      kind: "failure",
      failure: { code, message, outcome, statementIndex: 0, facts },
    });
  }

  raw(bytes: Buffer): void {
    this.#stream.write(bytes);
  }

  /** The client sees the stream break. */
  drop(): void {
    this.#isDropped = true;
    this.#stream.emit("error", { code: grpcStatus.UNAVAILABLE, details: "scripted break" });
  }
}

/** Answers the request, or returns false to leave it to the cluster's ordinary behaviour. */
export type Script = (request: ClientRequest, stream: FakeStream) => boolean;

export class FakeNode {
  readonly id: number;
  readonly cluster: FakeCluster;
  #server: Server | null = null;
  port = 0;
  /** All that arrived, in order. */
  readonly received: ClientRequest[] = [];
  readonly streams = new Set<FakeStream>();
  statusAsked = 0;
  /** Takes everything and says nothing. */
  isFrozen = false;
  /** Overrides of what it says of itself. */
  says: Partial<StatusResponse> = {};
  script: Script = () => false;
  frames = 0;
  readonly requestsOfFrames: number[] = [];

  constructor(cluster: FakeCluster, id: number) {
    this.cluster = cluster;
    this.id = id;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  of<K extends ClientRequest["body"]["kind"]>(kind: K): Body<K>[] {
    const bodies = this.received.map((request) => request.body);
    return bodies.filter((body): body is Body<K> => body.kind === kind);
  }

  async start(): Promise<void> {
    const server = new Server({ "grpc.max_receive_message_length": -1 });
    const same = (bytes: Buffer): Buffer => bytes;
    const method = { requestSerialize: same, requestDeserialize: same } as const;
    server.addService(
      {
        Connect: {
          ...method,
          path: "/balsa.v1.Sql/Connect",
          requestStream: true,
          responseStream: true,
          responseSerialize: same,
          responseDeserialize: same,
        },
        Status: {
          ...method,
          path: "/balsa.v1.Cluster/Status",
          requestStream: false,
          responseStream: false,
          responseSerialize: same,
          responseDeserialize: same,
        },
      },
      {
        Connect: (stream: ServerDuplexStream<Buffer, Buffer>) => this.#onStream(stream),
        Status: (_call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) => {
          this.statusAsked += 1;
          if (!this.isFrozen) answer(null, Buffer.from(encodeStatusResponse(this.#status())));
        },
      },
    );
    this.port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(
        `127.0.0.1:${this.port}`,
        ServerCredentials.createInsecure(),
        (error, port) => (error === null ? resolve(port) : reject(error)),
      );
    });
    this.#server = server;
  }

  /** As if the process were killed: all connections break, the port refuses. */
  kill(): void {
    this.#server?.forceShutdown();
    this.#server = null;
    this.streams.clear();
  }

  #onStream(stream: ServerDuplexStream<Buffer, Buffer>): void {
    const fake = new FakeStream(this, stream);
    this.streams.add(fake);
    stream.sendMetadata(new Metadata());
    stream.on("data", (frame: Buffer) => {
      this.frames += 1;
      const requests = decodeClientFrame(frame);
      this.requestsOfFrames.push(requests.length);
      for (const request of requests) {
        this.received.push(request);
        if (this.isFrozen || this.script(request, fake)) continue;
        this.cluster.serve(request, fake);
      }
    });
    stream.on("end", () => stream.end());
    stream.on("error", () => this.streams.delete(fake));
    stream.on("close", () => this.streams.delete(fake));
    stream.on("cancelled", () => this.streams.delete(fake));
  }

  #status(): StatusResponse {
    const leader = this.cluster.leader;
    return {
      id: this.id,
      role: leader === this ? "leader" : "follower",
      term: this.cluster.term,
      leader: leader?.id ?? 0,
      leaderAddress: leader?.address ?? "",
      machineVersion: "",
      ownMachineVersion: "",
      lastIndex: this.cluster.index,
      commitIndex: this.cluster.index,
      appliedIndex: this.cluster.index,
      lagMs: 0,
      databaseBytes: 4096,
      clusterId: "fake",
      version: "0",
      address: this.address,
      members: [],
      trouble: "",
      pid: 1,
      configurationIndex: 0,
      ...this.says,
    };
  }
}

export class FakeCluster {
  readonly nodes: FakeNode[] = [];
  leader: FakeNode | null = null;
  term = 1;
  index = 0;
  /** The text of every write executed, in order. */
  readonly executed: string[] = [];
  /** Parameters of every write executed. */
  readonly args: BoundStatement["args"][] = [];
  readonly sessions = new Map<number, Map<number, { result: Buffer; index: number }>>();
  /** What a read gives. */
  columns: string[] = ["n"];
  rows: SqliteValue[][] = [[1n]];
  /** Rows that a write gives. */
  returned: SqliteValue[][] = [];
  rowsInChunk = 2;
  #nextSession = 100;
  /** Chunks sent by each query that is under way, and those allowed. */
  readonly queries = new Map<string, { at: number; window: number; pump: () => void }>();

  async start(count: number): Promise<void> {
    for (let id = 1; id <= count; id += 1) {
      const node = new FakeNode(this, id);
      await node.start();
      this.nodes.push(node);
    }
    this.leader = this.nodes[0] ?? null;
  }

  get endpoints(): string[] {
    return this.nodes.map((node) => node.address);
  }

  node(at: number): FakeNode {
    const node = this.nodes[at];
    if (node === undefined) throw new Error(`no node ${at}`);
    return node;
  }

  lead(node: FakeNode | null): void {
    this.leader = node;
    this.term += 1;
  }

  stop(): void {
    for (const node of this.nodes) node.kill();
  }

  serve({ id, body }: ClientRequest, stream: FakeStream): void {
    const mayForward = body.kind === "execute" || body.kind === "openSession";
    if (mayForward && stream.node !== this.leader && body.noForward) {
      if (this.leader === null) stream.fail(id, "NO_LEADER");
      else stream.fail(id, "NOT_LEADER", { facts: { leader: this.leader.address } });
      return;
    }
    if (body.kind === "execute") this.#execute(id, body, stream);
    else if (body.kind === "query") this.#query(id, body, stream);
    else if (body.kind === "openSession") {
      this.#nextSession += 1;
      this.sessions.set(this.#nextSession, new Map());
      this.index += 1;
      stream.send(id, { kind: "openSession", session: this.#nextSession, index: this.index });
    } else this.#control(id, body, stream);
  }

  #execute(id: number, body: Body<"execute">, stream: FakeStream): void {
    const answer = this.apply(body);
    if (answer === null) stream.fail(id, "SESSION_EXPIRED");
    else stream.send(id, { kind: "execute", ...answer });
  }

  /** Executes once in a session; null if the session is not known. */
  apply(body: Body<"execute">): { result: Buffer; index: number } | null {
    const session = this.sessions.get(body.session);
    if (session === undefined) return null;
    const before = session.get(body.sequence);
    if (before !== undefined) return before;
    const { statements } = decodeBatch(body.batch);
    this.index += 1;
    const writer = new BatchResultWriter();
    writer.start();
    for (const { sql, args } of statements) {
      this.executed.push(sql);
      this.args.push(args);
      writer.beginResult(this.returned.length > 0 ? this.columns : []);
      for (const row of this.returned) writer.row(row);
      writer.endResult(1, this.executed.length);
    }
    const answer = { result: writer.finish(), index: this.index };
    session.set(body.sequence, answer);
    return answer;
  }

  #query(id: number, body: Body<"query">, stream: FakeStream): void {
    decodeStatement(body.statement);
    const key = `${stream.node.id}/${id}`;
    const writer = new RowChunkWriter();
    const query = {
      at: 0,
      window: body.window === 0 ? Number.POSITIVE_INFINITY : body.window,
      pump,
    };
    const { rows, rowsInChunk, columns, index, queries } = this;
    queries.set(key, query);
    pump();
    function pump(): void {
      while (query.window > 0 && queries.has(key)) {
        query.window -= 1;
        writer.start(query.at === 0 ? columns : []);
        for (const row of rows.slice(query.at, query.at + rowsInChunk)) writer.row(row);
        query.at += rowsInChunk;
        const done = query.at >= rows.length;
        if (done) queries.delete(key);
        const chunk = writer.finish();
        stream.send(id, { kind: "query", chunk, done, node: stream.node.id, index, lagMs: 0 });
      }
    }
  }

  #control(id: number, body: ClientRequest["body"], stream: FakeStream): void {
    const key = `${stream.node.id}/${id}`;
    const query = this.queries.get(key);
    if (body.kind === "cancel") this.queries.delete(key);
    else if (body.kind === "fetch" && query !== undefined) {
      query.window += body.chunks;
      query.pump();
    }
  }
}

/** Waits for a condition, looking again every few milliseconds, for at most five seconds. */
export async function until(condition: () => boolean): Promise<void> {
  const started = performance.now();
  while (!condition()) {
    if (performance.now() - started > 5_000) throw new Error("the condition never came");
    await new Promise((resolve) => {
      setTimeout(resolve, 2);
    });
  }
}
