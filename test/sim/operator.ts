/**
 * A simulated operator: adds learners and voters, promotes, removes, replaces several at once, hands the leadership over,
 * at random and under load, and now and then ends the leader in the middle of a change. It asks whoever leads, and does
 * what people do with nodes: starts them before they join, takes them away when they are out.
 */

import type { MemberStep, NodeService } from "../../src/node/service.ts";
import type { NodeId } from "../../src/raft/entry.ts";
import { isBalsaCode } from "../../src/sql/errors.ts";
import type { Covered } from "./coverage.ts";
import type { FaultAtlas } from "./fault-atlas.ts";
import type { Host } from "./host.ts";
import type { Prng } from "./prng.ts";
import type { World } from "./world.ts";

interface Plan {
  readonly steps: readonly MemberStep[];
  readonly covers: Covered;
}

/** A cluster is not made smaller than this. */
const VOTERS_MIN = 3;
const TIMEOUT_MS = 2_500;

export class Operator {
  readonly #world: World;
  readonly #dice: Prng;
  #active = true;
  #busy = false;

  constructor(world: World, dice: Prng) {
    this.#world = world;
    this.#dice = dice;
  }

  start(): void {
    this.#world.scheduler.after(100 + this.#dice.next() * 900, () => {
      if (!this.#active) return;
      this.start();
      this.#world.guard(() => this.#act());
    });
  }

  stop(): void {
    this.#active = false;
  }

  #act(): void {
    const leader = this.#leader();
    if (leader === null) return;
    if (this.#dice.chance(0.25)) return this.#transfer(leader);
    if (this.#busy) return;
    const plan = this.#plan();
    if (plan === null) return;
    const { intents, atlas, scheduler } = this.#world;
    // What is asked may be done much later, or piece by piece.
    intents.add(plan.steps);
    scheduler.after(3 * TIMEOUT_MS, () => intents.delete(plan.steps));
    const { steps } = plan;
    const isBorne = atlas.bears(this.#world.configurations()) && steps.every(isApart(atlas));
    if (isBorne) this.#change(leader, plan);
    else intents.delete(steps);
  }

  #leader(): Host | null {
    const leaders = this.#world.hosts.filter(({ life, paused }) => {
      return !paused && life?.view.raft !== null && life?.view.raft.status().role === "leader";
    });
    return leaders.length === 0 ? null : this.#dice.pick(leaders);
  }

  #transfer(leader: Host): void {
    const { voters } = this.#configuration;
    const to = this.#dice.chance(0.5) ? 0 : this.#dice.pick(voters);
    const service = leader.life?.node as NodeService;
    service.transferLeadership(
      { to, timeoutMs: TIMEOUT_MS },
      {
        done: () => this.#world.coverage.add("leaderships handed over"),
        failed: ({ code, message }) => this.#refused(code, message),
      },
    );
  }

  get #configuration() {
    return this.#world.referee.configurations.last.configuration;
  }

  #plan(): Plan | null {
    const { voters, learners } = this.#configuration;
    const outside = this.#world.hosts.filter(({ id }) => ![...voters, ...learners].includes(id));
    const spare = outside.length === 0 ? null : this.#dice.pick(outside);
    const leaving = voters.length > VOTERS_MIN ? this.#dice.pick(voters) : null;
    switch (this.#dice.below(5)) {
      case 0:
        return spare === null
          ? null
          : { steps: [this.#add(spare, false)], covers: "members added" };
      case 1:
        return spare === null
          ? null
          : { steps: [this.#add(spare, true)], covers: "learners added" };
      case 2: {
        if (learners.length === 0) return null;
        return { steps: [step("promote", this.#dice.pick(learners))], covers: "learners promoted" };
      }
      case 3: {
        const gone = leaving ?? (learners.length > 0 ? this.#dice.pick(learners) : null);
        return gone === null ? null : { steps: [step("remove", gone)], covers: "members removed" };
      }
      default: {
        if (spare === null || voters.length < VOTERS_MIN) return null;
        const steps = [this.#add(spare, false), step("remove", this.#dice.pick(voters))];
        return { steps, covers: "members replaced at once" };
      }
    }
  }

  /** It must run to be added. */
  #add(host: Host, isLearner: boolean): MemberStep {
    this.#world.start(host);
    return { kind: "add", id: host.id, address: `node${host.id}:1`, isLearner };
  }

  #change(leader: Host, { steps, covers }: Plan): void {
    const world = this.#world;
    this.#busy = true;
    const text = steps.map(({ kind, id }) => `${kind} ${id}`).join(", ");
    world.note(leader, `is asked: ${text}`);
    // The answer is lost with the leader.
    const end = world.scheduler.after(2 * TIMEOUT_MS, () => {
      this.#busy = false;
    });
    const settle = (): void => {
      end.cancel();
      this.#busy = false;
    };
    const service = leader.life?.node as NodeService;
    const expected = this.#dice.chance(0.3) ? this.#configuration.index : null;
    service.changeMembers(
      { steps, expected, timeoutMs: TIMEOUT_MS },
      {
        done: () => {
          settle();
          world.coverage.add(covers);
          for (const { kind, id } of steps) if (kind === "remove") this.#retire(world.host(id));
        },
        failed: ({ code, message }) => {
          settle();
          this.#refused(code, message);
        },
      },
    );
    if (this.#dice.chance(0.2)) this.#interrupt(leader);
  }

  /** Between the beginning of a change and its end. */
  #interrupt(leader: Host): void {
    const world = this.#world;
    world.scheduler.after(this.#dice.next() * 30, () => {
      if (leader.life === null || !this.#active) return;
      world.coverage.add("leaders ended in a change");
      world.end(leader, "killed");
      world.scheduler.after(200 + this.#dice.next() * 1_000, () => world.start(leader));
    });
  }

  /** Who is out runs on for a while, and disturbs if it can; then its machine is used anew, or comes back as it is. */
  #retire(host: Host): void {
    const world = this.#world;
    const isCleared = this.#dice.chance(0.7);
    world.scheduler.after(this.#dice.next() * 2_000, () => {
      if (this.#isMember(host.id)) return;
      world.end(host, "killed");
      if (!isCleared) return;
      world.wipe(host);
      host.joins = true;
    });
  }

  #isMember(id: NodeId): boolean {
    return this.#world.configurations().some(({ voters, outgoing, learners }) => {
      return [...voters, ...outgoing, ...learners].includes(id);
    });
  }

  #refused(code: string, message: string): void {
    if (!isBalsaCode(code)) throw new Error(`an operator is told ${code}: ${message}`);
    this.#world.coverage.add("changes refused");
  }
}

/** Who is broken is not made a voter by hand; its own leader sees to it. */
function isApart(atlas: FaultAtlas): (step: MemberStep) => boolean {
  return ({ kind, id }) => kind !== "promote" || atlas.isWhole(id);
}

function step(kind: "promote" | "remove", id: NodeId): MemberStep {
  return { kind, id, address: "", isLearner: false };
}
