/**
 * What the transport tells, given to the part of the node that it is for. Who may not be heard is not: another cluster's
 * nodes, and directories that were replaced. It decides nothing else.
 */

import type { LogIndex, NodeId } from "../raft/entry.ts";
import type { Message } from "../raft/message.ts";
import type { NodeConfig } from "./config.ts";
import type { EffectLoop } from "./effect-loop.ts";
import type { Failover } from "./failover.ts";
import type { Formation } from "./formation.ts";
import type { PeerBook } from "./peer-book.ts";
import type {
  FormAnswer,
  Identity,
  MessageFacts,
  PeerFinding,
  PeerHello,
  TransportEvents,
} from "./ports.ts";

export interface PeerDoorParts {
  readonly book: PeerBook;
  readonly formation: Formation;
  readonly failover: Failover;
  identity(): Identity;
  /** null while the core does not run. */
  loop(): EffectLoop | null;
  /** Before the core hears them. */
  heard(from: NodeId, messages: readonly Message[], about: MessageFacts): void;
  /** What another node found an entry to do. */
  finding(from: NodeId, finding: PeerFinding): void;
  sendFormResult(to: NodeId, answer: FormAnswer): void;
  /** Others say that this node is no member since this entry. */
  removed(index: LogIndex): void;
}

export function peerDoor(parts: PeerDoorParts): TransportEvents {
  const { book, formation, failover } = parts;
  return {
    hello: (peer) => {
      if (book.hello(peer)) parts.loop()?.step({ kind: "peerReset", peer: peer.id });
      formation.hello(peer);
      tellIfRemoved(parts, peer);
    },
    messages: (from, messages, about) => {
      const identity = parts.identity();
      if (!book.admits(from, about.incarnation, identity)) return;
      book.takesPart(from, about.incarnation, identity.clusterId);
      parts.heard(from, messages, about);
      for (const message of messages) parts.loop()?.step({ kind: "message", message });
    },
    form: (from, request) => formation.form(from, request),
    formResult: (from, answer) => {
      book.formResult(from, answer);
      formation.formResult(from, answer);
      const { clusterId } = parts.identity();
      if (answer.removedAt > 0 && answer.clusterId === clusterId) parts.removed(answer.removedAt);
    },
    finding: (from, finding, incarnation) => {
      if (book.admits(from, incarnation, parts.identity())) parts.finding(from, finding);
    },
    disconnected: (peer) => {
      book.gone(peer);
      parts.loop()?.step({ kind: "unreachable", peer });
      failover.disconnected(peer);
    },
    unreachable: (peer, how) => {
      if (how === "refused") failover.refused(peer);
    },
  };
}

/** Who was removed while it was away would ask for votes for ever. */
function tellIfRemoved(parts: PeerDoorParts, { id, phase, clusterId }: PeerHello): void {
  const status = parts.loop()?.status();
  const own = parts.identity().clusterId;
  if (status?.role !== "leader" || phase !== "formed" || clusterId !== own) return;
  const { configuration } = status;
  const { voters, outgoing, learners, learnersNext, index } = configuration;
  const isMember =
    parts.book.view(id) !== null &&
    [voters, outgoing, learners, learnersNext].some((ids) => ids.includes(id));
  if (isMember) return;
  const { votesFrom } = parts.identity();
  parts.sendFormResult(id, { clusterId: own, phase: "formed", removedAt: index, votesFrom });
}

/** What a node says of itself. */
export function helloOf(config: NodeConfig, identity: Identity): PeerHello {
  const { id, members, advertise: address, machineVersion } = config;
  const { clusterId, phase, incarnation, seed, votesFrom } = identity;
  return { id, clusterId, phase, members, incarnation, seed, votesFrom, address, machineVersion };
}
