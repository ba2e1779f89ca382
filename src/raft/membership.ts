/**
 * Changes of the configuration, as a function of the configuration before (thesis §4; the operations are those of
 * etcd's ConfChangeV2). Keeps no state; knows nothing of leaders. A change is either simple (at most one voter comes or
 * goes) or joint (both the old and the new voters decide until the joint configuration is left).
 */

import type { Configuration, MemberRecord, NodeId } from "./entry.ts";

/** `update`: replaces a member's record and nothing else. */
export type ChangeKind = "addVoter" | "addLearner" | "remove" | "update";

export interface ChangeStep {
  readonly kind: ChangeKind;
  readonly id: NodeId;
  /** Replaces what is kept of the member; absent: that stays. */
  readonly record?: Omit<MemberRecord, "id">;
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

/** Never throws: what is invalid changes nothing, on every node alike. The result's `index` is still the old one. */
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

/** Without a joint configuration, whatever the transition. Its steps may add up to one voter more or less. */
export function changeSimply(
  configuration: Configuration,
  change: ConfigurationChange,
): ChangeResult {
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
  readonly #records: Map<NodeId, MemberRecord>;
  readonly #index: number;

  constructor(base: Configuration) {
    this.voters = new Set(base.voters);
    this.learners = new Set(base.learners);
    this.#learnersNext = new Set(base.learnersNext);
    this.#outgoing = base.outgoing;
    this.#records = new Map(base.records.map((record) => [record.id, record]));
    this.#index = base.index;
  }

  apply(steps: readonly ChangeStep[]): void {
    for (const { kind, id, record } of steps) {
      if (kind === "remove") this.#remove(id);
      else if (kind === "addVoter") this.#addVoter(id);
      else if (kind === "addLearner") this.#addLearner(id);
      if (record !== undefined) this.#records.set(id, { id, ...record });
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
      records: this.#recordsOfMembers(),
      index: this.#index,
    };
    return { kind: "changed", configuration };
  }

  /** Who has left leaves nothing behind. */
  #recordsOfMembers(): MemberRecord[] {
    const { voters, learners } = this;
    const isMember = (id: NodeId) =>
      voters.has(id) ||
      learners.has(id) ||
      this.#learnersNext.has(id) ||
      this.#outgoing.includes(id);
    return ascending(this.#records.keys())
      .filter(isMember)
      .flatMap((id) => this.#records.get(id) ?? []);
  }
}

function ascending(ids: Iterable<NodeId>): NodeId[] {
  return [...ids].sort((a, b) => a - b);
}

// --- in the log ------------------------------------------------------------------------------------------------

/*
 * An entry of kind `configuration`:
 *   empty                      leave the joint configuration
 *   byte 0                     version: 1, or 2 if a step brings a record
 *   byte 1                     transition: 0 auto, 1 implicit, 2 explicit
 *   then for each step
 *     byte 0                   kind: 0 addVoter, 1 addLearner, 2 remove, 3 update
 *     bytes 1 to 8             id, little-endian
 *     in version 2 then
 *       byte 9                 0: no record; 1: a record; 3: a record of a member that awaits its vote
 *       with a record          u16 length and bytes of the address, u16 length and bytes of the incarnation, ASCII
 */
const VERSION = 1;
const VERSION_WITH_RECORDS = 2;
const HEADER_BYTES = 2;
const STEP_BYTES = 9;
const HAS_RECORD = 1;
const AWAITS_VOTE = 2;
const TRANSITIONS: readonly Transition[] = ["auto", "implicit", "explicit"];
const KINDS: readonly ChangeKind[] = ["addVoter", "addLearner", "remove", "update"];

export function encodeChange(change: ConfigurationChange): Uint8Array {
  if (isLeaving(change)) return new Uint8Array(0);
  const hasRecords = change.steps.some(({ record }) => record !== undefined);
  const bytes: number[] = [
    hasRecords ? VERSION_WITH_RECORDS : VERSION,
    TRANSITIONS.indexOf(change.transition),
  ];
  for (const { kind, id, record } of change.steps) {
    bytes.push(KINDS.indexOf(kind), ...eightBytes(id));
    if (!hasRecords) continue;
    bytes.push(record === undefined ? 0 : HAS_RECORD + (record.awaitsVote ? AWAITS_VOTE : 0));
    if (record !== undefined) bytes.push(...ascii(record.address), ...ascii(record.incarnation));
  }
  return Uint8Array.from(bytes);
}

function eightBytes(id: NodeId): number[] {
  const bytes: number[] = [];
  for (let rest = id; bytes.length < 8; rest = Math.floor(rest / 256)) bytes.push(rest % 256);
  return bytes;
}

function ascii(text: string): number[] {
  return [
    text.length % 256,
    text.length >> 8,
    ...[...text].map((char) => char.charCodeAt(0) % 128),
  ];
}

/** null if it is not a change in a version that we know. */
export function decodeChange(bytes: Uint8Array): ConfigurationChange | null {
  if (bytes.length === 0) return LEAVE_JOINT;
  const version = bytes[0];
  const transition = TRANSITIONS[bytes[1] ?? TRANSITIONS.length];
  if (transition === undefined) return null;
  if (version !== VERSION && version !== VERSION_WITH_RECORDS) return null;
  const steps: ChangeStep[] = [];
  const source = new Source(bytes, HEADER_BYTES);
  while (!source.isAtEnd) {
    const step = source.step(version === VERSION_WITH_RECORDS);
    if (step === null) return null;
    steps.push(step);
  }
  return { transition, steps };
}

class Source {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = at;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  step(mayHaveRecord: boolean): ChangeStep | null {
    if (this.#left < STEP_BYTES) return null;
    const kind = KINDS[this.#view.getUint8(this.#at)];
    const id = Number(this.#view.getBigUint64(this.#at + 1, true));
    this.#at += STEP_BYTES;
    if (kind === undefined || id === 0 || !Number.isSafeInteger(id)) return null;
    if (!mayHaveRecord) return { kind, id };
    if (this.#left < 1) return null;
    const flags = this.#view.getUint8(this.#at);
    this.#at += 1;
    if (flags === 0) return { kind, id };
    const address = this.#ascii();
    const incarnation = this.#ascii();
    if (address === null || incarnation === null) return null;
    const awaitsVote = (flags & AWAITS_VOTE) !== 0;
    return { kind, id, record: { address, incarnation, awaitsVote } };
  }

  get #left(): number {
    return this.#bytes.length - this.#at;
  }

  #ascii(): string | null {
    if (this.#left < 2) return null;
    const length = this.#view.getUint16(this.#at, true);
    this.#at += 2;
    if (this.#left < length) return null;
    const text = String.fromCharCode(...this.#bytes.subarray(this.#at, this.#at + length));
    this.#at += length;
    return text;
  }
}
