/**
 * Runs the commands of interaction scripts on a handful of nodes and prints what happens, in the layout of etcd's
 * raft test-suite. Nothing happens by itself: the script delivers each message and performs each write.
 */

import type { RaftStatus, SnapshotMark } from "../../src/raft/effect.ts";
import { NOBODY } from "../../src/raft/entry.ts";
import type { Message } from "../../src/raft/message.ts";
import { isVoter, memberIds, voterIds } from "../../src/raft/quorum.ts";
import { Misuse } from "./interaction-arguments.ts";
import {
  describeConfiguration,
  describeEntries,
  describeProgress,
  describeReady,
  describeRole,
  typeOf,
} from "./interaction-describe.ts";
import type { NodeSetup } from "./interaction-node.ts";
import { ScriptNode } from "./interaction-node.ts";
import { Output } from "./interaction-output.ts";
import {
  appendText,
  applyText,
  describeParcel,
  isOnTheWire,
  type Parcel,
  parcelOf,
  parcelsOf,
  parcelType,
} from "./interaction-parcel.ts";
import { DROPPED, propose, transferLeadership } from "./interaction-proposal.ts";

function isAnswer({ kind }: Message): boolean {
  return (
    kind === "AppendEntriesResult" || kind === "HeartbeatResult" || kind === "RequestVoteResult"
  );
}

/** A script that goes round longer than this does not stabilize. */
const ROUNDS_MAX = 1000;

export class InteractionEnv {
  readonly output = new Output();
  readonly nodes: ScriptNode[] = [];
  /** What a reader of the script should know and no transcript shows. */
  readonly notes: string[] = [];
  /** On their way, in the order of sending. */
  #parcels: Parcel[] = [];

  node(id: number): ScriptNode {
    const node = this.nodes[id - 1];
    if (node === undefined) throw new Misuse(`no node ${id}`);
    return node;
  }

  addNodes(count: number, setup: NodeSetup): void {
    const { configuration } = setup;
    const isFresh = setup.content === "" && memberIds(configuration).length === 0;
    if (setup.index <= 1 && !(isFresh && setup.index === 0)) {
      throw new Error("index must be specified as > 1 due to bootstrap");
    }
    for (let i = 0; i < count; i++) {
      const node = new ScriptNode(this.nodes.length + 1, setup);
      this.nodes.push(node);
      const { id, raft, log } = node;
      const { voters } = setup.configuration;
      const status = raft.status();
      this.output.log(
        "INFO",
        `${id} switched to configuration ${describeConfiguration(status.configuration)}`,
      );
      this.output.log("INFO", `${id} became follower at term 0`);
      this.output.log(
        "INFO",
        `newRaft ${id} [peers: [${voters.join(",")}], term: 0, commit: ${status.commitIndex}, ` +
          `applied: ${node.appliedIndex}, lastindex: ${log.lastIndex()}, lastterm: ${status.lastTerm}]`,
      );
    }
  }

  /** Runs an input of one node, and logs what it led to. */
  act(id: number, input: (node: ScriptNode) => void, heard: Message | null = null): void {
    const node = this.node(id);
    const before = node.raft.status();
    input(node);
    this.#logChange(node, before, heard);
  }

