/**
 * Which nodes there are, which of them leads, and which connection a call should take. It learns from status
 * answers, from hints and from what breaks; it never repeats a call and never judges an answer.
 *
 * When nobody is known to lead, all nodes are asked at once, again and again after short pauses, for as long as
 * somebody waits. A node that says it leads is believed until it says otherwise, breaks, or another shows a later term.
 */

import { BalsaError } from "../sql/errors.ts";
import type { StatusResponse } from "../wire/cluster-codec.ts";
import { Connection, type ConnectionOwner } from "./connection.ts";
import { type ClientOptions, isAddress } from "./options.ts";
import { pauseMs } from "./retry.ts";

/** How long a node may take to say whether it leads before others are asked again without it. */
const PROBE_TIMEOUT_MS = 500;

/**
 * Stale reads of one turn that go to one node: the way of a frame through sockets and pipes costs as much as 30 of them. Not
 * more, as two nodes then work at once.
 */
const TOGETHER_MAX = 32;

/** Hints followed in a row with no success before the nodes are asked instead: they may point at each other. */
const HINTS_IN_A_ROW_MAX = 3;

/** After this long with a leader that others name and this client cannot reach, a follower is asked to forward. */
const FORWARD_AFTER_MS = 2_000;

/** The same for a client that keeps to its endpoints: who the others name may never be among them. */
const FORWARD_AFTER_MS_FIXED = 50;

/** How often the other nodes are asked who leads, while the leader is silent: what an election costs beyond its own time. */
const DOUBT_MS = 50;

/** How soon a node that could not be reached is tried again. */
const RECONNECT_MS_MIN = 50;
const RECONNECT_MS_MAX = 500;

/** Nodes known at once; a cluster has far fewer, and a list that grows without end is a bug somewhere. */
const MEMBERS_MAX = 100;

export interface RouterOwner {
  /** Calls that wait for a leader may go. */
  leaderFound(): void;
  /** Reads that wait for any node may go. */
  nodeReady(): void;
  /** Whether anybody waits for a leader or a node. */
  isWaiting(): boolean;
  /** At every endpoint something other than Balsa answers. */
  hopeless(error: BalsaError): void;
}

export interface Member {
  readonly address: string;
  connection: Connection | null;
  probing: boolean;
  /** Since when it cannot be reached; 0: it can, or was never tried. */
  failingSince: number;
  retryAt: number;
  lastError: BalsaError | null;
  lastFailedAt: number;
  /** It answered in this search and named another as the leader. */
  namesLeader: boolean;
}

export class Router implements ConnectionOwner {
  readonly #owner: RouterOwner;
  readonly #options: ClientOptions;
  readonly #members = new Map<string, Member>();
  /** Members whose connection stands. */
  #ready: Member[] = [];
  #leader: Member | null = null;
  /** Of the leader, as far as it is known from a status; 0: not known. */
  #leaderTerm = 0;
  #isForwarding = false;
  #epoch = 1;
  #hintsInARow = 0;
  #searchStartedAt = 0;
  /** Where the last stale read went. */
  #lastRead: Connection | null = null;
  #searchTimer: NodeJS.Timeout | null = null;
  #reopenAt = 0;
  #closed = false;

  constructor(owner: RouterOwner, options: ClientOptions) {
    this.#owner = owner;
    this.#options = options;
    for (const address of options.endpoints) this.#memberAt(address);
  }

  /** Counts the beliefs in a leader: an answer to a call of an earlier one says nothing about the present one. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Whether writes may be passed on by the node they are sent to. */
  get isForwarding(): boolean {
    return this.#isForwarding;
  }

