/**
 * What a node does when its machine came to other effects than an entry says (DESIGN D5): it asks the other voters what they
 * found. A minority throws its database away and takes a healthy node's; a majority says so in the log, by a verdict, and
 * goes on; where no majority can be, the node halts. Why that is right is in docs/decisions/0013-after-a-mismatch.md. How
 * files are replaced is reseed.ts's, how entries are applied the machine's.
 */

import type { ProposalResult, RaftStatus } from "../raft/effect.ts";
import type { Entry, EntryId, LogIndex, NodeId, Term } from "../raft/entry.ts";
import { isSingleton, isVoter, voterIds } from "../raft/quorum.ts";
import { CHANGED, ChangedFile } from "./changed-file.ts";
import { AS_LOGGED, type FindingKey, judge, keyOf, keyOfPeer, UNKNOWN } from "./findings.ts";
import { ASK_LATER_MS, HelpPace } from "./help-pace.ts";
import type {
  DigestMismatch,
  Effect,
  Environment,
  Log,
  Logger,
  MachineState,
  PeerFinding,
  Transport,
  Verdict,
  VerdictCodec,
} from "./ports.ts";
import { describeMismatch } from "./refusals.ts";
import { halted, overruled, reseeding, sick, waitingForVerdict } from "./sickness-words.ts";
import type { WriterDriver } from "./writer-driver.ts";

export interface SicknessParts {
  readonly id: NodeId;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly log: Log;
  readonly machine: { readonly verdicts: VerdictCodec };
  readonly transport: Pick<Transport, "sendFinding">;
  /** Its `applicableIndex` is committed and durable here. */
  readonly driver: Pick<WriterDriver, "applied" | "applicableIndex" | "settle">;
  readonly electionMs: number;
  status(): RaftStatus;
  /** Serves nothing any more, and leads no more: answers all that waits. */
  fallSick(): void;
  /** Whether it may lead while it serves nothing: to log a verdict. Or the sickness is over. */
  mayLead(may: boolean): void;
  propose(payload: Uint8Array): ProposalResult;
  reseed(sources: readonly NodeId[], atLeast: LogIndex): void;
  /** Why the node does not serve; empty: it does. */
  trouble(text: string): void;
  halt(error: Error): void;
}

interface Illness {
  readonly index: LogIndex;
  readonly term: Term;
  /** What this node's machine found the entry to do. null: what the entry says. */
  readonly found: Effect | null;
  /** Only `right` may lead: with a majority that found the same. */
  stage: "asking" | "right" | "reseeding" | "unknown";
  /** It leads, or may, though it is still asking: nobody else does. */
  stands: boolean;
  /** How far the log is committed and durable here, and since when. */
  reached: LogIndex;
  reachedAtMs: number;
  /** The log was looked through for a verdict up to here. */
  scanned: LogIndex;
}

/** A log that has told nothing new for so long has no verdict to tell. */
const VERDICT_AFTER_MS = 5_000;
/** Bytes of the log that are looked through at once. */
const SCAN_BYTES_MAX = 4 * 1024 * 1024;
/** A machine that falls sick so often within an hour is not helped by another database. */
const RESEEDS_MAX = 3;
const RESEEDS_WITHIN_MS = 3_600_000;

export class Sickness {
  readonly #parts: SicknessParts;
  readonly #changed: ChangedFile;
  #illness: Illness | null = null;
  /** As each node said last. */
  readonly #said = new Map<NodeId, PeerFinding>();
  readonly #saidAtMs = new Map<NodeId, number>();
  #originIndex: LogIndex = 0;
  #settled: Verdict | null = null;
  readonly #pace: HelpPace;
  /** The term in which this node has proposed its verdict. */
  #proposedIn: Term = 0;
  /** The entry of the last verdict that was gone by. */
  #tried: LogIndex = 0;
  /** When databases were replaced, and behind which entry. */
  #reseeds: { readonly atMs: number; readonly index: LogIndex }[] = [];

  constructor(parts: SicknessParts) {
    this.#parts = parts;
    this.#pace = new HelpPace(parts);
    this.#changed = new ChangedFile({ ...parts, mayReseed: () => this.#mayReseed() });
  }

