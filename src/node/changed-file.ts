/**
 * What a node does whose database file somebody else has changed (docs/decisions/0020-changed-from-outside.md): it serves
 * nothing, speaks for no entry, and takes the database of a node whose own is as it left it. Whether the file was changed the
 * machine says; how it is replaced is reseed.ts's. It compares no effects: one healthy node is enough.
 */

import type { NodeId } from "../raft/entry.ts";
import { isSingleton, voterIds } from "../raft/quorum.ts";
import { BalsaError } from "../sql/errors.ts";
import { HelpPace } from "./help-pace.ts";
import type { PeerFinding } from "./ports.ts";
import type { SicknessParts } from "./sickness.ts";
import {
  changed,
  changedAlone,
  changedAndWaiting,
  changedEverywhere,
  changedOften,
} from "./sickness-words.ts";

export interface ChangedFileParts
  extends Pick<
    SicknessParts,
    | "id"
    | "environment"
    | "electionMs"
    | "status"
    | "fallSick"
    | "mayLead"
    | "reseed"
    | "trouble"
    | "halt"
  > {
  readonly log: Pick<SicknessParts["log"], "firstIndex" | "term">;
  readonly transport: SicknessParts["transport"];
  readonly driver: Pick<SicknessParts["driver"], "applied">;
  /** No database was replaced too often lately. */
  mayReseed(): boolean;
}

/** Detail of a finding: the sender has none, because its database is nobody's. */
export const CHANGED = "changed from outside";

/**
 * Before a database is taken, and before it is said that there is none: what was done to all nodes at once each of them has
 * found by then. A writer looks every second.
 */
const SETTLE_MS = 2_500;

export class ChangedFile {
  readonly #parts: ChangedFileParts;
  /** null: nothing was changed. */
  #what: string | null = null;
  readonly #pace: HelpPace;
  /** As each voter said last: whether its own was changed. */
  readonly #isChanged = new Map<NodeId, boolean>();
  /** From whom a database is being fetched. */
  #sources: readonly NodeId[] = [];
  /** It leads, or may, though it serves nothing: nobody else does. */
  #stands = false;

  constructor(parts: ChangedFileParts) {
    this.#parts = parts;
    this.#pace = new HelpPace(parts);
  }

  get isFound(): boolean {
    return this.#what !== null;
  }

  get stands(): boolean {
    return this.#stands;
  }

  found(what: string): void {
    if (this.#what !== null) return;
    const { trouble, mayLead, fallSick } = this.#parts;
    this.#what = what;
    this.#pace.begin();
    trouble(changed(what));
    mayLead(false);
    fallSick();
  }

  /** Another database has taken its place. */
  over(): void {
    this.#what = null;
    this.#isChanged.clear();
    this.#sources = [];
    this.#stands = false;
  }

  /** From a voter, while the file is changed. */
  heard(from: NodeId, { kind, detail }: PeerFinding): void {
    this.#isChanged.set(from, kind === "unknown" && detail === CHANGED);
  }

  /** To be called from time to time, once the core runs. */
  sweep(): void {
    const what = this.#what;
    if (what === null) return;
    const { id, status } = this.#parts;
    const { configuration } = status();
    if (isSingleton(configuration, id)) return this.#giveUp(changedAlone(what));
    if (!this.#parts.mayReseed()) return this.#giveUp(changedOften(what));
    const others = [...voterIds(configuration)].filter((voter) => voter !== id);
    this.#ask(others);
    this.#standIfNeeded();
    if (this.#pace.waitedMs < SETTLE_MS) return;
    this.#decide(what, others);
  }

  #giveUp(why: string): void {
    this.#parts.halt(new BalsaError("FILE_CHANGED", why));
  }

  #decide(what: string, others: readonly NodeId[]): void {
    const { trouble, reseed, driver } = this.#parts;
    const alike = others.filter((voter) => this.#isChanged.get(voter) === true);
    if (alike.length === others.length) return this.#giveUp(changedEverywhere(what, alike));
    const isHealthy = (voter: NodeId) => this.#isChanged.get(voter) === false;
    if (!others.some(isHealthy)) {
      this.#sources = [];
      return trouble(changedAndWaiting(what, alike, others.length - alike.length));
    }
    // Who has not answered may in the end be the only one left; the leader last: it has enough to do.
    const { leader } = this.#parts.status();
    const rank = (voter: NodeId) => (isHealthy(voter) ? 0 : 2) + (voter === leader ? 1 : 0);
    const sources = others.filter((voter) => !alike.includes(voter));
    sources.sort((a, b) => rank(a) - rank(b));
    if (sources.every((source) => this.#sources.includes(source))) return;
    this.#sources = sources;
    trouble(changed(what));
    reseed(sources, driver.applied);
  }

  #ask(others: readonly NodeId[]): void {
    if (!this.#pace.asksNow()) return;
    const { transport, log, driver } = this.#parts;
    const index = Math.max(driver.applied, log.firstIndex() - 1);
    const own = { kind: "unknown", digest: 0, detail: CHANGED } as const;
    for (const to of others) {
      transport.sendFinding(to, { index, term: log.term(index), ...own, asks: true });
    }
  }

  /** Those who could give a database may need entries that only this node has: then it leads, serving nothing. */
  #standIfNeeded(): void {
    const stands = this.#pace.lacksLeader();
    if (stands === this.#stands) return;
    this.#stands = stands;
    this.#parts.mayLead(stands);
  }
}
