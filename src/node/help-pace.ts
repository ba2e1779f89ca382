/**
 * How a node that serves nothing seeks help (docs/decisions/0013-after-a-mismatch.md, 0020): how often it asks the others, and
 * for how long nobody may lead before it does so itself. Asks nobody and leads nothing.
 */

import type { RaftStatus } from "../raft/effect.ts";
import { NOBODY } from "../raft/entry.ts";
import type { Environment } from "./ports.ts";

/** Between two rounds of questions; and when nobody has helped for long. */
const ASK_MS = 200;
export const ASK_LATER_MS = 2_000;
const LONG_MS = 5_000;
/** Others stand within two. */
const STAND_AFTER_ELECTIONS = 3;

export interface HelpPaceParts {
  readonly environment: Environment;
  readonly electionMs: number;
  status(): RaftStatus;
}

export class HelpPace {
  readonly #parts: HelpPaceParts;
  #sinceMs = 0;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #leaderlessSinceMs: number | null = null;

  constructor(parts: HelpPaceParts) {
    this.#parts = parts;
  }

  /** From now on help is needed. */
  begin(): void {
    this.#sinceMs = this.#parts.environment.monotonicMs();
    this.#askedAtMs = Number.NEGATIVE_INFINITY;
    this.#leaderlessSinceMs = null;
  }

  /** Since help is needed. */
  get waitedMs(): number {
    return this.#parts.environment.monotonicMs() - this.#sinceMs;
  }

  /** Nobody has helped for long. */
  get isLong(): boolean {
    return this.waitedMs > LONG_MS;
  }

  /** True: it is time for another round of questions, which begins now. */
  asksNow(): boolean {
    const nowMs = this.#parts.environment.monotonicMs();
    if (nowMs - this.#askedAtMs < (this.isLong ? ASK_LATER_MS : ASK_MS)) return false;
    this.#askedAtMs = nowMs;
    return true;
  }

  /** To be called from time to time. True: whoever else could lead would do so by now. */
  lacksLeader(): boolean {
    const { environment, electionMs, status } = this.#parts;
    const { role, leader } = status();
    const nowMs = environment.monotonicMs();
    if (role !== "leader" && leader !== NOBODY) this.#leaderlessSinceMs = null;
    else this.#leaderlessSinceMs ??= nowMs;
    const sinceMs = this.#leaderlessSinceMs;
    return sinceMs !== null && nowMs - sinceMs > STAND_AFTER_ELECTIONS * electionMs;
  }
}