  get members(): readonly Member[] {
    return [...this.#members.values()];
  }

  /** The leader's connection, or null while it is looked for. */
  forWrite(): Connection | null {
    if (this.#leader === null) {
      this.search();
      return null;
    }
    return this.#leader.connection ?? this.#open(this.#leader, performance.now());
  }

  /** Linearizable and session reads: the leader, which answers in one round; without it any node. */
  forRead(avoided: ReadonlySet<string> | null): Connection | null {
    const leader = this.#leader;
    if (leader?.connection?.isReady === true && avoided?.has(leader.address) !== true) {
      return leader.connection;
    }
    if (leader === null) this.search();
    return this.forStaleRead(avoided);
  }

  /**
   * Of two nodes picked by chance, the one that owes fewer answers; some that are asked for in one turn go together, as
   * a frame costs more than a read.
   */
  forStaleRead(avoided: ReadonlySet<string> | null): Connection | null {
    if (this.#ready.length < this.#members.size) this.#reopen();
    let ready = this.#ready;
    if (avoided !== null) ready = ready.filter((member) => !avoided.has(member.address));
    if (ready.length === 0) {
      this.search();
      return null;
    }
    const last = this.#lastRead;
    if (last !== null && last.gathered > 0 && last.gathered < TOGETHER_MAX) {
      if (last.isReady && avoided === null) return last;
    }
    const connection = leastBusyOfTwo(ready);
    this.#lastRead = connection;
    return connection;
  }

  /** Opens connections to the nodes that have none. */
  #reopen(): void {
    const now = performance.now();
    if (now < this.#reopenAt) return;
    this.#reopenAt = now + RECONNECT_MS_MIN;
    for (const member of this.#members.values()) this.#open(member, now);
  }

  /** A call sent in this epoch came back refused: if that was by the leader, it leads no longer, perhaps another. */
  refuted(from: string, epoch: number, hint: string | undefined): void {
    if (epoch !== this.#epoch || this.#leader?.address !== from) return;
    this.#forgetLeader();
    if (hint === undefined || hint === from || !this.#mayUse(hint)) return;
    if (this.#hintsInARow >= HINTS_IN_A_ROW_MAX) return;
    const member = this.#memberAt(hint);
    if (performance.now() < member.retryAt) return;
    this.#hintsInARow += 1;
    this.#adopt(member, 0);
  }

  /** The leader has answered as one. */
  confirmed(): void {
    this.#hintsInARow = 0;
  }

  /** Starts to look for the leader, unless that is under way. */
  search(): void {
    if (this.#searchTimer !== null || this.#closed) return;
    this.#searchStartedAt = performance.now();
    for (const member of this.#members.values()) member.namesLeader = false;
    // The first round runs behind the present work, so that a search never answers inside the call that wants it.
    this.#searchTimer = setTimeout(this.#searchRound, 0);
  }

  #searchRound = (): void => {
    this.#searchTimer = null;
    if (this.#closed || this.#leader !== null || !this.#owner.isWaiting()) return;
    const now = performance.now();
    const spent = now - this.#searchStartedAt;
    const patienceMs = this.#options.discover ? FORWARD_AFTER_MS : FORWARD_AFTER_MS_FIXED;
    if (spent > patienceMs && this.#forwardThroughFollower()) return;
    const hopeless = this.#hopelessError();
    if (hopeless !== null) {
      this.#owner.hopeless(hopeless);
      return;
    }
    for (const member of this.#members.values()) this.#probe(member, now);
    this.#searchTimer = setTimeout(this.#searchRound, pauseMs(spent));
  };

  #probe(member: Member, now: number): void {
    if (member.probing) return;
    const connection = this.#open(member, now);
    if (connection === null) return;
    member.probing = true;
    const heardAt = connection.lastHeardAt;
    const { connectTimeoutMs, silenceMs } = this.#options;
    // Who owes answers was asked before it is late; it is given up when it is.
    const patienceMs = Math.max(PROBE_TIMEOUT_MS, heardAt + silenceMs - now);
    const timeoutMs = connection.isReady ? patienceMs : connectTimeoutMs;
    connection.status(timeoutMs, (error, status) => {
      member.probing = false;
      if (this.#closed || connection.isLost) return;
      if (status !== null) {
        this.#onStatus(member, status);
        return;
      }
      // A timer that fires this late says that this process slept, not the node.
      const weSlept = performance.now() - now > 2 * timeoutMs;
      if (weSlept || !connection.isReady || connection.lastHeardAt !== heardAt) return;
      // Not a word since it was asked: as good as gone, though the network does not say so.
      connection.close(error?.code === "PROTOCOL" ? error : silentError(member.address));
    });
  }

  #onStatus(member: Member, status: StatusResponse): void {
    this.learn(status);
    if (status.role === "leader") {
      const isNews = this.#leader === null || status.term > this.#leaderTerm;
      if (isNews && this.#leader !== member) this.#adopt(member, status.term);
      else if (this.#leader === member) this.#leaderTerm = status.term;
      return;
    }
    member.namesLeader = status.leader !== 0;
    if (this.#leader !== null || !this.#mayUse(status.leaderAddress)) return;
    const known = this.#members.has(status.leaderAddress);
    const leader = this.#memberAt(status.leaderAddress);
    if (!known) this.#probe(leader, performance.now());
  }

  /** Takes note of the nodes that a node names. */
  learn(status: StatusResponse): void {
    for (const { address } of status.members) if (this.#mayUse(address)) this.#memberAt(address);
  }

  #adopt(member: Member, term: number): void {
    const former = this.#leader;
    this.#leader = member;
    this.#leaderTerm = term;
    this.#isForwarding = false;
    this.#epoch += 1;
    if (this.#searchTimer !== null) clearTimeout(this.#searchTimer);
    this.#searchTimer = null;
    this.#open(member, performance.now());
    if (former !== null && former.connection !== null) this.#leave(former.connection);
    this.#owner.leaderFound();
  }

  /** The leader changed while the former one owed answers: silent or deposed, it will hardly give them. */
  #leave(connection: Connection): void {
    const silentMs = performance.now() - connection.lastHeardAt;
    if (connection.outstanding === 0 || silentMs < this.#doubtAfterMs) return;
    connection.close(silentError(connection.address));
  }

  /** The leader cannot be reached from here; somebody who can passes the writes on. */
  #forwardThroughFollower(): boolean {
    const follower = this.#ready.find((member) => member.namesLeader);
    if (follower === undefined) return false;
    this.#leader = follower;
    this.#leaderTerm = 0;
    this.#isForwarding = true;
    this.#epoch += 1;
    this.#owner.leaderFound();
    return true;
  }

  #forgetLeader(): void {
    this.#leader = null;
    this.#leaderTerm = 0;
    this.#isForwarding = false;
    this.#epoch += 1;
  }

  get #doubtAfterMs(): number {
    return this.#options.silenceMs / 2;
  }

  /**
   * Looks at nodes that owe answers: asks the silent ones whether they live, and while the leader is silent the others, again
   * and again, whether one of them leads now. Returns after how many milliseconds to look again, at the latest.
   */
  checkSilence(now: number): number {
    let againMs = Number.POSITIVE_INFINITY;
    for (const member of this.#ready) {
      const connection = member.connection;
      if (connection === null || connection.outstanding === 0) continue;
      const inDoubtMs = now - connection.lastHeardAt - this.#doubtAfterMs;
      againMs = Math.min(againMs, inDoubtMs < 0 ? -inDoubtMs : DOUBT_MS);
      if (inDoubtMs < 0) continue;
      if (member !== this.#leader) this.#probe(member, now);
      else for (const each of this.#members.values()) this.#probe(each, now);
    }
    return againMs;
  }

  /** Why no node can be used, in words; null if none has failed. */
  trouble(): BalsaError | null {
    const errors: BalsaError[] = [];
    for (const { lastError } of this.#members.values())
      if (lastError !== null) errors.push(lastError);
    const [first] = errors;
    if (first === undefined) return null;
    if (this.#ready.length > 0) {
      const text = "the nodes that can be reached know no leader";
      return new BalsaError("NO_LEADER", `${text} (${join(errors)})`);
    }
    return new BalsaError(first.code, join(errors), { facts: first.facts, cause: first });
  }

  #hopelessError(): BalsaError | null {
    for (const { lastError, lastFailedAt } of this.#members.values()) {
      if (lastError?.code !== "PROTOCOL" || lastFailedAt < this.#searchStartedAt) return null;
    }
    return this.trouble();
  }

  /** The member's connection, opening one if there is none and it is time to try. */
  #open(member: Member, now: number): Connection | null {
    if (member.connection !== null) return member.connection;
    if (this.#closed || now < member.retryAt) return null;
    return this.#openNow(member);
  }

  /** A connection to the address, opening one if there is none. */
  connect(address: string): Connection {
    return this.#openNow(this.#memberAt(address));
  }

  #openNow(member: Member): Connection {
    if (member.connection !== null) return member.connection;
    const connection = new Connection(member.address, this, this.#options.connectTimeoutMs);
    member.connection = connection;
    connection.open();
    return connection;
  }

  connectionReady(connection: Connection): void {
    const member = this.#members.get(connection.address);
    if (member?.connection !== connection) return;
    member.failingSince = 0;
    member.retryAt = 0;
    member.lastError = null;
    this.#ready.push(member);
    this.#owner.nodeReady();
  }

  connectionLost(connection: Connection, error: BalsaError): void {
    const member = this.#members.get(connection.address);
    if (member?.connection !== connection) return;
    const now = performance.now();
    member.connection = null;
    member.lastError = error;
    member.lastFailedAt = now;
    if (member.failingSince === 0) member.failingSince = now;
    const pause = (now - member.failingSince) / 3;
    member.retryAt = now + Math.min(RECONNECT_MS_MAX, Math.max(RECONNECT_MS_MIN, pause));
    this.#ready = this.#ready.filter((each) => each !== member);
    if (this.#leader === member) this.#forgetLeader();
  }

  /** Whether an address that a node has named may be connected to. */
  #mayUse(address: string): boolean {
    return this.#members.has(address) || (this.#options.discover && isAddress(address));
  }

  #memberAt(address: string): Member {
    let member = this.#members.get(address);
    if (member !== undefined) return member;
    if (this.#members.size >= MEMBERS_MAX) this.#forgetOneLearnt();
    member = {
      address,
      connection: null,
      probing: false,
      failingSince: 0,
      retryAt: 0,
      lastError: null,
      lastFailedAt: 0,
      namesLeader: false,
    };
    this.#members.set(address, member);
    return member;
  }

  #forgetOneLearnt(): void {
    for (const [address, member] of this.#members) {
      if (this.#options.endpoints.includes(address) || member.connection !== null) continue;
      this.#members.delete(address);
      return;
    }
  }

  /** Whether no node is left that is not in the set. */
  isEachAvoided(avoided: ReadonlySet<string>): boolean {
    for (const address of this.#members.keys()) if (!avoided.has(address)) return false;
    return true;
  }

  /** Ends all connections. */
  async close(reason: BalsaError): Promise<void> {
    this.#closed = true;
    if (this.#searchTimer !== null) clearTimeout(this.#searchTimer);
    for (const member of this.#members.values()) member.connection?.close(reason);
    // gRPC tears its sockets down behind the call.
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
}

function leastBusyOfTwo(ready: readonly Member[]): Connection | null {
  const one = ready[Math.floor(Math.random() * ready.length)]?.connection ?? null;
  const other = ready[Math.floor(Math.random() * ready.length)]?.connection ?? null;
  if (one === null || other === null) return one ?? other;
  return other.outstanding < one.outstanding ? other : one;
}

function silentError(address: string): BalsaError {
  return new BalsaError("UNAVAILABLE", `${address}: the node does not answer`, {
    facts: { endpoint: address },
  });
}

function join(errors: readonly BalsaError[]): string {
  return errors.map((error) => error.message).join("; ");
}
