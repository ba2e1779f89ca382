/**
 * Who belongs to the cluster, as its leader sees to it (docs/decisions/0008-membership.md): admits members that lost
 * their disk, gives a vote to learners that have caught up, and carries out what operators ask, one change at a time.
 * What a change means and when it is in force is the core's; where nodes are is the peer book's.
 */

import type { ProposalResult, RaftStatus } from "../raft/effect.ts";
import type { Configuration, LogIndex, MemberRecord, NodeId } from "../raft/entry.ts";
import {
  type ChangeStep,
  type ConfigurationChange,
  changeConfiguration,
  isJoint,
} from "../raft/membership.ts";
import type { ProgressView } from "../raft/progress.ts";
import { isLearner, isVoter, memberIds } from "../raft/quorum.ts";
import type { Failure } from "../sql/errors.ts";
import type { PeerBook, PeerView } from "./peer-book.ts";
import type { Environment, Identity, Logger, Transport } from "./ports.ts";
import { removedText } from "./refusals.ts";
import type { ChangeCall, ChangeSink, MemberStep } from "./service.ts";
import { failure } from "./write-request.ts";

export interface MembershipParts {
  readonly id: NodeId;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly book: PeerBook;
  identity(): Identity;
  status(): RaftStatus;
  progress(): readonly ProgressView[];
  propose(change: ConfigurationChange, expected: LogIndex): ProposalResult;
  /** Why this node cannot be asked: it does not lead. */
  notLeader(): Failure;
  readonly transport: Pick<Transport, "sendForm">;
  /** To be kept with the database. */
  configure(configuration: Configuration): void;
  /** Why this node does not serve; empty when that has passed. */
  trouble(text: string): void;
}

/** A change that an operator waits for. */
interface Pending {
  readonly call: ChangeCall;
  readonly sink: ChangeSink;
  readonly deadlineAtMs: number;
  /** null until it is proposed. */
  proposed: LogIndex | null;
}

/** An admission is told again until the node says that it takes part. */
const ADMIT_MS = 500;
/** After a refusal by the core the same is not tried at once. */
const RETRY_MS = 300;

export class Membership {
  readonly #parts: MembershipParts;
  #pending: Pending | null = null;
  readonly #admittedAtMs = new Map<NodeId, number>();
  #notBeforeMs = 0;
  #configuration: Configuration | null = null;
  /** By the configuration in force here this node is no member. */
  #isOut = false;
  /** Since this entry it is no member; 0: it is one. What is as new may say that it is one, what is older not. */
  #removedAt: LogIndex = 0;

  constructor(parts: MembershipParts) {
    this.#parts = parts;
  }

  // --- what has been decided -------------------------------------------------------------------------------------

  /** At the start, and whenever anything in the core's status has changed. */
  moved(status: RaftStatus): void {
    const { configuration, commitIndex } = status;
    const isNew = configuration !== this.#configuration;
    if (isNew) {
      this.#configuration = configuration;
      this.#isOut = !memberIds(configuration).includes(this.#parts.id) && configuration.index > 0;
      this.#parts.book.follow(configuration);
      this.#parts.configure(configuration);
    }
    // A node that replays the log of a cluster which it joined later is no member at first.
    const isBack = this.isRemoved && !this.#isOut && configuration.index >= this.#removedAt;
    if (this.#isOut && commitIndex >= this.#parts.identity().votesFrom) {
      if (!this.isRemoved) this.#setRemoved(configuration.index, removedText(configuration.index));
    } else if (isBack) this.#setRemoved(0, "");
    // Every commit passes here.
    if (isNew || this.#pending !== null) this.sweep();
  }

  /** Others say that this node is no member since this entry. Who knows that configuration itself need not be told. */
  removed(index: LogIndex): void {
    if (this.isRemoved || index <= (this.#configuration?.index ?? 0)) return;
    this.#setRemoved(index, removedText(index));
  }

  get isRemoved(): boolean {
    return this.#removedAt > 0;
  }

  #setRemoved(at: LogIndex, trouble: string): void {
    this.#removedAt = at;
    this.#parts.trouble(trouble);
  }

  // --- for operators ---------------------------------------------------------------------------------------------

  /** Answers when the change is in force and no joint configuration is left (trap C10). */
  change(call: ChangeCall, sink: ChangeSink): void {
    const { environment, book } = this.#parts;
    const soon = (answer: Failure) => environment.soon(() => sink.failed(answer));
    if (this.#parts.status().role !== "leader") return soon(this.#parts.notLeader());
    const reason = this.#pending === null ? this.#problem(call) : "another change is under way";
    if (reason !== null) return soon(refused(reason));
    const deadlineAtMs = environment.monotonicMs() + call.timeoutMs;
    this.#pending = { call, sink, deadlineAtMs, proposed: null };
    for (const { kind, id, address } of call.steps) if (kind === "add") book.invite(id, address);
    this.#advance();
  }

  /** What can be said before anybody is asked. */
  #problem({ steps, expected }: ChangeCall): string | null {
    const { configuration } = this.#parts.status();
    if (steps.length === 0) return "the change has no steps";
    if (expected !== null && expected !== configuration.index) {
      return `the members have changed: the configuration is now ${configuration.index}, not ${expected}`;
    }
    if (isJoint(configuration)) return "another change is under way";
    if (new Set(steps.map(({ id }) => id)).size < steps.length) return "a node is named twice";
    const members = memberIds(configuration);
    for (const { kind, id, address } of steps) {
      const isMember = members.includes(id);
      if (kind === "add" && isMember) return `node ${id} is a member already`;
      if (kind === "add" && address === "") return `where node ${id} is, must be said`;
      if (kind !== "add" && !isMember) return `node ${id} is no member`;
      if (kind === "promote" && isVoter(configuration, id)) return `node ${id} has a vote already`;
    }
    return this.#quorumProblem(steps);
  }

  /** A cluster without a majority that answers would not come back by itself. */
  #quorumProblem(steps: readonly MemberStep[]): string | null {
    const removes = steps.some(({ kind }) => kind === "remove");
    const problem = this.#quorumProblemOf(steps.map((step) => this.#step(step)));
    return problem?.isQuorum === true && !removes ? null : (problem?.text ?? null);
  }

  #quorumProblemOf(
    steps: readonly ChangeStep[],
  ): { readonly text: string; readonly isQuorum: boolean } | null {
    const { configuration } = this.#parts.status();
    const result = changeConfiguration(configuration, { transition: "auto", steps });
    if (result.kind === "invalid") return { text: result.reason, isQuorum: false };
    const { voters } = result.configuration;
    const present = voters.filter((id) => this.#isPresent(id));
    const needed = Math.floor(voters.length / 2) + 1;
    if (present.length >= needed) return null;
    const text =
      `no quorum would be left: of the ${voters.length} voters ${voters.join(", ")} only ` +
      `${present.length === 0 ? "none" : present.join(", ")} can be reached, and ${needed} are needed`;
    return { text, isQuorum: true };
  }

  #isPresent(id: NodeId): boolean {
    return id === this.#parts.id || this.#parts.book.view(id)?.phase === "formed";
  }

