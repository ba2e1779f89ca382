/** A node that does as a test says, and gRPC clients made from the .proto files as any other language makes them. */

import { join } from "node:path";
import {
  type Client,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  credentials,
  loadPackageDefinition,
  type Metadata,
  type ServiceClientConstructor,
  type ServiceError,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { expect, vi } from "vitest";
import type { RunningQuery } from "../../src/node/ports.ts";
import type {
  BeginSink,
  ChangeCall,
  ChangeSink,
  ExecuteCall,
  ExecuteSink,
  NodeService,
  NodeStatus,
  QueryCall,
  QueryCallSink,
  RunningTransaction,
  StepCall,
  TransferCall,
  TransferSink,
  UpgradeCall,
  UpgradeSink,
} from "../../src/node/service.ts";
import { type Address, formatAddress } from "../../src/rpc/addresses.ts";
import { type RunningServer, type ServerOptions, startServer } from "../../src/rpc/server.ts";
import type { BalsaCode, Failure, Outcome } from "../../src/sql/errors.ts";
import type { TransactionTerms } from "../../src/sql/transaction.ts";
import { messageType, PROTO_DIRECTORY } from "../../src/wire/proto.ts";
import { closeLater, SILENT } from "./loopback.ts";

const STATUS: NodeStatus = {
  id: 1,
  role: "leader",
  term: 3,
  leader: 1,
  leaderAddress: "127.0.0.1:4001",
  lastIndex: 12,
  commitIndex: 11,
  appliedIndex: 10,
  lagMs: 0,
  databaseBytes: 4096,
  clusterId: "c".repeat(32),
  address: "127.0.0.1:4001",
  members: [
    {
      id: 1,
      address: "127.0.0.1:4001",
      role: "voter",
      awaitsVote: false,
      connected: true,
      matchIndex: 12,
      caughtUp: false,
      machineVersion: "engine 1",
    },
  ],
  configurationIndex: 7,
  trouble: "",
  machineVersion: "engine 1",
  ownMachineVersion: "engine 1",
};

export function failure(
  code: BalsaCode | `SQLITE_${string}`,
  message: string = code,
  outcome: Outcome = "not-applied",
  facts: Failure["facts"] = {},
): Failure {
  return { code, message, outcome, statementIndex: 0, facts };
}

/** One call that reached the node. */
export interface SeenExecute extends ExecuteCall {
  cancelled: boolean;
}

/** One read that reached the node: rows of `chunkBytes`, `chunks` of them, as credit allows. */
export interface SeenQuery extends QueryCall {
  produced: number;
  credit: number;
  cancelled: boolean;
  /** What it was told of its caller, in order. */
  readonly holds: boolean[];
  /** Goes on, if the node answers no queries by itself. */
  pump(): void;
}

/** One transaction that reached the node. */
export interface SeenTransaction extends TransactionTerms {
  readonly steps: StepCall[];
  readonly sink: BeginSink;
  cancelled: boolean;
}

export class FakeNode implements NodeService {
  /** What it says of one request more. */
  full: Failure | null = null;
  current: NodeStatus = STATUS;
  readonly executes: SeenExecute[] = [];
  readonly queries: SeenQuery[] = [];
  readonly transactions: SeenTransaction[] = [];
  onBegin: (seen: SeenTransaction) => void = ({ sink }) => {
    sink.opened({ node: 1, index: 10, lagMs: 0 });
  };
  /** What to answer; by default each write gets the next index. */
  onExecute: (call: SeenExecute, sink: ExecuteSink) => void = (call, sink) => {
    const result = call.openSession ? OPENED : EMPTY_RESULT;
    sink.done(result, this.executes.length);
  };
  /** Or each waits until the test pumps it? */
  pumpsQueries = true;
  chunks = 1;
  chunkBytes = 10;
  queryFailure: Failure | null = null;
  readonly #watchers = new Set<(status: NodeStatus) => void>();

  execute(call: ExecuteCall, sink: ExecuteSink): { cancel(): void } {
    const seen: SeenExecute = { ...call, cancelled: false };
    this.executes.push(seen);
    setImmediate(() => this.onExecute(seen, sink));
    return {
      cancel: () => {
        seen.cancelled = true;
      },
    };
  }

  begin(call: TransactionTerms, sink: BeginSink): RunningTransaction {
    const seen: SeenTransaction = { ...call, steps: [], cancelled: false, sink };
    this.transactions.push(seen);
    setImmediate(() => this.onBegin(seen));
    return {
      step: (step, stepSink) => {
        seen.steps.push(step);
        setImmediate(() => stepSink.done(EMPTY_RESULT, seen.steps.length));
        return { cancel: () => {} };
      },
      cancel: () => {
        seen.cancelled = true;
      },
    };
  }

  readonly changes: ChangeCall[] = [];
  onChange: (call: ChangeCall, sink: ChangeSink) => void = (_call, sink) => sink.done(9);
  onTransfer: (call: TransferCall, sink: TransferSink) => void = ({ to }, sink) => sink.done(to);

  changeMembers(call: ChangeCall, sink: ChangeSink): void {
    this.changes.push(call);
    setImmediate(() => this.onChange(call, sink));
  }

  readonly upgrades: UpgradeCall[] = [];
  onUpgrade: (call: UpgradeCall, sink: UpgradeSink) => void = ({ version }, sink) =>
    sink.done(version || "engine 2", "engine 1");

  upgrade(call: UpgradeCall, sink: UpgradeSink): void {
    this.upgrades.push(call);
    this.onUpgrade(call, sink);
  }

  transferLeadership(call: TransferCall, sink: TransferSink): void {
    setImmediate(() => this.onTransfer(call, sink));
  }

  overloaded(): Failure | null {
    return this.full;
  }

  leaderElsewhere(): string {
    const { role, leaderAddress, address } = this.current;
    return role === "leader" || leaderAddress === address ? "" : leaderAddress;
  }

  query(call: QueryCall, sink: QueryCallSink): RunningQuery {
    const credit = call.window === 0 ? Number.POSITIVE_INFINITY : call.window;
    const { chunks: total, chunkBytes } = this;
    const state = { produced: 0, credit, cancelled: false, holds: [] };
    const seen: SeenQuery = { ...call, ...state, pump: () => pump() };
    this.queries.push(seen);
    const pump = () => {
      if (this.queryFailure !== null && !seen.cancelled) {
        sink.failed(this.queryFailure);
        return;
      }
      while (seen.credit > 0 && seen.produced < total && !seen.cancelled) {
        seen.credit -= 1;
        seen.produced += 1;
        const served = { node: 1, index: 10, lagMs: 0 };
        sink.chunk(rowChunk(seen.produced, chunkBytes), seen.produced === total, served);
      }
    };
    if (this.pumpsQueries) setImmediate(pump);
    return {
      hold: (isHeld) => seen.holds.push(isHeld),
      fetch: (chunks) => {
        // Later, as with a reader in a process of its own.
        setImmediate(() => {
          seen.credit += chunks;
          pump();
        });
      },
      cancel: () => {
        seen.cancelled = true;
      },
    };
  }

  status(): NodeStatus {
    return this.current;
  }

  watch(changed: (status: NodeStatus) => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  become(change: Partial<NodeStatus>): void {
    this.current = { ...this.current, ...change };
    for (const watcher of this.#watchers) watcher(this.current);
  }

  /** Refuses writes as a follower does. */
  follow(leaderAddress: string): void {
    this.become({ role: "follower", leader: 2, leaderAddress });
    this.onExecute = (_call, sink) => {
      const facts = { leader: leaderAddress };
      sink.failed(failure("NOT_LEADER", "node 1 does not lead", "not-applied", facts));
    };
  }
}

export function encode(type: string, object: object): Buffer {
  const found = messageType(type);
  return Buffer.from(found.encode(found.fromObject(object)).finish());
}

/** The schema's own view of encoded bytes. */
export function decode(type: string, bytes: Uint8Array): unknown {
  const found = messageType(type);
  return found.toObject(found.decode(bytes), { longs: Number });
}

export const EMPTY_RESULT = encode("BatchResult", {
  results: [{ changes: 1, lastInsertRowid: 7 }],
});
export const OPENED = encode("OpenSessionResponse", { session: 77, index: 5 });

function rowChunk(number: number, bytes: number): Buffer {
  const values = [{ integer: number }, { blob: Buffer.alloc(bytes) }];
  return encode("RowChunk", { columns: number === 1 ? ["n", "b"] : [], rows: [{ values }] });
}

export async function serve(
  node: NodeService,
  options: Partial<ServerOptions> = {},
): Promise<RunningServer> {
  const listen = { host: "127.0.0.1", port: 0 };
  const server = await startServer({ listen, node, peers: null, logger: SILENT, ...options });
  closeLater(() => server.stop(0));
  return server;
}

const LOADER = { keepCase: true, longs: Number, enums: String, defaults: false, oneofs: true };

type Answer<T> = (error: ServiceError | null, response: T) => void;
// biome-ignore lint/suspicious/noExplicitAny: what proto-loader makes of a schema has no static type
export type Loose = any;

/** What proto-loader makes of balsa.v1, as far as the tests use it. */
export interface SqlClient extends Client {
  Execute(request: object, metadata: Metadata, options: object, answer: Answer<Loose>): Client;
  Execute(request: object, answer: Answer<Loose>): { cancel(): void };
  OpenSession(request: object, answer: Answer<Loose>): Client;
  Query(request: object): ClientReadableStream<Loose>;
  Connect(): ClientDuplexStream<object, Loose>;
}
export interface ClusterClient extends Client {
  Status(request: object, answer: Answer<Loose>): Client;
}

export function loadService(paths: string[], include: string[], name: string) {
  let found: Loose = loadPackageDefinition(loadSync(paths, { ...LOADER, includeDirs: include }));
  for (const part of name.split(".")) found = found[part];
  return found as ServiceClientConstructor;
}

export function newClient<T extends Client>(
  Service: ServiceClientConstructor,
  address: Address,
  options: ClientOptions = {},
): T {
  const own = { "grpc.use_local_subchannel_pool": 1, ...options };
  const client = new Service(formatAddress(address), credentials.createInsecure(), own);
  closeLater(async () => client.close());
  return client as unknown as T;
}

export function sqlClient(address: Address, options: ClientOptions = {}): SqlClient {
  const path = join("balsa", "v1", "sql.proto");
  return newClient(loadService([path], [PROTO_DIRECTORY], "balsa.v1.Sql"), address, options);
}

export function clusterClient(address: Address): ClusterClient {
  const path = join("balsa", "v1", "cluster.proto");
  return newClient(loadService([path], [PROTO_DIRECTORY], "balsa.v1.Cluster"), address);
}

/** A unary call as a promise of either its response or its error. */
export function ask<T = Loose>(call: (answer: Answer<T>) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, response) => (error === null ? resolve(response) : reject(error)));
  });
}

export async function refusal(answer: Promise<unknown>): Promise<ServiceError> {
  try {
    await answer;
  } catch (error) {
    return error as ServiceError;
  }
  throw new Error("the call succeeded");
}

/** The figure, once it was the same three times, a while apart. */
export async function settled(figure: () => number): Promise<number> {
  let last = Number.NaN;
  let same = 0;
  await vi.waitFor(
    () => {
      same = figure() === last ? same + 1 : 0;
      last = figure();
      expect(same).toBeGreaterThanOrEqual(3);
    },
    { interval: 60, timeout: 10_000 },
  );
  return last;
}
