/** How interaction transcripts name things: the words and the layout of etcd's raft test-suite. */

import type { Effects, RaftStatus, Role, SnapshotMark } from "../../src/raft/effect.ts";
import type { Configuration, Entry, HardState } from "../../src/raft/entry.ts";
import { type ChangeKind, type ChangeStep, decodeChange } from "../../src/raft/membership.ts";
import type { Message } from "../../src/raft/message.ts";
import type { ProgressView } from "../../src/raft/raft.ts";
import { unreachable } from "../../src/sql/invariant.ts";

const STATES: Record<Role, string> = {
  follower: "StateFollower",
  preCandidate: "StatePreCandidate",
  candidate: "StateCandidate",
  leader: "StateLeader",
};

export function describeRole(role: Role): string {
  return STATES[role];
}

export function describeEntry(entry: Entry): string {
  const at = `${entry.term}/${entry.index}`;
  const text = new TextDecoder().decode(entry.payload);
  if (entry.kind !== "configuration") return `${at} EntryNormal ${JSON.stringify(text)}`;
  const steps = decodeChange(entry.payload)?.steps ?? [];
  return [`${at} EntryConfChangeV2`, ...steps.map(describeStep)].join(" ");
}

const STEP_LETTERS: Record<ChangeKind, string> = {
  addVoter: "v",
  addLearner: "l",
  remove: "r",
  update: "u",
};

function describeStep({ kind, id }: ChangeStep): string {
  return `${STEP_LETTERS[kind]}${id}`;
}

/** `v1 l2 r3` */
export function parseSteps(text: string): ChangeStep[] {
  const words = text.split(/\s+/).filter((word) => word !== "");
  return words.map((word) => {
    const found = Object.entries(STEP_LETTERS).find(([, letter]) => letter === word[0]);
    if (found === undefined || !/^.\d+$/.test(word)) throw new Error(`unknown input: ${word}`);
    return { kind: found[0] as ChangeKind, id: Number(word.slice(1)) };
  });
}

export function describeSnapshot({ index, term, configuration }: SnapshotMark): string {
  const { voters, outgoing, learners, learnersNext, autoLeave } = configuration;
  const list = (ids: readonly number[]) => `[${ids.join(" ")}]`;
  return (
    `Index:${index} Term:${term} ConfState:Voters:${list(voters)} ` +
    `VotersOutgoing:${list(outgoing)} Learners:${list(learners)} ` +
    `LearnersNext:${list(learnersNext)} AutoLeave:${autoLeave}`
  );
}

export function describeEntries(entries: readonly Entry[]): string {
  return entries.map((entry) => `${describeEntry(entry)}\n`).join("");
}

/** etcd's name of a message, as `type=` takes it. */
export function typeOf(message: Message): string {
  switch (message.kind) {
    case "AppendEntries":
      return "MsgApp";
    case "AppendEntriesResult":
      return "MsgAppResp";
    case "Heartbeat":
      return "MsgHeartbeat";
    case "HeartbeatResult":
      return "MsgHeartbeatResp";
    case "RequestVote":
      return message.preVote ? "MsgPreVote" : "MsgVote";
    case "RequestVoteResult":
      return message.preVote ? "MsgPreVoteResp" : "MsgVoteResp";
    case "ReadIndex":
      return "MsgReadIndex";
    case "ReadIndexResult":
      return "MsgReadIndexResp";
    case "TimeoutNow":
      return "MsgTimeoutNow";
    case "InstallSnapshot":
      return "MsgSnap";
    default:
      return unreachable(message);
  }
}

/** What stands behind `Log:`, and what follows it. */
interface Facts {
  readonly log: string;
  readonly rest: string;
}

function factsOf(message: Message): Facts {
  switch (message.kind) {
    case "AppendEntries":
      return {
        log: `${message.prevLogTerm}/${message.prevLogIndex}`,
        rest: commit(message.leaderCommit) + describeEntryList(message.entries),
      };
    case "AppendEntriesResult":
      return message.rejected
        ? {
            log: `${message.hintTerm}/${message.index}`,
            rest: ` Rejected (Hint: ${message.hintIndex})`,
          }
        : { log: `0/${message.index}`, rest: "" };
    case "Heartbeat":
      return { log: "0/0", rest: commit(message.leaderCommit) + read(message.readPosition) };
    case "HeartbeatResult":
      return { log: "0/0", rest: read(message.readPosition) };
    case "RequestVote":
      return { log: `${message.lastLogTerm}/${message.lastLogIndex}`, rest: "" };
    case "RequestVoteResult":
      return { log: "0/0", rest: message.rejected ? " Rejected (Hint: 0)" : "" };
    case "ReadIndex":
      return { log: "0/0", rest: ` Context:${message.context}` };
    case "ReadIndexResult":
      return { log: `0/${message.index}`, rest: ` Context:${message.context}` };
    case "TimeoutNow":
      return { log: "0/0", rest: "" };
    case "InstallSnapshot":
      return { log: "0/0", rest: "" };
    default:
      return unreachable(message);
  }
}