  #logChange(node: ScriptNode, before: RaftStatus, heard: Message | null): void {
    const { id } = node;
    const after = node.raft.status();
    const isNewTerm = before.currentTerm < (heard?.term ?? 0) && after.role === "follower";
    if (heard !== null && isNewTerm && after.currentTerm === heard.term) {
      this.output.log(
        "INFO",
        `${id} [term: ${before.currentTerm}] received a ${typeOf(heard)} message with higher term ` +
          `from ${heard.from} [term: ${heard.term}]`,
      );
    }
    if (before.configuration !== after.configuration) {
      const text = describeConfiguration(after.configuration);
      this.output.log("INFO", `${id} switched to configuration ${text}`);
    }
    if (before.role === after.role && before.currentTerm === after.currentTerm) return;
    const isAsking = after.role === "candidate" || after.role === "preCandidate";
    if (isAsking && before.role !== "preCandidate") {
      this.output.log("INFO", `${id} is starting a new election at term ${before.currentTerm}`);
    }
    const role = after.role === "preCandidate" ? "pre-candidate" : after.role;
    this.output.log("INFO", `${id} became ${role} at term ${after.currentTerm}`);
    if (isAsking) this.#logQuestions(after);
  }

  #logQuestions({ id, role, currentTerm, lastTerm, lastIndex, configuration }: RaftStatus): void {
    const type = role === "preCandidate" ? "MsgPreVote" : "MsgVote";
    for (const to of voterIds(configuration)) {
      if (to === id) continue;
      this.output.log(
        "INFO",
        `${id} [logterm: ${lastTerm}, index: ${lastIndex}] sent ${type} request to ${to} at term ${currentTerm}`,
      );
    }
  }

  processReady(id: number): void {
    const node = this.node(id);
    const before = node.raft.status();
    const { told } = node;
    const effects = node.setup.isAsync ? node.takeReady() : node.takeStoredReady();
    if (effects === null) {
      this.output.write("<empty Ready>\n");
      return;
    }
    node.told = effects.changed ?? told;
    const parcels = parcelsOf(node, effects, told);
    this.output.write(describeReady(effects, parcels.lines, told));
    this.#parcels.push(...parcels.sent);
    if (node.setup.isAsync) {
      if (effects.persist !== null) node.appendWork.push(effects.persist);
      if (effects.apply.length > 0) node.applyWork.push(effects.apply);
      return;
    }
    this.#logChange(node, before, null);
    if (effects.apply.length === 0) return;
    node.apply(effects.apply);
    this.act(id, () => node.applied());
    this.act(id, () => node.completeStoredReady());
  }

  processAppendThread(id: number): void {
    const node = this.node(id);
    const persist = node.appendWork.shift();
    if (persist === undefined) {
      this.output.write("no append work to perform");
      return;
    }
    node.store(persist);
    const { request, responses } = appendText(node, persist);
    this.output.write(`Processing:\n${request}\nResponses:\n`);
    for (const parcel of responses) this.output.write(`${describeParcel(parcel)}\n`);
    this.#parcels.push(...responses);
    // The last local answer carries the completion; without one there is nobody to tell it.
    if (!responses.some((parcel) => parcel.kind === "persisted")) {
      this.act(id, () => node.persistedUntold(persist));
    }
  }

  processApplyThread(id: number): void {
    const node = this.node(id);
    const entries = node.applyWork.shift();
    if (entries === undefined) {
      this.output.write("no apply work to perform");
      return;
    }
    const { request, response } = applyText(node, entries);
    this.output.write(`Processing:\n${request}\n`);
    node.apply(entries);
    // The machine tells a configuration at once; the rest counts as applied when the answer is delivered.
    if (entries.some(({ kind }) => kind === "configuration")) this.act(id, () => node.applied());
    this.output.write(`Responses:\n${describeParcel(response)}\n`);
    this.#parcels.push(response);
  }

  /** Returns how many were delivered or dropped. `type` null: all. */
  deliver(to: number, type: string | null, how: "deliver" | "drop"): number {
    const chosen: Parcel[] = [];
    const rest: Parcel[] = [];
    for (const parcel of this.#parcels) {
      const isChosen =
        parcel.to === to &&
        !(how === "drop" && !isOnTheWire(parcel)) &&
        (type === null || parcelType(parcel) === type);
      (isChosen ? chosen : rest).push(parcel);
    }
    this.#parcels = rest;
    for (const parcel of chosen) {
      this.output.write(`${how === "drop" ? "dropped: " : ""}${describeParcel(parcel)}\n`);
      if (how === "deliver") this.#hand(parcel);
    }
    return chosen.length;
  }

  #hand(parcel: Parcel): void {
    switch (parcel.kind) {
      case "message":
        this.#handMessage(parcel.message, parcel.snapshot);
        return;
      case "persisted":
        this.act(parcel.to, (node) => node.persisted(parcel.persist));
        return;
      case "applied":
        this.act(parcel.to, (node) => node.applied());
        return;
      case "proposal":
        this.#handProposal(parcel);
        return;
      case "transfer":
        transferLeadership(this, parcel.to, parcel.target);
        return;
      case "note":
        return;
    }
  }

  #handProposal({ to, from, proposal }: Parcel & { readonly kind: "proposal" }): void {
    try {
      propose(this, to, proposal, from);
    } catch (error) {
      if (!(error instanceof Error) || error.message !== DROPPED) throw error;
      this.output.write(`${DROPPED}\n`);
    }
  }

  #handMessage(message: Message, snapshot: SnapshotMark | null): void {
    const { id, raft } = this.node(message.to);
    const { configuration } = raft.status();
    if (isAnswer(message) && !memberIds(configuration).includes(message.from)) {
      this.output.write("raft: cannot step as peer not found\n");
    }
    if (snapshot !== null) {
      this.#handSnapshot(message, snapshot);
      return;
    }
    this.act(id, () => raft.step({ kind: "message", message }), message);
  }

  #handSnapshot(sent: Message, snapshot: SnapshotMark): void {
    const { id, raft } = this.node(sent.to);
    const { currentTerm, role } = raft.status();
    if (role === "leader" && sent.term === currentTerm) return;
    // `send-snapshot` lets anybody send one; our core hears snapshots from the leader of the term only.
    const leaders = this.nodes.map((node) => node.raft.status());
    const isOfTerm = (each: RaftStatus) => each.currentTerm === sent.term && each.leader !== NOBODY;
    const message = { ...sent, from: leaders.find(isOfTerm)?.leader ?? sent.from };
    if (!memberIds(snapshot.configuration).includes(id)) {
      this.output.log("WARN", `${id} attempted to restore snapshot but it is not in the ConfState`);
      const past = { ...message, lastIncludedIndex: 0, lastIncludedTerm: 0 };
      this.act(id, () => raft.step({ kind: "message", message: past }), message);
      return;
    }
    this.act(id, () => raft.step({ kind: "message", message }), message);
    if (message.term < currentTerm || snapshot.index <= raft.status().commitIndex) return;
    this.act(id, () => raft.step({ kind: "snapshotReady", snapshot }));
  }

  sendSnapshot(from: number, to: number): void {
    const node = this.node(from);
    const { index, term } = node.snapshotAt(node.appliedIndex);
    const parcel = parcelOf(node, {
      kind: "InstallSnapshot",
      from,
      to,
      term: node.raft.status().currentTerm,
      lastIncludedIndex: index,
      lastIncludedTerm: term,
    });
    this.#parcels.push(parcel);
    this.output.write(describeParcel(parcel));
  }

  hasParcels(to: number): boolean {
    return this.#parcels.some((parcel) => parcel.to === to);
  }

  stabilize(ids: readonly number[]): void {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      if (!this.#stabilizeOnce(ids)) return;
    }
    throw new Error(`not stable after ${ROUNDS_MAX} rounds`);
  }

  #stabilizeOnce(ids: readonly number[]): boolean {
    let isBusy = false;
    const under = (title: string, run: () => void) => {
      this.output.write(`> ${title}\n`);
      this.output.indented(run);
      isBusy = true;
    };
    for (const id of ids) {
      if (this.node(id).hasReady()) under(`${id} handling Ready`, () => this.processReady(id));
    }
    for (const id of ids) {
      if (!this.hasParcels(id)) continue;
      under(`${id} receiving messages`, () => this.deliver(id, null, "deliver"));
    }
    for (const id of ids) {
      const { appendWork } = this.node(id);
      if (appendWork.length === 0) continue;
      under(`${id} processing append thread`, () => {
        while (appendWork.length > 0) this.processAppendThread(id);
      });
    }
    for (const id of ids) {
      const { applyWork } = this.node(id);
      if (applyWork.length === 0) continue;
      under(`${id} processing apply thread`, () => {
        while (applyWork.length > 0) this.processApplyThread(id);
      });
    }
    return isBusy;
  }

  raftLog(id: number): void {
    const { log } = this.node(id);
    if (log.all().length > 0) this.output.write(describeEntries(log.all()));
    else {
      this.output.write(
        `log is empty: first index=${log.firstIndex()}, last index=${log.lastIndex()}`,
      );
    }
  }

  raftState(): void {
    for (const { raft } of this.nodes) {
      const { id, role, currentTerm, leader, configuration } = raft.status();
      const voter = isVoter(configuration, id) ? "(Voter)" : "(Non-Voter)";
      this.output.write(
        `${id}: ${describeRole(role)} ${voter} Term:${currentTerm} Lead:${leader}\n`,
      );
    }
  }

  status(id: number): void {
    for (const view of this.node(id).raft.progress()) this.output.write(describeProgress(view));
  }
}
