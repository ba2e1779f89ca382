/**
 * Who may lead while nodes are replaced by newer ones (docs/decisions/0015-settings-and-machine-version.md). The cluster has a
 * machine version, kept in the database and raised by a logged command. A node of another one votes and follows, but does not
 * stand for leader while one of the cluster's could; where it leads all the same it executes nothing, and hands over as soon as
 * it can. It proposes the raise itself only where nobody else could ever lead. It changes no database and counts no vote.
 */

import type { RaftStatus } from "../raft/effect.ts";
import { type Configuration, NOBODY, type NodeId } from "../raft/entry.ts";
import type { ProgressView } from "../raft/progress.ts";
import { isVoter, quorumTally, voterIds } from "../raft/quorum.ts";
import type { Failure } from "../sql/errors.ts";
import { otherMachineText } from "../sql/settings.ts";
import { bestSuccessor } from "./handover.ts";
import type { PeerBook } from "./peer-book.ts";
import type { Environment, Logger } from "./ports.ts";
import type { ExecuteSink, UpgradeCall, UpgradeSink } from "./service.ts";
import { failure } from "./write-request.ts";

export interface MachineVersionsParts {
  readonly id: NodeId;
  /** Of this node; empty: it leads whatever the cluster's is. */
  readonly machineVersion: string;
  readonly electionMs: number;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly book: PeerBook;
  status(): RaftStatus;
  progress(): readonly ProgressView[];
  /** Whether the core may stand for leader. */
  eligible(mayLead: boolean): void;
  /** Hands over, draining first. */
  giveWay(to: NodeId): void;
  /** Proposes it; answers once. */
  raise(version: string, timeoutMs: number, sink: ExecuteSink): void;
}

/** So many election timeouts without a leader: whoever could lead would. */
const STANDS_AFTER = 4;
/** So many without a leader that fits, and nobody there who would; and with some who would, but cannot. */
const RAISES_AFTER = 10;
const RAISES_AT_LAST_AFTER = 24;
/** What a new leader waits for its followers' first answers. */
const SETTLES_AFTER = 0.4;
/** Between two attempts to hand over, in election timeouts. */
const RETRY_AFTER = 2;
const RAISE_MS_MAX = 10_000;

export class MachineVersions {
  readonly #parts: MachineVersionsParts;
  /** Of the cluster, as this node has applied it; empty: none was set yet. */
  #cluster = "";
  #isEligible = true;
  /** Since when no leader is known that fits; null: one is. */
  #unledSinceMs: number | null = null;
  /** When it tried to hand over to whom. */
  readonly #triedAtMs = new Map<NodeId, number>();
  /** Since when it leads. */
  #ledSinceMs = Number.NEGATIVE_INFINITY;
  #isLeader = false;
  #retryAtMs = Number.NEGATIVE_INFINITY;
  #isRaising = false;

  constructor(parts: MachineVersionsParts) {
    this.#parts = parts;
  }

  get cluster(): string {
    return this.#cluster;
  }

