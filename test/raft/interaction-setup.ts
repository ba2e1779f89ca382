/** What the arguments of `add-nodes` mean: etcd's, and a few limits of our own. */

import type { RaftOptions } from "../../src/raft/effect.ts";
import { booleanOf, numberOf } from "./interaction-arguments.ts";
import { EMPTY_SETUP, type NodeSetup } from "./interaction-node.ts";
import type { Argument } from "./interaction-script.ts";

type Options = { -readonly [K in keyof RaftOptions]?: RaftOptions[K] };

const NUMBERS = {
  inflight: "maxInflightMessages",
  "max-inflight": "maxInflightMessages",
  "max-message-bytes": "maxMessageBytes",
  "max-committed-size-per-ready": "maxApplyBytes",
  "election-tick": "electionTicks",
  "heartbeat-tick": "heartbeatTicks",
} as const;

const SWITCHES = {
  prevote: "preVote",
  checkquorum: "checkQuorum",
  "step-down-on-removal": "stepDownOnRemoval",
} as const;

/** `note` hears of arguments that mean nothing here: like etcd we go on without them. */
export function setupOf(args: readonly Argument[], note: (text: string) => void): NodeSetup {
  const options: Options = {};
  let setup: NodeSetup = EMPTY_SETUP;
  for (const { key, values } of args) {
    const value = values[0];
    if (key in NUMBERS) options[NUMBERS[key as keyof typeof NUMBERS]] = numberOf(value);
    else if (key in SWITCHES) options[SWITCHES[key as keyof typeof SWITCHES]] = booleanOf(value);
    else {
      const next = withArgument(setup, options, key, values);
      if (next === null) note(`add-nodes has no argument ${key}`);
      else setup = next;
    }
  }
  return { ...setup, options };
}

function withArgument(
  setup: NodeSetup,
  options: Options,
  key: string,
  values: readonly string[],
): NodeSetup | null {
  const value = values[0];
  const { configuration } = setup;
  switch (key) {
    case "voters":
      return { ...setup, configuration: { ...configuration, voters: values.map(numberOf) } };
    case "learners":
      return { ...setup, configuration: { ...configuration, learners: values.map(numberOf) } };
    case "index":
      return { ...setup, index: numberOf(value) };
    case "content":
      return { ...setup, content: value ?? "" };
    case "async-storage-writes":
      return { ...setup, isAsync: booleanOf(value) };
    case "read-only":
      if (value !== "safe" && value !== "lease-based") {
        throw new Error(`invalid read-only option "${value}"`);
      }
      return { ...setup, hasLease: value === "lease-based" };
    case "disable-conf-change-validation":
      options.validateChanges = !booleanOf(value);
      return setup;
    default:
      return null;
  }
}
