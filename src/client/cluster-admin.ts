/**
 * For operators: asks a cluster's nodes what they are, changes its members, hands the leadership over. Finds the leader
 * among the nodes by itself. Speaks unary gRPC on connections of its own; it reads and writes no data.
 */

import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { BalsaError, toError } from "../sql/errors.ts";
import {
  decodeCluster,
  encodeCluster,
  type MemberStep,
  type MemberStatus as WireMember,
} from "../wire/cluster-codec.ts";
import { fromGrpc } from "../wire/status.ts";
import { type ClusterStatus, type EndpointStatus, type NodeStatus, summarize } from "./status.ts";

export type MemberStatus = WireMember;

export interface ClusterAdminOptions {
  /** HOST:PORT of some nodes; others are learnt from them. At least one. */
  readonly endpoints: readonly string[];
  /** For each call, finding the leader included. Milliseconds, default 10,000. */
  readonly deadlineMs?: number;
}

/** A change of the members; several steps take effect together. */
export interface MemberChange {
  readonly steps: readonly {
    /**
     * `add`: as a learner, which becomes a voter by itself when it has caught up, unless `learner`. `promote`: a vote
     * for a learner that has caught up. `remove`: a voter or a learner, the leader too.
     */
    readonly kind: "add" | "promote" | "remove";
    readonly id: number;
    /** HOST:PORT at which peers and clients reach it; of `add`. */
    readonly address?: string;
    readonly learner?: boolean;
  }[];
  /** Refused unless `configurationIndex` of the status is still this. */
  readonly expected?: number;
}

/** The node's own word on a deadline that passed says more than the lack of one. */
const ANSWER_MS = 500;
/** Between two looks for a leader. */
const PAUSE_MS = 100;
/** What one node may take to say what it is. */
const STATUS_MS_MAX = 2_000;

type Method = "ChangeMembers" | "TransferLeadership" | "UpgradeMachine";

export class ClusterAdmin {
  readonly #endpoints: readonly string[];
  readonly #deadlineMs: number;
  readonly #clients = new Map<string, Client>();
  /** Members that some node named: those that were given may leave the cluster one day. */
  readonly #learnt = new Set<string>();

  /** Connects when it is first asked something. @throws BalsaError INVALID_ARGUMENT without endpoints */
  constructor({ endpoints, deadlineMs = 10_000 }: ClusterAdminOptions) {
    if (endpoints.length === 0) {
      throw new BalsaError("INVALID_ARGUMENT", "endpoints must name at least one node");
    }
    this.#endpoints = endpoints;
    this.#deadlineMs = deadlineMs;
  }