  /** Serves nothing, and leads only to say that it is right. */
  get isSick(): boolean {
    return this.#illness !== null || this.#changed.isFound;
  }

  /** May stand for leader. */
  get mayLead(): boolean {
    if (this.#changed.isFound) return this.#changed.stands;
    return this.#illness === null || this.#illness.stage === "right" || this.#illness.stands;
  }

  /** A writer has opened the database. */
  opened({ originIndex, settled, changed }: MachineState): void {
    this.#originIndex = originIndex;
    this.#settled = settled;
    if (changed !== undefined) this.changed(changed);
  }

  /** Somebody else has written to the database: whatever else was wrong with it counts no more. */
  changed(what: string): void {
    this.#illness = null;
    this.#changed.found(what);
  }

  /** The machine has stopped in front of this entry. */
  mismatch(mismatch: DigestMismatch): void {
    const { log, logger } = this.#parts;
    const { index, expected, found, detail, isUnknown } = mismatch;
    const facts = { index, expected, found, detail };
    if (this.#changed.isFound) return;
    if (this.#illness?.stage === "reseeding") return;
    if (isUnknown === true) return this.#meetUnknown(mismatch);
    logger.error(facts, "the effects of a log entry differ from its leader's");
    this.#fall(index, log.term(index), { digest: found, detail });
    if (index <= (this.#reseeds.at(-1)?.index ?? 0)) return this.#giveUp("again");
    const { configuration } = this.#parts.status();
    if (isSingleton(configuration, this.#parts.id)) return this.#giveUp("alone");
    this.sweep();
  }

  /** Nothing is wrong with the data: nobody needs to be asked. */
  #meetUnknown(mismatch: DigestMismatch): void {
    this.#fall(mismatch.index, this.#parts.log.term(mismatch.index), null);
    if (this.#illness !== null) this.#illness.stage = "unknown";
    this.#parts.trouble(
      `${describeMismatch(mismatch)}. This node has stopped applying and serving`,
    );
  }

  #fall(index: LogIndex, term: Term, found: Effect | null): void {
    const { environment, trouble, fallSick, mayLead } = this.#parts;
    const reachedAtMs = environment.monotonicMs();
    const log = { scanned: index, reached: index, reachedAtMs };
    this.#illness = { index, term, found, stage: "asking", stands: false, ...log };
    this.#pace.begin();
    this.#proposedIn = 0;
    trouble(sick(index, found));
    mayLead(false);
    fallSick();
  }

  // --- what others found ------------------------------------------------------------------------------------------

  /** From a member that may be heard. */
  heard(from: NodeId, finding: PeerFinding): void {
    const { environment, transport, status } = this.#parts;
    const { index, term, asks } = finding;
    if (isVoter(status().configuration, from)) {
      this.#said.set(from, finding);
      this.#saidAtMs.set(from, environment.monotonicMs());
    }
    if (asks) transport.sendFinding(from, { index, term, ...this.#own(index), asks: false });
    const illness = this.#illness;
    if (this.#changed.isFound) this.#changed.heard(from, finding);
    else if (illness !== null) this.#decide(illness);
    else if (finding.kind === "differs") this.#compare(index, term);
  }

  /** What this node found. */
  #own(index: LogIndex): Effect & Pick<PeerFinding, "kind"> {
    const { applied } = this.#parts.driver;
    const nothing = { digest: 0, detail: "" };
    if (this.#changed.isFound) return { kind: "unknown", digest: 0, detail: CHANGED };
    const illness = this.#illness;
    if (illness !== null && illness.index === index && illness.found !== null)
      return { kind: "differs", ...illness.found };
    if (illness?.stage === "reseeding") return { kind: "unknown", ...nothing };
    if (index > applied) return { kind: "notYet", ...nothing };
    if (index <= this.#originIndex) return { kind: "unknown", ...nothing };
    const settled = this.#settled;
    if (settled !== null && index >= settled.index && index < settled.at) {
      const { digest, detail } = settled;
      if (index === settled.index) return { kind: "differs", digest, detail };
      return { kind: "unknown", ...nothing };
    }
    return { kind: "agrees", ...nothing };
  }

  #findings(index: LogIndex, term: Term): Map<NodeId, FindingKey> {
    const { id, status } = this.#parts;
    const { configuration } = status();
    const findings = new Map<NodeId, FindingKey>();
    for (const voter of voterIds(configuration)) {
      const said = voter === id ? { index, term, ...this.#own(index), asks: false } : null;
      const finding = said ?? this.#said.get(voter);
      if (finding?.index !== index || finding.term !== term) continue;
      const key = keyOfPeer(finding);
      if (key !== null) findings.set(voter, key);
    }
    return findings;
  }

  /** A healthy node hears that others found something else: if they are a majority, it is not healthy. */
  #compare(index: LogIndex, term: Term): void {
    const { status, logger } = this.#parts;
    const own = keyOfPeer({ index, term, ...this.#own(index), asks: false });
    // Who has taken another's database in between has nothing to take back.
    if (own === null || own === UNKNOWN) return;
    const findings = this.#findings(index, term);
    const judgement = judge(status().configuration, findings);
    if (judgement.kind !== "majority" || judgement.key === own) return;
    logger.error({ index, found: judgement.key }, "a majority found another effect of a log entry");
    this.#fall(index, term, null);
    this.#parts.trouble(overruled(index));
    this.#reseedFrom(judgement.key);
  }

  // --- what follows -------------------------------------------------------------------------------------------------

  /** To be called from time to time: looks for a verdict, asks, proposes. */
  sweep(): void {
    this.#changed.sweep();
    const illness = this.#illness;
    if (illness === null || illness.stage === "reseeding" || illness.stage === "unknown") return;
    if (this.#findVerdict(illness)) return;
    this.#ask(illness);
    this.#decide(illness);
    if (this.#illness === illness && illness.stage === "asking") this.#standIfNeeded(illness);
  }

  /**
   * Whom it asks may need entries that only this node has: then it leads, serving nothing, until somebody who serves can.
   */
  #standIfNeeded(illness: Illness): void {
    const { environment, mayLead } = this.#parts;
    const nowMs = environment.monotonicMs();
    const { index, term } = illness;
    const healthy = [...this.#findings(index, term)].filter(([, key]) => key === AS_LOGGED);
    const isThere = (id: NodeId) => nowMs - (this.#saidAtMs.get(id) ?? 0) < 2 * ASK_LATER_MS;
    const stands = this.#pace.lacksLeader() && !healthy.some(([id]) => isThere(id));
    if (stands === illness.stands) return;
    illness.stands = stands;
    mayLead(stands);
  }

  #ask(illness: Illness): void {
    if (!this.#pace.asksNow()) return;
    const { id, status, transport } = this.#parts;
    const { index, term } = illness;
    const own = this.#own(index);
    for (const to of voterIds(status().configuration)) {
      if (to !== id) transport.sendFinding(to, { index, term, ...own, asks: true });
    }
  }

  #decide(illness: Illness): void {
    const { index, term, stage } = illness;
    if (stage === "reseeding" || illness.found === null) return;
    const own = keyOf(illness.found);
    const { configuration } = this.#parts.status();
    const findings = this.#findings(index, term);
    const judgement = judge(configuration, findings);
    if (judgement.kind === "none" && !this.#mayHearVerdict(illness)) return this.#giveUp("divided");
    if (judgement.kind === "none" || judgement.kind === "open")
      return this.#wait(illness, findings.size);
    if (judgement.key !== own) return this.#reseedFrom(judgement.key);
    this.#insist(illness);
  }

  /** While the log goes on, a verdict may be in what is still to come: the others may have gone by it long ago. */
  #mayHearVerdict(illness: Illness): boolean {
    const { environment, driver } = this.#parts;
    const nowMs = environment.monotonicMs();
    if (driver.applicableIndex > illness.reached) {
      illness.reached = driver.applicableIndex;
      illness.reachedAtMs = nowMs;
    }
    return nowMs - illness.reachedAtMs < VERDICT_AFTER_MS;
  }

  #wait({ index, found }: Illness, count: number): void {
    if (!this.#pace.isLong) return;
    const { status, trouble } = this.#parts;
    const voters = voterIds(status().configuration).length;
    trouble(`${sick(index, found)}; ${count} of ${voters} voters have said what they found`);
  }

  /** A majority found the same: whoever of it comes to lead says so in the log. */
  #insist(illness: Illness): void {
    const { logger, trouble, mayLead, status, propose, machine } = this.#parts;
    const { index, found } = illness;
    if (illness.stage !== "right") {
      illness.stage = "right";
      logger.warn({ index }, "a majority found the same: the entry's leader was the sick one");
      trouble(waitingForVerdict(index));
      mayLead(true);
    }
    const { role, currentTerm } = status();
    if (role !== "leader" || this.#proposedIn === currentTerm || found === null) return;
    if (this.#isLogged(index)) return;
    const result = propose(machine.verdicts.encode({ index, ...found }));
    if (result.kind === "refused") return;
    this.#proposedIn = currentTerm;
    logger.warn({ index, at: result.last.index }, "logging what the majority found");
  }

  /** True if the machine goes on. */
  #findVerdict(illness: Illness): boolean {
    const { driver, logger } = this.#parts;
    const verdict = this.#scan(illness);
    // Under which it has differed already: the majority must be asked.
    if (verdict === null || verdict.at === this.#tried) return false;
    this.#tried = verdict.at;
    logger.warn({ ...verdict }, "the log has a verdict on this entry: going on by it");
    this.#recover();
    this.#settled = verdict;
    driver.settle(verdict);
    return true;
  }

  /** A part at a time; what was looked through once is not again. */
  #scan(illness: Illness): Verdict | null {
    const { log, driver } = this.#parts;
    const through = driver.applicableIndex;
    const from = Math.max(illness.scanned + 1, log.firstIndex());
    if (from > through) return null;
    const entries = log.entries(from, through + 1, SCAN_BYTES_MAX);
    illness.scanned = from + entries.length - 1;
    return this.#verdictIn(entries, illness.index);
  }

  /** The first that covers this entry. */
  #verdictIn(entries: readonly Entry[], index: LogIndex): Verdict | null {
    for (const entry of entries) {
      const verdict = this.#parts.machine.verdicts.read(entry);
      if (verdict !== null && verdict.index <= index) return verdict;
    }
    return null;
  }

  /** An earlier leader may have proposed it: then it is committed with this one's first entry. */
  #isLogged(index: LogIndex): boolean {
    const { log } = this.#parts;
    for (let from = index + 1; from <= log.lastIndex(); ) {
      const entries = log.entries(from, log.lastIndex() + 1, SCAN_BYTES_MAX);
      if (this.#verdictIn(entries, index) !== null) return true;
      from += entries.length;
    }
    return false;
  }

  #reseedFrom(key: FindingKey): void {
    const illness = this.#illness;
    if (illness === null) return;
    const { trouble, reseed, mayLead } = this.#parts;
    const { index, term } = illness;
    if (!this.#mayReseed()) return this.#giveUp("often");
    const findings = this.#findings(index, term);
    const sources = [...findings].filter(([, found]) => found === key).map(([id]) => id);
    illness.stage = "reseeding";
    mayLead(false);
    trouble(reseeding(index, key === AS_LOGGED));
    reseed(sources, index);
  }

  #mayReseed(): boolean {
    const nowMs = this.#parts.environment.monotonicMs();
    this.#reseeds = this.#reseeds.filter(({ atMs }) => nowMs - atMs < RESEEDS_WITHIN_MS);
    return this.#reseeds.length < RESEEDS_MAX;
  }

  /** A healthy node's database has taken the place of this node's. */
  replaced(mark: EntryId): void {
    if (!this.isSick) return;
    this.#changed.over();
    this.#reseeds.push({ atMs: this.#parts.environment.monotonicMs(), index: mark.index });
    this.#parts.logger.info({ ...mark }, "this node is healthy again");
    this.#recover();
  }

  #recover(): void {
    this.#illness = null;
    this.#parts.trouble("");
    this.#parts.mayLead(true);
  }

  #giveUp(why: "alone" | "divided" | "again" | "often"): void {
    const illness = this.#illness;
    if (illness === null) return;
    const findings = this.#findings(illness.index, illness.term);
    this.#parts.halt(new Error(halted(why, illness.index, findings)));
  }
}
