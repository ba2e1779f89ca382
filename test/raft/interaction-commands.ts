/** The commands of interaction scripts, by name: etcd's, and `read-index`, `restart` and some options of our own. */

import type { RaftOptions } from "../../src/raft/effect.ts";
import type { Transition } from "../../src/raft/membership.ts";
import { InvariantViolation } from "../../src/sql/invariant.ts";
import { parseSteps } from "./interaction-describe.ts";
import { InteractionEnv } from "./interaction-env.ts";
import { EMPTY_SETUP, type NodeSetup } from "./interaction-node.ts";
import {
  type Argument,
  type Command,
  type Directive,
  parseCommand,
  parseScript,
} from "./interaction-script.ts";

type Run = (env: InteractionEnv, args: readonly Argument[]) => void;

function numberOf(text: string | undefined): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number)) throw new Error(`not a number: ${text}`);
  return number;
}

function idsOf(args: readonly Argument[]): number[] {
  return args.filter(({ values }) => values.length === 0).map(({ key }) => numberOf(key));
}

function idOf(args: readonly Argument[]): number {
  return numberOf(args[0]?.key);
}

function option(args: readonly Argument[], key: string): readonly string[] {
  return args.find((arg) => arg.key === key)?.values ?? [];
}

function setupOf(args: readonly Argument[]): NodeSetup {
  const options: { -readonly [K in keyof RaftOptions]?: RaftOptions[K] } = {};
  let setup: NodeSetup = EMPTY_SETUP;
  for (const { key, values } of args) {
    const value = values[0];
    switch (key) {
      case "voters": {
        const voters = values.map(numberOf);
        setup = { ...setup, configuration: { ...setup.configuration, voters } };
        break;
      }
      case "learners": {
        const learners = values.map(numberOf);
        setup = { ...setup, configuration: { ...setup.configuration, learners } };
        break;
      }
      case "index":
        setup = { ...setup, index: numberOf(value) };
        break;
      case "async-storage-writes":
        setup = { ...setup, isAsync: value === "true" };
        break;
      case "inflight":
      case "max-inflight":
        options.maxInflightMessages = numberOf(value);
        break;
      case "max-message-bytes":
        options.maxMessageBytes = numberOf(value);
        break;
      case "max-committed-size-per-ready":
        options.maxApplyBytes = numberOf(value);
        break;
      case "step-down-on-removal":
        options.stepDownOnRemoval = value === "true";
        break;
      case "prevote":
        options.preVote = value === "true";
        break;
      case "checkquorum":
        options.checkQuorum = value === "true";
        break;
      default:
        break;
    }
  }
  return { ...setup, options };
}

function eachUnderTitle(
  env: InteractionEnv,
  args: readonly Argument[],
  doing: string,
  run: (id: number) => void,
): void {
  const ids = idsOf(args);
  for (const id of ids) {
    if (ids.length === 1) run(id);
    else {
      env.output.write(`> ${id} ${doing}\n`);
      env.output.indented(() => run(id));
    }
  }
}

function deliverMessages(env: InteractionEnv, args: readonly Argument[]): void {
  const type = option(args, "type")[0] ?? null;
  let count = 0;
  for (const { key, values } of args) {
    if (values.length === 0) count += env.deliver(numberOf(key), type, "deliver");
    if (key === "drop") {
      for (const value of values) count += env.deliver(numberOf(value), type, "drop");
    }
  }
  if (count === 0) env.output.write("no messages\n");
}

function tick(env: InteractionEnv, id: number, count: number): void {
  for (let i = 0; i < count; i++) env.act(id, ({ raft }) => raft.step({ kind: "tick" }));
}

function campaign(env: InteractionEnv, id: number): void {
  const { currentTerm } = env.node(id).raft.status();
  env.output.log("INFO", `${id} is starting a new election at term ${currentTerm}`);
  env.act(id, ({ raft }) => raft.step({ kind: "campaign" }));
}

function stabilize(env: InteractionEnv, args: readonly Argument[]): void {
  const before = env.output.level;
  const [level] = option(args, "log-level");
  if (level !== undefined) env.output.setLevel(level);
  const ids = idsOf(args);
  env.stabilize(ids.length > 0 ? ids : env.nodes.map(({ id }) => id));
  env.output.setLevel(before);
}