  #step({ kind, id, address, isLearner: stays }: MemberStep): ChangeStep {
    const { book } = this.#parts;
    if (kind === "remove") return { kind: "remove", id };
    const record = this.#recordOf(id);
    if (kind === "promote") {
      const vote: ChangeStep = { kind: "addVoter", id };
      return record === null ? vote : { ...vote, record: { ...record, awaitsVote: false } };
    }
    const incarnation = book.view(id)?.incarnation ?? "";
    return { kind: "addLearner", id, record: { address, incarnation, awaitsVote: !stays } };
  }

  #recordOf(id: NodeId): MemberRecord | null {
    const { records } = this.#parts.status().configuration;
    return records.find((record) => record.id === id) ?? null;
  }

  // --- from time to time, and whenever something moved -------------------------------------------------------------

  sweep(): void {
    const status = this.#parts.status();
    this.#advance();
    if (status.role !== "leader") return;
    const nowMs = this.#parts.environment.monotonicMs();
    for (const id of memberIds(status.configuration)) {
      if (id !== this.#parts.id) this.#lookAfter(id, status, nowMs);
    }
  }

  #lookAfter(id: NodeId, status: RaftStatus, nowMs: number): void {
    const { book } = this.#parts;
    const view = book.view(id);
    if (view === null) return;
    if (this.#isOutside(view)) {
      const isNamed = this.#recordOf(id)?.incarnation === view.incarnation;
      if (isNamed && isLearner(status.configuration, id)) this.#admit(id, view, nowMs);
      else this.#readmit(id, view, nowMs);
    } else if (this.#recordOf(id)?.awaitsVote === true) this.#promote(id, nowMs);
  }

  /** It holds nothing of this cluster that anybody may rely on. */
  #isOutside({ phase, clusterId }: PeerView): boolean {
    const own = this.#parts.identity().clusterId;
    return phase === "blank" || (phase === "lost" && (clusterId === "" || clusterId === own));
  }

  /** What the node of this id has promised and acknowledged is lost: it counts no more until it has caught up. */
  #readmit(id: NodeId, { address, incarnation }: PeerView, nowMs: number): void {
    const { configuration } = this.#parts.status();
    const awaitsVote = isVoter(configuration, id) || this.#recordOf(id)?.awaitsVote === true;
    const step: ChangeStep = {
      kind: "addLearner",
      id,
      record: { address, incarnation, awaitsVote },
    };
    // Without it, too, those that are left must be able to go on.
    if (this.#quorumProblemOf([step]) !== null) return;
    this.#propose(
      [step],
      nowMs,
      "a member has lost its disk: it is a learner until it has caught up",
    );
  }

  #admit(id: NodeId, { incarnation }: PeerView, nowMs: number): void {
    if (nowMs - (this.#admittedAtMs.get(id) ?? Number.NEGATIVE_INFINITY) < ADMIT_MS) return;
    this.#admittedAtMs.set(id, nowMs);
    const { clusterId, members } = this.#parts.identity();
    const { commitIndex } = this.#parts.status();
    // Up to here its id may have been a voter's; from here on the configuration says that it is not.
    const admission = { incarnation, votesFrom: commitIndex };
    this.#parts.logger.info({ id, votesFrom: commitIndex }, "admitting a node");
    this.#parts.transport.sendForm(id, { clusterId, phase: "formed", members, admission });
  }

  #promote(id: NodeId, nowMs: number): void {
    const peer = this.#parts.progress().find((one) => one.id === id);
    const record = this.#recordOf(id);
    if (peer?.isCaughtUp !== true || record === null) return;
    const step: ChangeStep = { kind: "addVoter", id, record: { ...record, awaitsVote: false } };
    this.#propose([step], nowMs, "a learner has caught up: it gets a vote");
  }

  #propose(steps: readonly ChangeStep[], nowMs: number, what: string): void {
    const { configuration } = this.#parts.status();
    if (nowMs < this.#notBeforeMs || isJoint(configuration)) return;
    this.#notBeforeMs = nowMs + RETRY_MS;
    const result = this.#parts.propose({ transition: "auto", steps }, configuration.index);
    if (result.kind === "refused") return;
    this.#parts.logger.info({ id: steps[0]?.id, index: result.last.index }, what);
  }

  // --- the change that somebody waits for ----------------------------------------------------------------------------

  #advance(): void {
    const pending = this.#pending;
    if (pending === null) return;
    const { role, configuration } = this.#parts.status();
    const { proposed } = pending;
    if (proposed !== null && configuration.index >= proposed && !isJoint(configuration)) {
      this.#settle(pending, null, configuration.index);
      return;
    }
    const outcome = proposed === null ? "not-applied" : "unknown";
    if (role !== "leader") {
      const message = "the leader was deposed while it changed the members; look at their list";
      this.#settle(pending, failure("LEADERSHIP_LOST", message, outcome));
    } else if (this.#parts.environment.monotonicMs() >= pending.deadlineAtMs) {
      const why = proposed === null ? this.#absent(pending.call) : "it is not committed yet";
      const message = `the deadline passed: ${why}`;
      this.#settle(pending, failure("DEADLINE_EXCEEDED", message, outcome));
    } else if (proposed === null) this.#begin(pending);
  }

  #absent({ steps }: ChangeCall): string {
    const { book } = this.#parts;
    const absent = steps.filter(({ kind, id }) => kind === "add" && book.view(id) === null);
    const names = absent.map(({ id, address }) => `node ${id} at ${address}`);
    return names.length === 0
      ? "another change was under way"
      : `${names.join(" and ")} does not answer; start it with --join, and check address and id`;
  }

  #begin(pending: Pending): void {
    const { call } = pending;
    const { book } = this.#parts;
    for (const { kind, id } of call.steps) {
      const view = kind === "add" ? book.view(id) : null;
      if (kind === "add" && view === null) return;
      if (view === null || this.#isOutside(view)) continue;
      const own = this.#parts.identity().clusterId;
      if (view.clusterId === own && view.phase === "formed") continue;
      const reason = `node ${id} belongs to cluster ${view.clusterId} and cannot join this one`;
      return this.#settle(pending, refused(reason));
    }
    const { configuration } = this.#parts.status();
    const steps = call.steps.map((step) => this.#step(step));
    const result = this.#parts.propose({ transition: "auto", steps }, configuration.index);
    if (result.kind === "accepted") {
      pending.proposed = result.last.index;
      this.#parts.logger.info({ steps, index: result.last.index }, "changing the members");
      return;
    }
    // What passes by itself is waited for, within the deadline.
    if (result.reason === "changePending" || result.reason === "configurationMoved") return;
    this.#settle(pending, refused(this.#why(result.reason, call)));
  }

  #why(reason: string, { steps }: ChangeCall): string {
    const ids = steps.filter(({ kind }) => kind === "promote").map(({ id }) => id);
    if (reason === "notCaughtUp") {
      return `node ${ids.join(", ")} has not caught up: it gets a vote when it follows closely`;
    }
    if (reason === "transferring") return "the leadership is being handed over; try again";
    return `the change is not possible now (${reason})`;
  }

  #settle(pending: Pending, answer: Failure | null, index: LogIndex = 0): void {
    this.#pending = null;
    for (const { id } of pending.call.steps) this.#parts.book.uninvite(id);
    if (answer === null) pending.sink.done(index);
    else pending.sink.failed(answer);
  }

  /** The node stops. */
  stop(why: Failure): void {
    if (this.#pending !== null) this.#settle(this.#pending, why);
  }
}

function refused(reason: string): Failure {
  return failure("REFUSED", reason, "not-applied", { reason });
}