  /** What every known node says of itself; never fails: a node that does not answer is listed with the error. */
  async status(): Promise<ClusterStatus> {
    const asked = new Map<string, EndpointStatus>();
    let unknown = [...new Set([...this.#endpoints, ...this.#learnt])];
    while (unknown.length > 0) {
      for (const answer of await Promise.all(unknown.map((one) => this.#statusOf(one)))) {
        asked.set(answer.endpoint, answer);
      }
      const named = [...asked.values()].flatMap(({ status }) => status?.members ?? []);
      for (const { address } of named) if (address !== "") this.#learnt.add(address);
      unknown = [...this.#learnt].filter((address) => !asked.has(address));
    }
    return summarize([...asked.values()], this.#endpoints);
  }

  /** The leader's own view of the cluster. @throws BalsaError NO_LEADER, UNAVAILABLE */
  async leader(): Promise<NodeStatus> {
    const deadline = Date.now() + this.#deadlineMs;
    for (;;) {
      const { leader, nodes } = await this.status();
      const found = nodes.find(
        ({ status }) => status?.role === "leader" && status.id === leader?.id,
      );
      if (found?.status != null) return found.status;
      if (Date.now() + PAUSE_MS >= deadline) throw noLeader(nodes);
      await pause();
    }
  }

  /**
   * Resolves, with the new configuration's index, when the change is in force and no joint configuration is left.
   * @throws BalsaError REFUSED with the reason, DEADLINE_EXCEEDED, LEADERSHIP_LOST; `outcome` says what became of it
   */
  async changeMembers({ steps, expected }: MemberChange): Promise<number> {
    const wire: MemberStep[] = steps.map(({ kind, id, address = "", learner = false }) => {
      return { kind, id, address, learner };
    });
    const base = expected === undefined ? { steps: wire } : { steps: wire, expected };
    const answer = await this.#ask("ChangeMembers", (timeoutMs) =>
      encodeCluster("ChangeMembersRequest", { ...base, timeoutMs }),
    );
    return decodeCluster("ChangeMembersResponse", answer).configurationIndex;
  }

  /** Resolves with the id of the node that leads now. `to` 0: the follower that is furthest. @throws BalsaError */
  async transferLeadership(to = 0): Promise<number> {
    const answer = await this.#ask("TransferLeadership", (timeoutMs) =>
      encodeCluster("TransferLeadershipRequest", { to, timeoutMs }),
    );
    return decodeCluster("TransferLeadershipResponse", answer).leader;
  }

  /**
   * Sets the cluster's machine version, from which on only nodes of that version lead. `version` empty: the one that voters run
   * and the cluster does not. Refused, with a list, unless every voter runs it; with `majority`, a majority.
   * @throws BalsaError REFUSED, DEADLINE_EXCEEDED
   */
  async upgrade(
    options: { readonly version?: string; readonly majority?: boolean } = {},
  ): Promise<{ readonly version: string; readonly before: string }> {
    const { version = "", majority = false } = options;
    const answer = await this.#ask("UpgradeMachine", (timeoutMs) =>
      encodeCluster("UpgradeMachineRequest", { version, majority, timeoutMs }),
    );
    return decodeCluster("UpgradeMachineResponse", answer);
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  /** Of the leader; followed when it changes before it was asked anything. */
  async #ask(method: Method, encode: (timeoutMs: number) => Uint8Array): Promise<Buffer> {
    const deadline = Date.now() + this.#deadlineMs;
    for (;;) {
      const { address } = await this.leader();
      const leftMs = deadline - Date.now();
      try {
        const request = Buffer.from(encode(Math.max(1, leftMs)));
        return await this.#call(address, method, request, leftMs + ANSWER_MS);
      } catch (error) {
        const isElsewhere =
          error instanceof BalsaError &&
          (error.code === "NOT_LEADER" || error.code === "NO_LEADER");
        if (!isElsewhere || Date.now() + PAUSE_MS >= deadline) throw error;
        await pause();
      }
    }
  }

  async #statusOf(endpoint: string): Promise<EndpointStatus> {
    const timeoutMs = Math.min(this.#deadlineMs, STATUS_MS_MAX);
    try {
      const bytes = await this.#call(endpoint, "Status", Buffer.alloc(0), timeoutMs);
      return { endpoint, status: decodeCluster("StatusResponse", bytes), error: null };
    } catch (error) {
      if (!(error instanceof BalsaError)) throw error;
      return { endpoint, status: null, error };
    }
  }

  #call(
    endpoint: string,
    method: Method | "Status",
    request: Buffer,
    timeoutMs: number,
  ): Promise<Buffer> {
    let client = this.#clients.get(endpoint);
    if (client === undefined) {
      client = new Client(endpoint, credentials.createInsecure());
      this.#clients.set(endpoint, client);
    }
    const deadline = Date.now() + Math.max(1, timeoutMs);
    const path = `/balsa.v1.Cluster/${method}`;
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, bytes?: Buffer) => {
        if (error === null && bytes !== undefined) resolve(bytes);
        else
          reject(
            toError(fromGrpc(error ?? NOTHING, method === "Status" ? "not-applied" : "unknown")),
          );
      };
      const options = { deadline };
      client.makeUnaryRequest(path, same, same, request, new Metadata(), options, done);
    });
  }
}

const NOTHING = { code: 13, details: "no answer" };

function same(bytes: Buffer): Buffer {
  return bytes;
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}

function noLeader(nodes: readonly EndpointStatus[]): BalsaError {
  const answers = nodes.filter(({ status }) => status !== null);
  if (answers.length > 0) {
    const roles = answers.map(({ status }) => `node ${status?.id} is ${status?.role}`);
    return new BalsaError("NO_LEADER", `no leader was found: ${roles.join(", ")}`);
  }
  const endpoints = nodes.map(({ endpoint }) => endpoint).join(", ");
  return new BalsaError("UNAVAILABLE", `no node answers at ${endpoints}`);
}
