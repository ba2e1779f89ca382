/**
 * What becomes of what the writer has executed: a write is proposed and answered when it is committed; an answer that only
 * read the open transaction leaves when all that it could have seen is (DESIGN D1). Runs nothing and stores nothing.
 */

import type { ProposalResult } from "../raft/effect.ts";
import type { EntryId, LogIndex } from "../raft/entry.ts";
import type { Failure } from "../sql/errors.ts";
import type { Plant } from "./config.ts";
import type { ObservedOutcome } from "./driver-events.ts";
import { noSpace } from "./low-space.ts";
import { type Answer, give, type Proposals } from "./proposals.ts";
import type { ReadGate } from "./read-gate.ts";
import { failure, saysNothingOfData, type WriteRequest } from "./write-request.ts";

export interface AnswersParts {
  readonly proposals: Proposals;
  readonly plant: Plant | null;
  gate(): ReadGate;
  propose(payload: Uint8Array): ProposalResult;
  commitIndex(): LogIndex;
  notLeader(): Failure;
}

export class Answers {
  readonly #parts: AnswersParts;

  constructor(parts: AnswersParts) {
    this.#parts = parts;
  }

  /** null: it was refused, and the request told so. */
  propose(request: WriteRequest, payload: Uint8Array, result: Uint8Array): EntryId | null {
    const { propose, plant, proposals, notLeader } = this.#parts;
    const proposed = propose(payload);
    if (proposed.kind !== "accepted") {
      const isFull = proposed.reason === "tooMuchUncommitted";
      const full = "too many writes wait for a majority of the nodes; try again later";
      request.fail(isFull ? failure("OVERLOADED", full) : notLeader());
      return null;
    }
    if (plant === "answer-before-quorum") request.done(result, proposed.last.index);
    proposals.write(proposed.last, request, result);
    return proposed.last;
  }

  /** `seen`: the last entry proposed before it. */
  observed(request: WriteRequest, outcome: ObservedOutcome, seen: EntryId): void {
    const { proposals, plant, gate, commitIndex } = this.#parts;
    const answer: Answer =
      outcome.kind === "answer"
        ? // A first answer whose entry was still on its way: it is among what was seen.
          { kind: "result", bytes: outcome.result, index: outcome.index || seen.index }
        : { kind: "failure", failure: outcome.failure };
    // Of the machine, not of the data.
    if (outcome.kind === "broken" && outcome.failure.code === "SQLITE_FULL") {
      return request.fail(noSpace(`the disk is full: ${outcome.failure.message}`));
    }
    if (outcome.kind === "answer" && request.isProvisional) return give(request, answer);
    const early = plant === "error-before-commit";
    if (outcome.kind !== "answer" && (early || saysNothingOfData(outcome.failure.code))) {
      return give(request, answer);
    }
    if (seen.index > commitIndex()) return proposals.read(seen, request, answer);
    gate().barrier({
      deadlineAtMs: request.deadlineAtMs,
      cancelled: false,
      admit: () => give(request, answer),
      refuse: (why) => request.fail(why),
    });
  }
}
