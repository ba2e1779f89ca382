/** What a run of the bench was asked for on its command line. */

import { parseArgs } from "node:util";

/** How a leader is lost: killed, stopped without a word, ended in order, or cut off from everybody. */
const ENDS = ["SIGKILL", "SIGSTOP", "stop", "cable"] as const;
export type End = (typeof ENDS)[number];

export interface Settings {
  /** Names of metrics; empty: all. */
  readonly metrics: readonly string[];
  /** Seconds of load before the first window: the JIT needs it. */
  readonly warmup: number;
  /** Seconds of a window, and how many there are; the median one is the figure. */
  readonly window: number;
  readonly windows: number;
  readonly callers: readonly number[];
  /** Ways to lose a leader, and how often each. */
  readonly how: readonly End[];
  readonly trials: number;
  /** Rows of the largest table of `growth`, and entries that the follower of `catchUp` misses. */
  readonly rows: number;
  readonly entries: number;
  /** Size of the database of `restart`. */
  readonly mib: number;
  /** Directory of run.py, which measures etcd and dqlite; empty: no comparison. */
  readonly peers: string;
}

export const USAGE = `node --import tsx test/bench/main.ts [--metric NAME,NAME] [options]
  --warmup 15      seconds of load before the first window
  --window 10      seconds of a window
  --windows 3      windows of a figure; the median one is printed
  --callers LIST   default 1,16,64,256
  --how LIST       ways to lose the leader, default SIGKILL,SIGSTOP,stop,cable (failover)
  --trials 10      of each way to lose the leader (failover)
  --rows 10000000  rows of the largest table (growth)
  --entries 100000 entries that the follower misses (catchUp)
  --mib 1024       size of the database (restart)
  --peers DIR      directory of run.py: measures etcd and dqlite in the same hour (write, readLinearizable)`;

/** @throws RangeError or TypeError that says what is wrong. */
export function settingsOf(args: readonly string[]): Settings {
  const { values } = parseArgs({
    args: [...args],
    options: {
      metric: { type: "string", default: "" },
      warmup: { type: "string", default: "15" },
      window: { type: "string", default: "10" },
      windows: { type: "string", default: "3" },
      callers: { type: "string", default: "1,16,64,256" },
      how: { type: "string", default: ENDS.join(",") },
      trials: { type: "string", default: "10" },
      rows: { type: "string", default: "10000000" },
      entries: { type: "string", default: "100000" },
      mib: { type: "string", default: "1024" },
      peers: { type: "string", default: "" },
    },
  });
  return {
    metrics: values.metric.split(",").filter((name) => name !== ""),
    warmup: positive("warmup", values.warmup),
    window: positive("window", values.window),
    windows: positive("windows", values.windows),
    callers: values.callers.split(",").map((text) => positive("callers", text)),
    how: values.how.split(",").map(endOf),
    trials: positive("trials", values.trials),
    rows: positive("rows", values.rows),
    entries: positive("entries", values.entries),
    mib: positive("mib", values.mib),
    peers: values.peers,
  };
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new RangeError(`--${name} takes a positive number, not "${text}"`);
  return value;
}

function endOf(name: string): End {
  const end = ENDS.find((each) => each === name);
  if (end === undefined) throw new RangeError(`--how takes ${ENDS.join(", ")}, not "${name}"`);
  return end;
}
