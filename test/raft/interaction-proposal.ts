/** What a script proposes, and how it travels: a follower that knows a leader sends it there, as etcd's raft does. */

import type { ProposalResult } from "../../src/raft/effect.ts";
import { type Entry, NOBODY } from "../../src/raft/entry.ts";
import {
  type ConfigurationChange,
  changeConfiguration,
  encodeChange,
} from "../../src/raft/membership.ts";
import { memberIds } from "../../src/raft/quorum.ts";
import { describeConfiguration, describeEntry } from "./interaction-describe.ts";
import type { InteractionEnv } from "./interaction-env.ts";
import type { ScriptNode } from "./interaction-node.ts";

export type Proposal =
  | { readonly kind: "command"; readonly text: string }
  /** `isV1`: shown in etcd's older form; ours has one form. */
  | { readonly kind: "change"; readonly change: ConfigurationChange; readonly isV1: boolean };

export const DROPPED = "raft proposal dropped";

export function describeProposal(proposal: Proposal): string {
  const entry: Entry =
    proposal.kind === "command"
      ? { index: 0, term: 0, kind: "command", payload: new TextEncoder().encode(proposal.text) }
      : { index: 0, term: 0, kind: "configuration", payload: encodeChange(proposal.change) };
  const text = describeEntry(entry);
  const isV1 = proposal.kind === "change" && proposal.isV1;
  return isV1 ? text.replace("EntryConfChangeV2", "EntryConfChange") : text;
}

/** Throws if nobody takes it. */
export function propose(env: InteractionEnv, id: number, proposal: Proposal, from = id): void {
  const node = env.node(id);
  const { role, leader, currentTerm, configuration } = node.raft.status();
  if (role === "leader") {
    if (!memberIds(configuration).includes(id)) drop();
    env.act(id, () => proposeOnLeader(env, node, proposal));
    return;
  }
  if (role !== "follower" || leader === NOBODY) {
    env.output.log("INFO", `${id} no leader at term ${currentTerm}; dropping proposal`);
    drop();
  }
  const text = `${from}->${leader} MsgProp Term:0 Log:0/0 Entries:[${describeProposal(proposal)}]`;
  node.outbox.push({ kind: "proposal", from, to: leader, text, proposal });
}

function drop(): never {
  throw new Error(DROPPED);
}

function proposeOnLeader(env: InteractionEnv, { id, raft }: ScriptNode, proposal: Proposal): void {
  const { currentTerm, configuration } = raft.status();
  let result: ProposalResult;
  if (proposal.kind === "command") result = raft.propose([new TextEncoder().encode(proposal.text)]);
  else result = raft.proposeConfiguration(proposal.change);
  if (result.kind === "accepted") {
    const { term, index } = result.first;
    if (proposal.kind === "change" && proposal.isV1) env.output.v1Changes.add(`${term}/${index}`);
    return;
  }
  const { reason } = result;
  if (proposal.kind === "change" && (reason === "changePending" || reason === "invalidChange")) {
    const at = describeConfiguration(configuration);
    const check = changeConfiguration(configuration, proposal.change);
    const why = check.kind === "invalid" ? check.reason : "a change may be pending";
    env.output.log("INFO", `${id} ignoring conf change at config ${at}: ${why}`);
    // etcd writes an empty entry in the place of a change that it ignores.
    raft.propose([new Uint8Array(0)]);
    return;
  }
  if (reason === "transferring") {
    const to = raft.transferee();
    env.output.log(
      "DEBUG",
      `${id} [term ${currentTerm}] transfer leadership to ${to} is in progress; dropping proposal`,
    );
  }
  drop();
}

/** Asks a node to hand the leadership to `to`; a follower passes the wish on. */
export function transferLeadership(env: InteractionEnv, id: number, to: number): void {
  const node = env.node(id);
  const { role, leader, currentTerm } = node.raft.status();
  if (role === "leader") {
    env.act(id, ({ raft }) => raft.step({ kind: "transferLeadership", to }));
    const isUnderWay = node.raft.transferee() === to;
    if (isUnderWay) {
      env.output.log("INFO", `${id} [term ${currentTerm}] starts to transfer leadership to ${to}`);
    }
    return;
  }
  if (role !== "follower") return;
  if (leader === NOBODY) {
    env.output.log("INFO", `${id} no leader at term ${currentTerm}; dropping leader transfer msg`);
    return;
  }
  const text = `${to}->${leader} MsgTransferLeader Term:${currentTerm} Log:0/0`;
  node.outbox.push({ kind: "transfer", to: leader, text, target: to });
}