const COMMANDS: { readonly [name: string]: Run } = {
  _breakpoint: () => {},
  "add-nodes": (env, args) => env.addNodes(idOf(args), setupOf(args.slice(1))),
  campaign: (env, args) => campaign(env, idOf(args)),
  propose: (env, args) => {
    const payload = new TextEncoder().encode(args[1]?.key ?? "");
    env.act(idOf(args), ({ raft }) => {
      const result = raft.propose([payload]);
      if (result.kind === "refused") throw new Error("raft proposal dropped");
    });
  },
  "deliver-msgs": deliverMessages,
  "process-ready": (env, args) =>
    eachUnderTitle(env, args, "handling Ready", (id) => env.processReady(id)),
  "process-append-thread": (env, args) =>
    eachUnderTitle(env, args, "processing append thread", (id) => env.processAppendThread(id)),
  "process-apply-thread": (env, args) =>
    eachUnderTitle(env, args, "processing apply thread", (id) => env.processApplyThread(id)),
  stabilize,
  "tick-election": (env, args) => tick(env, idOf(args), 3),
  "tick-heartbeat": (env, args) => tick(env, idOf(args), 1),
  "set-randomized-election-timeout": (env, args) =>
    env.node(idOf(args)).raft.setElectionTimeout(numberOf(option(args, "timeout")[0])),
  compact: (env, args) => {
    env.node(idOf(args)).log.compact(numberOf(args[1]?.key));
    env.raftLog(idOf(args));
  },
  "forget-leader": (env, args) =>
    env.act(idOf(args), ({ raft }) => raft.step({ kind: "forgetLeader" })),
  "report-unreachable": (env, args) => {
    const peer = numberOf(args[1]?.key);
    env.act(idOf(args), ({ raft }) => raft.step({ kind: "unreachable", peer }));
  },
  "transfer-leadership": (env, args) => {
    const to = numberOf(option(args, "to")[0]);
    const from = numberOf(option(args, "from")[0]);
    env.act(from, ({ raft }) => raft.step({ kind: "transferLeadership", to }));
  },
  "send-snapshot": (env, args) => env.sendSnapshot(idOf(args), numberOf(args[1]?.key)),
  "raft-log": (env, args) => env.raftLog(idOf(args)),
  "raft-state": (env) => env.raftState(),
  status: (env, args) => env.status(idOf(args)),
  "log-level": (env, args) => env.output.setLevel(args[0]?.key ?? ""),
  "read-index": (env, args) => {
    const context = numberOf(args[1]?.key);
    env.act(idOf(args), ({ raft }) => env.output.write(`${raft.readIndex(context)}\n`));
  },
  restart: (env, args) => env.node(idOf(args)).restart(),
};

function runCommand(env: InteractionEnv, command: Command): string | null {
  const run = COMMANDS[command.name];
  if (run === undefined) return "unknown command";
  try {
    run(env, command.args);
    return null;
  } catch (error) {
    if (error instanceof InvariantViolation || !(error instanceof Error)) throw error;
    return error.message;
  }
}

function proposeChange(env: InteractionEnv, { command, input }: Directive): string | null {
  const { args } = command;
  const [transition = "auto"] = option(args, "transition");
  if (!isTransition(transition)) return `unknown transition ${transition}`;
  const change = { transition, steps: parseSteps(input.join(" ")) };
  env.act(idOf(args), ({ raft }) => {
    const result = raft.proposeConfiguration(change);
    if (result.kind === "accepted") {
      const { term, index } = result.first;
      if (option(args, "v1")[0] === "true") env.output.v1Changes.add(`${term}/${index}`);
      return;
    }
    env.output.log("INFO", `${idOf(args)} refused the change: ${result.reason}`);
    // etcd writes an empty entry in the place of a change that it ignores.
    if (result.reason === "changePending" || result.reason === "invalidChange") {
      raft.propose([new Uint8Array(0)]);
    }
  });
  return null;
}

function isTransition(text: string): text is Transition {
  return text === "auto" || text === "implicit" || text === "explicit";
}

/** What one directive prints. */
export function runDirective(env: InteractionEnv, directive: Directive): string {
  const { command, input } = directive;
  const errors: string[] = [];
  const tell = (error: string | null) => {
    if (error === null) return;
    if (env.output.isQuiet) errors.push(error);
    else env.output.write(error);
  };
  if (command.name === "propose-conf-change") tell(proposeChange(env, directive));
  else for (const each of [command, ...input.map(parseCommand)]) tell(runCommand(env, each));
  const text = [env.output.take(), ...errors].filter((part) => part !== "").join("\n");
  return text === "" ? "ok" : text;
}

/** The script again, with what it printed now. */
export function transcriptOf(script: string): string {
  const env = new InteractionEnv();
  let transcript = "";
  for (const part of parseScript(script)) {
    transcript += part.text;
    if (part.kind === "directive") transcript += `${runDirective(env, part.directive)}\n`;
  }
  return transcript;
}
