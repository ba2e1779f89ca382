/** What is on its way in a script: messages between nodes, and the answers of a node's own append and apply threads. */

import type { Effects, Persist, RaftStatus, SnapshotMark } from "../../src/raft/effect.ts";
import type { Entry } from "../../src/raft/entry.ts";
import type { Message } from "../../src/raft/message.ts";
import {
  describeEntryList,
  describeMessage,
  describeSnapshot,
  typeOf,
} from "./interaction-describe.ts";
import type { ScriptNode } from "./interaction-node.ts";
import type { Proposal } from "./interaction-proposal.ts";

/** What `type=` may name. */
export const MESSAGE_TYPES: readonly string[] = [
  ...["MsgApp", "MsgAppResp", "MsgHeartbeat", "MsgHeartbeatResp", "MsgVote", "MsgVoteResp"],
  ...["MsgPreVote", "MsgPreVoteResp", "MsgSnap", "MsgTimeoutNow", "MsgReadIndex"],
  ...["MsgReadIndexResp", "MsgProp", "MsgTransferLeader", "MsgStorageAppendResp"],
  "MsgStorageApplyResp",
];

/** Between nodes, as against a node's answers to itself: may be lost. */
export function isOnTheWire({ kind }: Parcel): boolean {
  return kind === "message" || kind === "proposal" || kind === "transfer";
}

/** `note`: a local answer that etcd sends as a message of its own, and that here is part of `persisted`. */
export type Parcel =
  | {
      readonly kind: "message";
      readonly to: number;
      readonly message: Message;
      /** What an InstallSnapshot brings: it travels apart, and arrives with the message. */
      readonly snapshot: SnapshotMark | null;
    }
  | {
      readonly kind: "persisted";
      readonly to: number;
      readonly text: string;
      readonly persist: Persist;
    }
  | { readonly kind: "note"; readonly to: number; readonly text: string }
  /** What a follower passes on to its leader. */
  | {
      readonly kind: "proposal";
      readonly from: number;
      readonly to: number;
      readonly text: string;
      readonly proposal: Proposal;
    }
  | {
      readonly kind: "transfer";
      readonly to: number;
      readonly text: string;
      readonly target: number;
    }
  | { readonly kind: "applied"; readonly to: number; readonly text: string };

export function describeParcel(parcel: Parcel): string {
  if (parcel.kind !== "message") return parcel.text;
  const { message, snapshot } = parcel;
  const text = describeMessage(message);
  return snapshot === null ? text : `${text}\n  Snapshot: ${describeSnapshot(snapshot)}`;
}

export function parcelType(parcel: Parcel): string {
  if (parcel.kind === "message") return typeOf(parcel.message);
  return parcel.text.split(" ")[1] ?? "";
}

export function parcelOf(node: ScriptNode, message: Message): Parcel {
  const snapshot =
    message.kind === "InstallSnapshot" ? node.snapshotAt(message.lastIncludedIndex) : null;
  return { kind: "message", to: message.to, message, snapshot };
}

/** What a Ready shows under `Messages:`, and what of it goes on its way at once. */
export function parcelsOf(
  node: ScriptNode,
  effects: Effects,
  before: RaftStatus,
): { readonly lines: readonly string[]; readonly sent: readonly Parcel[] } {
  const { persist, send, apply } = effects;
  const sent = send.map((message) => parcelOf(node, message));
  sent.push(...node.outbox.splice(0));
  if (!node.setup.isAsync) {
    for (const message of persist?.thenSend ?? []) sent.push(parcelOf(node, message));
    return { lines: sent.map(describeParcel), sent };
  }
  const lines = sent.map(describeParcel);
  if (persist !== null) {
    answersOf(node, persist, before);
    const { request, responses } = appendText(node, persist);
    lines.push(withResponses(request, responses.map(describeParcel)));
  }
  if (apply.length > 0) {
    const { request, response } = applyText(node, apply);
    lines.push(withResponses(request, [describeParcel(response)]));
  }
  return { lines, sent };
}

function withResponses(request: string, responses: readonly string[]): string {
  if (responses.length === 0) return request;
  const indented = responses.map((line) => line.replace(/^/gm, "  "));
  return `${request} Responses:[\n${indented.join("\n")}\n]`;
}

const localAnswers = new WeakMap<Persist, readonly string[]>();

/** What etcd's node would tell itself once this is stored; to be asked when it is handed out. */
function answersOf(node: ScriptNode, persist: Persist, before: RaftStatus): void {
  const { id, raft } = node;
  const { role, lastIndex } = raft.status();
  const { index, term } = persist.last;
  const answers: string[] = [];
  if (role === "candidate" && persist.term > before.currentTerm) {
    answers.push(`${id}->${id} MsgVoteResp Term:${persist.term} Log:0/0`);
  }
  if (role === "leader" && persist.entries.length > 0) {
    answers.push(`${id}->${id} MsgAppResp Term:${persist.term} Log:0/${index}`);
  }
  if (raft.stableIndex() < lastIndex) {
    const log = `Log:${term}/${index}`;
    answers.push(`AppendThread->${id} MsgStorageAppendResp Term:${persist.term} ${log}`);
  }
  localAnswers.set(persist, answers);
}

export function appendText(
  node: ScriptNode,
  persist: Persist,
): { readonly request: string; readonly responses: readonly Parcel[] } {
  const { id } = node;
  const { hardState, entries, thenSend } = persist;
  let request = `${id}->AppendThread MsgStorageAppend Term:${hardState?.currentTerm ?? 0} Log:0/0`;
  if (hardState !== null) {
    if (hardState.commitIndex !== 0) request += ` Commit:${hardState.commitIndex}`;
    if (hardState.votedFor !== 0) request += ` Vote:${hardState.votedFor}`;
  }
  request += describeEntryList(entries);
  const answers = localAnswers.get(persist) ?? [];
  const own = answers.map((text, at): Parcel => {
    const isLast = at === answers.length - 1;
    return isLast ? { kind: "persisted", to: id, text, persist } : { kind: "note", to: id, text };
  });
  return { request, responses: [...thenSend.map((message) => parcelOf(node, message)), ...own] };
}

export function applyText(
  node: ScriptNode,
  entries: readonly Entry[],
): { readonly request: string; readonly response: Parcel } {
  const { id } = node;
  const list = describeEntryList(entries);
  return {
    request: `${id}->ApplyThread MsgStorageApply Term:0 Log:0/0${list}`,
    response: {
      kind: "applied",
      to: id,
      text: `ApplyThread->${id} MsgStorageApplyResp Term:0 Log:0/0${list}`,
    },
  };
}