function commit(index: number): string {
  return index === 0 ? "" : ` Commit:${index}`;
}

function read(position: number): string {
  return position === 0 ? "" : ` Read:${position}`;
}

export function describeEntryList(entries: readonly Entry[]): string {
  if (entries.length === 0) return "";
  if (entries.length === 1) return ` Entries:[${entries.map(describeEntry).join("")}]`;
  return ` Entries:[\n${entries.map((entry) => `  ${describeEntry(entry)}\n`).join("")}]`;
}

/** Ids of two digits are shown as one. */
function hex(id: number): string {
  return id.toString(16);
}

export function describeMessage(message: Message): string {
  const { log, rest } = factsOf(message);
  const { from, to, term } = message;
  return `${hex(from)}->${hex(to)} ${typeOf(message)} Term:${term} Log:${log}${rest}`;
}

export function describeHardState(state: HardState): string {
  const vote = state.votedFor === 0 ? "" : ` Vote:${state.votedFor}`;
  return `HardState Term:${state.currentTerm}${vote} Commit:${state.commitIndex}`;
}

export function describeConfiguration(configuration: Configuration): string {
  const { voters, outgoing, learners, learnersNext, autoLeave } = configuration;
  let text = `voters=(${voters.join(" ")})`;
  if (outgoing.length > 0) text += `&&(${outgoing.join(" ")})`;
  if (learners.length > 0) text += ` learners=(${learners.join(" ")})`;
  if (learnersNext.length > 0) text += ` learners_next=(${learnersNext.join(" ")})`;
  if (autoLeave) text += " autoleave";
  return text;
}

export function describeProgress(view: ProgressView): string {
  const states: Record<ProgressView["state"], string> = {
    probe: "StateProbe",
    replicate: "StateReplicate",
    snapshot: "StateSnapshot",
  };
  let text = `${view.id}: ${states[view.state]} match=${view.matchIndex} next=${view.nextIndex}`;
  if (view.isLearner) text += " learner";
  if (view.isPaused) text += " paused";
  if (view.pendingSnapshot > 0) text += ` pendingSnap=${view.pendingSnapshot}`;
  if (!view.isActive) text += " inactive";
  if (view.inflightCount > 0) {
    text += ` inflight=${view.inflightCount}${view.isInflightFull ? "[full]" : ""}`;
  }
  return `${text}\n`;
}

/** What moved since the effects before, in the words of a Ready. */
export function describeReady(
  effects: Effects,
  messages: readonly string[],
  before: RaftStatus,
): string {
  const { persist, apply } = effects;
  const now = effects.changed ?? before;
  let text = "";
  if (now.leader !== before.leader || now.role !== before.role) {
    text += `Lead:${now.leader} State:${describeRole(now.role)}\n`;
  }
  const isVoteNew = now.currentTerm !== before.currentTerm || now.votedFor !== before.votedFor;
  if (isVoteNew || now.commitIndex !== before.commitIndex) text += `${describeHardState(now)}\n`;
  for (const { context, index } of effects.readStates) text += `Read ${context} at ${index}\n`;
  for (const context of effects.readsDropped) text += `Read ${context} dropped\n`;
  const entries = persist?.entries ?? [];
  if (entries.length > 0) text += `Entries:\n${describeEntries(entries)}`;
  const snapshot = persist?.snapshot ?? null;
  if (snapshot !== null) text += `Snapshot ${describeSnapshot(snapshot)}\n`;
  if (apply.length > 0) text += `CommittedEntries:\n${describeEntries(apply)}`;
  if (messages.length > 0) text += `Messages:\n${messages.map((line) => `${line}\n`).join("")}`;
  if (text === "") return "<empty Ready>\n";
  return `Ready MustSync=${isVoteNew || entries.length > 0}:\n${text}`;
}
