/**
 * Changes of the configuration, as a function of the configuration before (thesis §4; the operations are those of
 * etcd's ConfChangeV2). Keeps no state; knows nothing of leaders. A change is either simple (at most one voter comes or
 * goes) or joint (both the old and the new voters decide until the joint configuration is left).
 */

import type { Configuration, NodeId } from "./entry.ts";

export type ChangeKind = "addVoter" | "addLearner" | "remove";

export interface ChangeStep {
  readonly kind: ChangeKind;
  readonly id: NodeId;
}

/**
 * `auto`: simple if one step, else joint and left by itself. `implicit`: joint, left by itself. `explicit`: joint until
 * a change without steps asks to leave.
 */
export type Transition = "auto" | "implicit" | "explicit";

export interface ConfigurationChange {
  readonly transition: Transition;
  /** None, with `auto`: leave the joint configuration. */
  readonly steps: readonly ChangeStep[];
}

export const LEAVE_JOINT: ConfigurationChange = { transition: "auto", steps: [] };

export type ChangeResult =
  | { readonly kind: "changed"; readonly configuration: Configuration }
  | { readonly kind: "invalid"; readonly reason: string };

/** Never throws: what is invalid changes nothing, on every node alike. */
export function changeConfiguration(
  configuration: Configuration,
  change: ConfigurationChange,
): ChangeResult {
  if (isLeaving(change)) return leaveJoint(configuration);
  if (isJoint(configuration)) return invalid("the configuration is joint already");
  return change.transition !== "auto" || change.steps.length > 1
    ? enterJoint(configuration, change)
    : changeSimply(configuration, change);
}

export function isLeaving(change: ConfigurationChange): boolean {
  return change.transition === "auto" && change.steps.length === 0;
}

export function isJoint(configuration: Configuration): boolean {
  return configuration.outgoing.length > 0;
}

function invalid(reason: string): ChangeResult {
  return { kind: "invalid", reason };
}

function enterJoint(configuration: Configuration, change: ConfigurationChange): ChangeResult {
  if (configuration.voters.length === 0) return invalid("no voters to leave behind");
  const draft = new Draft({ ...configuration, outgoing: configuration.voters });
  draft.apply(change.steps);
  return draft.finish(change.transition !== "explicit");
}

function leaveJoint(configuration: Configuration): ChangeResult {
  if (!isJoint(configuration)) return invalid("the configuration is not joint");
  const draft = new Draft({ ...configuration, outgoing: [], learnersNext: [] });
  for (const id of configuration.learnersNext) draft.learners.add(id);
  return draft.finish(false);
}

function changeSimply(configuration: Configuration, change: ConfigurationChange): ChangeResult {
  const draft = new Draft(configuration);
  draft.apply(change.steps);
  const before = new Set(configuration.voters);
  let moved = [...before].filter((id) => !draft.voters.has(id)).length;
  moved += [...draft.voters].filter((id) => !before.has(id)).length;
  // Two majorities of neighbouring configurations must overlap.
  if (moved > 1) return invalid("more than one voter changed without a joint configuration");
  return draft.finish(false);
}

class Draft {
  readonly voters: Set<NodeId>;
  readonly learners: Set<NodeId>;
  readonly #learnersNext: Set<NodeId>;
  readonly #outgoing: readonly NodeId[];

  constructor(base: Configuration) {
    this.voters = new Set(base.voters);
    this.learners = new Set(base.learners);
    this.#learnersNext = new Set(base.learnersNext);
    this.#outgoing = base.outgoing;
  }

  apply(steps: readonly ChangeStep[]): void {
    for (const { kind, id } of steps) {
      if (kind === "remove") this.#remove(id);
      else if (kind === "addVoter") this.#addVoter(id);
      else this.#addLearner(id);
    }
  }

  #addVoter(id: NodeId): void {
    this.#remove(id);
    this.voters.add(id);
  }

  #addLearner(id: NodeId): void {
    if (this.learners.has(id)) return;
    this.#remove(id);
    // Who votes in the outgoing half cannot be a learner before that half is gone.
    if (this.#outgoing.includes(id)) this.#learnersNext.add(id);
    else this.learners.add(id);
  }

  #remove(id: NodeId): void {
    this.voters.delete(id);
    this.learners.delete(id);
    this.#learnersNext.delete(id);
  }

  finish(autoLeave: boolean): ChangeResult {
    if (this.voters.size === 0) return invalid("no voter would be left");
    const configuration = {
      voters: ascending(this.voters),
      outgoing: this.#outgoing,
      learners: ascending(this.learners),
      learnersNext: ascending(this.#learnersNext),
      autoLeave,
    };
    return { kind: "changed", configuration };
  }
}

function ascending(ids: Iterable<NodeId>): NodeId[] {
  return [...ids].sort((a, b) => a - b);
}

// --- in the log ------------------------------------------------------------------------------------------------

/*
 * An entry of kind `configuration`:
 *   empty                      leave the joint configuration
 *   byte 0                     version, 1
 *   byte 1                     transition: 0 auto, 1 implicit, 2 explicit
 *   then for each step, 9 bytes
 *     byte 0                   kind: 0 addVoter, 1 addLearner, 2 remove
 *     bytes 1 to 8             id, little-endian
 */
const VERSION = 1;
const HEADER_BYTES = 2;
const STEP_BYTES = 9;
const TRANSITIONS: readonly Transition[] = ["auto", "implicit", "explicit"];
const KINDS: readonly ChangeKind[] = ["addVoter", "addLearner", "remove"];

export function encodeChange(change: ConfigurationChange): Uint8Array {
  if (isLeaving(change)) return new Uint8Array(0);
  const bytes = new Uint8Array(HEADER_BYTES + STEP_BYTES * change.steps.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, VERSION);
  view.setUint8(1, TRANSITIONS.indexOf(change.transition));
  change.steps.forEach(({ kind, id }, at) => {
    const start = HEADER_BYTES + STEP_BYTES * at;
    view.setUint8(start, KINDS.indexOf(kind));
    view.setBigUint64(start + 1, BigInt(id), true);
  });
  return bytes;
}

/** null if it is not a change in a version that we know. */
export function decodeChange(bytes: Uint8Array): ConfigurationChange | null {
  if (bytes.length === 0) return LEAVE_JOINT;
  const stepBytes = bytes.length - HEADER_BYTES;
  if (bytes[0] !== VERSION || stepBytes < 0 || stepBytes % STEP_BYTES !== 0) return null;
  const transition = TRANSITIONS[bytes[1] ?? TRANSITIONS.length];
  if (transition === undefined) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const steps: ChangeStep[] = [];
  for (let start = HEADER_BYTES; start < bytes.length; start += STEP_BYTES) {
    const kind = KINDS[view.getUint8(start)];
    const id = Number(view.getBigUint64(start + 1, true));
    if (kind === undefined || id === 0 || !Number.isSafeInteger(id)) return null;
    steps.push({ kind, id });
  }
  return { transition, steps };
}
