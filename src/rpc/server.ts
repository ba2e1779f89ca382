/**
 * A node's server: one port, behind it gRPC (SQL, cluster, health, reflection) and the peers. It owns the port, the
 * streams and what they hold, never the node: who starts a server starts and stops the node too.
 */

import type { Socket } from "node:net";
import { join } from "node:path";
import { Server as GrpcServer, ServerCredentials } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation, protoPath as healthProto } from "grpc-health-check";
import type { Logger, SnapshotFiles } from "../node/ports.ts";
import type { NodeService, NodeStatus } from "../node/service.ts";
import { DEFAULT_LIMITS, type Limits } from "../sql/limits.ts";
import { PROTO_DIRECTORY } from "../wire/proto.ts";
import type { Address } from "./addresses.ts";
import { clusterService, isServing } from "./cluster-service.ts";
import { Forwarder } from "./forwarder.ts";
import { CLUSTER_METHODS, SQL_METHODS } from "./grpc-methods.ts";
import { Listener } from "./listener.ts";
import { SqlService } from "./sql-service.ts";
import { DEFAULT_STREAM_BOUNDS, type StreamBounds } from "./stream-bounds.ts";
import { WriteGate } from "./write-gate.ts";

/** Above the largest request that a limit can name (8 MiB): what is larger is cut off by gRPC itself. */
const RECEIVE_BYTES_MAX = 9 * 1024 * 1024;

const GRPC_OPTIONS = {
  "grpc.max_receive_message_length": RECEIVE_BYTES_MAX,
  "grpc.max_send_message_length": -1,
  "grpc.max_concurrent_streams": 4096,
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.enable_channelz": 0,
  "grpc-node.flow_control_window": 1024 * 1024,
};

const HEALTH_SERVICES = ["", "balsa.v1.Sql", "balsa.v1.Cluster"];

export interface ServerOptions {
  /** Where to listen, or a listener that is bound already (to know its port before the node is made). */
  readonly listen: Address | Listener;
  readonly node: NodeService;
  /** Takes over connections of peers; null refuses them. */
  readonly peers: { accept(socket: Socket): void } | null;
  /** Takes over connections of nodes that fetch a snapshot; absent: refuses them. */
  readonly snapshots?: { accept(socket: Socket): void; readonly files: SnapshotFiles | null };
  readonly logger: Logger;
  readonly limits?: Partial<Limits>;
  readonly bounds?: Partial<StreamBounds>;
  /** Of a forwarded write that names none. Default 30,000, as the node's own. */
  readonly writeTimeoutMs?: number;
}

export interface RunningServer {
  /** Where it listens; the port is the real one. */
  readonly address: Address;
  /** Connections that are open, of clients and peers. */
  connections(): number;
  /**
   * Takes nothing new, lets what is under way finish for `graceMs` (default 2,000), then cuts off the rest.
   * Connections of peers are cut off last: stop the transport before, so that it can say goodbye.
   */
  stop(graceMs?: number): Promise<void>;
}

/** @throws BalsaError as Listener.bind does: the port is in use, not permitted, or not this machine's. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { listen, node, peers, logger } = options;
  const listener = listen instanceof Listener ? listen : await Listener.bind({ listen, logger });
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const bounds = { ...DEFAULT_STREAM_BOUNDS, ...options.bounds };
  const forwarder = new Forwarder({ limits, logger });
  const defaultTimeoutMs = options.writeTimeoutMs ?? 30_000;
  const gate = new WriteGate({ node, limits, forwarder, defaultTimeoutMs });
  const sql = new SqlService({ node, gate, bounds });

  const grpc = new GrpcServer(GRPC_OPTIONS);
  grpc.addService(SQL_METHODS, sql.implementation());
  grpc.addService(
    CLUSTER_METHODS,
    clusterService(node, () => options.snapshots?.files ?? null),
  );
  addReflection(grpc);
  const forgetHealth = addHealth(grpc, node);
  const forgetLeader = node.watch(({ leaderAddress }) => forwarder.leads(leaderAddress));

  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  listener.open({
    http2: (socket) => injector.injectConnection(socket),
    peer: (socket) => {
      if (peers === null) socket.destroy();
      else peers.accept(socket);
    },
    snapshot: (socket) => {
      if (options.snapshots === undefined) socket.destroy();
      else options.snapshots.accept(socket);
    },
  });
  const stop = async (graceMs = 2000): Promise<void> => {
    forgetHealth();
    forgetLeader();
    listener.stopAccepting();
    sql.drain();
    await shutdown(grpc, graceMs);
    forwarder.close();
    await listener.close();
  };
  return { address: listener.address, connections: () => listener.connections, stop };
}

/** Calls under way may end; the rest is cut off by closing their connections. */
function shutdown(grpc: GrpcServer, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      grpc.forceShutdown();
      resolve();
    }, graceMs);
    grpc.tryShutdown(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Returns what ends it: then no service is SERVING. */
function addHealth(grpc: GrpcServer, node: NodeService): () => void {
  const health = new HealthImplementation();
  let last: string | null = null;
  const tell = (serving: boolean) => {
    const status = serving ? "SERVING" : "NOT_SERVING";
    if (status === last) return;
    last = status;
    for (const service of HEALTH_SERVICES) health.setStatus(service, status);
  };
  tell(isServing(node.status()));
  health.addToServer(grpc);
  const forget = node.watch((status: NodeStatus) => tell(isServing(status)));
  return () => {
    forget();
    tell(false);
  };
}

function addReflection(grpc: GrpcServer): void {
  const files = ["sql.proto", "cluster.proto"].map((name) => join("balsa", "v1", name));
  const definition = loadSync([...files, healthProto], {
    includeDirs: [PROTO_DIRECTORY, join(healthProto, "..", "..", "..")],
  });
  new ReflectionService(definition).addToServer(grpc);
}
