/**
 * What operators ask of a node: to change the members, to hand the leadership over. Says no where it must, in words that
 * help; the work is membership.ts's and handover.ts's.
 */

import type { RaftStatus } from "../raft/effect.ts";
import { NOBODY, type NodeId } from "../raft/entry.ts";
import { isVoter } from "../raft/quorum.ts";
import type { Failure } from "../sql/errors.ts";
import type { Handover } from "./handover.ts";
import type { MachineVersions } from "./machine-versions.ts";
import type { Membership } from "./membership.ts";
import type { Environment } from "./ports.ts";
import { notHandedOver } from "./refusals.ts";
import type {
  ChangeCall,
  ChangeSink,
  TransferCall,
  TransferSink,
  UpgradeCall,
  UpgradeSink,
} from "./service.ts";
import { failure } from "./write-request.ts";

export interface OperatorsParts {
  readonly id: NodeId;
  readonly environment: Environment;
  readonly membership: Membership;
  readonly handover: Handover;
  readonly versions: MachineVersions;
  status(): RaftStatus;
  /** Why this node cannot be asked: it is not running, or does not lead. null: it can. */
  refusal(): Failure | null;
}

export class Operators {
  readonly #parts: OperatorsParts;

  constructor(parts: OperatorsParts) {
    this.#parts = parts;
  }

  changeMembers(call: ChangeCall, sink: ChangeSink): void {
    const { environment, membership, refusal } = this.#parts;
    const no = refusal();
    if (no === null) membership.change(call, sink);
    else environment.soon(() => sink.failed(no));
  }

  transferLeadership({ to, timeoutMs }: TransferCall, sink: TransferSink): void {
    const { id, environment, handover, status, refusal } = this.#parts;
    const no = refusal() ?? this.#problem(to);
    if (no !== null) return environment.soon(() => sink.failed(no));
    if (to === id) return environment.soon(() => sink.done(to));
    handover.to(to, timeoutMs, (end) => {
      if (end === "done") sink.done(status().leader);
      else sink.failed(notHandedOver(to, end));
    });
  }

  upgrade(call: UpgradeCall, sink: UpgradeSink): void {
    const { environment, versions, refusal } = this.#parts;
    const no = refusal();
    if (no === null) versions.upgrade(call, sink);
    else environment.soon(() => sink.failed(no));
  }

  #problem(to: NodeId): Failure | null {
    if (this.#parts.handover.isUnderWay) {
      return failure("REFUSED", "a handover is under way already");
    }
    if (to === NOBODY) return null;
    if (!isVoter(this.#parts.status().configuration, to)) {
      return failure("REFUSED", `node ${to} has no vote, so it cannot lead`);
    }
    if (this.#parts.versions.fits(to)) return null;
    const why = "it runs another machine version than the cluster (balsa status, balsa upgrade)";
    return failure("REFUSED", `node ${to} cannot lead: ${why}`);
  }
}