  /** As the database file has it. */
  applied(version: string): void {
    if (version === this.#cluster) return;
    this.#cluster = version;
    const { logger, machineVersion: own } = this.#parts;
    const facts = { cluster: version, own };
    if (this.#isFit) logger.info(facts, "the cluster's machine version is this node's");
    else logger.warn(facts, "the cluster runs another machine version: this node does not lead");
    this.sweep();
  }

  /** Whether `peer` could lead, as far as its version goes. */
  fits(peer: NodeId): boolean {
    return this.#cluster === "" || this.#versionOf(peer) === this.#cluster;
  }

  /** Whether this node may answer the death of a leader at once. */
  mayLead(): boolean {
    return this.#isFit || this.#isUnanimous(this.#parts.machineVersion);
  }

  /** null: this node may execute what others ask. */
  refusal(): Failure | null {
    if (this.#isFit) return null;
    return failure("NO_LEADER", otherMachineText(this.#parts.machineVersion, this.#cluster));
  }

  /** To be called from time to time, and when anything has changed. */
  sweep(): void {
    const { status, environment, electionMs, machineVersion: own, eligible } = this.#parts;
    const { role, leader, configuration } = status();
    const nowMs = environment.monotonicMs();
    if (this.#isFit || (leader !== NOBODY && this.fits(leader))) this.#unledSinceMs = null;
    else this.#unledSinceMs ??= nowMs;
    if ((role === "leader") !== this.#isLeader) {
      this.#isLeader = role === "leader";
      this.#ledSinceMs = nowMs;
    }
    const waited = (nowMs - (this.#unledSinceMs ?? nowMs)) / electionMs;
    const isEligible = this.mayLead() || waited >= STANDS_AFTER;
    if (isEligible !== this.#isEligible) {
      this.#isEligible = isEligible;
      eligible(isEligible);
    }
    if (role !== "leader" || own === "") return;
    if (this.#cluster === "") this.#setFirst(configuration);
    else if (!this.#isFit) this.#leadUnfit(nowMs, waited);
  }

  /** A new core knows nothing yet. */
  started(): void {
    this.#parts.eligible(this.#isEligible);
    this.sweep();
  }

  /** The first is set when everybody can read that: a program without versions would stop at it. */
  #setFirst({ voters, outgoing }: Configuration): void {
    const isTold = [...voters, ...outgoing].every((id) => this.#versionOf(id) !== "");
    if (isTold) this.#raise();
  }

  /** `waited`: how many election timeouts there has been no leader that fits. */
  #leadUnfit(nowMs: number, waited: number): void {
    const { electionMs, machineVersion: own, giveWay } = this.#parts;
    const to = this.#successor();
    const isHopeless = waited >= (to === NOBODY ? RAISES_AFTER : RAISES_AT_LAST_AFTER);
    if (this.#isUnanimous(own) || (isHopeless && this.#isMajority(own))) return this.#raise();
    // Who has just begun to lead has not heard from everybody yet.
    const isSettled = nowMs - this.#ledSinceMs >= SETTLES_AFTER * electionMs;
    if (to === NOBODY || !isSettled || nowMs < this.#retryAtMs) return;
    this.#retryAtMs = nowMs + RETRY_AFTER * electionMs;
    this.#triedAtMs.set(to, nowMs);
    giveWay(to);
  }

  /** Whom it did not try for longest: who is heard here need not be heard by those whose votes it needs. */
  #successor(): NodeId {
    const { status, progress } = this.#parts;
    const view = status();
    const triedAt = (peer: NodeId) => this.#triedAtMs.get(peer) ?? Number.NEGATIVE_INFINITY;
    const fitting = progress().filter(({ id }) => this.fits(id));
    const oldest = fitting.reduce((first, { id, isActive }) => {
      return isActive && isVoter(view.configuration, id) ? Math.min(first, triedAt(id)) : first;
    }, Number.POSITIVE_INFINITY);
    return bestSuccessor(view, fitting, (peer) => triedAt(peer) <= oldest);
  }

  #raise(): void {
    if (this.#isRaising) return;
    this.#isRaising = true;
    const { raise, logger, machineVersion: own } = this.#parts;
    logger.info({ from: this.#cluster, to: own }, "setting the cluster's machine version");
    const ended = (): void => {
      this.#isRaising = false;
    };
    raise(own, RAISE_MS_MAX, { done: ended, failed: ended });
  }

  // --- what operators ask ----------------------------------------------------------------------------------------

  /** For the leader. */
  upgrade({ version, majority, timeoutMs }: UpgradeCall, sink: UpgradeSink): void {
    const { environment, raise, logger } = this.#parts;
    const chosen = version === "" ? this.#candidate() : version;
    const no = typeof chosen === "string" ? this.#upgradeProblem(chosen, majority) : chosen;
    if (no !== null || typeof chosen !== "string") {
      return environment.soon(() => sink.failed(no ?? failure("INTERNAL", "no version")));
    }
    const before = this.#cluster;
    if (chosen === before) return environment.soon(() => sink.done(chosen, before));
    logger.info({ from: before, to: chosen }, "an operator sets the cluster's machine version");
    raise(chosen, timeoutMs, {
      done: () => sink.done(chosen, before),
      failed: (why) => sink.failed(why),
    });
  }

  /** The one version that voters run and the cluster does not; its own if all run that. */
  #candidate(): string | Failure {
    const others = new Set(
      this.#voters().flatMap((id) => {
        const version = this.#present(id);
        return version === "" || version === this.#cluster ? [] : [version];
      }),
    );
    const [first = this.#cluster, second] = others;
    if (second === undefined) return first;
    return failure("REFUSED", `voters run several versions: ${this.#list()}; name one with --to`);
  }

  #upgradeProblem(version: string, majority: boolean): Failure | null {
    if (version === "") return failure("REFUSED", `no voter tells its version: ${this.#list()}`);
    const isMet = this.#voters().every((id) => this.#present(id) === version);
    if (isMet || (majority && this.#isMajority(version))) return null;
    const who = majority ? "no majority of the voters runs" : "not every voter runs";
    const wayOut = majority
      ? "start more voters with it first"
      : "start the others with it first, or, if a majority has it, give --majority";
    return failure("REFUSED", `${who} ${version}: ${this.#list()}; ${wayOut}`);
  }

  #list(): string {
    const told = this.#voters().map((id) => {
      const version = this.#versionOf(id) || "a program that tells no version";
      return this.#isHere(id) ? `node ${id} runs ${version}` : `node ${id} is not connected`;
    });
    return told.join(", ");
  }

  // --- who runs what ----------------------------------------------------------------------------------------------

  get #isFit(): boolean {
    const own = this.#parts.machineVersion;
    return own === "" || this.#cluster === "" || this.#cluster === own;
  }

  #voters(): readonly NodeId[] {
    return voterIds(this.#parts.status().configuration);
  }

  #isHere(id: NodeId): boolean {
    return id === this.#parts.id || this.#parts.book.view(id) !== null;
  }

  /** As it said last; empty: it said nothing, or no version. */
  #versionOf(id: NodeId): string {
    return id === this.#parts.id ? this.#parts.machineVersion : this.#parts.book.versionOf(id);
  }

  /** Of a node that is connected. */
  #present(id: NodeId): string {
    return this.#isHere(id) ? this.#versionOf(id) : "";
  }

  /** What a node that is away said last counts: nobody who fits is left. */
  #isUnanimous(version: string): boolean {
    return this.#voters().every((id) => this.#versionOf(id) === version);
  }

  #isMajority(version: string): boolean {
    const { configuration } = this.#parts.status();
    const runs = new Map(voterIds(configuration).map((id) => [id, this.#present(id) === version]));
    return quorumTally(configuration, runs) === "won";
  }
}
